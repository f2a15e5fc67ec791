//! How attempts end: with a result, with a failure, or given back.

use fivefold_common::ids::{Attempt, Digest, JobId, JobSetId};
use fivefold_common::job::{FailureCause, JobKind, RetryDecision, retry_decision};
use sqlx::{SqliteConnection, SqliteExecutor};

use crate::clock::Timestamp;
use crate::error::Error;
use crate::queue::{events, job_sets};

/// A result that was uploaded and checked.
#[derive(Debug, Clone, PartialEq)]
pub struct JobResult {
    /// The out-of-fold table or the predictions.
    pub digest: Digest,
    /// The checkpoint that made it; `None` for a predict job.
    pub checkpoint_digest: Option<Digest>,
    /// What made it, as JSON.
    pub made_by_json: String,
}

/// Ends a job with its result. The same completion again changes nothing and is answered in the same way.
///
/// # Errors
/// When the attempt is stale.
pub async fn complete(
    connection: &mut SqliteConnection,
    now: Timestamp,
    (job, attempt): (JobId, Attempt),
    result: &JobResult,
) -> Result<(), Error> {
    let digest = result.digest.to_string();
    let checkpoint_digest = result.checkpoint_digest.map(|digest| digest.to_string());
    let completed = sqlx::query!(
        "UPDATE jobs SET state = 'succeeded', state_reason = '', result_digest = ?, result_checkpoint_digest = ?, made_by_json = ?
         WHERE id = ? AND attempt = ? AND state = 'leased'
         RETURNING job_set_id, kind, fold",
        digest,
        checkpoint_digest,
        result.made_by_json,
        job.0,
        attempt.0
    );
    let Some(row) = completed.fetch_optional(&mut *connection).await? else {
        let again = sqlx::query_scalar!(
            "SELECT id FROM jobs WHERE id = ? AND attempt = ? AND state = 'succeeded' AND result_digest = ?",
            job.0,
            attempt.0,
            digest
        );
        let again = again.fetch_optional(connection).await?;
        return again.map(|_| ()).ok_or(Error::StaleAttempt { job, attempt });
    };
    let job_set = stored_id(&row.job_set_id)?;
    let what = if row.kind == "train" { "trained" } else { "predicted" };
    let sentence = format!("fold {} is {what}", row.fold);
    events::append(&mut *connection, now, &job_set, Some(job), "succeeded", &sentence).await?;
    // It may be the last one to end after another one failed or was cancelled.
    job_sets::end_if_nothing_is_left(connection, now, &job_set).await
}

/// Ends an attempt without a result. Returns what becomes of the job.
///
/// # Errors
/// When the attempt is stale.
pub async fn fail(
    connection: &mut SqliteConnection,
    now: Timestamp,
    (job, attempt): (JobId, Attempt),
    cause: FailureCause,
    message: &str,
) -> Result<RetryDecision, Error> {
    let held = sqlx::query!(
        "SELECT job_set_id, kind, fold, worker_name FROM jobs WHERE id = ? AND attempt = ? AND state = 'leased'",
        job.0,
        attempt.0
    );
    let Some(held) = held.fetch_optional(&mut *connection).await? else {
        return Err(Error::StaleAttempt { job, attempt });
    };
    let job_set = stored_id(&held.job_set_id)?;
    let spec = job_sets::spec(&mut *connection, &job_set).await?;
    let cause_word = cause.word();
    sqlx::query!(
        "INSERT INTO failures (job_id, attempt, cause, message, worker_name, time_ms) VALUES (?, ?, ?, ?, ?, ?)",
        job.0,
        attempt.0,
        cause_word,
        message,
        held.worker_name,
        now.0
    )
    .execute(&mut *connection)
    .await?;
    let count = sqlx::query_scalar!(
        "SELECT count(*) FROM failures WHERE job_id = ? AND cause = ? AND forgiven = 0",
        job.0,
        cause_word
    );
    let count = count.fetch_one(&mut *connection).await?;
    let decision = retry_decision(&spec, cause, count as u32);
    let (state, not_before, then) = match decision {
        RetryDecision::RetryAfter { seconds: 0 } => ("queued", now, "it is queued again".to_owned()),
        RetryDecision::RetryAfter { seconds } => {
            ("queued", now.plus_seconds(seconds), format!("it is tried again in {seconds} s"))
        }
        RetryDecision::GiveUp => {
            ("failed", now, format!("that is failure {count} of this kind, so it has failed for good"))
        }
    };
    let what = match cause {
        FailureCause::WorkerLost => format!("worker {} was not heard of for a whole lease", held.worker_name),
        FailureCause::Drained => format!("worker {} gave it back", held.worker_name),
        FailureCause::Stalled => format!("it stood still on {}: {message}", held.worker_name),
        FailureCause::OutOfMemory => format!("out of memory on {}: {message}", held.worker_name),
        FailureCause::NonFiniteLoss | FailureCause::BadData | FailureCause::Error => {
            format!("{message} (on {})", held.worker_name)
        }
    };
    let reason = format!("attempt {attempt}: {what}; {then}");
    sqlx::query!(
        "UPDATE jobs SET state = ?, state_reason = ?, worker_name = '', lease_request_id = '', not_before_ms = ?, images_per_second = 0
         WHERE id = ? AND attempt = ? AND state = 'leased'",
        state,
        reason,
        not_before.0,
        job.0,
        attempt.0
    )
    .execute(&mut *connection)
    .await?;
    let sentence = format!("fold {} ({}), {reason}", held.fold, held.kind);
    events::append(&mut *connection, now, &job_set, Some(job), cause_word, &sentence).await?;
    if decision == RetryDecision::GiveUp {
        job_sets::end_if_nothing_is_left(connection, now, &job_set).await?;
    }
    Ok(decision)
}

/// A job set's id that the database holds.
///
/// # Errors
/// When it is not one.
pub fn stored_id(text: &str) -> Result<JobSetId, Error> {
    text.parse().map_err(|error| Error::Stored(format!("{error}")))
}

/// The job set, kind and fold of an attempt that holds its lease, or that has delivered its result.
///
/// # Errors
/// When the attempt is stale.
pub async fn of_attempt(
    executor: impl SqliteExecutor<'_>,
    job: JobId,
    attempt: Attempt,
) -> Result<(JobSetId, JobKind, i64), Error> {
    let row = sqlx::query!(
        "SELECT job_set_id, kind, fold FROM jobs WHERE id = ? AND attempt = ? AND state IN ('leased', 'succeeded')",
        job.0,
        attempt.0
    );
    let row = row.fetch_optional(executor).await?.ok_or(Error::StaleAttempt { job, attempt })?;
    let kind = row.kind.parse().map_err(|error| Error::Stored(format!("{error}")))?;
    Ok((stored_id(&row.job_set_id)?, kind, row.fold))
}
