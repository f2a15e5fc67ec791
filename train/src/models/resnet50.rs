//! ResNet50 (He et al. 2016) as torchvision builds it: the stride of a bottleneck is in its 3x3 convolution.

use fivefold_common::labels::LABEL_COUNT;
use fivefold_common::spec::{Head, JobSetSpec};
use tch::Tensor;

use crate::models::layers::{BatchNorm, Convolution, LayerBuilder, Linear};
use crate::models::{Mode, Network};

/// Blocks of the four stages.
const STAGE_BLOCKS: [usize; 4] = [3, 4, 6, 3];
/// Output channels of a bottleneck per inner channel.
const EXPANSION: i64 = 4;

/// The layers of a ResNet50.
pub(super) struct ResNet50 {
    stem: Convolution,
    stem_norm: BatchNorm,
    blocks: Vec<Bottleneck>,
    head: HeadLayers,
}

impl ResNet50 {
    /// The layers for `spec.head` and `spec.base_width`.
    pub(super) fn build(layers: &mut LayerBuilder, spec: &JobSetSpec) -> Self {
        let width = i64::from(spec.base_width);
        let stem = layers.convolution("conv1", 3, width, 7, 2);
        let stem_norm = layers.batch_norm("bn1", width);
        let mut blocks = Vec::new();
        let mut inputs = width;
        for (stage, &count) in STAGE_BLOCKS.iter().enumerate() {
            let inner = width << stage;
            for block in 0..count {
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                blocks.push(Bottleneck::build(layers, &format!("layer{}.{block}", stage + 1), inputs, inner, stride));
                inputs = inner * EXPANSION;
            }
        }
        let head = HeadLayers::build(layers, spec.head, inputs);
        Self { stem, stem_norm, blocks, head }
    }
}

impl Network for ResNet50 {
    fn logits(&self, images: &Tensor, mode: Mode) -> Tensor {
        let mut x = self.stem_norm.forward(&self.stem.forward(images), mode).relu_();
        x = x.max_pool2d([3, 3], [2, 2], [1, 1], [1, 1], false);
        for block in &self.blocks {
            x = block.forward(&x, mode);
        }
        self.head.forward(&x.adaptive_avg_pool2d([1, 1]).flatten(1, -1), mode)
    }
}

struct Bottleneck {
    convolutions: [Convolution; 3],
    norms: [BatchNorm; 3],
    downsample: Option<(Convolution, BatchNorm)>,
}

impl Bottleneck {
    fn build(layers: &mut LayerBuilder, name: &str, inputs: i64, inner: i64, stride: i64) -> Self {
        let outputs = inner * EXPANSION;
        let first = layers.convolution(&format!("{name}.conv1"), inputs, inner, 1, 1);
        let first_norm = layers.batch_norm(&format!("{name}.bn1"), inner);
        let second = layers.convolution(&format!("{name}.conv2"), inner, inner, 3, stride);
        let second_norm = layers.batch_norm(&format!("{name}.bn2"), inner);
        let third = layers.convolution(&format!("{name}.conv3"), inner, outputs, 1, 1);
        let third_norm = layers.batch_norm(&format!("{name}.bn3"), outputs);
        let downsample = (stride != 1 || inputs != outputs).then(|| {
            let convolution = layers.convolution(&format!("{name}.downsample.0"), inputs, outputs, 1, stride);
            (convolution, layers.batch_norm(&format!("{name}.downsample.1"), outputs))
        });
        Self { convolutions: [first, second, third], norms: [first_norm, second_norm, third_norm], downsample }
    }

    fn forward(&self, x: &Tensor, mode: Mode) -> Tensor {
        let [first, second, third] = &self.convolutions;
        let mut out = self.norms[0].forward(&first.forward(x), mode).relu_();
        out = self.norms[1].forward(&second.forward(&out), mode).relu_();
        out = self.norms[2].forward(&third.forward(&out), mode);
        let shortcut = match &self.downsample {
            Some((convolution, norm)) => norm.forward(&convolution.forward(x), mode),
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
    fn build(layers: &mut LayerBuilder, head: Head, inputs: i64) -> Self {
        let labels = LABEL_COUNT as i64;
        match head {
            Head::Linear => Self::Linear(layers.linear("fc", inputs, labels)),
            Head::TwoLayer => Self::TwoLayer {
                hidden: layers.linear("head.0", inputs, inputs / 4),
                norm: layers.batch_norm("head.1", inputs / 4),
                output: layers.linear("head.2", inputs / 4, labels),
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
