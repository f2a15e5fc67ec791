//! The end of a job set with the folds that are trained.

use fivefold_common::event::EventName;
use fivefold_common::ids::JobSetId;
use fivefold_common::job::{JobEvent, JobKind};
use fivefold_common::job_set::JobSetState;

use super::Coordinator;
use super::decision::Decision;
use super::fit::why_none;
use crate::error::Error;
use crate::queue::{Effect, JobSet};

/// Ends a job set with the folds that are trained: the other ones are cancelled, and fit and prediction follow.
///
/// # Errors
/// [`Error::WrongState`] if no fold is trained, or the fit has been made.
pub async fn finish(coordinator: &Coordinator, id: &JobSetId) -> Result<(), Error> {
    coordinator.change(id, Box::new(decide_finish)).await.map(|_| ())
}

fn decide_finish(job_set: &JobSet) -> Result<Vec<Effect>, Error> {
    let JobSet { id, state, .. } = job_set;
    if job_set.fit.is_some() {
        return Err(Error::WrongState(match state {
            JobSetState::Succeeded => format!("{id} has succeeded: there is nothing to finish"),
            _ => {
                format!("the folds of {id} are fitted: `fivefold predict {id} --folds 0,1` predicts with some of them")
            }
        }));
    }
    let (trained, all) = (job_set.trained_folds(), job_set.folds_of(JobKind::Train));
    if trained.is_empty() {
        let why = why_none(job_set);
        return Err(Error::WrongState(format!(
            "no fold of {id} is trained, so there is nothing to finish with: {why}"
        )));
    }
    if trained == all && *state == JobSetState::Training {
        // The fit is about to be made.
        return Ok(Vec::new());
    }
    let mut decision = Decision::on(job_set);
    let reason = format!("left out: a user ended the job set with the folds {trained}");
    // Predictions of folds that stay, which a retrained fold may have left, go on.
    for job in job_set.jobs_of(JobKind::Train).filter(|job| job.state.is_unfinished()) {
        let transition = decision.move_job(job.id, JobEvent::Cancelled, &reason)?;
        decision.add(Effect::Cancel { job: job.id, transition, reason: reason.clone() });
    }
    if trained != all {
        decision.add(Effect::SetKept { folds: Some(trained) });
    }
    if let (Some(test), Some(predicted)) = (job_set.inputs.test, job_set.predict_folds)
        && !predicted.without(trained).is_empty()
    {
        decision.add(Effect::SetTest { test, folds: None });
    }
    decision.set_state(JobSetState::Training, "");
    decision.log(EventName::EndedEarly, None, format!("ended by a user with the folds {trained}"));
    Ok(decision.effects())
}
