//! Tensors with names, and their layout in memory.

use tch::Tensor;

/// A tensor and the name that torchvision has for it, such as `layer1.0.conv1.weight`.
#[derive(Debug)]
pub struct NamedTensor {
    /// The name.
    pub name: String,
    /// The tensor.
    pub tensor: Tensor,
}

impl NamedTensor {
    /// Another handle on the same tensor, under the same name.
    pub fn shallow_clone(&self) -> Self {
        Self { name: self.name.clone(), tensor: self.tensor.shallow_clone() }
    }
}

/// The same values laid out channels-last: `[N, C, H, W]` with C varying fastest.
pub fn channels_last(tensor: &Tensor) -> Tensor {
    tensor.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2])
}
