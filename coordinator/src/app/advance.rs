//! From score tables to a report and a submission. The next step follows from what is stored, so a step that a crash
//! interrupted is repeated, with the same bytes.

use fivefold_common::artifact::ArtifactKind;
use fivefold_common::event::EventName;
use fivefold_common::ids::{Digest, Fold, JobSetId};
use fivefold_common::job::{JobKind, JobState};
use fivefold_common::job_set::JobSetState;
use fivefold_common::report::{FitOn, build_report_of};
use fivefold_common::scores::ScoreTable;
use fivefold_common::submission::{mean_scores, write_submission};
use serde_json::json;

use super::control::add_predict_jobs;
use super::decision::Decision;
use super::lists::{Lists, read_folds, read_test_rows};
use super::score_tables::take_scores;
use super::{Coordinator, blocking, put};
use crate::error::Error;
use crate::queue::{Effect, Job, JobSet};

/// Takes the next step of a job set, if it is due. If its results cannot be used, the job set fails. One that was deleted has
/// no next step.
///
/// # Errors
/// If the database or the disk fails: the step can be repeated.
pub async fn advance(coordinator: &Coordinator, id: &JobSetId) -> Result<(), Error> {
    let job_set = match coordinator.queue.job_set(id).await {
        Err(Error::NotFound { .. }) => return Ok(()),
        job_set => job_set?,
    };
    let advanced = match job_set.state {
        JobSetState::Training => match results_of(&job_set, JobKind::Train) {
            Some(results) => fit(coordinator, &job_set, results).await,
            None => Ok(()),
        },
        JobSetState::Predicting => match results_of(&job_set, JobKind::Predict) {
            Some(results) => make_submission(coordinator, &job_set, results).await,
            None => Ok(()),
        },
        JobSetState::Succeeded | JobSetState::Failed | JobSetState::Cancelled => Ok(()),
    };
    let Err(Error::BadContent(reason)) = advanced else { return advanced };
    tracing::error!("job set {id} failed: {reason}");
    coordinator.change(id, Box::new(move |job_set| Ok(decide_failure(job_set, &reason)))).await?;
    Ok(())
}

fn decide_failure(job_set: &JobSet, reason: &str) -> Vec<Effect> {
    let mut decision = Decision::on(job_set);
    if !job_set.state.has_ended() {
        decision.set_state(JobSetState::Failed, reason);
        decision.log(EventName::Failed, None, format!("the job set failed: {reason}"));
    }
    decision.effects()
}

/// The score tables of all jobs of a kind; `None` until all have succeeded.
fn results_of(job_set: &JobSet, kind: JobKind) -> Option<Vec<(Fold, Digest)>> {
    let table = |job: &Job| match job.state {
        JobState::Succeeded => job.result.as_ref().map(|result| (job.fold, result.table.digest)),
        JobState::Queued | JobState::Leased | JobState::Failed | JobState::Cancelled => None,
    };
    let tables: Option<Vec<_>> = job_set.jobs_of(kind).map(table).collect();
    tables.filter(|tables| !tables.is_empty())
}

/// Merges the out-of-fold tables, fits the threshold and stores both.
async fn fit(coordinator: &Coordinator, job_set: &JobSet, results: Vec<(Fold, Digest)>) -> Result<(), Error> {
    let (blobs, inputs, spec) = (&*coordinator.blobs, &job_set.inputs, &job_set.spec);
    let lists = Lists::read(blobs, spec, inputs.train, inputs.hpa).await?;
    let folds = read_folds(blobs, inputs.folds).await?;
    let mut table = ScoreTable::default();
    for &(fold, digest) in &results {
        let expected = lists.fold_rows(spec, fold, &folds)?.valid;
        table.rows.extend(take_scores(coordinator, digest, fold, expected).await?.rows);
    }
    let split = lists.split_report(spec, &folds);
    let (made_by, id, empty_rows) = (made_by(job_set), job_set.id.to_string(), spec.empty_rows);
    let (oof_csv, report_json, macro_f1, threshold) = blocking(move || {
        let (mut oof_csv, mut report_json) = (Vec::new(), Vec::new());
        table.write_csv(&mut oof_csv).map_err(|error| Error::file("oof.csv", error))?;
        let oof_digest = Digest::of(&oof_csv).to_string();
        let report = build_report_of(&table, oof_digest, empty_rows, FitOn::Train);
        let mut report = report.map_err(|error| Error::BadContent(error.to_string()))?;
        report.job_set = Some(id);
        report.made_by = made_by;
        report.split = split;
        report.write_json(&mut report_json).map_err(|error| Error::file("report.json", error))?;
        Ok((oof_csv, report_json, report.macro_f1, report.threshold))
    })
    .await?;
    let oof = put(coordinator, ArtifactKind::Oof, oof_csv).await?.digest;
    let report = put(coordinator, ArtifactKind::Report, report_json).await?.digest;
    let decide = move |job_set: &JobSet| {
        let is_current = results_of(job_set, JobKind::Train).as_ref() == Some(&results);
        let fit = Effect::StoreFit { oof, report, macro_f1, threshold };
        Ok(if is_current { decide_fit(job_set, fit, macro_f1, threshold) } else { Vec::new() })
    };
    coordinator.change(&job_set.id, Box::new(decide)).await?;
    Ok(())
}

