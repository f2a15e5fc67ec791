//! Jobs: their states, the transitions between them, and the number of retries per cause of failure.

use crate::spec::JobSetSpec;
use crate::words::words;

words! {
    /// The work of a job.
    pub enum JobKind, "job kind" {
        /// Training of one fold, and the scores of its out-of-fold rows.
        Train,
        /// One fold's scores of the test list.
        Predict,
    }
}

words! {
    /// The state of a job.
    pub enum JobState, "job state" {
        /// Waiting for a worker.
        Queued,
        /// Leased by a worker.
        Leased,
        /// Finished, with its result stored.
        Succeeded,
        /// Failed without further retries.
        Failed,
        /// Cancelled by a user.
        Cancelled,
    }
}

/// An event in the life of a job. Events from workers are those of the current attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JobEvent {
    /// A worker leased the job.
    Leased,
    /// The worker renewed the lease, reported progress or stored a checkpoint.
    Reported,
    /// The worker delivered the result.
    Completed,
    /// The attempt failed, and the job is tried again.
    AttemptFailed,
    /// The attempt failed, and the job is not tried again.
    LastAttemptFailed,
    /// A user cancelled the job set.
    Cancelled,
    /// No connected worker can take the job.
    NoWorkerLeft,
    /// A user retried the job.
    Retried,
    /// A user asked for a fold that has its result to be trained again.
    Retrained,
    /// A user asked for a fold that has its result to be trained for more epochs.
    Extended,
}

/// The state after an event; `None` if the event cannot occur in that state.
pub const fn next(state: JobState, event: JobEvent) -> Option<JobState> {
    use JobEvent as E;
    use JobState as S;
    match (state, event) {
        (S::Queued, E::Leased) => Some(S::Leased),
        (S::Queued, E::Cancelled) => Some(S::Cancelled),
        (S::Queued, E::NoWorkerLeft) => Some(S::Failed),
        (
            S::Queued,
            E::Reported
            | E::Completed
            | E::AttemptFailed
            | E::LastAttemptFailed
            | E::Retried
            | E::Retrained
            | E::Extended,
        ) => None,
        (S::Leased, E::Reported) => Some(S::Leased),
        (S::Leased, E::Completed) => Some(S::Succeeded),
        (S::Leased, E::AttemptFailed) => Some(S::Queued),
        (S::Leased, E::LastAttemptFailed) => Some(S::Failed),
        (S::Leased, E::Cancelled) => Some(S::Cancelled),
        (S::Leased, E::Leased | E::NoWorkerLeft | E::Retried | E::Retrained | E::Extended) => None,
        (S::Failed | S::Cancelled, E::Retried) => Some(S::Queued),
        (S::Failed, E::Cancelled) => Some(S::Cancelled),
        (
            S::Failed,
            E::Leased
            | E::Reported
            | E::Completed
            | E::AttemptFailed
            | E::LastAttemptFailed
            | E::NoWorkerLeft
            | E::Retrained
            | E::Extended,
        ) => None,
        (
            S::Cancelled,
            E::Leased
            | E::Reported
            | E::Completed
            | E::AttemptFailed
            | E::LastAttemptFailed
            | E::Cancelled
            | E::NoWorkerLeft
            | E::Retrained
            | E::Extended,
        ) => None,
        (S::Succeeded, E::Retrained | E::Extended) => Some(S::Queued),
        (
            S::Succeeded,
            E::Leased
            | E::Reported
            | E::Completed
            | E::AttemptFailed
            | E::LastAttemptFailed
            | E::Cancelled
            | E::NoWorkerLeft
            | E::Retried,
        ) => None,
    }
}

/// A state change that [`next`] allows. There is no other way to make one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Transition {
    from: JobState,
    to: JobState,
}

impl Transition {
    /// The state in which the event may happen.
    pub fn from(self) -> JobState {
        self.from
    }

    /// The state after it.
    pub fn to(self) -> JobState {
        self.to
    }
}

impl JobState {
    /// The state change that an event leads to, or `None` where the event cannot happen in this state.
    pub const fn on(self, event: JobEvent) -> Option<Transition> {
        match next(self, event) {
            Some(to) => Some(Transition { from: self, to }),
            None => None,
        }
    }

    /// Whether the job waits for a worker or is with one.
    pub fn is_unfinished(self) -> bool {
        match self {
            Self::Queued | Self::Leased => true,
            Self::Succeeded | Self::Failed | Self::Cancelled => false,
        }
    }
}

