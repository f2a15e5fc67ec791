//! Job sets with their jobs: read, listed and submitted.

use std::collections::BTreeMap;

use fivefold_common::artifact::{Artifact, ArtifactKind};
use fivefold_common::ids::{Digest, Fold, JobId, JobSetId};
use fivefold_common::job::{FailureCause, JobKind, JobState};
use fivefold_common::job_set::JobSetState;
use fivefold_common::progress::{EpochMetrics, EpochReport, Progress};
use fivefold_common::spec::JobSetSpec;
use sqlx::SqliteConnection;

use super::rows::{self, attempt, count, digest, fold, optional_artifact, optional_digest, parsed, size};
use super::{data_sets, events, exclusions};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::queue::{
    EarlierRequest, Exclusion, Fit, FitFold, FitRecord, FitScores, Inputs, Job, JobResult, JobSet, NamedJobSet,
    NewJobSet, SubmissionNumber, SubmissionRecord, Submitted, result_kind,
};

struct JobSetRow {
    number: i64,
    id: String,
    spec_json: String,
    train_digest: String,
    hpa_digest: Option<String>,
    test_digest: Option<String>,
    weights_digest: Option<String>,
    folds_digest: String,
    images_digest: Option<String>,
    state: String,
    state_reason: String,
    paused: bool,
    pause_at_ms: Option<i64>,
    warm_start_of: Option<String>,
    kept_folds: Option<String>,
    predict_folds: Option<String>,
    oof_digest: Option<String>,
    oof_bytes: Option<i64>,
    report_digest: Option<String>,
    report_bytes: Option<i64>,
    submission_digest: Option<String>,
    submission_bytes: Option<i64>,
    macro_f1: Option<f64>,
    threshold: Option<f64>,
    objective: Option<f64>,
    created_ms: i64,
    updated_ms: i64,
}

macro_rules! select_job_sets {
    ($which:literal, $($argument:expr),*) => {
        sqlx::query_as!(
            JobSetRow,
            r#"SELECT s.number, s.id, s.spec_json, s.train_digest, s.hpa_digest, s.test_digest, s.weights_digest,
                      s.folds_digest, s.images_digest, s.state, s.state_reason, s.paused AS "paused: bool",
                      s.pause_at_ms, s.warm_start_of, s.kept_folds, s.predict_folds,
                      s.oof_digest, oof.size_bytes AS "oof_bytes?", s.report_digest, report.size_bytes AS "report_bytes?",
                      s.submission_digest, submission.size_bytes AS "submission_bytes?", s.macro_f1, s.threshold,
                      s.objective, s.created_ms, s.updated_ms
               FROM job_sets s
               LEFT JOIN artifacts oof ON oof.digest = s.oof_digest
               LEFT JOIN artifacts report ON report.digest = s.report_digest
               LEFT JOIN artifacts submission ON submission.digest = s.submission_digest "# + $which,
            $($argument),*
        )
    };
}

/// One job set.
pub(super) async fn one(connection: &mut SqliteConnection, id: &JobSetId) -> Result<JobSet, Error> {
    let text = id.as_str();
    let row = select_job_sets!("WHERE s.id = ?", text).fetch_optional(&mut *connection).await?;
    let row = row.ok_or_else(|| Error::no_job_set(id))?;
    let mut job_sets = with_jobs(connection, vec![row]).await?;
    job_sets.pop().ok_or_else(|| Error::no_job_set(id))
}

pub(super) async fn page(
    connection: &mut SqliteConnection,
    before: Option<SubmissionNumber>,
    limit: u32,
) -> Result<Vec<JobSet>, Error> {
    let before = before.map_or(i64::MAX, |number| number.0);
    let rows = select_job_sets!("WHERE s.number < ? ORDER BY s.number DESC LIMIT ?", before, limit);
    let rows = rows.fetch_all(&mut *connection).await?;
    with_jobs(connection, rows).await
}

