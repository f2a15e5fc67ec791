//! From score tables to a report and a submission. The next step follows from what is stored, so a step that a crash
//! interrupted is repeated, with the same bytes.

use fivefold_common::artifact::ArtifactKind;
use fivefold_common::event::EventName;
use fivefold_common::fold_set::FoldSet;
use fivefold_common::ids::{Digest, Fold, JobSetId};
use fivefold_common::job::JobKind;
use fivefold_common::job_set::JobSetState;
use fivefold_common::report::Report;
use fivefold_common::spec::Objective;
use fivefold_common::submission::{mean_scores, write_submission};

use super::decision::Decision;
use super::fit::{Tables, fit_folds, table_of};
use super::lists::read_test_rows;
use super::predict::add_predict_jobs;
use super::score_tables::take_scores;
use super::{Coordinator, blocking, put};
use crate::error::Error;
use crate::queue::{Effect, Fit, FitScores, JobSet};

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

/// The score tables of the jobs of a kind that lead to the results; `None` until all of them have succeeded.
fn results_of(job_set: &JobSet, kind: JobKind) -> Option<Vec<(Fold, Digest)>> {
    let folds = job_set.folds_of(kind);
    let tables: Option<Vec<_>> = job_set.jobs_of(kind).filter(|job| folds.contains(job.fold)).map(table_of).collect();
    tables.filter(|tables| !tables.is_empty())
}

/// Fits the threshold and stores the fit.
async fn fit(coordinator: &Coordinator, job_set: &JobSet, results: Vec<(Fold, Digest)>) -> Result<(), Error> {
    let fit = fit_folds(coordinator, job_set, &results, Tables::Release).await?;
    let decide = move |job_set: &JobSet| {
        let is_current = results_of(job_set, JobKind::Train).as_ref() == Some(&results);
        Ok(if is_current { decide_fit(job_set, fit) } else { Vec::new() })
    };
    coordinator.change(&job_set.id, Box::new(decide)).await?;
    Ok(())
}

fn decide_fit(job_set: &JobSet, fit: Fit) -> Vec<Effect> {
    let mut decision = Decision::on(job_set);
    if job_set.state != JobSetState::Training {
        return Vec::new();
    }
    let Fit { oof, report, scores, folds, .. } = fit;
    decision.add(Effect::StoreFit { oof: oof.digest, report: report.digest, scores });
    let which = match job_set.kept_folds {
        None => "all folds are trained".to_owned(),
        Some(_) => format!("the folds {folds} are fitted"),
    };
    decision.log(EventName::Fitted, None, format!("{which}: {}", score_words(job_set.spec.objective, scores)));
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

/// The main figures of a fit: `mean AUROC 0.9712, macro F1 0.7125 at threshold 0.2500`.
fn score_words(objective: Objective, FitScores { macro_f1, threshold, objective: value }: FitScores) -> String {
    let mut words = match value.filter(|_| objective != Objective::MacroF1) {
        Some(value) => format!("{} {value:.4}, ", objective.title()),
        None => String::new(),
    };
    words += &format!("macro F1 {macro_f1:.4}");
    if let Some(threshold) = threshold {
        words += &format!(" at threshold {threshold:.4}");
    }
    words
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
    let rows = read_test_rows(blobs, spec, test).await?;
    let mut tables = Vec::new();
    for &(fold, digest) in &results {
        tables.push(take_scores(coordinator, digest, spec.class_count(), fold, rows.clone()).await?);
    }
    let submitted_spec = spec.clone();
    let report = blobs.read(fit.report.digest).await?;
    let csv = blocking(move || {
        let report: Report =
            serde_json::from_slice(&report).map_err(|error| Error::Stored(format!("report: {error}")))?;
        let ids: Vec<String> = rows.into_iter().map(|row| row.id).collect();
        let means = mean_scores(&tables).map_err(|error| Error::BadContent(error.to_string()))?;
        let mut csv = Vec::new();
        let written = write_submission(&ids, &means, &report.decision_rule(), &submitted_spec, &mut csv);
        written.map_err(|error| Error::BadContent(error.to_string()))?;
        Ok(csv)
    })
    .await?;
    let submission = put(coordinator, ArtifactKind::Submission, csv).await?.digest;
    let decide = move |job_set: &JobSet| {
        let is_current = job_set.fit.is_some_and(|present| present.oof == fit.oof)
            && results_of(job_set, JobKind::Predict).as_ref() == Some(&results);
        let folds = results.iter().map(|(fold, _)| *fold).collect();
        Ok(if is_current { decide_submission(job_set, submission, folds) } else { Vec::new() })
    };
    coordinator.change(id, Box::new(decide)).await?;
    Ok(())
}

fn decide_submission(job_set: &JobSet, submission: Digest, folds: FoldSet) -> Vec<Effect> {
    let mut decision = Decision::on(job_set);
    if job_set.state != JobSetState::Predicting {
        return Vec::new();
    }
    decision.add(Effect::StoreSubmission { submission, folds });
    decision.set_state(JobSetState::Succeeded, "");
    decision.log(EventName::Finished, None, "the submission is there: the job set is finished");
    decision.effects()
}
