//! Job sets: stored, read, cancelled, tried again, and given their results.

use fivefold_common::ids::{Digest, Fold, JobSetId};
use fivefold_common::job::JobKind;
use fivefold_common::spec::JobSetSpec;
use sqlx::{SqliteConnection, SqliteExecutor};

use crate::clock::Timestamp;
use crate::error::Error;
use crate::queue::events;

/// What is stored of a submission.
#[derive(Debug, Clone)]
pub struct NewJobSet {
    /// Its id.
    pub id: JobSetId,
    /// The caller's name for the request.
    pub request_id: String,
    /// Digest of the whole request.
    pub request_digest: Digest,
    /// How its folds are trained.
    pub spec: JobSetSpec,
    /// `train.csv`.
    pub train: Digest,
    /// The HPA list.
    pub hpa: Option<Digest>,
    /// The test list.
    pub test: Option<Digest>,
    /// Initial weights.
    pub weights: Option<Digest>,
    /// The folds file.
    pub folds: Digest,
}

/// A job set as stored.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the columns of migrations/0001_queue.sql, which says what they are")]
pub struct JobSetRow {
    pub number: i64,
    pub id: String,
    pub spec_json: String,
    pub train_digest: String,
    pub hpa_digest: Option<String>,
    pub test_digest: Option<String>,
    pub weights_digest: Option<String>,
    pub folds_digest: String,
    pub state: String,
    pub state_reason: String,
    pub paused: i64,
    pub oof_digest: Option<String>,
    pub report_digest: Option<String>,
    pub submission_digest: Option<String>,
    pub macro_f1: Option<f64>,
    pub threshold: Option<f64>,
    pub created_ms: i64,
    pub updated_ms: i64,
}

/// A job as stored.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the columns of migrations/0001_queue.sql, which says what they are")]
pub struct JobRow {
    pub id: i64,
    pub kind: String,
    pub fold: i64,
    pub state: String,
    pub state_reason: String,
    pub attempt: i64,
    pub worker_name: String,
    pub not_before_ms: i64,
    pub report_sequence: i64,
    pub phase: i64,
    pub epoch: i64,
    pub step: i64,
    pub step_count: i64,
    pub loss: Option<f64>,
    pub learning_rate: Option<f64>,
    pub images_per_second: f64,
    pub advanced_ms: i64,
    pub stalled: i64,
    pub result_digest: Option<String>,
    pub result_checkpoint_digest: Option<String>,
    pub made_by_json: String,
}

/// The job set that a request made before; the digest tells whether it was the same request.
///
/// # Errors
/// When the database fails.
pub async fn of_request(
    executor: impl SqliteExecutor<'_>,
    request_id: &str,
) -> Result<Option<(JobSetId, Digest)>, Error> {
    let row = sqlx::query!("SELECT id, request_digest FROM job_sets WHERE request_id = ?", request_id);
    let Some(row) = row.fetch_optional(executor).await? else { return Ok(None) };
    let stored = |error: fivefold_common::ids::IdError| Error::Stored(error.to_string());
    Ok(Some((row.id.parse().map_err(stored)?, row.request_digest.parse().map_err(stored)?)))
}

/// Stores a job set with one queued train job per fold.
///
/// # Errors
/// When the database fails.
pub async fn insert(connection: &mut SqliteConnection, now: Timestamp, new: &NewJobSet) -> Result<(), Error> {
    let spec_json = new.spec.to_stored_json();
    let id = new.id.as_str();
    let (request_digest, train, folds) = (new.request_digest.to_string(), new.train.to_string(), new.folds.to_string());
    let [hpa, test, weights] = [new.hpa, new.test, new.weights].map(|digest| digest.map(|digest| digest.to_string()));
    sqlx::query!(
        "INSERT INTO job_sets (id, request_id, request_digest, spec_json, train_digest, hpa_digest, test_digest, weights_digest,
                               folds_digest, state, created_ms, updated_ms)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'training', ?, ?)",
        id,
        new.request_id,
        request_digest,
        spec_json,
        train,
        hpa,
        test,
        weights,
        folds,
        now.0,
        now.0
    )
    .execute(&mut *connection)
    .await?;
    let trained = new.spec.trained_folds();
    insert_jobs(&mut *connection, &new.id, JobKind::Train, &trained).await?;
    events::append(connection, now, &new.id, None, "submitted", &format!("submitted with {} folds", trained.len()))
        .await
}

