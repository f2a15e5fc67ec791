//! Named tensors, their layout, and their values on the CPU.

use tch::{Device, Kind, TchError, Tensor};

/// A tensor and its name in torchvision, such as `layer1.0.conv1.weight`.
#[derive(Debug)]
pub struct NamedTensor {
    /// The name.
    pub name: String,
    /// The tensor.
    pub tensor: Tensor,
}

impl NamedTensor {
    /// A second handle on the same tensor, with the same name.
    pub fn shallow_clone(&self) -> Self {
        Self { name: self.name.clone(), tensor: self.tensor.shallow_clone() }
    }
}

/// The same `[N, C, H, W]` values in channels-last memory order: C varies fastest.
pub fn channels_last(tensor: &Tensor) -> Tensor {
    tensor.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2])
}

/// The values of a tensor as fp32, in row-major order. On a GPU this waits for all work before it.
pub(crate) fn values(tensor: &Tensor) -> Result<Vec<f32>, TchError> {
    Vec::try_from(tensor.f_to_device(Device::Cpu)?.f_to_kind(Kind::Float)?.f_flatten(0, -1)?)
}
