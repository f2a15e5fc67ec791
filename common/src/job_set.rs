//! The states of a job set.

use crate::words::words;

words! {
    /// Where a job set stands. It follows from its jobs and results.
    pub enum JobSetState, "job set state" {
        /// Folds are trained; the threshold is not fitted yet.
        Training,
        /// The threshold is fitted; the test list is being predicted.
        Predicting,
        /// Every result is in.
        Succeeded,
        /// A fold failed for good, or the results do not fit together.
        Failed,
        /// A user cancelled it.
        Cancelled,
    }
}

impl JobSetState {
    /// Whether nothing more happens unless a user asks for it.
    pub fn has_ended(self) -> bool {
        match self {
            Self::Training | Self::Predicting => false,
            Self::Succeeded | Self::Failed | Self::Cancelled => true,
        }
    }
}
