//! Leases: who may work on a job, and until when.

use fivefold_common::ids::{Attempt, JobId};
use sqlx::{SqliteConnection, SqliteExecutor};

use crate::clock::Timestamp;
use crate::error::Error;

/// A job that a worker now holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leased {
    /// The job.
    pub id: i64,
    /// The attempt.
    pub attempt: i64,
    /// The job set.
    pub job_set_id: String,
    /// `train` or `predict`.
    pub kind: String,
    /// The fold.
    pub fold: i64,
}

/// Whether any job may be leased now.
///
/// # Errors
/// When the database fails.
pub async fn any_queued(executor: impl SqliteExecutor<'_>, now: Timestamp) -> Result<bool, Error> {
    let found = sqlx::query_scalar!(
        "SELECT j.id FROM jobs j JOIN job_sets s ON s.id = j.job_set_id
         WHERE j.state = 'queued' AND j.not_before_ms <= ? AND s.paused = 0 LIMIT 1",
        now.0
    );
    Ok(found.fetch_optional(executor).await?.is_some())
}

/// Gives a worker the job that has waited longest: by job set, then by fold; a job that failed on this worker comes after the
/// others. A job set that is paused gives none, and a worker that is drained gets none. A repeated `request_id` gets the same
/// job again.
///
/// # Errors
/// When the database fails.
pub async fn acquire(
    connection: &mut SqliteConnection,
    now: Timestamp,
    worker_name: &str,
    request_id: &str,
    lease_seconds: u32,
) -> Result<Option<Leased>, Error> {
    let expires = now.plus_seconds(lease_seconds);
    let again = sqlx::query_as!(
        Leased,
        "UPDATE jobs SET lease_expires_ms = ?
         WHERE state = 'leased' AND worker_name = ? AND lease_request_id = ?
         RETURNING id, attempt, job_set_id, kind, fold",
        expires.0,
        worker_name,
        request_id
    );
    if let Some(leased) = again.fetch_optional(&mut *connection).await? {
        return Ok(Some(leased));
    }
    let leased = sqlx::query_as!(
        Leased,
        "UPDATE jobs
         SET state = 'leased', attempt = attempt + 1, worker_name = ?1, lease_request_id = ?2,
             lease_expires_ms = ?3, report_sequence = 0, phase = 0, images_per_second = 0, advanced_ms = ?4, stalled = 0
         WHERE state = 'queued' AND id = (
             SELECT j.id FROM jobs j JOIN job_sets s ON s.id = j.job_set_id
             WHERE j.state = 'queued' AND j.not_before_ms <= ?4 AND s.paused = 0
               AND NOT EXISTS (SELECT 1 FROM workers w WHERE w.name = ?1 AND w.draining = 1)
             ORDER BY EXISTS (SELECT 1 FROM failures f WHERE f.job_id = j.id AND f.worker_name = ?1 AND f.cause NOT IN ('worker_lost', 'drained')),
                      s.number, j.kind DESC, j.fold
             LIMIT 1)
         RETURNING id, attempt, job_set_id, kind, fold",
        worker_name,
        request_id,
        expires.0,
        now.0
    );
    Ok(leased.fetch_optional(connection).await?)
}

/// Refuses an attempt that does not hold its lease.
///
/// # Errors
/// [`Error::StaleAttempt`].
pub async fn require(executor: impl SqliteExecutor<'_>, job: JobId, attempt: Attempt) -> Result<(), Error> {
    let held =
        sqlx::query_scalar!("SELECT id FROM jobs WHERE id = ? AND attempt = ? AND state = 'leased'", job.0, attempt.0);
    held.fetch_optional(executor).await?.map(|_| ()).ok_or(Error::StaleAttempt { job, attempt })
}

/// After a restart: every lease lasts one more period, since its worker could not renew it in the meantime, nor say how far
/// it is.
///
/// # Errors
/// When the database fails.
pub async fn extend_all(connection: &mut SqliteConnection, now: Timestamp, lease_seconds: u32) -> Result<u64, Error> {
    let expires = now.plus_seconds(lease_seconds);
    let extended = sqlx::query!(
        "UPDATE jobs SET lease_expires_ms = max(lease_expires_ms, ?), advanced_ms = ? WHERE state = 'leased'",
        expires.0,
        now.0
    );
    Ok(extended.execute(connection).await?.rows_affected())
}

/// Leases that have run out.
///
/// # Errors
/// When the database fails.
pub async fn expired(executor: impl SqliteExecutor<'_>, now: Timestamp) -> Result<Vec<(JobId, Attempt)>, Error> {
    let rows = sqlx::query!("SELECT id, attempt FROM jobs WHERE state = 'leased' AND lease_expires_ms < ?", now.0);
    let rows = rows.fetch_all(executor).await?;
    Ok(rows.into_iter().map(|row| (JobId(row.id), Attempt(row.attempt as u32))).collect())
}

/// Whether this lease has run out.
///
/// # Errors
/// When the database fails.
pub async fn is_expired(
    executor: impl SqliteExecutor<'_>,
    now: Timestamp,
    job: JobId,
    attempt: Attempt,
) -> Result<bool, Error> {
    let found = sqlx::query_scalar!(
        "SELECT id FROM jobs WHERE id = ? AND attempt = ? AND state = 'leased' AND lease_expires_ms < ?",
        job.0,
        attempt.0,
        now.0
    );
    Ok(found.fetch_optional(executor).await?.is_some())
}
