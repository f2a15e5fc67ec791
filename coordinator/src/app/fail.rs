//! Attempts that end without a result.

use fivefold_common::ids::{JobSetId, LeaseRef};
use fivefold_common::job::{FailureCause, JobEvent, RetryDecision, retry_decision};

use super::Coordinator;
use super::decision::Decision;
use super::exclude;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::queue::{Decide, Effect, JobSet};

/// Ends an attempt that failed. Returns whether the job is tried again.
///
/// # Errors
/// [`Error::StaleAttempt`].
pub async fn fail(
    coordinator: &Coordinator,
    lease: LeaseRef,
    cause: FailureCause,
    message: &str,
) -> Result<RetryDecision, Error> {
    let attempted = coordinator.queue.attempt(lease).await?;
    let (now, message) = (coordinator.now(), message.to_owned());
    let decide = move |job_set: &JobSet| end_attempt(job_set, now, lease, cause, &message);
    let failures = end(coordinator, &attempted.job_set, Box::new(decide)).await?;
    Ok(retry_decision(&attempted.spec, cause, failures.ok_or(Error::StaleAttempt(lease))?))
}

/// Releases a lease: its worker is leaving.
///
/// # Errors
/// [`Error::StaleAttempt`].
pub async fn release(coordinator: &Coordinator, lease: LeaseRef) -> Result<(), Error> {
    fail(coordinator, lease, FailureCause::Drained, "").await.map(|_| ())
}

/// Ends an attempt if `decide` says so, and logs it. Returns how often the job has now failed for this cause.
pub(super) async fn end(coordinator: &Coordinator, id: &JobSetId, decide: Decide) -> Result<Option<u32>, Error> {
    for effect in coordinator.change(id, decide).await? {
        let Effect::EndAttempt { lease, cause, message, failures, .. } = effect else { continue };
        coordinator.counts.add_failure(cause);
        match cause {
            FailureCause::Drained => tracing::info!("{lease} ended: its worker released the lease"),
            FailureCause::WorkerLost if message.is_empty() => tracing::warn!("{lease} ended: its lease expired"),
            FailureCause::WorkerLost => tracing::warn!("{lease} ended: its worker {message}"),
            _ => tracing::warn!("{lease} failed ({cause}): {message}"),
        }
        return Ok(Some(failures));
    }
    Ok(None)
}

/// The end of an attempt, for any cause.
pub(super) fn end_attempt(
    job_set: &JobSet,
    now: Timestamp,
    lease: LeaseRef,
    cause: FailureCause,
    message: &str,
) -> Result<Vec<Effect>, Error> {
    let mut decision = Decision::on(job_set);
    let job = decision.held(lease)?;
    let (fold, kind) = (job.fold, job.kind);
    let failures = job.failures.get(&cause).copied().unwrap_or(0) + 1;
    let worker = job.worker.clone().unwrap_or_default();
    let what = describe(cause, message, &worker);
    let (event, not_before, then) = match retry_decision(&job_set.spec, cause, failures) {
        RetryDecision::RetryAfter { seconds: 0 } => (JobEvent::AttemptFailed, now, "it is queued again".to_owned()),
        RetryDecision::RetryAfter { seconds } => {
            (JobEvent::AttemptFailed, now.plus_seconds(seconds), format!("it is tried again in {seconds} s"))
        }
        RetryDecision::GiveUp => {
            let then = format!("that is failure {failures} of this kind, so it has failed for good");
            (JobEvent::LastAttemptFailed, now, then)
        }
    };
    let reason = match (cause, event) {
        (FailureCause::BadData, JobEvent::AttemptFailed) => {
            format!("{}: {message} (attempt {})", exclude::waiting_for(job_set, &worker), lease.attempt)
        }
        _ => format!("attempt {}: {what}; {then}", lease.attempt),
    };
    let transition = decision.move_job(lease.job, event, &reason)?;
    let (message, logged) = (message.to_owned(), format!("fold {fold} ({kind}), {reason}"));
    if cause == FailureCause::BadData {
        decision.add(Effect::Exclude { worker, message: message.clone() });
    }
    decision.add(Effect::EndAttempt { lease, transition, cause, message, failures, reason, not_before });
    decision.log(cause.into(), Some(lease.job), logged);
    decision.end_if_nothing_is_left();
    Ok(decision.effects())
}

fn describe(cause: FailureCause, message: &str, worker: &str) -> String {
    match cause {
        FailureCause::WorkerLost if message.is_empty() => {
            format!("worker {worker} was not heard of for a whole lease")
        }
        FailureCause::WorkerLost => format!("worker {worker} {message}"),
        FailureCause::Drained => format!("worker {worker} released it"),
        FailureCause::Stalled => format!("it stood still on {worker}: {message}"),
        FailureCause::OutOfMemory => format!("out of memory on {worker}: {message}"),
        FailureCause::NonFiniteLoss | FailureCause::BadData | FailureCause::BadWeights | FailureCause::Error => {
            format!("{message} (on {worker})")
        }
    }
}