/// Job sets whose id begins with `text`, with or without `js-`, or whose name it is; newest first.
pub(super) async fn find(connection: &mut SqliteConnection, text: &str, limit: u32) -> Result<Vec<NamedJobSet>, Error> {
    let first = if text.starts_with("js-") { text.to_owned() } else { format!("js-{text}") };
    // Ids have letters, digits and a hyphen, which all come before the tilde.
    let last = format!("{first}~");
    let rows = sqlx::query!(
        r#"SELECT id, coalesce(spec_json ->> '$.name', '') AS "name!: String" FROM job_sets
           WHERE number IN (SELECT number FROM job_sets WHERE id BETWEEN ? AND ?
                            UNION SELECT number FROM job_sets WHERE spec_json ->> '$.name' = ?)
           ORDER BY number DESC LIMIT ?"#,
        first,
        last,
        text,
        limit
    );
    let rows = rows.fetch_all(connection).await?.into_iter();
    rows.map(|row| Ok(NamedJobSet { id: rows::job_set_id(&row.id)?, name: row.name })).collect()
}

pub(super) async fn waiting_for_results(connection: &mut SqliteConnection) -> Result<Vec<JobSetId>, Error> {
    let ids = sqlx::query_scalar!(
        "SELECT id FROM job_sets WHERE state IN ('training', 'predicting') AND NOT EXISTS (
             SELECT 1 FROM jobs j WHERE j.job_set_id = job_sets.id AND j.state <> 'succeeded'
                AND j.kind = CASE job_sets.state WHEN 'training' THEN 'train' ELSE 'predict' END
                AND (job_sets.kept_folds IS NULL OR j.fold IN (SELECT value FROM json_each(job_sets.kept_folds))))
         ORDER BY number"
    );
    ids.fetch_all(connection).await?.iter().map(|id| rows::job_set_id(id)).collect()
}

pub(super) async fn due_pauses(connection: &mut SqliteConnection, now: Timestamp) -> Result<Vec<JobSetId>, Error> {
    let ids = sqlx::query_scalar!("SELECT id FROM job_sets WHERE pause_at_ms <= ? ORDER BY pause_at_ms", now.0);
    ids.fetch_all(connection).await?.iter().map(|id| rows::job_set_id(id)).collect()
}

pub(super) async fn ended_before(connection: &mut SqliteConnection, since: Timestamp) -> Result<Vec<JobSetId>, Error> {
    let ids = sqlx::query_scalar!(
        "SELECT id FROM job_sets WHERE state IN ('succeeded', 'failed', 'cancelled') AND updated_ms < ? ORDER BY updated_ms",
        since.0
    );
    ids.fetch_all(connection).await?.iter().map(|id| rows::job_set_id(id)).collect()
}

/// Deletes a job set. Failures, epochs and checkpoints go with their jobs.
pub(super) async fn delete(connection: &mut SqliteConnection, now: Timestamp, id: &JobSetId) -> Result<(), Error> {
    exclusions::lift_of_job_set(&mut *connection, id).await?;
    let id = id.as_str();
    sqlx::query!("DELETE FROM warm_starts WHERE job_set_id = ?", id).execute(&mut *connection).await?;
    sqlx::query!("DELETE FROM events WHERE job_set_id = ?", id).execute(&mut *connection).await?;
    sqlx::query!("DELETE FROM submissions WHERE job_set_id = ?", id).execute(&mut *connection).await?;
    sqlx::query!("DELETE FROM fit_folds WHERE job_set_id = ?", id).execute(&mut *connection).await?;
    sqlx::query!("DELETE FROM fits WHERE job_set_id = ?", id).execute(&mut *connection).await?;
    sqlx::query!("DELETE FROM jobs WHERE job_set_id = ?", id).execute(&mut *connection).await?;
    let images = sqlx::query_scalar!("DELETE FROM job_sets WHERE id = ? RETURNING images_digest", id);
    match images.fetch_optional(&mut *connection).await?.flatten() {
        Some(images) => data_sets::remove_segments(connection, now, &images).await,
        None => Ok(()),
    }
}

