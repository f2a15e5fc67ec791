//! ResNet50 (He et al. 2016) as torchvision builds it: the stride of a bottleneck sits in its 3x3 convolution.

use fivefold_common::ids::Fold;
use fivefold_common::labels::LABEL_COUNT;
use fivefold_common::randomness::{Purpose, Stream};
use fivefold_common::spec::{Head, JobSetSpec};
use tch::{Kind, Tensor};

use crate::torch::device::Device;
use crate::torch::tensors::{NamedTensor, channels_last};

/// What a forward pass is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Batch statistics, running statistics updated, gradients recorded.
    Train,
    /// Running statistics, nothing recorded.
    Eval,
}

/// ResNet50 with 28 outputs. Weights are fp32, those of convolutions channels-last.
pub struct ResNet50 {
    device: Device,
    parameters: Vec<NamedTensor>,
    buffers: Vec<NamedTensor>,
    batches_tracked: Tensor,
    stem: Convolution,
    stem_norm: BatchNorm,
    blocks: Vec<Bottleneck>,
    head: HeadLayers,
}

/// Blocks of the four stages.
const STAGE_BLOCKS: [usize; 4] = [3, 4, 6, 3];
/// Channels out of a bottleneck, for each of its inner ones.
const EXPANSION: i64 = 4;

impl ResNet50 {
    /// The network with its first weights, which depend on the spec's seed and the fold alone: convolutions
    /// Kaiming-normal by fan-out, BatchNorm 1 and 0, linear layers uniform in ±1/sqrt(inputs), as torchvision 0.26 has them.
    pub fn new(spec: &JobSetSpec, fold: Fold, device: Device) -> Self {
        let width = i64::from(spec.base_width);
        let mut layers = Layers {
            seed: spec.seed,
            fold,
            device,
            batches_tracked: Tensor::zeros([], tch::kind::INT64_CPU),
            parameters: Vec::new(),
            buffers: Vec::new(),
        };
        let stem = layers.convolution("conv1", 3, width, 7, 2);
        let stem_norm = layers.batch_norm("bn1", width);
        let mut blocks = Vec::new();
        let mut inputs = width;
        for (stage, &count) in STAGE_BLOCKS.iter().enumerate() {
            let inner = width << stage;
            for block in 0..count {
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                blocks.push(layers.bottleneck(&format!("layer{}.{block}", stage + 1), inputs, inner, stride));
                inputs = inner * EXPANSION;
            }
        }
        let labels = LABEL_COUNT as i64;
        let head = match spec.head {
            Head::Linear => HeadLayers::Linear(layers.linear("fc", inputs, labels)),
            Head::TwoLayer => HeadLayers::TwoLayer {
                hidden: layers.linear("head.0", inputs, inputs / 4),
                norm: layers.batch_norm("head.1", inputs / 4),
                output: layers.linear("head.2", inputs / 4, labels),
            },
        };
        let Layers { device, parameters, buffers, batches_tracked, .. } = layers;
        Self { device, parameters, buffers, batches_tracked, stem, stem_norm, blocks, head }
    }

    /// Logits `[N, 28]` in fp32 of `images` `[N, 3, S, S]`, fp32 and best channels-last, on the model's device.
    pub fn forward(&self, images: &Tensor, mode: Mode) -> Tensor {
        match mode {
            Mode::Train => {
                let _ = self.batches_tracked.shallow_clone().g_add_scalar_(1);
                self.logits(images, mode)
            }
            Mode::Eval => tch::no_grad(|| self.logits(images, mode)),
        }
    }

    fn logits(&self, images: &Tensor, mode: Mode) -> Tensor {
        let mut x = self.stem_norm.forward(&self.stem.forward(images), mode).relu_();
        x = x.max_pool2d([3, 3], [2, 2], [1, 1], [1, 1], false);
        for block in &self.blocks {
            x = block.forward(&x, mode);
        }
        let features = x.adaptive_avg_pool2d([1, 1]).flatten(1, -1);
        let logits = match &self.head {
            HeadLayers::Linear(layer) => layer.forward(&features),
            HeadLayers::TwoLayer { hidden, norm, output } => {
                output.forward(&norm.forward(&hidden.forward(&features), mode))
            }
        };
        logits.to_kind(Kind::Float)
    }

    /// What is trained, in torchvision's order.
    pub fn parameters(&self) -> &[NamedTensor] {
        &self.parameters
    }

