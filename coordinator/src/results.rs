//! From score tables to a report and a submission. Which step is next follows from what is stored, so a step that a crash cut
//! off is taken again, and gives the same bytes.

use fivefold_common::ids::{Digest, Fold, JobSetId};
use fivefold_common::report::build_report;
use fivefold_common::scores::ScoreTable;
use fivefold_common::spec::JobSetSpec;
use fivefold_common::submission::{mean_scores, write_submission};
use serde_json::json;

use crate::clock::Timestamp;
use crate::database::Database;
use crate::error::Error;
use crate::lists::{Lists, blocking, read_folds, read_scores, read_test_rows};
use crate::queue::job_sets::{JobRow, JobSetRow};
use crate::queue::{artifacts, fits, job_sets as queue};
use crate::store::Store;

/// Takes the next steps of every job set that has not ended. A job set whose results cannot be used fails, and the others go
/// on.
///
/// # Errors
/// When the database or the disk fails: nothing is lost, it is to be tried again.
pub async fn advance_all(database: &Database, store: &Store) -> Result<(), Error> {
    for id in queue::unfinished(database.readers()).await? {
        match advance(database, store, &id).await {
            Err(Error::BadContent(reason)) => {
                tracing::error!("job set {id} failed: {reason}");
                let now = Timestamp::now();
                database.write(move |c| Box::pin(async move { queue::fail(c, now, &id, &reason).await })).await?;
            }
            other => other?,
        }
    }
    Ok(())
}

/// Takes the next step of one job set, if it is due.
async fn advance(database: &Database, store: &Store, id: &JobSetId) -> Result<(), Error> {
    let row = queue::row(database.readers(), id).await?;
    let jobs = queue::jobs(database.readers(), id).await?;
    let kind = if row.state == "training" { "train" } else { "predict" };
    let due: Vec<&JobRow> = jobs.iter().filter(|job| job.kind == kind).collect();
    if due.is_empty() || due.iter().any(|job| job.state != "succeeded") {
        return Ok(());
    }
    let spec = JobSetSpec::from_stored_json(&row.spec_json).map_err(|error| Error::Stored(format!("{id}: {error}")))?;
    match kind {
        "train" => fit(database, store, id, &row, &due, spec).await,
        _ => submit(database, store, id, &row, &due, spec).await,
    }
}

/// Merges the out-of-fold tables, fits the threshold and stores both.
async fn fit(
    database: &Database,
    store: &Store,
    id: &JobSetId,
    row: &JobSetRow,
    jobs: &[&JobRow],
    spec: JobSetSpec,
) -> Result<(), Error> {
    let lists = Lists::read(store, stored(&row.train_digest)?, optional(row.hpa_digest.as_deref())?).await?;
    let folds = read_folds(store, stored(&row.folds_digest)?).await?;
    let mut table = ScoreTable::default();
    for job in jobs {
        let fold = Fold(job.fold as u8);
        let expected = lists.fold_rows(&spec, fold, &folds)?.valid;
        let scores = read_scores(store, stored_result(job)?, fold, expected).await?;
        table.rows.extend(scores.rows);
    }
    let made_by = made_by(row, jobs, &spec);
    let job_set = id.to_string();
    let (oof_csv, report_json, threshold, macro_f1) = blocking(move || {
        let mut report = build_report(&table, spec.empty_rows).map_err(|error| Error::BadContent(error.to_string()))?;
        report.job_set = Some(job_set);
        report.made_by = made_by;
        let (mut oof_csv, mut report_json) = (Vec::new(), Vec::new());
        table.write_csv(&mut oof_csv).map_err(|error| Error::file("oof.csv", error))?;
        report.write_json(&mut report_json).map_err(|error| Error::file("report.json", error))?;
        Ok((oof_csv, report_json, report.threshold, report.macro_f1))
    })
    .await?;
    let oof = put(database, store, "oof", oof_csv).await?;
    let report = put(database, store, "report", report_json).await?;
    let (id, now) = (id.clone(), Timestamp::now());
    database
        .write(move |c| Box::pin(async move { fits::store(c, now, &id, (oof, report), (threshold, macro_f1)).await }))
        .await
}

