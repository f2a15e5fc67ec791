//! Whether a device trains as the CPU does.

use fivefold_common::spec::JobSetSpec;

use crate::engine::bench_step::{MemoryBatch, Trainee};
use crate::engine::trainer::{TrainError, floats, with_failures_as_errors};
use crate::torch::device::{self, Device};

const STEPS: u32 = 20;
/// How far, relative to the CPU's, a loss may be off: rounding grows from step to step.
const TOLERANCE: f64 = 1e-2;

/// Trains a tiny model for 20 steps on `device` and on the CPU, prints both losses of every step and the largest difference.
///
/// # Errors
/// When a loss on `device` differs by more than 1% from the CPU's, or what libtorch says.
pub fn run(device: Device) -> anyhow::Result<()> {
    let spec = JobSetSpec {
        base_width: 16,
        image_size: 64,
        batch_size: 16,
        learning_rate: 1e-4,
        deterministic: true,
        ..JobSetSpec::default()
    };
    let expected = losses(&spec, Device::Cpu)?;
    let found = losses(&spec, device)?;
    let name = device::describe(device);
    println!("step       cpu    {name}");
    let mut largest = 0f64;
    for (step, (expected, found)) in expected.iter().zip(&found).enumerate() {
        println!("{step:>4}  {expected:.6}  {found:.6}");
        let difference = (found - expected).abs() / expected.abs();
        // A difference that is not a number is the largest there is.
        largest = if difference.is_finite() { largest.max(difference) } else { f64::INFINITY };
    }
    println!("largest relative difference: {largest:.2e} (allowed: {TOLERANCE:.0e})");
    anyhow::ensure!(
        largest <= TOLERANCE,
        "{name} does not train as the CPU does: a loss differs by {:.2}%; check its driver and its memory",
        largest * 100.0
    );
    Ok(())
}

/// The loss of each step.
fn losses(spec: &JobSetSpec, device: Device) -> Result<Vec<f64>, TrainError> {
    with_failures_as_errors(device, spec, || {
        device::prepare(device, spec)?;
        let mut trainee = Trainee::new(spec, device);
        // One batch again and again, so that the losses fall: wrong gradients would show.
        let batch = MemoryBatch::random(spec, 0);
        let mut losses = Vec::new();
        for step in 0..STEPS {
            let loss = trainee.step(spec, &batch, step)?;
            losses.extend(floats(&loss)?.into_iter().map(f64::from));
        }
        Ok(losses)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_trains_as_the_cpu_does() {
        run(Device::Cpu).unwrap();
    }
}