/// Reads what belongs to job sets, for all of them together.
async fn with_jobs(connection: &mut SqliteConnection, rows: Vec<JobSetRow>) -> Result<Vec<JobSet>, Error> {
    let ids: Vec<&str> = rows.iter().map(|row| row.id.as_str()).collect();
    let ids = serde_json::json!(ids).to_string();
    let mut jobs = jobs(&mut *connection, &ids).await?;
    let mut fits = fits(&mut *connection, &ids).await?;
    let mut submissions = submissions(&mut *connection, &ids).await?;
    let mut exclusions = exclusions::of_job_sets(connection, &ids).await?;
    let mut job_sets = Vec::with_capacity(rows.len());
    for row in rows {
        let jobs = jobs.remove(&row.id).unwrap_or_default();
        let fits = fits.remove(&row.id).unwrap_or_default();
        let submissions = submissions.remove(&row.id).unwrap_or_default();
        let exclusions = exclusions.remove(&row.id).unwrap_or_default();
        job_sets.push(job_set(row, jobs, (fits, submissions), exclusions)?);
    }
    Ok(job_sets)
}

fn job_set(
    row: JobSetRow,
    mut jobs: Vec<Job>,
    (fits, submissions): (Vec<FitRecord>, Vec<SubmissionRecord>),
    exclusions: Vec<Exclusion>,
) -> Result<JobSet, Error> {
    jobs.sort_by_key(|job| (job.kind, job.fold));
    let spec = rows::spec(&row.spec_json)?;
    let fit = present_fit(&row, &fits, &spec)?;
    Ok(JobSet {
        number: SubmissionNumber(row.number),
        id: parsed(&row.id)?,
        spec,
        inputs: Inputs {
            train: digest(&row.train_digest)?,
            hpa: optional_digest(row.hpa_digest.as_deref())?,
            test: optional_digest(row.test_digest.as_deref())?,
            weights: optional_digest(row.weights_digest.as_deref())?,
            folds: digest(&row.folds_digest)?,
            images: optional_digest(row.images_digest.as_deref())?,
        },
        state: parsed(&row.state)?,
        state_reason: row.state_reason,
        paused: row.paused,
        pause_at: row.pause_at_ms.map(Timestamp),
        warm_start_of: row.warm_start_of.as_deref().map(rows::job_set_id).transpose()?,
        kept_folds: rows::optional_folds(row.kept_folds.as_deref())?,
        predict_folds: rows::optional_folds(row.predict_folds.as_deref())?,
        jobs,
        fit,
        fits,
        submissions,
        exclusions,
        created: Timestamp(row.created_ms),
        updated: Timestamp(row.updated_ms),
    })
}

fn present_fit(row: &JobSetRow, fits: &[FitRecord], spec: &JobSetSpec) -> Result<Option<Fit>, Error> {
    let oof = optional_artifact(ArtifactKind::Oof, row.oof_digest.as_deref(), row.oof_bytes)?;
    let report = optional_artifact(ArtifactKind::Report, row.report_digest.as_deref(), row.report_bytes)?;
    let Some(((oof, report), macro_f1)) = oof.zip(report).zip(row.macro_f1) else { return Ok(None) };
    let submission =
        optional_artifact(ArtifactKind::Submission, row.submission_digest.as_deref(), row.submission_bytes)?;
    // A fit of before the table of fits is of all folds.
    let record = fits.iter().find(|record| record.fit.oof.digest == oof.digest);
    let folds = record.map_or_else(|| spec.fold_set(), |record| record.fit.folds);
    let scores = FitScores { macro_f1, threshold: row.threshold, objective: row.objective };
    Ok(Some(Fit { oof, report, submission, scores, folds }))
}