/// Averages the folds' predictions and stores the submission.
async fn submit(
    database: &Database,
    store: &Store,
    id: &JobSetId,
    row: &JobSetRow,
    jobs: &[&JobRow],
    spec: JobSetSpec,
) -> Result<(), Error> {
    let threshold = row.threshold.ok_or_else(|| Error::Stored(format!("{id} is predicting without a threshold")))?;
    let test = row.test_digest.as_deref().ok_or_else(|| Error::Stored(format!("{id} is predicting without a list")))?;
    let rows = read_test_rows(store, stored(test)?).await?;
    let mut tables = Vec::new();
    for job in jobs {
        tables.push(read_scores(store, stored_result(job)?, Fold(job.fold as u8), rows.clone()).await?);
    }
    let submission = blocking(move || {
        let ids: Vec<String> = rows.into_iter().map(|row| row.id).collect();
        let means = mean_scores(&tables).map_err(|error| Error::BadContent(error.to_string()))?;
        let mut csv = Vec::new();
        let written = write_submission(&ids, &means, threshold, spec.empty_rows, &mut csv);
        written.map_err(|error| Error::BadContent(error.to_string()))?;
        Ok(csv)
    })
    .await?;
    let submission = put(database, store, "submission", submission).await?;
    let (id, now) = (id.clone(), Timestamp::now());
    database.write(move |c| Box::pin(async move { fits::store_submission(c, now, &id, submission).await })).await
}

/// Everything that a report's numbers come from.
fn made_by(row: &JobSetRow, jobs: &[&JobRow], spec: &JobSetSpec) -> serde_json::Value {
    let folds: Vec<_> = jobs
        .iter()
        .map(|job| {
            let worker: serde_json::Value = serde_json::from_str(&job.made_by_json).unwrap_or_default();
            json!({
                "fold": job.fold,
                "attempt": job.attempt,
                "oof_digest": job.result_digest,
                "checkpoint_digest": job.result_checkpoint_digest,
                "worker": worker,
            })
        })
        .collect();
    json!({
        "fivefold": env!("CARGO_PKG_VERSION"),
        "spec": spec,
        "train_digest": row.train_digest,
        "hpa_digest": row.hpa_digest,
        "weights_digest": row.weights_digest,
        "folds_digest": row.folds_digest,
        "folds": folds,
    })
}

/// Stores bytes that the coordinator made, then their row.
///
/// # Errors
/// When the disk or the database fails.
pub async fn put(database: &Database, store: &Store, kind: &'static str, bytes: Vec<u8>) -> Result<Digest, Error> {
    let (digest, size_bytes) = (Digest::of(&bytes), bytes.len() as u64);
    // Until the row is there.
    let claim = store.claim(digest)?;
    store.put(&claim, bytes).await?;
    let now = Timestamp::now();
    database.write(move |c| Box::pin(async move { artifacts::record(c, now, digest, kind, size_bytes).await })).await?;
    Ok(digest)
}

fn stored_result(job: &JobRow) -> Result<Digest, Error> {
    let digest = job.result_digest.as_deref();
    stored(digest.ok_or_else(|| Error::Stored(format!("job {} succeeded without a result", job.id)))?)
}

/// A digest that the database holds.
///
/// # Errors
/// When it is not one.
pub fn stored(digest: &str) -> Result<Digest, Error> {
    digest.parse().map_err(|error| Error::Stored(format!("{error}")))
}

/// The same, where it may be missing.
///
/// # Errors
/// When it is there and not a digest.
pub fn optional(digest: Option<&str>) -> Result<Option<Digest>, Error> {
    digest.map(stored).transpose()
}