async fn insert_jobs(
    connection: &mut SqliteConnection,
    id: &JobSetId,
    kind: JobKind,
    folds: &[Fold],
) -> Result<(), Error> {
    let (id, kind) = (id.as_str(), kind.word());
    for fold in folds {
        sqlx::query!(
            "INSERT INTO jobs (job_set_id, kind, fold, state) VALUES (?, ?, ?, 'queued') ON CONFLICT DO NOTHING",
            id,
            kind,
            fold.0
        )
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// One job set.
///
/// # Errors
/// When there is none of that id.
pub async fn row(executor: impl SqliteExecutor<'_>, id: &JobSetId) -> Result<JobSetRow, Error> {
    let text = id.as_str();
    let row = sqlx::query_as!(
        JobSetRow,
        "SELECT number, id, spec_json, train_digest, hpa_digest, test_digest, weights_digest, folds_digest, state, state_reason,
                paused, oof_digest, report_digest, submission_digest, macro_f1, threshold, created_ms, updated_ms
         FROM job_sets WHERE id = ?",
        text
    );
    row.fetch_optional(executor).await?.ok_or_else(|| Error::NotFound { what: "job set", name: id.to_string() })
}

/// At most `most` job sets submitted before `number`, newest first.
///
/// # Errors
/// When the database fails.
pub async fn page(executor: impl SqliteExecutor<'_>, before_number: i64, most: u32) -> Result<Vec<JobSetRow>, Error> {
    let rows = sqlx::query_as!(
        JobSetRow,
        "SELECT number, id, spec_json, train_digest, hpa_digest, test_digest, weights_digest, folds_digest, state, state_reason,
                paused, oof_digest, report_digest, submission_digest, macro_f1, threshold, created_ms, updated_ms
         FROM job_sets WHERE number < ? ORDER BY number DESC LIMIT ?",
        before_number,
        most
    );
    Ok(rows.fetch_all(executor).await?)
}

/// Job sets that may have a next step: the ids of those that have not ended.
///
/// # Errors
/// When the database fails.
pub async fn unfinished(executor: impl SqliteExecutor<'_>) -> Result<Vec<JobSetId>, Error> {
    let ids = sqlx::query_scalar!("SELECT id FROM job_sets WHERE state IN ('training', 'predicting') ORDER BY number");
    let ids = ids.fetch_all(executor).await?;
    ids.iter().map(|id| id.parse().map_err(|error| Error::Stored(format!("{error}")))).collect()
}

/// A job set's jobs: train jobs by fold, then predict jobs by fold.
///
/// # Errors
/// When the database fails.
pub async fn jobs(executor: impl SqliteExecutor<'_>, id: &JobSetId) -> Result<Vec<JobRow>, Error> {
    let id = id.as_str();
    let rows = sqlx::query_as!(
        JobRow,
        "SELECT id, kind, fold, state, state_reason, attempt, worker_name, not_before_ms, report_sequence, phase, epoch, step,
                step_count, loss, learning_rate, images_per_second, advanced_ms, stalled, result_digest, result_checkpoint_digest, made_by_json
         FROM jobs WHERE job_set_id = ? ORDER BY kind DESC, fold",
        id
    );
    Ok(rows.fetch_all(executor).await?)
}

/// A job set's spec.
///
/// # Errors
/// When there is no such job set.
pub async fn spec(executor: impl SqliteExecutor<'_>, id: &JobSetId) -> Result<JobSetSpec, Error> {
    let text = id.as_str();
    let json =
        sqlx::query_scalar!("SELECT spec_json FROM job_sets WHERE id = ?", text).fetch_optional(executor).await?;
    let json = json.ok_or_else(|| Error::NotFound { what: "job set", name: id.to_string() })?;
    JobSetSpec::from_stored_json(&json).map_err(|error| Error::Stored(format!("{id}: {error}")))
}

/// After a job ended: when no other one is queued or leased and not all succeeded, the job set has ended too.
///
/// # Errors
/// When the database fails.
pub async fn end_if_nothing_is_left(
    connection: &mut SqliteConnection,
    now: Timestamp,
    id: &JobSetId,
) -> Result<(), Error> {
    let text = id.as_str();
    let ended = sqlx::query_scalar!(
        "UPDATE job_sets SET updated_ms = ?1, paused = 0,
             state = CASE WHEN EXISTS (SELECT 1 FROM jobs WHERE job_set_id = ?2 AND state = 'failed') THEN 'failed' ELSE 'cancelled' END,
             state_reason = coalesce(
                 (SELECT 'fold ' || fold || ': ' || state_reason FROM jobs WHERE job_set_id = ?2 AND state = 'failed' ORDER BY kind DESC, fold LIMIT 1),
                 'its other folds were cancelled by a user')
         WHERE id = ?2 AND state IN ('training', 'predicting')
           AND EXISTS (SELECT 1 FROM jobs WHERE job_set_id = ?2 AND state IN ('failed', 'cancelled'))
           AND NOT EXISTS (SELECT 1 FROM jobs WHERE job_set_id = ?2 AND state IN ('queued', 'leased'))
         RETURNING state",
        now.0,
        text
    );
    let Some(state) = ended.fetch_optional(&mut *connection).await? else { return Ok(()) };
    let sentence = match state.as_str() {
        "failed" => "the job set failed: a fold failed for good, `fivefold retry` tries it again",
        _ => "the job set ended: its other folds were cancelled, `fivefold retry` queues them again",
    };
    events::append(connection, now, id, None, &state, sentence).await
}

/// Fails a job set whose results do not fit together.
///
/// # Errors
/// When the database fails.
pub async fn fail(connection: &mut SqliteConnection, now: Timestamp, id: &JobSetId, reason: &str) -> Result<(), Error> {
    let text = id.as_str();
    sqlx::query!(
        "UPDATE job_sets SET state = 'failed', state_reason = ?, updated_ms = ? WHERE id = ?",
        reason,
        now.0,
        text
    )
    .execute(&mut *connection)
    .await?;
    events::append(connection, now, id, None, "failed", &format!("the job set failed: {reason}")).await
}

/// Queues the predict jobs that are not there yet.
///
/// # Errors
/// When the database fails.
pub(super) async fn queue_predictions(
    connection: &mut SqliteConnection,
    now: Timestamp,
    id: &JobSetId,
) -> Result<(), Error> {
    let folds = spec(&mut *connection, id).await?.trained_folds();
    insert_jobs(&mut *connection, id, JobKind::Predict, &folds).await?;
    events::append(connection, now, id, None, "predicting", "the test list is being predicted").await
}

/// Cancels every job that has not ended, and the job set with them.
///
/// # Errors
/// When the job set has ended.
pub async fn cancel(connection: &mut SqliteConnection, now: Timestamp, id: &JobSetId) -> Result<(), Error> {
    let text = id.as_str();
    let row = row(&mut *connection, id).await?;
    if row.state == "cancelled" {
        return Ok(());
    }
    if row.state == "succeeded" {
        return Err(Error::WrongState(format!("{id} has succeeded: there is nothing to cancel")));
    }
    sqlx::query!(
        "UPDATE jobs SET state = 'cancelled', state_reason = 'cancelled by a user' WHERE job_set_id = ? AND state IN ('queued', 'leased', 'failed')",
        text
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "UPDATE job_sets SET state = 'cancelled', paused = 0, state_reason = 'cancelled by a user', updated_ms = ? WHERE id = ?",
        now.0,
        text
    )
    .execute(&mut *connection)
    .await?;
    events::append(connection, now, id, None, "cancelled", "cancelled by a user").await
}

/// Stops leasing a job set's jobs, or starts again. Asking twice changes nothing.
///
/// # Errors
/// When it has ended.
pub async fn set_paused(
    connection: &mut SqliteConnection,
    now: Timestamp,
    id: &JobSetId,
    paused: bool,
) -> Result<(), Error> {
    let text = id.as_str();
    let row = row(&mut *connection, id).await?;
    if !matches!(row.state.as_str(), "training" | "predicting") {
        return Err(Error::WrongState(format!("{id} has ended ({}): there is nothing to pause or resume", row.state)));
    }
    if (row.paused == 1) == paused {
        return Ok(());
    }
    sqlx::query!("UPDATE job_sets SET paused = ?, updated_ms = ? WHERE id = ?", paused, now.0, text)
        .execute(&mut *connection)
        .await?;
    let (name, sentence) = if paused {
        ("paused", "paused by a user: running folds are saved and given back")
    } else {
        ("resumed", "resumed by a user")
    };
    events::append(connection, now, id, None, name, sentence).await
}

/// Queues failed and cancelled jobs again, of all folds or of one, and forgives their failures.
///
/// # Errors
/// When none of them failed or was cancelled.
pub async fn retry(
    connection: &mut SqliteConnection,
    now: Timestamp,
    id: &JobSetId,
    fold: Option<Fold>,
) -> Result<(), Error> {
    let (text, one_fold) = (id.as_str(), fold.map(|fold| fold.0));
    let row = row(&mut *connection, id).await?;
    let any = sqlx::query_scalar!(
        "SELECT id FROM jobs WHERE job_set_id = ? AND state IN ('failed', 'cancelled') AND fold = coalesce(?, fold) LIMIT 1",
        text,
        one_fold
    );
    let any = any.fetch_optional(&mut *connection).await?.is_some();
    // A job set can end without such a job: its results did not fit together, or it was cancelled just before its fit.
    let has_ended = matches!(row.state.as_str(), "failed" | "cancelled");
    if !any && (!has_ended || fold.is_some()) {
        let which = fold.map_or("none of its jobs".to_owned(), |fold| format!("no job of fold {fold}"));
        return Err(Error::WrongState(format!("{id} is {}: {which} failed or was cancelled", row.state)));
    }
    sqlx::query!(
        "UPDATE failures SET forgiven = 1
         WHERE job_id IN (SELECT id FROM jobs WHERE job_set_id = ? AND state IN ('failed', 'cancelled') AND fold = coalesce(?, fold))",
        text,
        one_fold
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "UPDATE jobs SET state = 'queued', state_reason = '', not_before_ms = 0, worker_name = '', lease_request_id = ''
         WHERE job_set_id = ? AND state IN ('failed', 'cancelled') AND fold = coalesce(?, fold)",
        text,
        one_fold
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "UPDATE job_sets SET state = CASE WHEN report_digest IS NULL THEN 'training' ELSE 'predicting' END, state_reason = '', updated_ms = ?
         WHERE id = ? AND state IN ('failed', 'cancelled')",
        now.0,
        text
    )
    .execute(&mut *connection)
    .await?;
    let sentence = match fold {
        None => "failed and cancelled jobs are queued again".to_owned(),
        Some(fold) => format!("fold {fold} is queued again"),
    };
    events::append(connection, now, id, None, "retried", &sentence).await
}

/// Queues a prediction of a (new) test list; an earlier prediction is dropped. The same list again changes nothing.
///
/// # Errors
/// When the job set was cancelled or failed in training.
pub async fn predict(
    connection: &mut SqliteConnection,
    now: Timestamp,
    id: &JobSetId,
    test: Digest,
) -> Result<(), Error> {
    let (text, test) = (id.as_str(), test.to_string());
    let row = row(&mut *connection, id).await?;
    if row.test_digest.as_deref() == Some(test.as_str())
        && matches!(row.state.as_str(), "training" | "predicting" | "succeeded")
    {
        return Ok(());
    }
    if row.report_digest.is_none() && row.state != "training" {
        return Err(Error::WrongState(format!("{id} is {}: its folds are not all trained", row.state)));
    }
    sqlx::query!("DELETE FROM jobs WHERE job_set_id = ? AND kind = 'predict'", text).execute(&mut *connection).await?;
    sqlx::query!(
        "UPDATE job_sets SET test_digest = ?, submission_digest = NULL, updated_ms = ?, state_reason = '',
             state = CASE WHEN report_digest IS NULL THEN 'training' ELSE 'predicting' END
         WHERE id = ?",
        test,
        now.0,
        text
    )
    .execute(&mut *connection)
    .await?;
    if row.report_digest.is_some() {
        return queue_predictions(connection, now, id).await;
    }
    Ok(())
}