struct JobRow {
    id: i64,
    job_set_id: String,
    kind: String,
    fold: i64,
    state: String,
    state_reason: String,
    attempt: i64,
    worker_name: String,
    lease_expires_ms: i64,
    not_before_ms: i64,
    phase: i64,
    epoch: i64,
    step: i64,
    step_count: i64,
    loss: Option<f64>,
    learning_rate: Option<f64>,
    images_per_second: f64,
    advanced_ms: i64,
    stalled: bool,
    result_digest: Option<String>,
    result_bytes: Option<i64>,
    checkpoint_digest: Option<String>,
    checkpoint_bytes: Option<i64>,
    made_by_json: String,
    best_score: Option<f64>,
    best_epoch: Option<i64>,
    last_epoch: Option<i64>,
    train_loss: Option<f64>,
    valid_loss: Option<f64>,
    valid_macro_f1: Option<f64>,
    valid_threshold: Option<f64>,
    valid_objective: Option<f64>,
    epoch_learning_rate: Option<f64>,
    duration_seconds: Option<f64>,
}

/// The jobs of job sets, by job set. `ids` is a JSON array.
async fn jobs(connection: &mut SqliteConnection, ids: &str) -> Result<BTreeMap<String, Vec<Job>>, Error> {
    let rows = sqlx::query_as!(
        JobRow,
        r#"SELECT j.id, j.job_set_id, j.kind, j.fold, j.state, j.state_reason, j.attempt, j.worker_name, j.lease_expires_ms,
                  j.not_before_ms, j.phase, j.epoch, j.step, j.step_count, j.loss, j.learning_rate, j.images_per_second,
                  j.advanced_ms, j.stalled AS "stalled: bool", j.result_digest, result.size_bytes AS "result_bytes?",
                  j.result_checkpoint_digest AS checkpoint_digest, checkpoint.size_bytes AS "checkpoint_bytes?", j.made_by_json,
                  (SELECT max(b.score) FROM epoch_metrics b WHERE b.job_id = j.id) AS "best_score?: f64",
                  (SELECT b.epoch FROM epoch_metrics b WHERE b.job_id = j.id
                   ORDER BY b.score DESC, b.epoch LIMIT 1) AS "best_epoch?: i64",
                  e.epoch AS "last_epoch?", e.train_loss AS "train_loss?", e.valid_loss AS "valid_loss?",
                  e.valid_macro_f1 AS "valid_macro_f1?", e.valid_threshold AS "valid_threshold?", e.valid_objective AS "valid_objective?",
                  e.learning_rate AS "epoch_learning_rate?", e.duration_seconds AS "duration_seconds?"
           FROM jobs j
           LEFT JOIN artifacts result ON result.digest = j.result_digest
           LEFT JOIN artifacts checkpoint ON checkpoint.digest = j.result_checkpoint_digest
           LEFT JOIN epoch_metrics e
                  ON e.job_id = j.id AND e.epoch = (SELECT max(l.epoch) FROM epoch_metrics l WHERE l.job_id = j.id)
           WHERE j.job_set_id IN (SELECT value FROM json_each(?))"#,
        ids
    );
    let rows = rows.fetch_all(&mut *connection).await?;
    let mut failures = failures(connection, ids).await?;
    let mut jobs: BTreeMap<String, Vec<Job>> = BTreeMap::new();
    for row in rows {
        let failures = failures.remove(&row.id).unwrap_or_default();
        let (job_set, job) = (row.job_set_id.clone(), job(row, failures)?);
        jobs.entry(job_set).or_default().push(job);
    }
    Ok(jobs)
}

