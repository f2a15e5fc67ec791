//! The prediction of a test list.

use fivefold_common::event::EventName;
use fivefold_common::fold_set::FoldSet;
use fivefold_common::ids::{Digest, JobSetId};
use fivefold_common::job::{JobKind, JobState};
use fivefold_common::job_set::JobSetState;

use super::Coordinator;
use super::artifacts::require_artifact;
use super::control::{require_folds, unfinished_state};
use super::decision::Decision;
use super::lists::read_test_list;
use super::pushed_images;
use crate::error::Error;
use crate::queue::{Effect, JobSet};

/// What a user wants predicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prediction {
    /// The test list; `None` for the one that the job set has.
    pub test: Option<Digest>,
    /// The folds that predict; `None` for all of the fit.
    pub folds: Option<FoldSet>,
    /// Whether the prediction of another list may be dropped before it is finished.
    pub replace: bool,
}

/// Queues the prediction of a test list. Submissions that were made before stay. The same prediction again changes nothing.
///
/// # Errors
/// If the list cannot be used; [`Error::WrongState`] if a fold is not trained, or another list is not predicted yet.
pub async fn predict(coordinator: &Coordinator, id: &JobSetId, prediction: Prediction) -> Result<(), Error> {
    if let Some(test) = prediction.test {
        require_artifact(coordinator, "test_digest", test).await?;
        let JobSet { spec, inputs, .. } = coordinator.queue.job_set(id).await?;
        let list = read_test_list(&*coordinator.blobs, &spec, test).await?;
        if let Some(images) = inputs.images {
            pushed_images::check_test_list(coordinator, images, list).await?;
        }
    }
    coordinator.change(id, Box::new(move |job_set| decide_predict(job_set, prediction))).await.map(|_| ())
}

fn decide_predict(job_set: &JobSet, Prediction { test, folds, replace }: Prediction) -> Result<Vec<Effect>, Error> {
    let JobSet { id, state, .. } = job_set;
    let Some(test) = test.or(job_set.inputs.test) else {
        return Err(Error::WrongState(format!("{id} has no test list: name one with --test-csv")));
    };
    let all = job_set.folds_of(JobKind::Train);
    require_folds(job_set, folds.unwrap_or_default())?;
    if let Some(left_out) = folds.and_then(|folds| folds.without(all).iter().next()) {
        return Err(Error::WrongState(format!("fold {left_out} is not among the folds of {id}: {all}")));
    }
    let folds = folds.filter(|folds| *folds != all);
    let goes_on = match state {
        JobSetState::Training | JobSetState::Predicting | JobSetState::Succeeded => true,
        JobSetState::Failed | JobSetState::Cancelled => false,
    };
    let is_same_list = job_set.inputs.test == Some(test);
    if goes_on && is_same_list && job_set.predict_folds == folds {
        return Ok(Vec::new());
    }
    if job_set.fit.is_none() && *state != JobSetState::Training {
        let advice = match job_set.trained_folds() {
            trained if trained.is_empty() => String::new(),
            trained => format!(": `fivefold finish {id}` fits the folds that are ({trained}) and predicts with them"),
        };
        return Err(Error::WrongState(format!("{id} is {state}: its folds are not all trained{advice}")));
    }
    let is_waiting = matches!(state, JobSetState::Training | JobSetState::Predicting);
    if is_waiting && job_set.inputs.test.is_some() && !replace {
        return Err(Error::WrongState(format!(
            "the test list that {id} has is not predicted yet: wait for it with `fivefold watch {id}`, or drop its \
             prediction with --replace"
        )));
    }
    let mut decision = Decision::on(job_set);
    let wanted = folds.unwrap_or(all);
    for job in job_set.jobs_of(JobKind::Predict) {
        // What some folds have predicted of the same list is used again.
        let stays = is_same_list && (wanted.contains(job.fold) && goes_on || job.state == JobState::Succeeded);
        if !stays {
            decision.add(Effect::RemoveJob { job: job.id });
        }
    }
    decision.add(Effect::SetTest { test, folds });
    decision.job_set.predict_folds = folds;
    decision.add(Effect::ClearSubmission);
    decision.reopen(unfinished_state(job_set));
    if job_set.fit.is_some() {
        add_predict_jobs(&mut decision);
    }
    Ok(decision.effects())
}

/// Queues the predict jobs that are missing.
pub(super) fn add_predict_jobs(decision: &mut Decision) {
    for fold in decision.job_set.folds_of(JobKind::Predict).iter() {
        decision.add(Effect::AddJob { kind: JobKind::Predict, fold });
    }
    decision.log(EventName::Predicting, None, "the test list is being predicted");
}
