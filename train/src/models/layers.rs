//! The layers that networks are built from, and how their initial weights are drawn.

use fivefold_common::ids::Fold;
use fivefold_common::network;
use fivefold_common::randomness::{Purpose, Stream};
use tch::{Kind, Tensor};

use crate::models::Mode;
use crate::models::residual::NormedConvolution;
use crate::torch::device::Device;
use crate::torch::tensors::{NamedTensor, channels_last};

/// A square convolution without bias, padded so that a stride of 1 keeps the image size.
pub(super) struct Convolution {
    weight: Tensor,
    stride: i64,
    padding: i64,
    groups: i64,
}

impl Convolution {
    pub(super) fn forward(&self, x: &Tensor) -> Tensor {
        x.conv2d::<Tensor>(&self.weight, None, [self.stride; 2], [self.padding; 2], [1, 1], self.groups)
    }
}

/// Batch normalisation over all dimensions but the second, with PyTorch's constants.
pub(super) struct BatchNorm {
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
}

impl BatchNorm {
    const MOMENTUM: f64 = 0.1;

    pub(super) fn forward(&self, x: &Tensor, mode: Mode) -> Tensor {
        x.batch_norm(
            Some(&self.weight),
            Some(&self.bias),
            Some(&self.running_mean),
            Some(&self.running_var),
            mode == Mode::Train,
            Self::MOMENTUM,
            network::BATCH_NORM_EPSILON,
            true,
        )
    }
}

/// A fully connected layer with bias.
pub(super) struct Linear {
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    pub(super) fn forward(&self, x: &Tensor) -> Tensor {
        x.linear(&self.weight, Some(&self.bias))
    }
}

/// Makes the layers of a network and keeps their tensors by name.
///
/// The n-th parameter, in the order of creation, draws from the n-th stream of the seed and fold. A change of that order
/// changes the initial weights.
pub(super) struct LayerBuilder {
    pub(super) seed: u64,
    pub(super) fold: Fold,
    pub(super) device: Device,
    /// One tensor for the `num_batches_tracked` of every layer, since every layer sees every batch.
    pub(super) batches_tracked: Tensor,
    pub(super) parameters: Vec<NamedTensor>,
    pub(super) buffers: Vec<NamedTensor>,
}

impl LayerBuilder {
    pub(super) fn new(seed: u64, fold: Fold, device: Device) -> Self {
        let batches_tracked = Tensor::zeros([], tch::kind::INT64_CPU);
        Self { seed, fold, device, batches_tracked, parameters: Vec::new(), buffers: Vec::new() }
    }

    /// A convolution, then its batch normalisation.
    pub(super) fn normed_convolution(&mut self, layer: &network::Convolution) -> NormedConvolution {
        let convolution = self.convolution(layer);
        NormedConvolution { convolution, norm: self.batch_norm(&layer.norm_name, layer.outputs) }
    }

    /// Weights: Kaiming-normal by fan-out (He et al. 2015), which PyTorch computes without regard to groups.
    fn convolution(&mut self, layer: &network::Convolution) -> Convolution {
        let network::Convolution { name, inputs, outputs, side, stride, groups, .. } = layer;
        let [inputs, outputs, side, stride, groups] = [inputs, outputs, side, stride, groups].map(|&x| i64::from(x));
        let deviation = (2.0 / (outputs * side * side) as f64).sqrt();
        let mut stream = self.stream();
        let values = self.drawn(&[outputs, inputs / groups, side, side], || deviation * stream.normal());
        let weight = self.parameter(name, "weight", channels_last(&values));
        Convolution { weight, stride, padding: side / 2, groups }
    }

    /// Weights and bias: uniform in ±1/sqrt(inputs), PyTorch's default.
    pub(super) fn linear(&mut self, layer: &network::Linear) -> Linear {
        let (name, inputs, outputs) = (&layer.name, i64::from(layer.inputs), i64::from(layer.outputs));
        let bound = 1.0 / (inputs as f64).sqrt();
        let mut stream = self.stream();
        let weight = self.drawn(&[outputs, inputs], || stream.between(-bound, bound));
        let weight = self.parameter(name, "weight", weight);
        let mut stream = self.stream();
        let bias = self.drawn(&[outputs], || stream.between(-bound, bound));
        Linear { weight, bias: self.parameter(name, "bias", bias) }
    }

    /// Weights 1, biases 0, running mean 0, running variance 1.
    pub(super) fn batch_norm(&mut self, name: &str, channels: u32) -> BatchNorm {
        let channels = i64::from(channels);
        let ones = || Tensor::ones([channels], (Kind::Float, self.device.into()));
        let zeros = || Tensor::zeros([channels], (Kind::Float, self.device.into()));
        let (weight, bias, running_mean, running_var) = (ones(), zeros(), zeros(), ones());
        for (suffix, buffer) in [
            ("running_mean", &running_mean),
            ("running_var", &running_var),
            ("num_batches_tracked", &self.batches_tracked),
        ] {
            self.buffers.push(NamedTensor { name: format!("{name}.{suffix}"), tensor: buffer.shallow_clone() });
        }
        let weight = self.parameter(name, "weight", weight);
        let bias = self.parameter(name, "bias", bias);
        BatchNorm { weight, bias, running_mean, running_var }
    }

    fn parameter(&mut self, layer: &str, suffix: &str, tensor: Tensor) -> Tensor {
        let tensor = tensor.detach().set_requires_grad(true);
        self.parameters.push(NamedTensor { name: format!("{layer}.{suffix}"), tensor: tensor.shallow_clone() });
        tensor
    }

    /// The random stream of the next parameter.
    fn stream(&self) -> Stream {
        Stream::new(self.seed, u64::from(self.fold.0), 0, Purpose::Weights, self.parameters.len() as u64)
    }

    fn drawn(&self, shape: &[i64], mut draw: impl FnMut() -> f64) -> Tensor {
        let count: i64 = shape.iter().product();
        let values: Vec<f32> = (0..count).map(|_| draw() as f32).collect();
        Tensor::from_slice(&values).reshape(shape).to_device(self.device.into())
    }
}