    /// Each BatchNorm's `running_mean`, `running_var` (fp32) and `num_batches_tracked` (int64, on the CPU; one tensor
    /// under all of its names, since every layer sees every batch).
    pub fn buffers(&self) -> &[NamedTensor] {
        &self.buffers
    }

    /// The device that the parameters are on.
    pub fn device(&self) -> Device {
        self.device
    }
}

struct Convolution {
    weight: Tensor,
    stride: i64,
    padding: i64,
}

impl Convolution {
    fn forward(&self, x: &Tensor) -> Tensor {
        x.conv2d::<Tensor>(&self.weight, None, [self.stride; 2], [self.padding; 2], [1, 1], 1)
    }
}

struct BatchNorm {
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
}

impl BatchNorm {
    const MOMENTUM: f64 = 0.1;
    const EPSILON: f64 = 1e-5;

    fn forward(&self, x: &Tensor, mode: Mode) -> Tensor {
        x.batch_norm(
            Some(&self.weight),
            Some(&self.bias),
            Some(&self.running_mean),
            Some(&self.running_var),
            mode == Mode::Train,
            Self::MOMENTUM,
            Self::EPSILON,
            true,
        )
    }
}

struct Linear {
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    fn forward(&self, x: &Tensor) -> Tensor {
        x.linear(&self.weight, Some(&self.bias))
    }
}

struct Bottleneck {
    convolutions: [Convolution; 3],
    norms: [BatchNorm; 3],
    downsample: Option<(Convolution, BatchNorm)>,
}

impl Bottleneck {
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

/// The layers as they are made: each parameter draws from a stream of its own.
struct Layers {
    seed: u64,
    fold: Fold,
    device: Device,
    batches_tracked: Tensor,
    parameters: Vec<NamedTensor>,
    buffers: Vec<NamedTensor>,
}

impl Layers {
    fn bottleneck(&mut self, name: &str, inputs: i64, inner: i64, stride: i64) -> Bottleneck {
        let outputs = inner * EXPANSION;
        let first = self.convolution(&format!("{name}.conv1"), inputs, inner, 1, 1);
        let first_norm = self.batch_norm(&format!("{name}.bn1"), inner);
        let second = self.convolution(&format!("{name}.conv2"), inner, inner, 3, stride);
        let second_norm = self.batch_norm(&format!("{name}.bn2"), inner);
        let third = self.convolution(&format!("{name}.conv3"), inner, outputs, 1, 1);
        let third_norm = self.batch_norm(&format!("{name}.bn3"), outputs);
        let downsample = (stride != 1 || inputs != outputs).then(|| {
            let convolution = self.convolution(&format!("{name}.downsample.0"), inputs, outputs, 1, stride);
            (convolution, self.batch_norm(&format!("{name}.downsample.1"), outputs))
        });
        Bottleneck { convolutions: [first, second, third], norms: [first_norm, second_norm, third_norm], downsample }
    }

    /// A square convolution without bias, padded so that stride 1 keeps the size.
    fn convolution(&mut self, name: &str, inputs: i64, outputs: i64, side: i64, stride: i64) -> Convolution {
        let deviation = (2.0 / (outputs * side * side) as f64).sqrt();
        let mut stream = self.stream();
        let values = self.drawn(&[outputs, inputs, side, side], || deviation * stream.normal());
        let weight = self.parameter(name, "weight", channels_last(&values));
        Convolution { weight, stride, padding: side / 2 }
    }

    fn linear(&mut self, name: &str, inputs: i64, outputs: i64) -> Linear {
        let bound = 1.0 / (inputs as f64).sqrt();
        let mut stream = self.stream();
        let weight = self.drawn(&[outputs, inputs], || stream.between(-bound, bound));
        let weight = self.parameter(name, "weight", weight);
        let mut stream = self.stream();
        let bias = self.drawn(&[outputs], || stream.between(-bound, bound));
        Linear { weight, bias: self.parameter(name, "bias", bias) }
    }

    fn batch_norm(&mut self, name: &str, channels: i64) -> BatchNorm {
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

    /// The stream of the parameter that is made next.
    fn stream(&self) -> Stream {
        Stream::new(self.seed, u64::from(self.fold.0), 0, Purpose::Weights, self.parameters.len() as u64)
    }

    fn drawn(&self, shape: &[i64], mut draw: impl FnMut() -> f64) -> Tensor {
        let count: i64 = shape.iter().product();
        let values: Vec<f32> = (0..count).map(|_| draw() as f32).collect();
        Tensor::from_slice(&values).reshape(shape).to_device(self.device.into())
    }
}
