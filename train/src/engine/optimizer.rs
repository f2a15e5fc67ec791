//! PyTorch's Adam, AdamW and SGD, with a state that can be saved, unlike that of tch's optimisers.
//!
//! The arithmetic is that of libtorch's fused kernels: one pass over memory on the CPU, a few launches on a GPU.

use fivefold_common::spec::{self, JobSetSpec};
use tch::{TchError, Tensor};

use crate::torch::extension::{self, AdamStep, Decay, SgdStep};
use crate::torch::tensors::NamedTensor;

/// An optimiser and its state.
pub struct Optimizer {
    rule: Rule,
    weight_decay: f64,
    /// Steps taken: an int64 scalar on the CPU.
    steps: Tensor,
    names: Vec<String>,
}

enum Rule {
    /// Adam (Kingma and Ba 2015) or AdamW (Loshchilov and Hutter 2019). The moments are fp32, in the shapes and order of the
    /// parameters.
    Adam { decay: Decay, first_moments: Vec<Tensor>, second_moments: Vec<Tensor> },
    /// SGD (Sutskever et al. 2013, in PyTorch's form). `momenta` is empty when the momentum is 0.
    Sgd { momentum: f64, nesterov: bool, momenta: Vec<Tensor> },
}

const ADAM_BETA1: f64 = 0.9;
const ADAM_BETA2: f64 = 0.999;
const ADAM_EPSILON: f64 = 1e-8;

impl Optimizer {
    /// The spec's optimiser for `parameters`, before its first step.
    pub fn new(spec: &JobSetSpec, parameters: &[NamedTensor]) -> Self {
        let zeros = || parameters.iter().map(|parameter| parameter.tensor.detach().zeros_like()).collect();
        let rule = match spec.optimizer {
            spec::Optimizer::Adam => {
                Rule::Adam { decay: Decay::InGradient, first_moments: zeros(), second_moments: zeros() }
            }
            spec::Optimizer::Adamw => {
                Rule::Adam { decay: Decay::Decoupled, first_moments: zeros(), second_moments: zeros() }
            }
            spec::Optimizer::Sgd => Rule::Sgd {
                momentum: spec.momentum,
                nesterov: spec.nesterov,
                momenta: if spec.momentum > 0.0 { zeros() } else { Vec::new() },
            },
        };
        Self {
            rule,
            weight_decay: spec.weight_decay,
            steps: Tensor::zeros([], tch::kind::INT64_CPU),
            names: parameters.iter().map(|parameter| parameter.name.clone()).collect(),
        }
    }

    /// Frees the gradients of the last step. Call it before each backward pass.
    ///
    /// # Errors
    /// When libtorch fails.
    pub fn zero_grad(&self, parameters: &[NamedTensor]) -> Result<(), TchError> {
        extension::clear_gradients(parameters.iter().map(|parameter| &parameter.tensor))
    }

    /// Updates `parameters` by their gradients. They are in the same order as in [`Optimizer::new`].
    ///
    /// # Errors
    /// When a parameter has no gradient, or another shape than before.
    pub fn step(&mut self, parameters: &[NamedTensor], learning_rate: f64) -> Result<(), TchError> {
        let tensors = parameters.iter().map(|parameter| &parameter.tensor);
        let step = self.steps_taken() + 1;
        match &self.rule {
            Rule::Adam { decay, first_moments, second_moments } => extension::adam_step(
                tensors,
                first_moments,
                second_moments,
                &AdamStep {
                    step,
                    learning_rate,
                    beta1: ADAM_BETA1,
                    beta2: ADAM_BETA2,
                    weight_decay: self.weight_decay,
                    decay: *decay,
                    epsilon: ADAM_EPSILON,
                },
            )?,
            Rule::Sgd { momentum, nesterov, momenta } => extension::sgd_step(
                tensors,
                momenta,
                &SgdStep {
                    is_first: step == 1,
                    learning_rate,
                    momentum: *momentum,
                    weight_decay: self.weight_decay,
                    nesterov: *nesterov,
                },
            )?,
        }
        let _ = self.steps.g_add_scalar_(1);
        Ok(())
    }

    /// The number of steps taken.
    pub fn steps_taken(&self) -> i64 {
        self.steps.int64_value(&[])
    }

    /// The state as handles on the optimiser's own tensors: `step` (int64), and `exp_avg.<name>` and `exp_avg_sq.<name>`, or
    /// `momentum_buffer.<name>` (fp32, in the shape of the parameter). Writing into them loads a state.
    pub fn state(&self) -> Vec<NamedTensor> {
        let mut state = vec![NamedTensor { name: "step".into(), tensor: self.steps.shallow_clone() }];
        let slots: &[(&str, &[Tensor])] = match &self.rule {
            Rule::Adam { first_moments, second_moments, .. } => {
                &[("exp_avg", first_moments), ("exp_avg_sq", second_moments)]
            }
            Rule::Sgd { momenta, .. } => &[("momentum_buffer", momenta)],
        };
        for (slot, tensors) in slots {
            for (name, tensor) in self.names.iter().zip(*tensors) {
                state.push(NamedTensor { name: format!("{slot}.{name}"), tensor: tensor.shallow_clone() });
            }
        }
        state
    }
}
