//! Reports of running jobs: the lease is renewed, progress and metrics are stored.

use fivefold_common::ids::{Attempt, JobId};
use sqlx::{SqliteConnection, SqliteExecutor};

use crate::clock::Timestamp;
use crate::error::Error;

/// How far a job is, as the worker says.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Progress {
    /// The phase's number on the wire.
    pub phase: i32,
    /// The epoch.
    pub epoch: u32,
    /// Steps of the phase that are done.
    pub step: u32,
    /// Steps of the phase in all.
    pub step_count: u32,
    /// Mean loss so far.
    pub loss: Option<f64>,
    /// Learning rate.
    pub learning_rate: Option<f64>,
    /// Images per second.
    pub images_per_second: f64,
}

/// The metrics of one epoch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EpochMetrics {
    /// The epoch, from 0.
    pub epoch: i64,
    /// Mean training loss.
    pub train_loss: f64,
    /// Mean validation loss.
    pub valid_loss: f64,
    /// Validation macro F1 at its best threshold.
    pub valid_macro_f1: f64,
    /// That threshold.
    pub valid_threshold: f64,
    /// Learning rate.
    pub learning_rate: f64,
    /// Training and validation, in seconds.
    pub duration_seconds: f64,
}

/// What became of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Reports up to this number are stored.
    pub sequence: u64,
    /// Whether the worker is to save and give the lease back.
    pub give_back: bool,
}

/// Renews the lease and stores what is new: a report whose sequence number was seen before only renews.
///
/// # Errors
/// When the attempt is stale.
pub async fn store(
    connection: &mut SqliteConnection,
    now: Timestamp,
    lease_seconds: u32,
    (job, attempt): (JobId, Attempt),
    sequence: u64,
    progress: Option<Progress>,
    epochs: &[EpochMetrics],
) -> Result<Stored, Error> {
    let expires = now.plus_seconds(lease_seconds);
    let renewed = sqlx::query_scalar!(
        "UPDATE jobs SET lease_expires_ms = ? WHERE id = ? AND attempt = ? AND state = 'leased' RETURNING report_sequence",
        expires.0,
        job.0,
        attempt.0
    );
    let stored = renewed.fetch_optional(&mut *connection).await?.ok_or(Error::StaleAttempt { job, attempt })? as u64;
    let give_back = sqlx::query_scalar!(
        "SELECT j.id FROM jobs j JOIN job_sets s ON s.id = j.job_set_id LEFT JOIN workers w ON w.name = j.worker_name
         WHERE j.id = ? AND (s.paused = 1 OR w.draining = 1)",
        job.0
    );
    let give_back = give_back.fetch_optional(&mut *connection).await?.is_some();
    if sequence <= stored {
        return Ok(Stored { sequence: stored, give_back });
    }
    let sequence_stored = sequence as i64;
    sqlx::query!("UPDATE jobs SET report_sequence = ? WHERE id = ?", sequence_stored, job.0)
        .execute(&mut *connection)
        .await?;
    if let Some(progress) = progress {
        sqlx::query!(
            "UPDATE jobs
             SET advanced_ms = CASE WHEN (phase, epoch, step) = (?1, ?2, ?3) THEN advanced_ms ELSE ?8 END,
                 stalled = CASE WHEN (phase, epoch, step) = (?1, ?2, ?3) THEN stalled ELSE 0 END,
                 phase = ?1, epoch = ?2, step = ?3, step_count = ?4, loss = ?5, learning_rate = ?6, images_per_second = ?7
             WHERE id = ?9",
            progress.phase,
            progress.epoch,
            progress.step,
            progress.step_count,
            progress.loss,
            progress.learning_rate,
            progress.images_per_second,
            now.0,
            job.0
        )
        .execute(&mut *connection)
        .await?;
    }
    for epoch in epochs {
        sqlx::query!(
            "INSERT INTO epoch_metrics (job_id, epoch, train_loss, valid_loss, valid_macro_f1, valid_threshold, learning_rate, duration_seconds)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?)
             ON CONFLICT (job_id, epoch) DO UPDATE SET
                 train_loss = excluded.train_loss, valid_loss = excluded.valid_loss, valid_macro_f1 = excluded.valid_macro_f1,
                 valid_threshold = excluded.valid_threshold, learning_rate = excluded.learning_rate,
                 duration_seconds = excluded.duration_seconds",
            job.0,
            epoch.epoch,
            epoch.train_loss,
            epoch.valid_loss,
            epoch.valid_macro_f1,
            epoch.valid_threshold,
            epoch.learning_rate,
            epoch.duration_seconds
        )
        .execute(&mut *connection)
        .await?;
        // Epochs after it were trained by an earlier attempt, from a checkpoint that this one did not go on from.
        sqlx::query!("DELETE FROM epoch_metrics WHERE job_id = ? AND epoch > ?", job.0, epoch.epoch)
            .execute(&mut *connection)
            .await?;
    }
    Ok(Stored { sequence, give_back })
}

/// The metrics of a job, one row per epoch.
///
/// # Errors
/// When the database fails.
pub async fn epochs(executor: impl SqliteExecutor<'_>, job: JobId) -> Result<Vec<EpochMetrics>, Error> {
    let rows = sqlx::query_as!(
        EpochMetrics,
        "SELECT epoch, train_loss, valid_loss, valid_macro_f1, valid_threshold, learning_rate, duration_seconds
         FROM epoch_metrics WHERE job_id = ? ORDER BY epoch",
        job.0
    );
    Ok(rows.fetch_all(executor).await?)
}

/// Whether this attempt ended because a user cancelled the job.
///
/// # Errors
/// When the database fails.
pub async fn is_cancelled(executor: impl SqliteExecutor<'_>, job: JobId, attempt: Attempt) -> Result<bool, Error> {
    let found = sqlx::query_scalar!(
        "SELECT id FROM jobs WHERE id = ? AND attempt = ? AND state = 'cancelled'",
        job.0,
        attempt.0
    );
    Ok(found.fetch_optional(executor).await?.is_some())
}
