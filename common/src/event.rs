//! The names of what happens to job sets and jobs.

use crate::job::FailureCause;
use crate::words::words;

words! {
    /// The name of an entry in a job set's event log. Stored and sent, so a name is never changed.
    pub enum EventName, "event name" {
        /// The job set was submitted.
        Submitted,
        /// A worker holds a job's lease.
        Leased,
        /// A job has its result.
        Succeeded,
        /// A leased job makes no progress.
        Stalled,
        /// An attempt ended: its lease expired.
        WorkerLost,
        /// An attempt ended: the worker released its lease.
        Drained,
        /// An attempt ended: the device's memory was too small.
        OutOfMemory,
        /// An attempt ended: the loss was not finite.
        NonFiniteLoss,
        /// An attempt ended: images are missing or broken.
        BadData,
        /// An attempt ended: the initial weights are not those of the network.
        BadWeights,
        /// An attempt ended for any other reason.
        Error,
        /// All folds are trained and the threshold is fitted.
        Fitted,
        /// The test list is being predicted.
        Predicting,
        /// All results of the job set are there.
        Finished,
        /// The job set failed.
        Failed,
        /// A user cancelled the job set.
        Cancelled,
        /// A user paused the job set.
        Paused,
        /// A user resumed the job set.
        Resumed,
        /// A user asked for another try of failed and cancelled jobs.
        Retried,
        /// A user asked for another training of a fold.
        Retrained,
        /// A user asked for folds to be trained for more epochs.
        Extended,
        /// A user ended the job set with the folds that were trained.
        EndedEarly,
    }
}

impl From<FailureCause> for EventName {
    fn from(cause: FailureCause) -> Self {
        match cause {
            FailureCause::WorkerLost => Self::WorkerLost,
            FailureCause::Drained => Self::Drained,
            FailureCause::OutOfMemory => Self::OutOfMemory,
            FailureCause::NonFiniteLoss => Self::NonFiniteLoss,
            FailureCause::BadData => Self::BadData,
            FailureCause::BadWeights => Self::BadWeights,
            FailureCause::Stalled => Self::Stalled,
            FailureCause::Error => Self::Error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_event_of_a_failure_is_named_after_its_cause() {
        for &cause in FailureCause::ALL {
            assert_eq!(EventName::from(cause).word(), cause.word());
        }
    }
}
