//! The speed of the training step, without files and decoding.

use std::fmt;
use std::time::Instant;

use fivefold_common::ids::Fold;
use fivefold_common::spec::{JobSetSpec, Precision};
use tch::{Cuda, TchError};

use crate::engine::error::{TrainError, catch_libtorch};
use crate::engine::synthetic::SyntheticBatch;
use crate::engine::training::Training;
use crate::torch::device::{Device, describe, prepare};

/// How many times the steps are timed.
const REPEATS: usize = 5;

/// What [`measure`] measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Workload {
    /// Side of an image in pixels, at least 1.
    pub image_size: u32,
    /// Images per batch, at least 2: BatchNorm needs more than one.
    pub batch_size: u32,
    /// Steps per repeat, at least 1.
    pub steps: u32,
    /// The number format of the forward pass.
    pub precision: Precision,
}

/// The speed of a training step.
#[derive(Debug, Clone, PartialEq)]
pub struct StepRate {
    workload: Workload,
    device: String,
    /// Images per second of each repeat, ascending.
    rates: [f64; REPEATS],
}

impl StepRate {
    /// The median of the repeats, in images per second.
    pub fn median(&self) -> f64 {
        self.rates[REPEATS / 2]
    }
}

impl fmt::Display for StepRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { workload: Workload { image_size, batch_size, precision, .. }, device, rates } = self;
        let (median, min, max) = (self.median(), rates[0], rates[REPEATS - 1]);
        write!(
            f,
            "{:<5}{median:>9.1} images/s (min {min:.1}, max {max:.1}) on {device}: {image_size} px, batch {batch_size}",
            precision.word()
        )
    }
}

/// Times the training step of the default spec's model: upload, augmentation, forward, loss, backward, optimiser. The images
/// are decoded and in memory.
///
/// # Errors
/// When the device has too little memory, or libtorch fails otherwise.
pub fn measure(device: Device, workload: Workload) -> Result<StepRate, TrainError> {
    let Workload { image_size, batch_size, precision, .. } = workload;
    let intraop_threads = std::thread::available_parallelism().map_or(1, |count| count.get() as u32);
    let spec = JobSetSpec { image_size, batch_size, precision, intraop_threads, ..JobSetSpec::default() };
    let mut rates = catch_libtorch(device, &spec, || Ok(rates(&spec, device, workload.steps)?))?;
    rates.sort_by(f64::total_cmp);
    Ok(StepRate { workload, device: describe(device), rates })
}

/// Images per second of each repeat.
fn rates(spec: &JobSetSpec, device: Device, steps: u32) -> Result<[f64; REPEATS], TchError> {
    prepare(device, spec)?;
    let batch = SyntheticBatch::new(spec, 0);
    let mut training = Training::new(spec, Fold(0), &[], device);
    // The first steps choose algorithms and allocate memory.
    for _ in 0..if device.is_cuda() { 10 } else { 1 } {
        let _ = training.step(&batch.images, &batch.targets)?;
    }
    let mut rates = [0.0; REPEATS];
    for rate in &mut rates {
        wait_for(device);
        let start = Instant::now();
        for _ in 0..steps {
            let _ = training.step(&batch.images, &batch.targets)?;
        }
        wait_for(device);
        *rate = f64::from(spec.batch_size) * f64::from(steps) / start.elapsed().as_secs_f64();
    }
    Ok(rates)
}

fn wait_for(device: Device) {
    if let Device::Cuda(index) = device {
        Cuda::synchronize(index as i64);
    }
}
