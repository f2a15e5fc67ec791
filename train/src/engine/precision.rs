//! The number format of the forward pass: autocast, and the loss scale that 16-bit floats need.

use fivefold_common::spec::Precision;
use serde::{Deserialize, Serialize};
use tch::{Kind, TchError, Tensor};

use crate::torch::device::Device;
use crate::torch::extension;
use crate::torch::tensors::NamedTensor;

/// Runs `forward` with libtorch's autocast to `precision` on this thread; plain for fp32.
///
/// Only the forward pass belongs inside: the backward pass takes each operation's own format. fp16 on the CPU is emulated
/// and slow.
pub fn autocast<T>(device: Device, precision: Precision, forward: impl FnOnce() -> T) -> Result<T, TchError> {
    let kind = match precision {
        Precision::Fp32 => return Ok(forward()),
        Precision::Bf16 => Kind::BFloat16,
        Precision::Fp16 => Kind::Half,
    };
    let _guard = extension::AutocastGuard::enter(device.is_cuda(), kind)?;
    Ok(forward())
}

/// Whether a step's gradients can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gradients {
    /// All are numbers: take the step.
    Finite,
    /// One overflowed: skip the step; the scale was halved.
    Overflowed,
}

/// The factor that keeps fp16 gradients from vanishing (Micikevicius et al. 2018), with PyTorch's GradScaler's numbers:
/// it starts at 65536, doubles after 2000 steps in a row without overflow and halves at each overflow. For fp32 and bf16 it
/// is 1 and stays so.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LossScale {
    scale: f64,
    good_steps: u32,
    enabled: bool,
}

const FIRST_SCALE: f64 = 65536.0;
const GROWTH_INTERVAL_STEPS: u32 = 2000;

impl LossScale {
    /// The scale before the first step.
    pub fn new(precision: Precision) -> Self {
        let enabled = precision == Precision::Fp16;
        Self { scale: if enabled { FIRST_SCALE } else { 1.0 }, good_steps: 0, enabled }
    }

    /// The factor in use.
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// The loss to call `backward` on.
    pub fn scaled(&self, loss: &Tensor) -> Tensor {
        if self.enabled { loss * self.scale } else { loss.shallow_clone() }
    }

    /// Takes the factor out of the gradients again, in place, and adapts it. Call it once between `backward` and the
    /// optimiser's step.
    pub fn unscale(&mut self, parameters: &[NamedTensor]) -> Result<Gradients, TchError> {
        if !self.enabled {
            return Ok(Gradients::Finite);
        }
        let overflowed =
            extension::unscale_gradients(parameters.iter().map(|parameter| &parameter.tensor), self.scale)?;
        Ok(self.adapt(overflowed))
    }

    fn adapt(&mut self, overflowed: bool) -> Gradients {
        if overflowed {
            self.scale /= 2.0;
            self.good_steps = 0;
            return Gradients::Overflowed;
        }
        self.good_steps += 1;
        if self.good_steps == GROWTH_INTERVAL_STEPS {
            self.scale *= 2.0;
            self.good_steps = 0;
        }
        Gradients::Finite
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn autocast_changes_the_format_inside_and_only_there() {
        let a = Tensor::ones([4, 4], tch::kind::FLOAT_CPU);
        for (precision, kind) in
            [(Precision::Fp32, Kind::Float), (Precision::Bf16, Kind::BFloat16), (Precision::Fp16, Kind::Half)]
        {
            assert_eq!(autocast(Device::Cpu, precision, || a.matmul(&a).kind()).unwrap(), kind);
            assert_eq!(a.matmul(&a).kind(), Kind::Float);
        }
        let unwound = std::panic::catch_unwind(|| autocast(Device::Cpu, Precision::Bf16, || panic!("inside")));
        assert!(unwound.is_err());
        assert_eq!(a.matmul(&a).kind(), Kind::Float);
    }

    #[test]
    fn the_loss_scale_grows_halves_and_unscales() {
        let mut scale = LossScale::new(Precision::Fp16);
        let weight = Tensor::from_slice(&[1f32, 2.0]).set_requires_grad(true);
        let parameters = [NamedTensor { name: "weight".into(), tensor: weight.shallow_clone() }];
        scale.scaled(&(&weight * 3.0).sum(Kind::Float)).backward();
        assert_eq!(Vec::<f32>::try_from(weight.grad()).unwrap(), [3.0 * 65536.0; 2]);
        assert_eq!(scale.unscale(&parameters).unwrap(), Gradients::Finite);
        assert_eq!(Vec::<f32>::try_from(weight.grad()).unwrap(), [3.0; 2]);
        for _ in 0..1999 {
            assert_eq!(scale.unscale(&parameters).unwrap(), Gradients::Finite);
        }
        assert_eq!(scale.scale(), 131_072.0);

        extension::clear_gradients([&weight]).unwrap();
        scale.scaled(&(&weight * f64::INFINITY).sum(Kind::Float)).backward();
        assert_eq!(scale.unscale(&parameters).unwrap(), Gradients::Overflowed);
        assert_eq!(scale.scale(), 65536.0);

        let mut off = LossScale::new(Precision::Bf16);
        assert_eq!(off.unscale(&parameters).unwrap(), Gradients::Finite);
        assert_eq!(off.scale(), 1.0);
    }
}
