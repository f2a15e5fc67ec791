//! How many images a second one training step takes in, and the step by itself, away from files and lists.

use std::time::Instant;

use fivefold_common::ids::Fold;
use fivefold_common::labels::LABEL_COUNT;
use fivefold_common::randomness::{Purpose, Stream};
use fivefold_common::spec::{JobSetSpec, Precision};
use tch::{Cuda, TchError, Tensor};

use crate::engine::loss::loss;
use crate::engine::optimizer::Optimizer;
use crate::engine::precision::{Gradients, LossScale, autocast};
use crate::engine::trainer::with_failures_as_errors;
use crate::models::resnet50::{Mode, ResNet50};
use crate::torch::device::{self, Device};
use crate::transform::augmentation::training_matrices;
use crate::transform::warp::warp;

/// Stretches that are timed; their median is told.
const STRETCHES: usize = 5;

/// Times the full ResNet50's training step on images (of `image_size` pixels a side, `batch_size` at once) that are decoded
/// and in memory: upload, warp, forward, loss, backward, Adam. Prints the median of 5 stretches of `steps` steps.
///
/// # Errors
/// What libtorch says, a lack of memory first of all.
pub fn run(device: Device, image_size: u32, batch_size: u32, steps: u32, precision: Precision) -> anyhow::Result<()> {
    anyhow::ensure!(image_size > 0 && batch_size > 0 && steps > 0, "size, batch and steps should be at least 1");
    let intraop_threads = std::thread::available_parallelism().map_or(1, |count| count.get() as u32);
    let spec = JobSetSpec { image_size, batch_size, precision, intraop_threads, ..JobSetSpec::default() };
    let mut rates = with_failures_as_errors(device, &spec, || Ok(rates(&spec, device, steps)?))?;
    rates.sort_by(f64::total_cmp);
    println!(
        "{:<5}{:>9.1} images/s (min {:.1}, max {:.1}) on {}: {image_size} px, batch {batch_size}",
        precision.word(),
        rates[STRETCHES / 2],
        rates[0],
        rates[STRETCHES - 1],
        device::describe(device)
    );
    Ok(())
}

/// Images per second of each stretch.
fn rates(spec: &JobSetSpec, device: Device, steps: u32) -> Result<Vec<f64>, TchError> {
    device::prepare(device, spec)?;
    let batch = MemoryBatch::random(spec, 0);
    let mut trainee = Trainee::new(spec, device);
    // Algorithms are chosen and memory is taken in the first steps.
    for _ in 0..if device.is_cuda() { 10 } else { 1 } {
        let _ = trainee.step(spec, &batch, 0)?;
    }
    (0..STRETCHES)
        .map(|_| {
            wait(device);
            let start = Instant::now();
            for step in 0..steps {
                let _ = trainee.step(spec, &batch, step)?;
            }
            wait(device);
            Ok(f64::from(spec.batch_size) * f64::from(steps) / start.elapsed().as_secs_f64())
        })
        .collect()
}

fn wait(device: Device) {
    if let Device::Cuda(index) = device {
        Cuda::synchronize(index as i64);
    }
}

/// Images and targets that come from no file.
pub struct MemoryBatch {
    /// u8 `[N, 3, S, S]` on the CPU.
    images: Tensor,
    /// f32 `[N, 28]` on the CPU, 0 or 1.
    targets: Tensor,
}

impl MemoryBatch {
    /// Random blocks of 8 x 8 pixels, the `number`th such batch; a label in 16 is there.
    pub fn random(spec: &JobSetSpec, number: u32) -> Self {
        let mut stream = Stream::new(spec.seed, 0, number.into(), Purpose::Synthetic, 0);
        let (count, size) = (i64::from(spec.batch_size), i64::from(spec.image_size));
        let side = (size + 7) / 8;
        let blocks: Vec<u8> = (0..count * 3 * side * side).map(|_| stream.below(256) as u8).collect();
        let blocks = Tensor::from_slice(&blocks).view([count, 3, side, side]);
        let images = blocks.repeat_interleave_self_int(8, 2, None).repeat_interleave_self_int(8, 3, None);
        let images = images.narrow(2, 0, size).narrow(3, 0, size).contiguous();
        let targets: Vec<f32> =
            (0..count * LABEL_COUNT as i64).map(|_| f32::from(u8::from(stream.below(16) == 0))).collect();
        Self { images, targets: Tensor::from_slice(&targets).view([count, LABEL_COUNT as i64]) }
    }
}

/// A model in training.
pub struct Trainee {
    device: Device,
    model: ResNet50,
    optimizer: Optimizer,
    loss_scale: LossScale,
}

impl Trainee {
    /// The full model with its first weights.
    pub fn new(spec: &JobSetSpec, device: Device) -> Self {
        let model = ResNet50::new(spec, Fold(0), device);
        let optimizer = Optimizer::new(spec, model.parameters());
        Self { device, model, optimizer, loss_scale: LossScale::new(spec.precision) }
    }

    /// What the trainer does with one batch. Returns its loss, which stays on the device.
    ///
    /// # Errors
    /// What libtorch says.
    pub fn step(&mut self, spec: &JobSetSpec, batch: &MemoryBatch, step: u32) -> Result<Tensor, TchError> {
        let first_index = u64::from(step) * u64::from(spec.batch_size);
        let matrices = training_matrices(spec, Fold(0), 0, first_index, spec.batch_size as usize);
        let images = warp(&batch.images.to_device(self.device.into()), &matrices, spec.normalization);
        let targets = batch.targets.to_device(self.device.into());
        let parameters = self.model.parameters();
        let logits = autocast(self.device, spec.precision, || self.model.forward(&images, Mode::Train))?;
        let loss = loss(spec.loss, &logits, &targets);
        self.optimizer.zero_grad(parameters)?;
        self.loss_scale.scaled(&loss).f_backward()?;
        if self.loss_scale.unscale(parameters)? == Gradients::Finite {
            self.optimizer.step(parameters, spec.learning_rate)?;
        }
        Ok(loss.detach())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_batches_have_their_shapes_and_repeat() {
        let spec = JobSetSpec { image_size: 20, batch_size: 3, ..JobSetSpec::default() };
        let batch = MemoryBatch::random(&spec, 1);
        assert_eq!((batch.images.size(), batch.images.kind()), (vec![3, 3, 20, 20], tch::Kind::Uint8));
        assert_eq!(batch.targets.size(), [3, 28]);
        assert_eq!(batch.images, MemoryBatch::random(&spec, 1).images);
        assert_ne!(batch.images, MemoryBatch::random(&spec, 2).images);
    }
}
