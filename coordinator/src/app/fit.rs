//! The fit of folds: their merged out-of-fold table, the threshold and the report.

use fivefold_common::artifact::ArtifactKind;
use fivefold_common::decision_rule::DecisionSettings;
use fivefold_common::fold_set::FoldSet;
use fivefold_common::ids::{Digest, Fold, JobSetId};
use fivefold_common::job::{JobKind, JobState};
use fivefold_common::report::{FitOn, MissingFold, PartialFolds, build_report_of};
use fivefold_common::scores::ScoreTable;
use serde_json::json;

use super::lists::{Lists, read_folds};
use super::score_tables::{read_scores, take_scores};
use super::{Coordinator, blocking, put};
use crate::error::Error;
use crate::queue::{Fit, FitScores, Job, JobSet};

/// What becomes of the folds' tables in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tables {
    /// They are used for the last time.
    Release,
    /// A later fit uses them again.
    Keep,
}

/// Fits the threshold on the folds that are trained by now, and returns the fit with the job set that it was made from. The
/// job set does not change; the artifacts are kept for a while.
///
/// # Errors
/// [`Error::WrongState`] if no fold is trained.
pub async fn fit_trained_folds(coordinator: &Coordinator, id: &JobSetId) -> Result<(Fit, JobSet), Error> {
    let job_set = coordinator.queue.job_set(id).await?;
    let results: Vec<_> = job_set.jobs_of(JobKind::Train).filter_map(table_of).collect();
    if results.is_empty() {
        return Err(Error::WrongState(format!("no fold of {id} is trained: {}", why_none(&job_set))));
    }
    let fit = fit_folds(coordinator, &job_set, &results, Tables::Keep).await?;
    Ok((fit, job_set))
}

/// Why a job set has no trained fold.
pub(super) fn why_none(job_set: &JobSet) -> String {
    let JobSet { state, state_reason, .. } = job_set;
    if state_reason.is_empty() { format!("it is {state}") } else { format!("it is {state}: {state_reason}") }
}

/// The score table of a job that has its result.
pub(super) fn table_of(job: &Job) -> Option<(Fold, Digest)> {
    match job.state {
        JobState::Succeeded => job.result.as_ref().map(|result| (job.fold, result.table.digest)),
        JobState::Queued | JobState::Leased | JobState::Failed | JobState::Cancelled => None,
    }
}

/// Merges out-of-fold tables, fits the threshold and puts table and report into the store.
///
/// # Errors
/// [`Error::BadContent`] if the tables cannot be used.
pub(super) async fn fit_folds(
    coordinator: &Coordinator,
    job_set: &JobSet,
    results: &[(Fold, Digest)],
    tables: Tables,
) -> Result<Fit, Error> {
    let (blobs, inputs, spec) = (&*coordinator.blobs, &job_set.inputs, &job_set.spec);
    let lists = Lists::read(blobs, spec, inputs.train, inputs.hpa).await?;
    let fold_table = read_folds(blobs, inputs.folds).await?;
    let mut table = ScoreTable::new(spec.class_count());
    for &(fold, digest) in results {
        let expected = lists.fold_rows(spec, fold, &fold_table)?.valid;
        let scores = match tables {
            Tables::Release => take_scores(coordinator, digest, spec.class_count(), fold, expected).await?,
            Tables::Keep => read_scores(coordinator, digest, spec.class_count(), fold, expected).await?,
        };
        table.rows.extend(scores.rows);
    }
    let split = lists.split_report(spec, &fold_table);
    let folds: FoldSet = results.iter().map(|(fold, _)| *fold).collect();
    let (made_by, partial) = (made_by(job_set), partial(job_set, folds));
    let (id, class_names, objective) = (job_set.id.to_string(), spec.class_names(), spec.objective);
    let settings = DecisionSettings::from(spec);
    let (oof_csv, report_json, scores) = blocking(move || {
        let (mut oof_csv, mut report_json) = (Vec::new(), Vec::new());
        table.write_csv(&mut oof_csv).map_err(|error| Error::file("oof.csv", error))?;
        let oof_digest = Digest::of(&oof_csv).to_string();
        let report = build_report_of(&table, oof_digest, &class_names, settings, FitOn::Train);
        let mut report = report.map_err(|error| Error::BadContent(error.to_string()))?;
        (report.job_set, report.partial, report.made_by, report.split) = (Some(id), partial, made_by, split);
        report.write_json(&mut report_json).map_err(|error| Error::file("report.json", error))?;
        let objective = report.metrics.as_ref().and_then(|metrics| objective.of_report(metrics));
        let scores = FitScores { macro_f1: report.macro_f1, threshold: report.threshold, objective };
        Ok((oof_csv, report_json, scores))
    })
    .await?;
    let oof = put(coordinator, ArtifactKind::Oof, oof_csv).await?;
    let report = put(coordinator, ArtifactKind::Report, report_json).await?;
    Ok(Fit { oof, report, submission: None, scores, folds })
}

/// The folds that a fit of `folds` lacks; `None` if it lacks none.
fn partial(job_set: &JobSet, folds: FoldSet) -> Option<PartialFolds> {
    let missing = job_set.jobs_of(JobKind::Train).filter(|job| !folds.contains(job.fold));
    let missing: Vec<MissingFold> =
        missing.map(|job| MissingFold { fold: job.fold, state: job.state, reason: job.state_reason.clone() }).collect();
    (!missing.is_empty()).then_some(PartialFolds { folds, missing })
}

/// The origin of a report's numbers.
fn made_by(job_set: &JobSet) -> serde_json::Value {
    let trained = job_set.jobs_of(JobKind::Train).filter_map(|job| Some((job, job.result.as_ref()?)));
    let folds: Vec<_> = trained
        .map(|(job, result)| {
            let worker: serde_json::Value = serde_json::from_str(&result.made_by_json).unwrap_or_default();
            json!({
                "fold": job.fold,
                "attempt": job.attempt,
                "oof_digest": result.table.digest,
                "checkpoint_digest": result.checkpoint.map(|checkpoint| checkpoint.digest),
                "worker": worker,
            })
        })
        .collect();
    let inputs = &job_set.inputs;
    let mut made_by = json!({
        "fivefold": env!("CARGO_PKG_VERSION"),
        "spec": job_set.spec,
        "train_digest": inputs.train,
        "hpa_digest": inputs.hpa,
        "weights_digest": inputs.weights,
        "folds_digest": inputs.folds,
        "folds": folds,
    });
    if let Some(of) = &job_set.warm_start_of {
        made_by["warm_start_of"] = json!(of);
    }
    made_by
}
