//! Checkpoints: their roles, and the point of training that they hold.

use crate::ids::Digest;
use crate::words::words;

words! {
    /// The purpose of a checkpoint.
    pub enum CheckpointRole, "checkpoint role" {
        /// The newest checkpoint: training resumes from it.
        Last,
        /// The checkpoint of the epoch with the best validation macro F1.
        Best,
    }
}

/// A point in a fold's training. Later points are greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TrainingPoint {
    /// The epoch in which training resumes, from 0.
    pub epoch: u32,
    /// Completed batches of that epoch.
    pub step: u32,
}

/// A stored checkpoint.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Checkpoint {
    /// Its artifact.
    pub digest: Digest,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// Its purpose.
    pub role: CheckpointRole,
    /// Where training resumes.
    pub point: TrainingPoint,
    /// Validation macro F1 of the last epoch before it; `None` in the first epoch.
    pub macro_f1: Option<f64>,
}
