//! The loss scale that fp16 gradients need.

use fivefold_common::spec::Precision;
use serde::{Deserialize, Serialize};
use tch::{TchError, Tensor};

use crate::torch::extension;
use crate::torch::tensors::NamedTensor;

/// Whether the gradients of a step can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gradients {
    /// All are finite: take the step.
    Finite,
    /// At least one overflowed: skip the step. The scale was halved.
    Overflowed,
}

/// The factor that keeps fp16 gradients from vanishing (Micikevicius et al. 2018), with the constants of PyTorch's GradScaler:
/// it starts at 65536, doubles after 2000 consecutive steps without overflow and halves on overflow. For fp32 and bf16 it is
/// always 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LossScale {
    scale: f64,
    good_steps: u32,
    enabled: bool,
}

const INITIAL_SCALE: f64 = 65536.0;
const GROWTH_INTERVAL_STEPS: u32 = 2000;

impl LossScale {
    /// The scale before the first step.
    pub fn new(precision: Precision) -> Self {
        let enabled = precision == Precision::Fp16;
        Self { scale: if enabled { INITIAL_SCALE } else { 1.0 }, good_steps: 0, enabled }
    }

    /// The current factor.
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// The scaled loss, to call `backward` on.
    pub fn scaled(&self, loss: &Tensor) -> Tensor {
        if self.enabled { loss * self.scale } else { loss.shallow_clone() }
    }

    /// Divides the gradients by the factor, in place, and adapts the factor. Call it once, between `backward` and the
    /// optimiser's step.
    ///
    /// # Errors
    /// When a parameter has no gradient, or libtorch fails.
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
    use tch::Kind;

    use super::*;

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
