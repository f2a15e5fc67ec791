//! The progress of a job: its phase and steps, and the metrics of completed epochs.

use serde::{Deserialize, Serialize};

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

/// Progress within one phase.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// The phase.
    pub phase: Phase,
    /// The epoch, from 0; in phases after training, one more than the last.
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
    /// Validation macro F1 at its best threshold.
    pub macro_f1: f64,
    /// This threshold.
    pub threshold: f64,
    /// The learning rate of its training batches.
    pub learning_rate: f64,
}

/// The metrics of one epoch with its duration, as a worker reports them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EpochReport {
    /// The metrics.
    pub metrics: EpochMetrics,
    /// The duration of training and validation, in seconds.
    pub duration_seconds: f64,
}
