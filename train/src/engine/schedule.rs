//! The learning rate of each step.

use std::f64::consts::PI;

use fivefold_common::spec::{JobSetSpec, LrSchedule};
use serde::{Deserialize, Serialize};

/// PyTorch's ReduceLROnPlateau with its default relative threshold of 1e-4: the learning rate is multiplied by a factor when
/// the score has not risen for more than `patience` epochs. Scores that are not negative are compared as with mode "max",
/// negated losses as the losses with mode "min".
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plateau {
    learning_rate: f64,
    factor: f64,
    patience_epochs: u32,
    cooldown_epochs: u32,
    min_learning_rate: f64,
    best: Option<f64>,
    bad_epochs: u32,
    cooldown_left_epochs: u32,
}

/// The least rise over the best score that counts, relative to it.
const PLATEAU_THRESHOLD: f64 = 1e-4;
/// The least change of the learning rate that is made.
const PLATEAU_EPSILON: f64 = 1e-8;

impl Plateau {
    /// The schedule before the first epoch.
    pub fn new(spec: &JobSetSpec) -> Self {
        Self {
            learning_rate: spec.learning_rate,
            factor: spec.lr_factor,
            patience_epochs: spec.lr_patience,
            cooldown_epochs: spec.lr_cooldown,
            min_learning_rate: spec.min_learning_rate,
            best: None,
            bad_epochs: 0,
            cooldown_left_epochs: 0,
        }
    }

    /// The learning rate of the next epoch.
    pub fn learning_rate(&self) -> f64 {
        self.learning_rate
    }

    /// Takes the score of an epoch's objective; higher is better.
    pub fn end_epoch(&mut self, score: f64) {
        let is_rise = |best: f64| score > best * (1.0 + PLATEAU_THRESHOLD.copysign(best));
        if self.best.is_none_or(is_rise) && score.is_finite() {
            self.best = Some(score);
            self.bad_epochs = 0;
        } else {
            self.bad_epochs += 1;
        }
        if self.cooldown_left_epochs > 0 {
            self.cooldown_left_epochs -= 1;
            self.bad_epochs = 0;
        }
        if self.bad_epochs > self.patience_epochs {
            let lower = (self.learning_rate * self.factor).max(self.min_learning_rate);
            if self.learning_rate - lower > PLATEAU_EPSILON {
                self.learning_rate = lower;
            }
            self.cooldown_left_epochs = self.cooldown_epochs;
            self.bad_epochs = 0;
        }
    }
}

/// The learning rate of batch `step` of `epoch`, both from 0, where the schedule does not depend on scores: a linear warm-up
/// over the batches of `lr_warmup_epochs`, then PyTorch's StepLR by epochs or CosineAnnealingLR by batches, but never less than
/// `min_learning_rate`.
pub fn scheduled_learning_rate(spec: &JobSetSpec, epoch: u32, step: u32) -> f64 {
    let batches = |epochs: u32| f64::from(epochs) * f64::from(spec.train_batch_per_epoch);
    let (done, warmup) = (batches(epoch) + f64::from(step), batches(spec.lr_warmup_epochs));
    if done < warmup {
        return (spec.learning_rate * (done + 1.0) / (warmup + 1.0)).max(spec.min_learning_rate);
    }
    match spec.lr_schedule {
        LrSchedule::Plateau => spec.learning_rate,
        LrSchedule::Step => {
            // The end of the warm-up is within its last epoch: after all batches of that.
            let reductions = epoch.saturating_sub(spec.lr_warmup_epochs) / spec.lr_step_epochs;
            (spec.learning_rate * spec.lr_factor.powf(reductions.into())).max(spec.min_learning_rate)
        }
        LrSchedule::Cosine => {
            let share = (done - warmup) / (batches(spec.epochs) - warmup);
            let above = spec.learning_rate - spec.min_learning_rate;
            spec.min_learning_rate + above * (1.0 + (PI * share).cos()) / 2.0
        }
    }
}