fn job(row: JobRow, failures: BTreeMap<FailureCause, u32>) -> Result<Job, Error> {
    let kind: JobKind = parsed(&row.kind)?;
    let last_epoch = last_epoch(&row)?;
    let progress = match rows::phase(row.phase)? {
        None => None,
        Some(phase) => Some(Progress {
            phase,
            epoch: count(row.epoch)?,
            step: count(row.step)?,
            step_count: count(row.step_count)?,
            loss: row.loss,
            learning_rate: row.learning_rate,
            images_per_second: row.images_per_second,
        }),
    };
    let table = optional_artifact(result_kind(kind), row.result_digest.as_deref(), row.result_bytes)?;
    let checkpoint =
        optional_artifact(ArtifactKind::Checkpoint, row.checkpoint_digest.as_deref(), row.checkpoint_bytes)?;
    let result = table.map(|table| JobResult { table, checkpoint, made_by_json: row.made_by_json });
    Ok(Job {
        id: JobId(row.id),
        kind,
        fold: fold(row.fold)?,
        state: parsed(&row.state)?,
        state_reason: row.state_reason,
        attempt: attempt(row.attempt)?,
        worker: (!row.worker_name.is_empty()).then_some(row.worker_name),
        lease_expires: Timestamp(row.lease_expires_ms),
        not_before: Timestamp(row.not_before_ms),
        progress,
        advanced: Timestamp(row.advanced_ms),
        stalled: row.stalled,
        best_score: row.best_score,
        best_epoch: row.best_epoch.map(count).transpose()?,
        last_epoch,
        failures,
        result,
    })
}

fn last_epoch(row: &JobRow) -> Result<Option<EpochReport>, Error> {
    let columns = (row.last_epoch, row.train_loss, row.valid_loss, row.valid_macro_f1);
    let (Some(epoch), Some(train_loss), Some(valid_loss), Some(macro_f1)) = columns else { return Ok(None) };
    let Some((learning_rate, duration_seconds)) = row.epoch_learning_rate.zip(row.duration_seconds) else {
        return Ok(None);
    };
    let (epoch, threshold, objective) = (count(epoch)?, row.valid_threshold, row.valid_objective);
    let metrics = EpochMetrics { epoch, train_loss, valid_loss, macro_f1, threshold, learning_rate, objective };
    Ok(Some(EpochReport { metrics, duration_seconds }))
}

/// How often each job failed since its last retry, by cause.
async fn failures(
    connection: &mut SqliteConnection,
    ids: &str,
) -> Result<BTreeMap<i64, BTreeMap<FailureCause, u32>>, Error> {
    let rows = sqlx::query!(
        r#"SELECT f.job_id, f.cause, count(*) AS "count!: i64" FROM jobs j JOIN failures f ON f.job_id = j.id
           WHERE j.job_set_id IN (SELECT value FROM json_each(?)) AND f.forgiven = 0 GROUP BY f.job_id, f.cause"#,
        ids
    );
    let mut failures: BTreeMap<i64, BTreeMap<FailureCause, u32>> = BTreeMap::new();
    for row in rows.fetch_all(connection).await? {
        failures.entry(row.job_id).or_default().insert(parsed(&row.cause)?, count(row.count)?);
    }
    Ok(failures)
}

