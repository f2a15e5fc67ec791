//! Checkpoints: their roles, and the point of training that they hold.

use crate::ids::Digest;
use crate::progress::epoch_words;
use crate::words::words;

/// The format of checkpoint files that this version writes and reads, as in their header.
pub const FORMAT: u32 = 1;
/// The key of a checkpoint file's metadata that has its header.
pub const HEADER_KEY: &str = "fivefold";
/// The beginning of the names of the optimiser's tensors in a checkpoint file.
pub const OPTIMIZER_PREFIX: &str = "optimizer.";

words! {
    /// The purpose of a checkpoint.
    pub enum CheckpointRole, "checkpoint role" {
        /// The newest checkpoint: training resumes from it.
        Last,
        /// The checkpoint of the epoch with the best objective.
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

impl TrainingPoint {
    /// The point as people read it: `the start`, `the end of epoch 3/25`, or `batch 120 of epoch 4/25`.
    pub fn words(self, epoch_count: u32) -> String {
        match (self.epoch.checked_sub(1), self.step) {
            (None, 0) => "the start".to_owned(),
            (Some(ended), 0) => format!("the end of {}", epoch_words(ended, epoch_count)),
            (_, step) => format!("batch {step} of {}", epoch_words(self.epoch, epoch_count)),
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_count_epochs_from_one() {
        let words = |epoch, step| TrainingPoint { epoch, step }.words(3);
        assert_eq!(words(0, 0), "the start");
        assert_eq!(words(0, 40), "batch 40 of epoch 1/3");
        assert_eq!(words(2, 0), "the end of epoch 2/3");
        assert_eq!(words(3, 0), "the end of epoch 3/3");
    }
}