fn decide_fit(job_set: &JobSet, fit: Effect, macro_f1: f64, threshold: f64) -> Vec<Effect> {
    let mut decision = Decision::on(job_set);
    if job_set.state != JobSetState::Training {
        return Vec::new();
    }
    decision.add(fit);
    let message = format!("all folds are trained: macro F1 {macro_f1:.4} at threshold {threshold:.4}");
    decision.log(EventName::Fitted, None, message);
    match job_set.inputs.test {
        Some(_) => {
            decision.set_state(JobSetState::Predicting, "");
            add_predict_jobs(&mut decision);
        }
        None => {
            decision.set_state(JobSetState::Succeeded, "");
            decision.log(EventName::Finished, None, "the job set is finished");
        }
    }
    decision.effects()
}

/// Averages the folds' predictions and stores the submission.
async fn make_submission(
    coordinator: &Coordinator,
    job_set: &JobSet,
    results: Vec<(Fold, Digest)>,
) -> Result<(), Error> {
    let JobSet { id, spec, inputs, .. } = job_set;
    let fit = job_set.fit.ok_or_else(|| Error::Stored(format!("{id} is predicting without a fit")))?;
    let test = inputs.test.ok_or_else(|| Error::Stored(format!("{id} is predicting without a list")))?;
    let blobs = &*coordinator.blobs;
    let rows = read_test_rows(blobs, test).await?;
    let mut tables = Vec::new();
    for &(fold, digest) in &results {
        tables.push(take_scores(coordinator, digest, fold, rows.clone()).await?);
    }
    let empty_rows = spec.empty_rows;
    let csv = blocking(move || {
        let ids: Vec<String> = rows.into_iter().map(|row| row.id).collect();
        let means = mean_scores(&tables).map_err(|error| Error::BadContent(error.to_string()))?;
        let mut csv = Vec::new();
        let written = write_submission(&ids, &means, fit.threshold, empty_rows, &mut csv);
        written.map_err(|error| Error::BadContent(error.to_string()))?;
        Ok(csv)
    })
    .await?;
    let submission = put(coordinator, ArtifactKind::Submission, csv).await?.digest;
    let decide = move |job_set: &JobSet| {
        let is_current = job_set.fit.is_some_and(|present| present.oof == fit.oof)
            && results_of(job_set, JobKind::Predict).as_ref() == Some(&results);
        Ok(if is_current { decide_submission(job_set, submission) } else { Vec::new() })
    };
    coordinator.change(id, Box::new(decide)).await?;
    Ok(())
}

fn decide_submission(job_set: &JobSet, submission: Digest) -> Vec<Effect> {
    let mut decision = Decision::on(job_set);
    if job_set.state != JobSetState::Predicting {
        return Vec::new();
    }
    decision.add(Effect::StoreSubmission { submission });
    decision.set_state(JobSetState::Succeeded, "");
    decision.log(EventName::Finished, None, "the submission is there: the job set is finished");
    decision.effects()
}

/// The origin of a report's numbers.
fn made_by(job_set: &JobSet) -> serde_json::Value {
    let folds: Vec<_> = job_set
        .jobs_of(JobKind::Train)
        .map(|job| {
            let result = job.result.as_ref();
            let worker: serde_json::Value =
                result.and_then(|result| serde_json::from_str(&result.made_by_json).ok()).unwrap_or_default();
            json!({
                "fold": job.fold,
                "attempt": job.attempt,
                "oof_digest": result.map(|result| result.table.digest),
                "checkpoint_digest": result.and_then(|result| result.checkpoint).map(|checkpoint| checkpoint.digest),
                "worker": worker,
            })
        })
        .collect();
    let inputs = &job_set.inputs;
    json!({
        "fivefold": env!("CARGO_PKG_VERSION"),
        "spec": job_set.spec,
        "train_digest": inputs.train,
        "hpa_digest": inputs.hpa,
        "weights_digest": inputs.weights,
        "folds_digest": inputs.folds,
        "folds": folds,
    })
}
