//! The networks, built from the tables in [`fivefold_common::network`].

mod layers;
mod residual;
pub mod weights;

use fivefold_common::ids::Fold;
use fivefold_common::network::Network;
use fivefold_common::spec::JobSetSpec;
use tch::{Kind, Tensor};

use crate::models::layers::LayerBuilder;
use crate::models::residual::ResidualNetwork;
use crate::torch::device::Device;
use crate::torch::tensors::NamedTensor;

/// What a forward pass is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Batch statistics are used, running statistics updated, gradients recorded.
    Train,
    /// Running statistics are used; no gradients are recorded.
    Eval,
}

/// A network, and its tensors by name. Weights are fp32; those of convolutions are channels-last.
pub struct Model {
    device: Device,
    parameters: Vec<NamedTensor>,
    buffers: Vec<NamedTensor>,
    batches_tracked: Tensor,
    network: ResidualNetwork,
}

impl Model {
    /// The network of `spec.model_name` for the images of the spec, with one output per class and its initial weights, which
    /// depend on `spec.seed` and the fold alone.
    ///
    /// Panics when the device's memory is full, as tch does.
    pub fn new(spec: &JobSetSpec, fold: Fold, device: Device) -> Self {
        Self::build(&Network::of(spec), spec.seed, fold, device)
    }

    /// The network of these layers with its initial weights, which depend on the seed and the fold alone.
    ///
    /// Panics when the device's memory is full, as tch does.
    pub fn build(network: &Network, seed: u64, fold: Fold, device: Device) -> Self {
        let mut layers = LayerBuilder::new(seed, fold, device);
        let network = ResidualNetwork::build(&mut layers, network);
        let LayerBuilder { parameters, buffers, batches_tracked, .. } = layers;
        Self { device, parameters, buffers, batches_tracked, network }
    }

    /// Logits `[N, classes]` in fp32 of `images`: fp32 `[N, C, S, S]` on the model's device, preferably channels-last.
    pub fn forward(&self, images: &Tensor, mode: Mode) -> Tensor {
        let logits = match mode {
            Mode::Train => {
                let _ = self.batches_tracked.shallow_clone().g_add_scalar_(1);
                self.network.logits(images, mode)
            }
            Mode::Eval => tch::no_grad(|| self.network.logits(images, mode)),
        };
        logits.to_kind(Kind::Float)
    }

    /// The trained tensors, in torchvision's order.
    pub fn parameters(&self) -> &[NamedTensor] {
        &self.parameters
    }

    /// Each BatchNorm's `running_mean`, `running_var` (fp32) and `num_batches_tracked` (int64, on the CPU; one tensor for
    /// all layers).
    pub fn buffers(&self) -> &[NamedTensor] {
        &self.buffers
    }

    /// Handles on all parameters and buffers: the tensors of a checkpoint.
    pub fn tensors(&self) -> Vec<NamedTensor> {
        self.parameters.iter().chain(&self.buffers).map(NamedTensor::shallow_clone).collect()
    }

    /// The device of the tensors.
    pub fn device(&self) -> Device {
        self.device
    }
}
