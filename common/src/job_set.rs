//! The states of a job set.

use crate::words::words;

words! {
    /// The state of a job set. It follows from the jobs and their results.
    pub enum JobSetState, "job set state" {
        /// Folds are being trained.
        Training,
        /// The threshold is fitted; the test list is being predicted.
        Predicting,
        /// Finished, with all results stored.
        Succeeded,
        /// A fold failed without further retries, or the results cannot be used.
        Failed,
        /// Cancelled by a user.
        Cancelled,
    }
}

impl JobSetState {
    /// Whether the state is final unless a user retries or adds jobs.
    pub fn has_ended(self) -> bool {
        match self {
            Self::Training | Self::Predicting => false,
            Self::Succeeded | Self::Failed | Self::Cancelled => true,
        }
    }
}
