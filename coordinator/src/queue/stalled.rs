//! Jobs whose lease is renewed and whose work stands still. A heartbeat is not progress.

use fivefold_common::ids::{Attempt, JobId};
use sqlx::{SqliteConnection, SqliteExecutor};

use crate::clock::Timestamp;
use crate::error::Error;
use crate::queue::ending::stored_id;
use crate::queue::events;

/// The number that uploading has on the wire. Its time is the network's, and its calls have limits of their own.
const UPLOADING: i64 = 5;

/// Marks the leased jobs whose phase, epoch and step have not changed since `before`, and says so in their events.
///
/// # Errors
/// When the database fails.
pub async fn mark(connection: &mut SqliteConnection, now: Timestamp, before: Timestamp) -> Result<(), Error> {
    let marked = sqlx::query!(
        "UPDATE jobs SET stalled = 1 WHERE state = 'leased' AND stalled = 0 AND phase <> ? AND advanced_ms < ?
         RETURNING id, job_set_id, fold, worker_name, advanced_ms",
        UPLOADING,
        before.0
    );
    for job in marked.fetch_all(&mut *connection).await? {
        let seconds = (now.0 - job.advanced_ms) / 1000;
        let sentence = format!("fold {} has stood still for {seconds} s on {}", job.fold, job.worker_name);
        tracing::warn!("job {}: {sentence}", job.id);
        events::append(&mut *connection, now, &stored_id(&job.job_set_id)?, Some(JobId(job.id)), "stalled", &sentence)
            .await?;
    }
    Ok(())
}

/// Whether any job is to be marked.
///
/// # Errors
/// When the database fails.
pub async fn any_unmarked(executor: impl SqliteExecutor<'_>, before: Timestamp) -> Result<bool, Error> {
    let found = sqlx::query_scalar!(
        "SELECT id FROM jobs WHERE state = 'leased' AND stalled = 0 AND phase <> ? AND advanced_ms < ? LIMIT 1",
        UPLOADING,
        before.0
    );
    Ok(found.fetch_optional(executor).await?.is_some())
}

/// The attempts that have been standing still since `before`.
///
/// # Errors
/// When the database fails.
pub async fn overdue(executor: impl SqliteExecutor<'_>, before: Timestamp) -> Result<Vec<(JobId, Attempt)>, Error> {
    let rows = sqlx::query!(
        "SELECT id, attempt FROM jobs WHERE state = 'leased' AND stalled = 1 AND phase <> ? AND advanced_ms < ?",
        UPLOADING,
        before.0
    );
    let rows = rows.fetch_all(executor).await?;
    Ok(rows.into_iter().map(|row| (JobId(row.id), Attempt(row.attempt as u32))).collect())
}