words! {
    /// The cause of a failed attempt.
    pub enum FailureCause, "failure cause" {
        /// The lease expired.
        WorkerLost,
        /// The worker released the lease because it is leaving.
        Drained,
        /// The device ran out of memory.
        OutOfMemory,
        /// The loss was not finite.
        NonFiniteLoss,
        /// Images are missing or damaged.
        BadData,
        /// The initial weights are not those of the network.
        BadWeights,
        /// The worker renewed the lease without making progress.
        Stalled,
        /// Any other error.
        Error,
    }
}

/// Whether a job whose attempt failed is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryDecision {
    /// The job is queued again and may be leased after this wait.
    RetryAfter {
        /// The wait in seconds.
        seconds: u32,
    },
    /// The job has failed for good.
    GiveUp,
}

/// Decides whether a job is tried again after its `failures`-th failure (counted from 1) of this cause.
///
/// Each cause has a budget of its own. The loss of a worker says little about the job and has a large budget; a drained
/// worker has no limit. A non-finite loss would recur, so it is retried only if the spec asks for it.
pub fn retry_decision(spec: &JobSetSpec, cause: FailureCause, failures: u32) -> RetryDecision {
    let (budget, first_seconds) = match cause {
        FailureCause::Drained => return RetryDecision::RetryAfter { seconds: 0 },
        FailureCause::WorkerLost => (spec.max_attempts.saturating_mul(4), 1),
        FailureCause::OutOfMemory => (spec.max_attempts.min(3), 60),
        FailureCause::NonFiniteLoss => (1 + spec.non_finite_retries, 5),
        FailureCause::BadData => (spec.max_attempts, 15),
        FailureCause::BadWeights => (spec.max_attempts.min(2), 5),
        FailureCause::Stalled => (spec.max_attempts, 5),
        FailureCause::Error => (spec.max_attempts, 5),
    };
    if failures >= budget {
        return RetryDecision::GiveUp;
    }
    RetryDecision::RetryAfter { seconds: (first_seconds << failures.saturating_sub(1).min(10)).min(600) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS: [JobEvent; 10] = [
        JobEvent::Leased,
        JobEvent::Reported,
        JobEvent::Completed,
        JobEvent::AttemptFailed,
        JobEvent::LastAttemptFailed,
        JobEvent::Cancelled,
        JobEvent::NoWorkerLeft,
        JobEvent::Retried,
        JobEvent::Retrained,
        JobEvent::Extended,
    ];

    #[test]
    fn a_succeeded_job_changes_only_if_it_is_trained_again_or_longer() {
        for event in EVENTS {
            let again = matches!(event, JobEvent::Retrained | JobEvent::Extended);
            let after = again.then_some(JobState::Queued);
            assert_eq!(next(JobState::Succeeded, event), after, "{event:?}");
        }
    }

    #[test]
    fn events_from_workers_occur_only_in_leased_jobs() {
        for &state in JobState::ALL {
            for event in [JobEvent::Reported, JobEvent::Completed, JobEvent::AttemptFailed] {
                assert_eq!(next(state, event).is_some(), state == JobState::Leased, "{state} {event:?}");
            }
        }
    }

    #[test]
    fn only_a_waiting_job_can_lack_a_worker() {
        for &state in JobState::ALL {
            let after = (state == JobState::Queued).then_some(JobState::Failed);
            assert_eq!(next(state, JobEvent::NoWorkerLeft), after, "{state}");
        }
    }

    #[test]
    fn words_round_trip() {
        for &state in JobState::ALL {
            assert_eq!(state.word().parse(), Ok(state));
        }
        for &cause in FailureCause::ALL {
            assert_eq!(cause.word().parse(), Ok(cause));
        }
        assert!("gone".parse::<JobState>().is_err());
    }

    #[test]
    fn budgets_are_kept_by_cause() {
        let spec = JobSetSpec { max_attempts: 3, ..JobSetSpec::default() };
        assert_eq!(retry_decision(&spec, FailureCause::Drained, 1000), RetryDecision::RetryAfter { seconds: 0 });
        assert_eq!(retry_decision(&spec, FailureCause::NonFiniteLoss, 1), RetryDecision::GiveUp);
        assert_eq!(retry_decision(&spec, FailureCause::Error, 2), RetryDecision::RetryAfter { seconds: 10 });
        assert_eq!(retry_decision(&spec, FailureCause::Error, 3), RetryDecision::GiveUp);
        assert_eq!(retry_decision(&spec, FailureCause::BadWeights, 1), RetryDecision::RetryAfter { seconds: 5 });
        assert_eq!(retry_decision(&spec, FailureCause::BadWeights, 2), RetryDecision::GiveUp);
        assert_eq!(retry_decision(&spec, FailureCause::WorkerLost, 11), RetryDecision::RetryAfter { seconds: 600 });
        assert_eq!(retry_decision(&spec, FailureCause::WorkerLost, 12), RetryDecision::GiveUp);
    }
}
