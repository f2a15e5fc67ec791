//! The life of a job: five states, the events that move it between them, and what becomes of an attempt that failed.

use crate::spec::JobSetSpec;
use crate::words::words;

words! {
    /// What a job does.
    pub enum JobKind, "job kind" {
        /// Trains one fold and scores its out-of-fold rows.
        Train,
        /// Scores the test list with one fold's model.
        Predict,
    }
}

words! {
    /// Where a job stands.
    pub enum JobState, "job state" {
        /// Waits for a worker.
        Queued,
        /// A worker holds its lease.
        Leased,
        /// Its result is in.
        Succeeded,
        /// It failed for good.
        Failed,
        /// A user cancelled it.
        Cancelled,
    }
}

/// What can happen to a job. Events of a worker count only under the current attempt; that is checked before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JobEvent {
    /// A worker took it.
    Leased,
    /// The worker renewed its lease, reported or stored a checkpoint.
    Reported,
    /// The worker delivered the result.
    Completed,
    /// The attempt ended without a result, and another one is allowed.
    AttemptFailed,
    /// The attempt ended without a result, and it was the last one.
    LastAttemptFailed,
    /// The user cancelled the job set.
    Cancelled,
    /// The user asked for another try.
    Retried,
    /// The user asked for another training of a fold that has its result.
    Retrained,
}

/// The state after an event, or `None` where the event cannot happen in that state and changes nothing.
pub fn next(state: JobState, event: JobEvent) -> Option<JobState> {
    use JobEvent as E;
    use JobState as S;
    match (state, event) {
        (S::Queued, E::Leased) => Some(S::Leased),
        (S::Queued, E::Cancelled) => Some(S::Cancelled),
        (
            S::Queued,
            E::Reported | E::Completed | E::AttemptFailed | E::LastAttemptFailed | E::Retried | E::Retrained,
        ) => None,
        (S::Leased, E::Reported) => Some(S::Leased),
        (S::Leased, E::Completed) => Some(S::Succeeded),
        (S::Leased, E::AttemptFailed) => Some(S::Queued),
        (S::Leased, E::LastAttemptFailed) => Some(S::Failed),
        (S::Leased, E::Cancelled) => Some(S::Cancelled),
        (S::Leased, E::Leased | E::Retried | E::Retrained) => None,
        (S::Failed | S::Cancelled, E::Retried) => Some(S::Queued),
        (S::Failed, E::Cancelled) => Some(S::Cancelled),
        (
            S::Failed,
            E::Leased | E::Reported | E::Completed | E::AttemptFailed | E::LastAttemptFailed | E::Retrained,
        ) => None,
        (
            S::Cancelled,
            E::Leased
            | E::Reported
            | E::Completed
            | E::AttemptFailed
            | E::LastAttemptFailed
            | E::Cancelled
            | E::Retrained,
        ) => None,
        (S::Succeeded, E::Retrained) => Some(S::Queued),
        (
            S::Succeeded,
            E::Leased
            | E::Reported
            | E::Completed
            | E::AttemptFailed
            | E::LastAttemptFailed
            | E::Cancelled
            | E::Retried,
        ) => None,
    }
}

words! {
    /// Why an attempt ended without a result.
    pub enum FailureCause, "failure cause" {
        /// Its lease ran out.
        WorkerLost,
        /// The worker gave the lease back.
        Drained,
        /// The device's memory was too small.
        OutOfMemory,
        /// The loss was not finite.
        NonFiniteLoss,
        /// The data folder lacks images, or holds broken ones.
        BadData,
        /// It kept its lease and did not get on.
        Stalled,
        /// Anything else.
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

    const EVENTS: [JobEvent; 8] = [
        JobEvent::Leased,
        JobEvent::Reported,
        JobEvent::Completed,
        JobEvent::AttemptFailed,
        JobEvent::LastAttemptFailed,
        JobEvent::Cancelled,
        JobEvent::Retried,
        JobEvent::Retrained,
    ];

    #[test]
    fn a_job_that_succeeded_stays_so_unless_its_user_wants_another_training() {
        for event in EVENTS {
            let after = (event == JobEvent::Retrained).then_some(JobState::Queued);
            assert_eq!(next(JobState::Succeeded, event), after, "{event:?}");
        }
    }

    #[test]
    fn only_a_leased_job_hears_its_worker() {
        for &state in JobState::ALL {
            for event in [JobEvent::Reported, JobEvent::Completed, JobEvent::AttemptFailed] {
                assert_eq!(next(state, event).is_some(), state == JobState::Leased, "{state} {event:?}");
            }
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
        assert_eq!(retry_decision(&spec, FailureCause::WorkerLost, 11), RetryDecision::RetryAfter { seconds: 600 });
        assert_eq!(retry_decision(&spec, FailureCause::WorkerLost, 12), RetryDecision::GiveUp);
    }
}