/// The fits of job sets, oldest first, by job set.
async fn fits(connection: &mut SqliteConnection, ids: &str) -> Result<BTreeMap<String, Vec<FitRecord>>, Error> {
    let rows = sqlx::query!(
        r#"SELECT f.job_set_id, f.oof_digest, oof.size_bytes AS oof_bytes, f.report_digest, report.size_bytes AS report_bytes,
                  f.submission_digest, submission.size_bytes AS "submission_bytes?", f.macro_f1, f.threshold, f.objective,
                  f.created_ms,
                  (SELECT json_group_array(d.fold) FROM fit_folds d
                   WHERE d.job_set_id = f.job_set_id AND d.oof_digest = f.oof_digest) AS "folds!: String"
           FROM fits f
           JOIN artifacts oof ON oof.digest = f.oof_digest
           JOIN artifacts report ON report.digest = f.report_digest
           LEFT JOIN artifacts submission ON submission.digest = f.submission_digest
           WHERE f.job_set_id IN (SELECT value FROM json_each(?)) ORDER BY f.created_ms, f.rowid"#,
        ids
    );
    let rows = rows.fetch_all(&mut *connection).await?;
    let mut fold_results = fold_results(connection, ids).await?;
    let mut fits: BTreeMap<String, Vec<FitRecord>> = BTreeMap::new();
    for row in rows {
        let artifact = |kind, digest_column: &str, size_bytes| {
            Ok::<_, Error>(Artifact { kind, digest: digest(digest_column)?, size_bytes: size(size_bytes)? })
        };
        let fit = Fit {
            oof: artifact(ArtifactKind::Oof, &row.oof_digest, row.oof_bytes)?,
            report: artifact(ArtifactKind::Report, &row.report_digest, row.report_bytes)?,
            submission: optional_artifact(
                ArtifactKind::Submission,
                row.submission_digest.as_deref(),
                row.submission_bytes,
            )?,
            scores: FitScores { macro_f1: row.macro_f1, threshold: row.threshold, objective: row.objective },
            folds: rows::folds(&row.folds)?,
        };
        let key = (row.job_set_id.clone(), row.oof_digest);
        let fold_results = fold_results.remove(&key).unwrap_or_default();
        let record = FitRecord { fit, created: Timestamp(row.created_ms), fold_results };
        fits.entry(row.job_set_id).or_default().push(record);
    }
    Ok(fits)
}

/// What the folds of job sets gave their fits, by fold, by job set and digest of the fit's table.
async fn fold_results(
    connection: &mut SqliteConnection,
    ids: &str,
) -> Result<BTreeMap<(String, String), Vec<FitFold>>, Error> {
    let rows = sqlx::query!(
        r#"SELECT d.job_set_id, d.oof_digest, d.fold, d.result_digest, result.size_bytes AS result_bytes, d.checkpoint_digest,
                  checkpoint.size_bytes AS "checkpoint_bytes?"
           FROM fit_folds d
           JOIN artifacts result ON result.digest = d.result_digest
           LEFT JOIN artifacts checkpoint ON checkpoint.digest = d.checkpoint_digest
           WHERE d.job_set_id IN (SELECT value FROM json_each(?)) ORDER BY d.fold"#,
        ids
    );
    let mut results: BTreeMap<(String, String), Vec<FitFold>> = BTreeMap::new();
    for row in rows.fetch_all(connection).await? {
        let checkpoint = (row.checkpoint_digest.as_deref(), row.checkpoint_bytes);
        let result = FitFold {
            fold: fold(row.fold)?,
            table: Artifact {
                kind: ArtifactKind::Oof,
                digest: digest(&row.result_digest)?,
                size_bytes: size(row.result_bytes)?,
            },
            checkpoint: optional_artifact(ArtifactKind::Checkpoint, checkpoint.0, checkpoint.1)?,
        };
        results.entry((row.job_set_id, row.oof_digest)).or_default().push(result);
    }
    Ok(results)
}

/// The submissions of job sets, oldest first, by job set.
async fn submissions(
    connection: &mut SqliteConnection,
    ids: &str,
) -> Result<BTreeMap<String, Vec<SubmissionRecord>>, Error> {
    let rows = sqlx::query!(
        "SELECT u.job_set_id, u.oof_digest, u.test_digest, u.folds, u.submission_digest, a.size_bytes, u.created_ms
         FROM submissions u JOIN artifacts a ON a.digest = u.submission_digest
         WHERE u.job_set_id IN (SELECT value FROM json_each(?)) ORDER BY u.created_ms, u.rowid",
        ids
    );
    let mut submissions: BTreeMap<String, Vec<SubmissionRecord>> = BTreeMap::new();
    for row in rows.fetch_all(connection).await? {
        let (kind, size_bytes) = (ArtifactKind::Submission, size(row.size_bytes)?);
        let record = SubmissionRecord {
            submission: Artifact { kind, digest: digest(&row.submission_digest)?, size_bytes },
            test: digest(&row.test_digest)?,
            oof: digest(&row.oof_digest)?,
            folds: rows::folds(&row.folds)?,
            created: Timestamp(row.created_ms),
        };
        submissions.entry(row.job_set_id).or_default().push(record);
    }
    Ok(submissions)
}

