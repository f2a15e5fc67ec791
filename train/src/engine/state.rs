//! The state of a fold's training beside its tensors. Checkpoints hold it as JSON.

use std::path::Path;

use fivefold_common::checkpoint::TrainingPoint;
use fivefold_common::early_stop::{Continuation, EarlyStop};
use fivefold_common::ids::Fold;
use fivefold_common::objective::ValidationScores;
use fivefold_common::progress::EpochMetrics;
use fivefold_common::spec::{JobSetSpec, LrSchedule};
use serde::{Deserialize, Serialize};

use crate::checkpoint::{self, CheckpointError};
use crate::engine::loss_scale::LossScale;
use crate::engine::schedule::{Plateau, scheduled_learning_rate};

/// The state of a fold's training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainingState {
    /// The epoch in training, from 0; when `finished`, one more than the last.
    pub epoch: u32,
    /// Completed batches of that epoch.
    pub step: u32,
    /// The sum of their losses.
    pub loss_sum: f64,
    /// The plateau schedule, which the other schedules leave alone.
    pub plateau: Plateau,
    /// The early stop.
    pub early_stop: EarlyStop,
    /// The scale of fp16 losses.
    pub loss_scale: LossScale,
    /// The best score of the objective so far, of which higher is better. Files call it after the objective that was the only one
    /// once.
    #[serde(rename = "best_macro_f1")]
    pub best_score: Option<f64>,
    /// Whether the last epoch has ended.
    pub finished: bool,
    /// The metrics of the epochs so far.
    pub epochs: Vec<EpochMetrics>,
}

/// Whether an epoch was better than all before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rank {
    Best,
    NotBest,
}

impl TrainingState {
    /// The state before the first batch.
    pub fn new(spec: &JobSetSpec) -> Self {
        Self {
            epoch: 0,
            step: 0,
            loss_sum: 0.0,
            plateau: Plateau::new(spec),
            early_stop: EarlyStop::new(spec),
            loss_scale: LossScale::new(spec.precision),
            best_score: None,
            finished: false,
            epochs: Vec::new(),
        }
    }

    /// Where training resumes.
    pub fn point(&self) -> TrainingPoint {
        TrainingPoint { epoch: self.epoch, step: self.step }
    }

    /// The learning rate of the next step.
    pub fn learning_rate(&self, spec: &JobSetSpec) -> f64 {
        match spec.lr_schedule {
            LrSchedule::Plateau => self.plateau.learning_rate(),
            LrSchedule::Step | LrSchedule::Cosine => scheduled_learning_rate(spec, self.epoch, self.step),
        }
    }

    /// Whether training ends here. A longer training goes on where a shorter one ended, unless that stopped early.
    pub(crate) fn has_ended(&self, spec: &JobSetSpec) -> bool {
        self.early_stop.has_stopped() || self.epoch >= spec.epochs
    }

    /// Records the epoch, of which all batches are done, and moves on to the next one or finishes.
    pub(crate) fn end_epoch(
        &mut self,
        spec: &JobSetSpec,
        valid_loss: f64,
        scores: &ValidationScores,
    ) -> (EpochMetrics, Rank) {
        let metrics = EpochMetrics {
            epoch: self.epoch,
            train_loss: self.loss_sum / f64::from(spec.train_batch_per_epoch),
            valid_loss,
            macro_f1: scores.macro_f1,
            threshold: scores.threshold,
            learning_rate: self.learning_rate(spec),
            objective: scores.objective,
        };
        let score = spec.objective.score(&metrics);
        self.plateau.end_epoch(score);
        let continuation = self.early_stop.end_epoch(score);
        let rank = self.rank(score);
        if rank == Rank::Best && score.is_finite() {
            self.best_score = Some(score);
        }
        self.epochs.push(metrics);
        self.epoch += 1;
        self.step = 0;
        self.loss_sum = 0.0;
        self.finished = continuation == Continuation::Stop || self.epoch >= spec.epochs;
        (metrics, rank)
    }
}

impl TrainingState {
    /// Whether the epoch that ends with `score` is the best so far. The first one is, even if its score is undefined.
    fn rank(&self, score: f64) -> Rank {
        let is_best = self.epochs.is_empty() || score.is_finite() && self.best_score.is_none_or(|best| score > best);
        if is_best { Rank::Best } else { Rank::NotBest }
    }
}

/// Checks that a file is a complete checkpoint of `fold`, trained as `spec` says.
///
/// # Errors
/// When it is damaged, or of another fold or spec.
pub fn check_checkpoint(path: &Path, spec: &JobSetSpec, fold: Fold) -> Result<(), CheckpointError> {
    checkpoint::read::<TrainingState>(path, spec, fold).map(|_| ())
}
