//! Checkpoints as coordinator and workers speak of them.

use crate::ids::Digest;
use crate::words::words;

words! {
    /// What a checkpoint is kept for.
    pub enum CheckpointRole, "checkpoint role" {
        /// The newest one: training resumes from it.
        Last,
        /// The one of the epoch with the best validation macro F1.
        Best,
    }
}

/// The place in a fold's training at which a checkpoint was made. Later places are greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TrainingPoint {
    /// The epoch in which training resumes, from 0.
    pub epoch: u32,
    /// Completed batches of that epoch.
    pub step: u32,
}

/// A checkpoint among the artifacts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Checkpoint {
    /// Its artifact.
    pub digest: Digest,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// What it is kept for.
    pub role: CheckpointRole,
    /// Where training resumes.
    pub point: TrainingPoint,
    /// Validation macro F1 of the last epoch before it, where there is one.
    pub macro_f1: Option<f64>,
}
