//! What a fold's training tells while it runs: progress, the metrics of ended epochs, checkpoints that were saved.

use std::path::PathBuf;

use crate::checkpoint::EpochMetrics;

/// What a fold is being worked on for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Images are checked, the checkpoint is fetched, the model is built.
    Preparing,
    /// Batches of an epoch are trained.
    Training,
    /// The validation batches after an epoch.
    Validation,
    /// The out-of-fold or test rows are scored.
    Scoring,
    /// Results are delivered.
    Uploading,
}

/// Where the work is, and how fast it goes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// What is being done.
    pub phase: Phase,
    /// The epoch, from 0; in phases after training, one more than the last.
    pub epoch: u32,
    /// Batches of this phase that are done.
    pub step: u32,
    /// Batches of this phase.
    pub step_count: u32,
    /// Mean loss of the epoch's batches so far; in validation that of the validation batches.
    pub loss: Option<f64>,
    /// The learning rate, in training.
    pub learning_rate: Option<f64>,
    /// Images a second since the last report; 0 at the start of a phase.
    pub images_per_second: f64,
}

/// What a checkpoint is kept for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckpointRole {
    /// The newest: training goes on from it.
    Last,
    /// That of the epoch with the best validation macro F1.
    Best,
}

/// A checkpoint file that is whole and on the disk.
#[derive(Debug, Clone, PartialEq)]
pub struct SavedCheckpoint {
    /// The file.
    pub path: PathBuf,
    /// What it is kept for.
    pub role: CheckpointRole,
    /// The epoch that training goes on with from it, from 0.
    pub epoch: u32,
    /// Batches of that epoch that are done.
    pub step: u32,
    /// The macro F1 of the last epoch that was validated, when there is one.
    pub macro_f1: Option<f64>,
}

/// Something that happened in a fold's training.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The work got on: at a phase's start, and at most once a second.
    Progress(Progress),
    /// An epoch and its validation are done.
    EpochEnded(EpochMetrics),
    /// A checkpoint was saved. The file stays until the receiver removes it.
    CheckpointSaved(SavedCheckpoint),
}

/// Whoever wants to know. `emit` runs on the training thread: it should not wait for anything.
pub trait EventSink {
    /// Takes an event.
    fn emit(&mut self, event: Event);
}

impl<F: FnMut(Event)> EventSink for F {
    fn emit(&mut self, event: Event) {
        self(event);
    }
}
