//! Whether a device trains as the CPU does.

use std::fmt;

use fivefold_common::ids::Fold;
use fivefold_common::spec::JobSetSpec;

use crate::engine::error::{TrainError, catch_libtorch};
use crate::engine::synthetic::SyntheticBatch;
use crate::engine::training::Training;
use crate::torch::device::{Device, describe, prepare};
use crate::torch::tensors::values;

const STEPS: u32 = 20;
/// The allowed difference of a loss, relative to the CPU's. Rounding errors grow from step to step.
const TOLERANCE: f64 = 1e-2;

/// The losses of the same training on a device and on the CPU.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceCheck {
    device: String,
    /// The loss of each step: on the CPU, and on the device.
    losses: Vec<(f32, f32)>,
}

impl DeviceCheck {
    /// The largest difference of a loss, relative to the CPU's; infinite where a loss is not finite.
    pub fn largest_difference(&self) -> f64 {
        self.losses.iter().fold(0.0, |largest, &(expected, found)| {
            let (expected, found) = (f64::from(expected), f64::from(found));
            let difference = (found - expected).abs() / expected.abs();
            if difference.is_finite() { largest.max(difference) } else { f64::INFINITY }
        })
    }

    /// Whether every loss is within 1% of the CPU's.
    pub fn passed(&self) -> bool {
        self.largest_difference() <= TOLERANCE
    }
}

impl fmt::Display for DeviceCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "step       cpu    {}", self.device)?;
        for (step, (expected, found)) in self.losses.iter().enumerate() {
            writeln!(f, "{step:>4}  {expected:.6}  {found:.6}")?;
        }
        write!(f, "largest relative difference: {:.2e} (allowed: {TOLERANCE:.0e})", self.largest_difference())
    }
}

/// Trains a tiny model for 20 steps on `device` and on the CPU.
///
/// # Errors
/// When libtorch fails.
pub fn check_device(device: Device) -> Result<DeviceCheck, TrainError> {
    let spec = JobSetSpec {
        base_width: 16,
        image_size: 64,
        batch_size: 16,
        learning_rate: 1e-4,
        deterministic: true,
        ..JobSetSpec::default()
    };
    let (expected, found) = (losses(&spec, Device::Cpu)?, losses(&spec, device)?);
    Ok(DeviceCheck { device: describe(device), losses: expected.into_iter().zip(found).collect() })
}

/// The loss of each step.
fn losses(spec: &JobSetSpec, device: Device) -> Result<Vec<f32>, TrainError> {
    catch_libtorch(device, spec, || {
        prepare(device, spec)?;
        let mut training = Training::new(spec, Fold(0), &[], device);
        // The same batch in every step, so that the losses fall; wrong gradients would show.
        let batch = SyntheticBatch::new(spec, 0);
        let mut losses = Vec::new();
        for _ in 0..STEPS {
            losses.extend(values(&training.step(&batch.images, &batch.targets)?)?);
        }
        Ok(losses)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_trains_as_the_cpu_does() {
        let check = check_device(Device::Cpu).unwrap();
        assert!(check.passed(), "{check}");
        assert_eq!((check.losses.len(), check.largest_difference()), (STEPS as usize, 0.0));
        assert!(check.losses[19].0 < check.losses[0].0, "{check}");
    }

    #[test]
    fn a_loss_that_differs_or_is_not_a_number_fails() {
        let check = |found| DeviceCheck { device: "cuda:0".into(), losses: vec![(0.7, 0.7), (0.7, found)] };
        assert!(check(0.7001).passed());
        assert!(!check(0.71).passed() && !check(f32::NAN).passed() && !check(f32::INFINITY).passed());
    }
}
