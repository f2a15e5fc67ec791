//! Reports of running jobs, and the epochs in them.

use fivefold_common::ids::JobId;
use fivefold_common::progress::{EpochMetrics, EpochReport, Progress};
use fivefold_common::spec::Objective;
use sqlx::SqliteConnection;

use super::rows::{count, parsed, phase_column};
use super::workers;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::queue::{NewReport, Reported};

pub(super) async fn store(
    connection: &mut SqliteConnection,
    now: Timestamp,
    report: &NewReport,
) -> Result<Reported, Error> {
    let (job, attempt) = (report.lease.job, report.lease.attempt);
    let extended = sqlx::query_scalar!(
        "UPDATE jobs SET lease_expires_ms = ? WHERE id = ? AND attempt = ? AND state = 'leased' RETURNING report_sequence",
        report.expires.0,
        job.0,
        attempt.0
    );
    let stored = extended.fetch_optional(&mut *connection).await?.ok_or(Error::StaleAttempt(report.lease))?;
    workers::see_worker_of(&mut *connection, now, job).await?;
    let stored = u64::try_from(stored).map_err(|_| Error::Stored(format!("report {stored} of job {job}")))?;
    let release = sqlx::query_scalar!(
        "SELECT j.id FROM jobs j JOIN job_sets s ON s.id = j.job_set_id LEFT JOIN workers w ON w.name = j.worker_name
         WHERE j.id = ? AND (s.paused = 1 OR w.draining = 1)",
        job.0
    );
    let release = release.fetch_optional(&mut *connection).await?.is_some();
    if report.sequence <= stored {
        return Ok(Reported { sequence: stored, release });
    }
    let sequence = i64::try_from(report.sequence)
        .map_err(|_| Error::bad_field("sequence", format!("{} is out of range", report.sequence)))?;
    sqlx::query!("UPDATE jobs SET report_sequence = ? WHERE id = ?", sequence, job.0).execute(&mut *connection).await?;
    if let Some(progress) = &report.progress {
        store_progress(&mut *connection, now, job, progress).await?;
    }
    for epoch in &report.epochs {
        store_epoch(&mut *connection, job, epoch).await?;
    }
    Ok(Reported { sequence: report.sequence, release })
}

async fn store_progress(
    connection: &mut SqliteConnection,
    now: Timestamp,
    job: JobId,
    progress: &Progress,
) -> Result<(), Error> {
    let phase = phase_column(progress.phase);
    sqlx::query!(
        "UPDATE jobs
         SET advanced_ms = CASE WHEN (phase, epoch, step) = (?1, ?2, ?3) THEN advanced_ms ELSE ?8 END,
             stalled = CASE WHEN (phase, epoch, step) = (?1, ?2, ?3) THEN stalled ELSE 0 END,
             phase = ?1, epoch = ?2, step = ?3, step_count = ?4, loss = ?5, learning_rate = ?6, images_per_second = ?7
         WHERE id = ?9",
        phase,
        progress.epoch,
        progress.step,
        progress.step_count,
        progress.loss,
        progress.learning_rate,
        progress.images_per_second,
        now.0,
        job.0
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn store_epoch(connection: &mut SqliteConnection, job: JobId, epoch: &EpochReport) -> Result<(), Error> {
    let EpochReport { metrics, duration_seconds } = *epoch;
    let score = objective(&mut *connection, job).await?.score(&metrics);
    sqlx::query!(
        "INSERT INTO epoch_metrics (job_id, epoch, train_loss, valid_loss, valid_macro_f1, valid_threshold, valid_objective, score,
             learning_rate, duration_seconds)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (job_id, epoch) DO UPDATE SET
             train_loss = excluded.train_loss, valid_loss = excluded.valid_loss, valid_macro_f1 = excluded.valid_macro_f1,
             valid_threshold = excluded.valid_threshold, valid_objective = excluded.valid_objective, score = excluded.score,
             learning_rate = excluded.learning_rate, duration_seconds = excluded.duration_seconds",
        job.0,
        metrics.epoch,
        metrics.train_loss,
        metrics.valid_loss,
        metrics.macro_f1,
        metrics.threshold,
        metrics.objective,
        score,
        metrics.learning_rate,
        duration_seconds
    )
    .execute(&mut *connection)
    .await?;
    // Later epochs are an earlier attempt's, which did not get as far with its checkpoints as with its reports.
    sqlx::query!("DELETE FROM epoch_metrics WHERE job_id = ? AND epoch > ?", job.0, metrics.epoch)
        .execute(connection)
        .await?;
    Ok(())
}

/// The objective of a job's spec. Specs of before there were several have none.
async fn objective(connection: &mut SqliteConnection, job: JobId) -> Result<Objective, Error> {
    let word = sqlx::query_scalar!(
        r#"SELECT s.spec_json ->> '$.objective' AS "word: String" FROM jobs j JOIN job_sets s ON s.id = j.job_set_id WHERE j.id = ?"#,
        job.0
    );
    match word.fetch_optional(connection).await?.flatten() {
        Some(word) => parsed(&word),
        None => Ok(Objective::default()),
    }
}

/// A row of `epoch_metrics`.
struct EpochRow {
    job_id: i64,
    epoch: i64,
    train_loss: f64,
    valid_loss: f64,
    valid_macro_f1: f64,
    valid_threshold: Option<f64>,
    valid_objective: Option<f64>,
    learning_rate: f64,
    duration_seconds: f64,
}

impl EpochRow {
    fn report(&self) -> Result<EpochReport, Error> {
        let metrics = EpochMetrics {
            epoch: count(self.epoch)?,
            train_loss: self.train_loss,
            valid_loss: self.valid_loss,
            macro_f1: self.valid_macro_f1,
            threshold: self.valid_threshold,
            learning_rate: self.learning_rate,
            objective: self.valid_objective,
        };
        Ok(EpochReport { metrics, duration_seconds: self.duration_seconds })
    }
}

/// Selects rows of `epoch_metrics` by the condition of a literal.
macro_rules! select_epochs {
    ($condition:literal, $($value:expr),+) => {
        sqlx::query_as!(
            EpochRow,
            "SELECT job_id, epoch, train_loss, valid_loss, valid_macro_f1, valid_threshold, valid_objective,
                    learning_rate, duration_seconds
             FROM epoch_metrics WHERE "
                + $condition,
            $($value),+
        )
    };
}

/// The epochs of a job in their order.
pub(super) async fn epochs(connection: &mut SqliteConnection, job: JobId) -> Result<Vec<EpochReport>, Error> {
    let rows = select_epochs!("job_id = ? ORDER BY epoch", job.0).fetch_all(connection).await?;
    rows.iter().map(EpochRow::report).collect()
}

pub(super) async fn epochs_of(
    connection: &mut SqliteConnection,
    jobs: &[JobId],
    epochs: &[u32],
) -> Result<Vec<(JobId, EpochReport)>, Error> {
    let jobs = serde_json::json!(jobs.iter().map(|job| job.0).collect::<Vec<_>>()).to_string();
    let epochs = serde_json::json!(epochs).to_string();
    let rows = select_epochs!(
        "job_id IN (SELECT value FROM json_each(?)) AND epoch IN (SELECT value FROM json_each(?))",
        jobs,
        epochs
    );
    let rows = rows.fetch_all(connection).await?;
    rows.iter().map(|row| Ok((JobId(row.job_id), row.report()?))).collect()
}
