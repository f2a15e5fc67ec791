//! The tensors of a network by name.

use super::{Convolution, Head, Linear, Network};

/// What a tensor holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TensorKind {
    /// Trained weights, fp32.
    Parameter,
    /// Running statistics of a batch normalisation, fp32.
    Statistics,
    /// The number of batches that a batch normalisation has seen, int64. Weights files may lack it.
    BatchCount,
}

/// A tensor of a network: its name in torchvision, shape and content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorShape {
    /// The name, such as `layer1.0.conv1.weight`.
    pub name: String,
    /// The length of each dimension; empty for a scalar.
    pub shape: Vec<u32>,
    /// The content.
    pub kind: TensorKind,
}

/// Whether a tensor belongs to the last layers. A weights file may have them in other shapes: training then starts with a
/// new head.
pub fn is_of_head(name: &str) -> bool {
    name.starts_with("fc.") || name.starts_with("head.")
}

impl Network {
    /// Every tensor of the network, layer by layer.
    pub fn tensors(&self) -> Vec<TensorShape> {
        let mut tensors = Vec::new();
        add_convolution(&mut tensors, &self.stem);
        for block in &self.blocks {
            for convolution in block.convolutions.iter().chain([&block.last_convolution]).chain(&block.downsample) {
                add_convolution(&mut tensors, convolution);
            }
        }
        match &self.head {
            Head::Linear(layer) => add_linear(&mut tensors, layer),
            Head::TwoLayer { hidden, norm_name, output } => {
                add_linear(&mut tensors, hidden);
                add_norm(&mut tensors, norm_name, hidden.outputs);
                add_linear(&mut tensors, output);
            }
        }
        tensors
    }
}

fn add_convolution(tensors: &mut Vec<TensorShape>, layer: &Convolution) {
    let Convolution { name, norm_name, inputs, outputs, side, groups, .. } = layer;
    add(tensors, name, "weight", vec![*outputs, inputs / groups, *side, *side], TensorKind::Parameter);
    add_norm(tensors, norm_name, *outputs);
}

fn add_norm(tensors: &mut Vec<TensorShape>, name: &str, channels: u32) {
    for (suffix, kind) in [
        ("weight", TensorKind::Parameter),
        ("bias", TensorKind::Parameter),
        ("running_mean", TensorKind::Statistics),
        ("running_var", TensorKind::Statistics),
    ] {
        add(tensors, name, suffix, vec![channels], kind);
    }
    add(tensors, name, "num_batches_tracked", Vec::new(), TensorKind::BatchCount);
}

fn add_linear(tensors: &mut Vec<TensorShape>, Linear { name, inputs, outputs }: &Linear) {
    add(tensors, name, "weight", vec![*outputs, *inputs], TensorKind::Parameter);
    add(tensors, name, "bias", vec![*outputs], TensorKind::Parameter);
}

fn add(tensors: &mut Vec<TensorShape>, layer: &str, suffix: &str, shape: Vec<u32>, kind: TensorKind) {
    tensors.push(TensorShape { name: format!("{layer}.{suffix}"), shape, kind });
}
