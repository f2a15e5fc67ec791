//! Fits: the threshold, report and submission that a set of out-of-fold tables led to. A fold that is trained again leads to a
//! new one, and the older ones stay.

use fivefold_common::ids::{Digest, Fold, JobSetId};
use sqlx::{SqliteConnection, SqliteExecutor};

use crate::clock::Timestamp;
use crate::error::Error;
use crate::queue::events;
use crate::queue::job_sets::{queue_predictions, row};

/// One fit of a job set.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the columns of migrations/0003_fits.sql, which says what they are")]
pub struct Fit {
    pub oof_digest: String,
    pub report_digest: String,
    pub submission_digest: Option<String>,
    pub macro_f1: f64,
    pub threshold: f64,
    pub created_ms: i64,
}

/// A job set's fits, oldest first.
///
/// # Errors
/// When the database fails.
pub async fn of_job_set(executor: impl SqliteExecutor<'_>, id: &JobSetId) -> Result<Vec<Fit>, Error> {
    let id = id.as_str();
    let rows = sqlx::query_as!(
        Fit,
        "SELECT oof_digest, report_digest, submission_digest, macro_f1, threshold, created_ms
         FROM fits WHERE job_set_id = ? ORDER BY created_ms, rowid",
        id
    );
    Ok(rows.fetch_all(executor).await?)
}

/// Stores the fit, and queues the predict jobs that are missing if there is a test list. Doing it again changes nothing.
///
/// # Errors
/// When the database fails.
pub async fn store(
    connection: &mut SqliteConnection,
    now: Timestamp,
    id: &JobSetId,
    (oof, report): (Digest, Digest),
    (threshold, macro_f1): (f64, f64),
) -> Result<(), Error> {
    let (text, oof, report) = (id.as_str(), oof.to_string(), report.to_string());
    // A fold may have been taken back for another training since the tables were read.
    let stored = sqlx::query!(
        "UPDATE job_sets SET oof_digest = ?1, report_digest = ?2, threshold = ?3, macro_f1 = ?4, updated_ms = ?5,
             state = CASE WHEN test_digest IS NULL THEN 'succeeded' ELSE 'predicting' END, state_reason = '',
             paused = CASE WHEN test_digest IS NULL THEN 0 ELSE paused END
         WHERE id = ?6 AND state = 'training'
           AND NOT EXISTS (SELECT 1 FROM jobs WHERE job_set_id = ?6 AND kind = 'train' AND state <> 'succeeded')
         RETURNING test_digest",
        oof,
        report,
        threshold,
        macro_f1,
        now.0,
        text
    );
    let Some(row) = stored.fetch_optional(&mut *connection).await? else { return Ok(()) };
    sqlx::query!(
        "INSERT INTO fits (job_set_id, oof_digest, report_digest, macro_f1, threshold, created_ms) VALUES (?, ?, ?, ?, ?, ?)
         ON CONFLICT (job_set_id, oof_digest) DO UPDATE SET report_digest = excluded.report_digest, created_ms = excluded.created_ms",
        text,
        oof,
        report,
        macro_f1,
        threshold,
        now.0
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "INSERT OR REPLACE INTO fit_folds (job_set_id, oof_digest, fold, result_digest, checkpoint_digest)
         SELECT job_set_id, ?, fold, result_digest, result_checkpoint_digest FROM jobs WHERE job_set_id = ? AND kind = 'train'",
        oof,
        text
    )
    .execute(&mut *connection)
    .await?;
    let sentence = format!("all folds are trained: macro F1 {macro_f1:.4} at threshold {threshold:.4}");
    events::append(&mut *connection, now, id, None, "fitted", &sentence).await?;
    if row.test_digest.is_some() {
        return queue_predictions(connection, now, id).await;
    }
    events::append(connection, now, id, None, "finished", "the job set is finished").await
}

/// Stores the submission. Doing it again changes nothing.
///
/// # Errors
/// When the database fails.
pub async fn store_submission(
    connection: &mut SqliteConnection,
    now: Timestamp,
    id: &JobSetId,
    submission: Digest,
) -> Result<(), Error> {
    let (text, submission) = (id.as_str(), submission.to_string());
    // A fold, or the whole list, may have been taken back since the predictions were read.
    let stored = sqlx::query!(
        "UPDATE job_sets SET submission_digest = ?1, state = 'succeeded', state_reason = '', paused = 0, updated_ms = ?2
         WHERE id = ?3 AND state = 'predicting'
           AND NOT EXISTS (SELECT 1 FROM jobs WHERE job_set_id = ?3 AND kind = 'predict' AND state <> 'succeeded')",
        submission,
        now.0,
        text
    );
    if stored.execute(&mut *connection).await?.rows_affected() == 0 {
        return Ok(());
    }
    sqlx::query!(
        "UPDATE fits SET submission_digest = ?1
         WHERE job_set_id = ?2 AND oof_digest = (SELECT oof_digest FROM job_sets WHERE id = ?2)",
        submission,
        text
    )
    .execute(&mut *connection)
    .await?;
    events::append(connection, now, id, None, "finished", "the submission is there: the job set is finished").await
}

/// Queues a trained fold for another training from its beginning. A new fit follows, then a new submission; the fits that were
/// made before stay, with their checkpoints.
///
/// # Errors
/// When the fold is not trained, or the job set has failed or was cancelled.
pub async fn retrain(
    connection: &mut SqliteConnection,
    now: Timestamp,
    id: &JobSetId,
    fold: Fold,
) -> Result<(), Error> {
    let text = id.as_str();
    let row = row(&mut *connection, id).await?;
    if matches!(row.state.as_str(), "failed" | "cancelled") {
        return Err(Error::WrongState(format!("{id} is {}: `fivefold retry` it first", row.state)));
    }
    let queued = sqlx::query_scalar!(
        "UPDATE jobs SET state = 'queued', state_reason = 'to be trained again', result_digest = NULL, result_checkpoint_digest = NULL,
             made_by_json = '', not_before_ms = 0, worker_name = '', lease_request_id = '', report_sequence = 0, phase = 0, epoch = 0,
             step = 0, step_count = 0, loss = NULL, learning_rate = NULL, images_per_second = 0
         WHERE job_set_id = ? AND kind = 'train' AND fold = ? AND state = 'succeeded' RETURNING id",
        text,
        fold.0
    );
    let Some(job) = queued.fetch_optional(&mut *connection).await? else {
        return Err(Error::WrongState(format!("fold {fold} of {id} is not trained: there is nothing to train again")));
    };
    sqlx::query!("DELETE FROM checkpoints WHERE job_id = ?", job).execute(&mut *connection).await?;
    sqlx::query!("DELETE FROM epoch_metrics WHERE job_id = ?", job).execute(&mut *connection).await?;
    sqlx::query!("UPDATE failures SET forgiven = 1 WHERE job_id = ?", job).execute(&mut *connection).await?;
    // What the other folds predicted still holds.
    sqlx::query!("DELETE FROM jobs WHERE job_set_id = ? AND kind = 'predict' AND fold = ?", text, fold.0)
        .execute(&mut *connection)
        .await?;
    sqlx::query!(
        "UPDATE job_sets SET state = 'training', state_reason = '', oof_digest = NULL, report_digest = NULL, submission_digest = NULL,
             macro_f1 = NULL, threshold = NULL, updated_ms = ? WHERE id = ?",
        now.0,
        text
    )
    .execute(&mut *connection)
    .await?;
    events::append(connection, now, id, None, "retrained", &format!("fold {fold} is to be trained again")).await
}
