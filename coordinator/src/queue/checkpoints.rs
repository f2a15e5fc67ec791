//! Checkpoints of jobs.

use fivefold_common::ids::{Attempt, Digest, JobId};
use fivefold_common::spec::JobSetSpec;
use sqlx::{SqliteConnection, SqliteExecutor};

use crate::clock::Timestamp;
use crate::error::Error;
use crate::queue::ending::stored_id;
use crate::queue::{artifacts, job_sets, lease};

/// A checkpoint that a job can go on from, or score with.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// Its blob.
    pub digest: String,
    /// Size in bytes.
    pub size_bytes: i64,
    /// `last` or `best`.
    pub role: String,
    /// The epoch in which training goes on.
    pub epoch: i64,
    /// Batches of that epoch that are done.
    pub step: i64,
    /// Its validation macro F1.
    pub macro_f1: Option<f64>,
}

/// What a worker says of a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NewCheckpoint {
    /// Its blob.
    pub digest: Digest,
    /// `last` or `best`.
    pub role: &'static str,
    /// The epoch in which training goes on.
    pub epoch: u32,
    /// Batches of that epoch that are done.
    pub step: u32,
    /// Its validation macro F1.
    pub macro_f1: Option<f64>,
}

/// Names an uploaded checkpoint as the job's newest of its role, and drops those that its spec does not want kept. One that is
/// not newer than the attempt's last one changes nothing.
///
/// # Errors
/// When the attempt is stale, or the blob is not held.
pub async fn record(
    connection: &mut SqliteConnection,
    now: Timestamp,
    job: JobId,
    attempt: Attempt,
    checkpoint: NewCheckpoint,
) -> Result<(), Error> {
    lease::require(&mut *connection, job, attempt).await?;
    if artifacts::size_bytes(&mut *connection, checkpoint.digest).await?.is_none() {
        return Err(Error::NotFound { what: "artifact", name: checkpoint.digest.to_string() });
    }
    let digest = checkpoint.digest.to_string();
    let NewCheckpoint { role, epoch, step, macro_f1, .. } = checkpoint;
    let newest = sqlx::query!(
        "SELECT attempt, epoch, step FROM checkpoints WHERE job_id = ? AND role = ? ORDER BY id DESC LIMIT 1",
        job.0,
        role
    );
    let newest = newest.fetch_optional(&mut *connection).await?;
    let here = (i64::from(attempt.0), i64::from(epoch), i64::from(step));
    // The same call again, or one that was overtaken on its way.
    if newest.is_some_and(|newest| newest.attempt == here.0 && (newest.epoch, newest.step) >= (here.1, here.2)) {
        return Ok(());
    }
    sqlx::query!(
        "INSERT INTO checkpoints (job_id, attempt, role, digest, epoch, step, macro_f1, created_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        job.0,
        attempt.0,
        role,
        digest,
        epoch,
        step,
        macro_f1,
        now.0
    )
    .execute(&mut *connection)
    .await?;
    let spec = spec_of(&mut *connection, job).await?;
    let kept = if role == "last" { spec.keep_last } else { spec.keep_best };
    sqlx::query!(
        "DELETE FROM checkpoints WHERE job_id = ?1 AND role = ?2
           AND id NOT IN (SELECT id FROM checkpoints WHERE job_id = ?1 AND role = ?2 ORDER BY id DESC LIMIT ?3)",
        job.0,
        role,
        kept
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn spec_of(connection: &mut SqliteConnection, job: JobId) -> Result<JobSetSpec, Error> {
    let id = sqlx::query_scalar!("SELECT job_set_id FROM jobs WHERE id = ?", job.0);
    let id = stored_id(&id.fetch_one(&mut *connection).await?)?;
    job_sets::spec(connection, &id).await
}

/// A job's checkpoints: `last` before `best`, newest first.
///
/// # Errors
/// When the database fails.
pub async fn of_job(executor: impl SqliteExecutor<'_>, job: JobId) -> Result<Vec<Checkpoint>, Error> {
    let rows = sqlx::query_as!(
        Checkpoint,
        "SELECT c.digest, a.size_bytes, c.role, c.epoch, c.step, c.macro_f1
         FROM checkpoints c JOIN artifacts a ON a.digest = c.digest
         WHERE c.job_id = ? ORDER BY c.role DESC, c.id DESC",
        job.0
    );
    Ok(rows.fetch_all(executor).await?)
}