/// The job set that a request made before.
pub(super) async fn submitted(
    connection: &mut SqliteConnection,
    request_id: &str,
) -> Result<Option<EarlierRequest>, Error> {
    let row = sqlx::query!("SELECT id, request_digest FROM job_sets WHERE request_id = ?", request_id);
    let Some(row) = row.fetch_optional(connection).await? else { return Ok(None) };
    Ok(Some(EarlierRequest { job_set: rows::job_set_id(&row.id)?, digest: digest(&row.request_digest)? }))
}

pub(super) async fn submit(
    connection: &mut SqliteConnection,
    now: Timestamp,
    new: &NewJobSet,
) -> Result<Submitted, Error> {
    if let Some(earlier) = submitted(&mut *connection, &new.request_id).await? {
        return Ok(Submitted::Earlier(earlier));
    }
    let (id, state, spec_json) = (new.id.as_str(), JobSetState::Training.word(), new.spec.to_stored_json());
    let Inputs { train, hpa, test, weights, folds, images } = new.inputs;
    let warm_start_of = new.warm_start.as_ref().map(|warm_start| warm_start.of.as_str());
    let (request_digest, train, folds) = (new.request_digest.to_string(), train.to_string(), folds.to_string());
    let [hpa, test, weights, images_digest] =
        [hpa, test, weights, images].map(|digest: Option<Digest>| digest.map(|digest| digest.to_string()));
    sqlx::query!(
        "INSERT INTO job_sets (id, request_id, request_digest, spec_json, train_digest, hpa_digest, test_digest, weights_digest,
                               folds_digest, images_digest, warm_start_of, state, created_ms, updated_ms)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        id,
        new.request_id,
        request_digest,
        spec_json,
        train,
        hpa,
        test,
        weights,
        folds,
        images_digest,
        warm_start_of,
        state,
        now.0,
        now.0
    )
    .execute(&mut *connection)
    .await?;
    if let Some(images) = images {
        data_sets::add_segments(&mut *connection, images, &new.segments).await?;
    }
    for (fold, model) in new.warm_start.iter().flat_map(|warm_start| &warm_start.models) {
        let model = model.to_string();
        sqlx::query!(
            "INSERT INTO warm_starts (job_set_id, fold, checkpoint_digest) VALUES (?, ?, ?)",
            id,
            fold.0,
            model
        )
        .execute(&mut *connection)
        .await?;
    }
    for fold in new.spec.trained_folds() {
        add_job(&mut *connection, &new.id, JobKind::Train, fold).await?;
    }
    events::append(connection, now, &new.id, &new.event).await?;
    Ok(Submitted::Stored)
}

/// Adds a queued job, unless the fold has one of this kind.
pub(super) async fn add_job(
    connection: &mut SqliteConnection,
    id: &JobSetId,
    kind: JobKind,
    fold: Fold,
) -> Result<(), Error> {
    let (id, rank, kind, state) = (id.as_str(), rank(kind, fold), kind.word(), JobState::Queued.word());
    sqlx::query!(
        "INSERT INTO jobs (job_set_id, kind, fold, state, pick_order, paused)
         SELECT id, ?, ?, ?, number * 200 + ?, paused FROM job_sets WHERE id = ? ON CONFLICT DO NOTHING",
        kind,
        fold.0,
        state,
        rank,
        id
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The place of a job in the order in which its job set's jobs are leased, below 200.
fn rank(kind: JobKind, fold: Fold) -> i64 {
    let first = match kind {
        JobKind::Train => 0,
        JobKind::Predict => i64::from(Fold::COUNT_LIMIT),
    };
    first + i64::from(fold.0)
}
