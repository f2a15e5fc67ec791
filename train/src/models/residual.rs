//! Residual networks (He et al. 2016; Xie et al. 2017) as torchvision builds them, from the layers that
//! [`fivefold_common::network`] lists.

use fivefold_common::network::{Head, Network, ResidualBlock};
use tch::Tensor;

use crate::models::Mode;
use crate::models::layers::{BatchNorm, Convolution, LayerBuilder, Linear};

/// The layers of a residual network.
pub(super) struct ResidualNetwork {
    stem: NormedConvolution,
    blocks: Vec<Block>,
    head: HeadLayers,
}

impl ResidualNetwork {
    pub(super) fn build(layers: &mut LayerBuilder, network: &Network) -> Self {
        let stem = layers.normed_convolution(&network.stem);
        let blocks = network.blocks.iter().map(|block| Block::build(layers, block)).collect();
        Self { stem, blocks, head: HeadLayers::build(layers, &network.head) }
    }

    /// Logits `[N, classes]` of `images` `[N, C, S, S]`.
    pub(super) fn logits(&self, images: &Tensor, mode: Mode) -> Tensor {
        let mut x = self.stem.forward(images, mode).relu_();
        x = x.max_pool2d([3, 3], [2, 2], [1, 1], [1, 1], false);
        for block in &self.blocks {
            x = block.forward(&x, mode);
        }
        self.head.forward(&x.adaptive_avg_pool2d([1, 1]).flatten(1, -1), mode)
    }
}

/// A convolution and the batch normalisation of its outputs.
pub(super) struct NormedConvolution {
    pub(super) convolution: Convolution,
    pub(super) norm: BatchNorm,
}

impl NormedConvolution {
    fn forward(&self, x: &Tensor, mode: Mode) -> Tensor {
        self.norm.forward(&self.convolution.forward(x), mode)
    }
}

struct Block {
    first: Vec<NormedConvolution>,
    /// The last convolution, which the shortcut is added to.
    last: NormedConvolution,
    downsample: Option<NormedConvolution>,
}

impl Block {
    fn build(layers: &mut LayerBuilder, block: &ResidualBlock) -> Self {
        let first = block.convolutions.iter().map(|layer| layers.normed_convolution(layer)).collect();
        let last = layers.normed_convolution(&block.last_convolution);
        let downsample = block.downsample.as_ref().map(|layer| layers.normed_convolution(layer));
        Self { first, last, downsample }
    }

    fn forward(&self, x: &Tensor, mode: Mode) -> Tensor {
        let mut out = x.shallow_clone();
        for layer in &self.first {
            out = layer.forward(&out, mode).relu_();
        }
        out = self.last.forward(&out, mode);
        let shortcut = match &self.downsample {
            Some(layer) => layer.forward(x, mode),
            None => x.shallow_clone(),
        };
        out.g_add_(&shortcut).relu_()
    }
}

enum HeadLayers {
    Linear(Linear),
    TwoLayer { hidden: Linear, norm: BatchNorm, output: Linear },
}

impl HeadLayers {
    fn build(layers: &mut LayerBuilder, head: &Head) -> Self {
        match head {
            Head::Linear(layer) => Self::Linear(layers.linear(layer)),
            Head::TwoLayer { hidden, norm_name, output } => Self::TwoLayer {
                hidden: layers.linear(hidden),
                norm: layers.batch_norm(norm_name, hidden.outputs),
                output: layers.linear(output),
            },
        }
    }

    fn forward(&self, features: &Tensor, mode: Mode) -> Tensor {
        match self {
            Self::Linear(layer) => layer.forward(features),
            Self::TwoLayer { hidden, norm, output } => output.forward(&norm.forward(&hidden.forward(features), mode)),
        }
    }
}
