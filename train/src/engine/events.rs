//! What the training of a fold reports while it runs.

use std::path::PathBuf;

use fivefold_common::checkpoint::{CheckpointRole, TrainingPoint};
use fivefold_common::progress::{EpochMetrics, Progress};

/// A checkpoint file, complete and synced to disk.
#[derive(Debug, Clone, PartialEq)]
pub struct SavedCheckpoint {
    /// The file.
    pub path: PathBuf,
    /// What it is kept for.
    pub role: CheckpointRole,
    /// Where training resumes from it.
    pub point: TrainingPoint,
    /// Validation macro F1 of the last epoch before it, where there is one.
    pub macro_f1: Option<f64>,
}

/// Something that happened in a fold's training.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Progress: at the start of a phase, then at most once a second.
    Progress(Progress),
    /// An epoch and its validation have ended.
    EpochEnded(EpochMetrics),
    /// A checkpoint was saved. The file stays until the receiver removes it.
    CheckpointSaved(SavedCheckpoint),
}

/// A receiver of events. `emit` runs on the training thread and should not block.
pub trait EventSink {
    /// Takes an event.
    fn emit(&mut self, event: Event);
}

impl<F: FnMut(Event)> EventSink for F {
    fn emit(&mut self, event: Event) {
        self(event);
    }
}
