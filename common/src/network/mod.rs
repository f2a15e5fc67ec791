//! The networks as plain data: their layers, and the names and shapes of their tensors.
//!
//! The training library builds the layers of a [`Network`] in their order; a weights file is checked against
//! [`Network::tensors`] by [`match_weights`]. Everything follows torchvision, whose names the tensors have. To add a network of this family,
//! add an entry to [`Architecture::of`].

mod layers;
mod tensors;
mod weights;

pub use layers::{BATCH_NORM_EPSILON, Convolution, Head, Linear, Network, ResidualBlock};
pub use tensors::{TensorKind, TensorShape, is_of_head};
pub use weights::{FileTensor, Numbers, WeightsMatch, WeightsMismatch, match_weights};

use crate::spec::ModelName;

/// The kind of a residual block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockKind {
    /// Two 3x3 convolutions (He et al. 2016).
    Basic,
    /// A 1x1, a 3x3 and a 1x1 convolution. The stride is in the 3x3 one, as in torchvision.
    Bottleneck,
}

impl BlockKind {
    /// Output channels of a block per channel of its stage.
    pub fn expansion(self) -> u32 {
        match self {
            Self::Basic => 1,
            Self::Bottleneck => 4,
        }
    }
}

/// What distinguishes the networks, in the terms of torchvision's `ResNet`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Architecture {
    /// The kind of its blocks.
    pub block: BlockKind,
    /// Blocks of the four stages.
    pub stage_blocks: [u32; 4],
    /// Groups of a bottleneck's 3x3 convolution (Xie et al. 2017).
    pub groups: u32,
    /// Channels of a group in the first stage, if the stage has 64 channels.
    pub width_per_group: u32,
}

/// Channels of the first stage in the standard networks, to which `width_per_group` refers.
const STANDARD_WIDTH: u32 = 64;

impl Architecture {
    /// The table of networks.
    pub fn of(model: ModelName) -> Self {
        use BlockKind::{Basic, Bottleneck};
        let (block, stage_blocks, groups, width_per_group) = match model {
            ModelName::Resnet18 => (Basic, [2, 2, 2, 2], 1, 64),
            ModelName::Resnet34 => (Basic, [3, 4, 6, 3], 1, 64),
            ModelName::Resnet50 => (Bottleneck, [3, 4, 6, 3], 1, 64),
            ModelName::Resnet101 => (Bottleneck, [3, 4, 23, 3], 1, 64),
            ModelName::Resnet152 => (Bottleneck, [3, 8, 36, 3], 1, 64),
            ModelName::Resnext5032x4d => (Bottleneck, [3, 4, 6, 3], 32, 4),
            ModelName::Resnext10132x8d => (Bottleneck, [3, 4, 23, 3], 32, 8),
            ModelName::WideResnet502 => (Bottleneck, [3, 4, 6, 3], 1, 128),
        };
        Self { block, stage_blocks, groups, width_per_group }
    }

    /// The least `base_width` with at least one channel in each group.
    pub fn least_base_width(self) -> u32 {
        STANDARD_WIDTH.div_ceil(self.width_per_group)
    }

    /// Channels inside the blocks of a stage of `channels` channels.
    fn inner_channels(self, channels: u32) -> u32 {
        match self.block {
            BlockKind::Basic => channels,
            BlockKind::Bottleneck => channels * self.width_per_group / STANDARD_WIDTH * self.groups,
        }
    }
}
