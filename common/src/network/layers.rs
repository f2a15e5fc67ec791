//! The layers of a network, in the order in which their weights are drawn.

use super::{Architecture, BlockKind};
use crate::spec::{self, JobSetSpec};

/// What a batch normalisation adds to a variance before the root, as in PyTorch.
pub const BATCH_NORM_EPSILON: f64 = 1e-5;

/// A square convolution without bias, padded so that a stride of 1 keeps the image size, and the batch normalisation of its
/// outputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Convolution {
    /// The name of the convolution, such as `layer1.0.conv1`.
    pub name: String,
    /// The name of the batch normalisation, such as `layer1.0.bn1`.
    pub norm_name: String,
    /// Channels of its input.
    pub inputs: u32,
    /// Channels of its output.
    pub outputs: u32,
    /// Side of the kernel in pixels, odd.
    pub side: u32,
    /// Stride in pixels.
    pub stride: u32,
    /// Groups of channels that do not see each other.
    pub groups: u32,
}

/// A fully connected layer with bias.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Linear {
    /// Its name, such as `fc`.
    pub name: String,
    /// Features of its input.
    pub inputs: u32,
    /// Features of its output.
    pub outputs: u32,
}

/// A residual block: convolutions with a ReLU between them, the input or its `downsample` added, then a ReLU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResidualBlock {
    /// The convolutions with a ReLU after them, in order.
    pub convolutions: Vec<Convolution>,
    /// The convolution after these, without a ReLU before the addition.
    pub last_convolution: Convolution,
    /// The convolution of the shortcut, where input and output differ in shape.
    pub downsample: Option<Convolution>,
}

/// The last layers: from the mean of each channel to the logits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Head {
    /// One layer.
    Linear(Linear),
    /// Two layers with a batch normalisation between them.
    TwoLayer {
        /// The first layer.
        hidden: Linear,
        /// The name of the batch normalisation.
        norm_name: String,
        /// The last layer.
        output: Linear,
    },
}

/// A residual network: the stem with ReLU, max pooling of 3x3 with stride 2, the blocks, the mean of each channel, the head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// The first convolution.
    pub stem: Convolution,
    /// The residual blocks of all stages.
    pub blocks: Vec<ResidualBlock>,
    /// The last layers.
    pub head: Head,
}

impl Network {
    /// The network of a job set: for images of its channels, with one output per class.
    pub fn of(spec: &JobSetSpec) -> Self {
        Self::new(spec, spec.channel_count() as u32, spec.class_count() as u32)
    }

    /// The layers that `spec` names (`model_name`, `base_width`, `head`), for images of `channels` channels and with
    /// `classes` outputs.
    pub fn new(spec: &JobSetSpec, channels: u32, classes: u32) -> Self {
        let architecture = Architecture::of(spec.model_name);
        let width = spec.base_width;
        let stem = convolution(("conv1", "bn1"), (channels, width), 7, 2, 1);
        let mut blocks = Vec::new();
        let mut inputs = width;
        for (stage, &count) in (0u32..).zip(&architecture.stage_blocks) {
            for number in 0..count {
                let block = PlannedBlock {
                    name: format!("layer{}.{number}", stage + 1),
                    inputs,
                    stage_channels: width << stage,
                    stride: if stage > 0 && number == 0 { 2 } else { 1 },
                };
                blocks.push(block.layers(architecture));
                inputs = block.outputs(architecture);
            }
        }
        Self { stem, blocks, head: Head::new(spec.head, inputs, classes) }
    }
}

impl Head {
    /// The layer whose outputs are the logits.
    pub fn output(&self) -> &Linear {
        match self {
            Self::Linear(output) | Self::TwoLayer { output, .. } => output,
        }
    }

    fn new(head: spec::Head, inputs: u32, classes: u32) -> Self {
        let linear = |name: &str, inputs, outputs| Linear { name: name.to_owned(), inputs, outputs };
        match head {
            spec::Head::Linear => Self::Linear(linear("fc", inputs, classes)),
            spec::Head::TwoLayer => Self::TwoLayer {
                hidden: linear("head.0", inputs, inputs / 4),
                norm_name: "head.1".to_owned(),
                output: linear("head.2", inputs / 4, classes),
            },
        }
    }
}

/// The place of a block in its network.
struct PlannedBlock {
    name: String,
    inputs: u32,
    stage_channels: u32,
    stride: u32,
}

impl PlannedBlock {
    fn outputs(&self, architecture: Architecture) -> u32 {
        self.stage_channels * architecture.block.expansion()
    }

    fn layers(&self, architecture: Architecture) -> ResidualBlock {
        let (inputs, outputs) = (self.inputs, self.outputs(architecture));
        let inner = architecture.inner_channels(self.stage_channels);
        let numbered = |number: u32, channels: (u32, u32), side, stride, groups| {
            let (name, norm_name) = (format!("{}.conv{number}", self.name), format!("{}.bn{number}", self.name));
            convolution((&name, &norm_name), channels, side, stride, groups)
        };
        let (convolutions, last_convolution) = match architecture.block {
            BlockKind::Basic => {
                (vec![numbered(1, (inputs, inner), 3, self.stride, 1)], numbered(2, (inner, outputs), 3, 1, 1))
            }
            BlockKind::Bottleneck => (
                vec![
                    numbered(1, (inputs, inner), 1, 1, 1),
                    numbered(2, (inner, inner), 3, self.stride, architecture.groups),
                ],
                numbered(3, (inner, outputs), 1, 1, 1),
            ),
        };
        let downsample = (self.stride != 1 || inputs != outputs).then(|| {
            let names = [0, 1].map(|number| format!("{}.downsample.{number}", self.name));
            convolution((&names[0], &names[1]), (inputs, outputs), 1, self.stride, 1)
        });
        ResidualBlock { convolutions, last_convolution, downsample }
    }
}

fn convolution(
    (name, norm_name): (&str, &str),
    (inputs, outputs): (u32, u32),
    side: u32,
    stride: u32,
    groups: u32,
) -> Convolution {
    Convolution { name: name.to_owned(), norm_name: norm_name.to_owned(), inputs, outputs, side, stride, groups }
}
