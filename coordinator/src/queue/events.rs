//! The append-only log of what happened.

use fivefold_common::ids::{JobId, JobSetId};
use sqlx::{SqliteConnection, SqliteExecutor};

use crate::clock::Timestamp;
use crate::error::Error;

/// One line of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its place.
    pub cursor: i64,
    /// The job it is about; 0 when it is about the job set.
    pub job_id: i64,
    /// When, in milliseconds since 1970.
    pub time_ms: i64,
    /// A stable word.
    pub name: String,
    /// A sentence.
    pub message: String,
}

/// Appends a line.
///
/// # Errors
/// When the database fails.
pub async fn append(
    connection: &mut SqliteConnection,
    now: Timestamp,
    job_set: &JobSetId,
    job: Option<JobId>,
    name: &str,
    message: &str,
) -> Result<(), Error> {
    let (job_set, job) = (job_set.as_str(), job.map_or(0, |job| job.0));
    sqlx::query!(
        "INSERT INTO events (job_set_id, job_id, time_ms, name, message) VALUES (?, ?, ?, ?, ?)",
        job_set,
        job,
        now.0,
        name,
        message
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// At most `most` lines of a job set after `cursor`, oldest first.
///
/// # Errors
/// When the database fails.
pub async fn after(
    executor: impl SqliteExecutor<'_>,
    job_set: &JobSetId,
    cursor: i64,
    most: u32,
) -> Result<Vec<Event>, Error> {
    let job_set = job_set.as_str();
    let rows = sqlx::query_as!(
        Event,
        "SELECT cursor, job_id, time_ms, name, message FROM events WHERE job_set_id = ? AND cursor > ? ORDER BY cursor LIMIT ?",
        job_set,
        cursor,
        most
    );
    Ok(rows.fetch_all(executor).await?)
}
