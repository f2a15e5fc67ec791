//! The progress of a job: its phase and steps, and the metrics of completed epochs.

use serde::{Deserialize, Serialize};

use crate::job::JobKind;
use crate::words::words;

words! {
    /// A phase of a job.
    pub enum Phase, "phase" {
        /// Downloading lists and checkpoints, checking images, building the model.
        Preparing,
        /// Training on the batches of an epoch.
        Training,
        /// Scoring the validation batches after an epoch.
        Validation,
        /// Scoring the out-of-fold rows or the test list.
        Scoring,
        /// Uploading the results.
        Uploading,
    }
}

impl Phase {
    /// Whether the phase belongs to an epoch. The others come before the first epoch or after the last one.
    pub fn is_of_an_epoch(self) -> bool {
        match self {
            Self::Training | Self::Validation => true,
            Self::Preparing | Self::Scoring | Self::Uploading => false,
        }
    }
}

/// An epoch as people read it, counted from 1: `epoch 3/25`. `epoch` is counted from 0, as everywhere in code, checkpoints and
/// messages; `epoch_count` is the `epochs` of the spec.
pub fn epoch_words(epoch: u32, epoch_count: u32) -> String {
    format!("epoch {}/{epoch_count}", epoch.saturating_add(1))
}

/// The part of a train job that its epochs are; the rest is the scoring of the out-of-fold rows.
const EPOCHS_PART: f64 = 0.95;
/// The part of an epoch that its training batches are; the rest is validation.
const TRAINING_PART: f64 = 0.85;

/// Progress within one phase.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// The phase.
    pub phase: Phase,
    /// The epoch, from 0; without meaning in phases that belong to no epoch ([`Progress::epoch`]).
    pub epoch: u32,
    /// Completed batches of this phase.
    pub step: u32,
    /// Batches of this phase; 0 if they are not counted.
    pub step_count: u32,
    /// Mean loss of the completed batches.
    pub loss: Option<f64>,
    /// The learning rate, in training.
    pub learning_rate: Option<f64>,
    /// Images per second since the last report; 0 at the start of a phase.
    pub images_per_second: f64,
}

impl Progress {
    /// The start of a phase, with no step counted.
    pub fn start_of(phase: Phase) -> Self {
        Self { phase, epoch: 0, step: 0, step_count: 0, loss: None, learning_rate: None, images_per_second: 0.0 }
    }

    /// The epoch in training or validation, from 0; `None` in phases that belong to no epoch.
    pub fn epoch(&self) -> Option<u32> {
        self.phase.is_of_an_epoch().then_some(self.epoch)
    }

    /// The share of a whole job that is done, 0 to 1. A train job has `epoch_count` epochs, of which `finished_epochs` have ended.
    pub fn share_of_job(&self, kind: JobKind, finished_epochs: u32, epoch_count: u32) -> f64 {
        let steps = f64::from(self.step) / f64::from(self.step_count.max(1));
        let of_epochs = |epochs: f64| EPOCHS_PART * epochs / f64::from(epoch_count.max(1));
        let done = match (kind, self.phase) {
            (JobKind::Predict, Phase::Scoring) => steps,
            (JobKind::Predict, Phase::Preparing | Phase::Training | Phase::Validation) => 0.0,
            (_, Phase::Uploading) => 1.0,
            (JobKind::Train, Phase::Preparing) => of_epochs(f64::from(finished_epochs)),
            (JobKind::Train, Phase::Training) => of_epochs(f64::from(self.epoch) + TRAINING_PART * steps),
            (JobKind::Train, Phase::Validation) => {
                of_epochs(f64::from(self.epoch) + TRAINING_PART + (1.0 - TRAINING_PART) * steps)
            }
            (JobKind::Train, Phase::Scoring) => EPOCHS_PART + (1.0 - EPOCHS_PART) * steps,
        };
        done.clamp(0.0, 1.0)
    }

    /// Epoch, phase and steps: `epoch 3/25, training 120/800`, or `scoring 4/10`.
    pub fn words(&self, epoch_count: u32) -> String {
        let mut words = self.epoch().map_or(String::new(), |epoch| epoch_words(epoch, epoch_count) + ", ");
        words += self.phase.word();
        if self.step_count > 0 {
            words += &format!(" {}/{}", self.step, self.step_count);
        }
        words
    }
}

/// The metrics of one epoch. Checkpoints hold them as JSON.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct EpochMetrics {
    /// The epoch, from 0.
    pub epoch: u32,
    /// Mean loss of its training batches.
    pub train_loss: f64,
    /// Mean loss of the validation batches after it.
    pub valid_loss: f64,
    /// Validation macro F1 at its best threshold, or of the highest scores if the task is multiclass.
    pub macro_f1: f64,
    /// This threshold; multiclass has none.
    pub threshold: Option<f64>,
    /// The learning rate at its end.
    pub learning_rate: f64,
    /// The value of the objective, if it is neither macro F1 nor the loss. `None` if it is undefined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objective: Option<f64>,
}

/// The metrics of one epoch with its duration, as a worker reports them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EpochReport {
    /// The metrics.
    pub metrics: EpochMetrics,
    /// The duration of training and validation, in seconds.
    pub duration_seconds: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_are_counted_from_one_and_only_where_there_is_one() {
        let progress = |phase, epoch| Progress { epoch, step: 3, step_count: 10, ..Progress::start_of(phase) };
        assert_eq!(progress(Phase::Training, 0).words(3), "epoch 1/3, training 3/10");
        assert_eq!(progress(Phase::Validation, 2).words(3), "epoch 3/3, validation 3/10");
        // A worker reports the number of epochs here.
        assert_eq!(progress(Phase::Scoring, 3).words(3), "scoring 3/10");
        assert_eq!(progress(Phase::Scoring, 3).epoch(), None);
        assert_eq!(Progress::start_of(Phase::Preparing).words(3), "preparing");
    }

    #[test]
    fn the_share_is_that_of_the_whole_job() {
        let progress = |phase, epoch, step| Progress { epoch, step, step_count: 10, ..Progress::start_of(phase) };
        let trained = |phase, epoch, step| progress(phase, epoch, step).share_of_job(JobKind::Train, epoch, 4);
        let shares = [
            trained(Phase::Preparing, 0, 0),
            trained(Phase::Training, 0, 10),
            trained(Phase::Validation, 0, 0),
            trained(Phase::Validation, 0, 10),
            trained(Phase::Training, 1, 0),
            trained(Phase::Preparing, 2, 0),
            trained(Phase::Validation, 3, 10),
            trained(Phase::Scoring, 4, 0),
            trained(Phase::Scoring, 4, 10),
            trained(Phase::Uploading, 4, 0),
        ];
        assert!(shares.is_sorted() && shares[0] == 0.0 && shares[9] == 1.0, "{shares:?}");
        assert_eq!((shares[4], shares[5], shares[7]), (0.95 / 4.0, 0.95 / 2.0, 0.95));
        assert_eq!(progress(Phase::Scoring, 0, 5).share_of_job(JobKind::Predict, 0, 4), 0.5);
    }
}
