//! What users change of job sets and workers.

use fivefold_common::event::EventName;
use fivefold_common::ids::{Digest, Fold, JobSetId};
use fivefold_common::job::{JobEvent, JobKind, JobState};
use fivefold_common::job_set::JobSetState;

use super::Coordinator;
use super::artifacts::require_artifact;
use super::decision::Decision;
use super::lists::read_test_list;
use crate::error::Error;
use crate::queue::{Effect, JobSet, NewWorker};

/// Cancels a job set and all its jobs that have no result.
///
/// # Errors
/// [`Error::WrongState`] if it has succeeded.
pub async fn cancel(coordinator: &Coordinator, id: &JobSetId) -> Result<(), Error> {
    coordinator.change(id, Box::new(decide_cancel)).await.map(|_| ())
}

fn decide_cancel(job_set: &JobSet) -> Result<Vec<Effect>, Error> {
    const REASON: &str = "cancelled by a user";
    match job_set.state {
        JobSetState::Cancelled => return Ok(Vec::new()),
        JobSetState::Succeeded => {
            return Err(Error::WrongState(format!("{} has succeeded: there is nothing to cancel", job_set.id)));
        }
        JobSetState::Training | JobSetState::Predicting | JobSetState::Failed => {}
    }
    let mut decision = Decision::on(job_set);
    for job in &job_set.jobs {
        if !matches!(job.state, JobState::Succeeded | JobState::Cancelled) {
            let transition = decision.move_job(job.id, JobEvent::Cancelled, REASON)?;
            decision.add(Effect::Cancel { job: job.id, transition, reason: REASON.to_owned() });
        }
    }
    decision.set_state(JobSetState::Cancelled, REASON);
    decision.log(EventName::Cancelled, None, REASON);
    Ok(decision.effects())
}

/// Leases no more jobs of a job set; workers return the ones that they hold.
///
/// # Errors
/// [`Error::WrongState`] if the job set has ended.
pub async fn pause(coordinator: &Coordinator, id: &JobSetId) -> Result<(), Error> {
    coordinator.change(id, Box::new(|job_set| decide_pause(job_set, true))).await.map(|_| ())
}

/// Leases the jobs of a paused job set again.
///
/// # Errors
/// [`Error::WrongState`] if the job set has ended.
pub async fn resume(coordinator: &Coordinator, id: &JobSetId) -> Result<(), Error> {
    coordinator.change(id, Box::new(|job_set| decide_pause(job_set, false))).await.map(|_| ())
}

fn decide_pause(job_set: &JobSet, paused: bool) -> Result<Vec<Effect>, Error> {
    if job_set.state.has_ended() {
        let JobSet { id, state, .. } = job_set;
        return Err(Error::WrongState(format!("{id} has ended ({state}): there is nothing to pause or resume")));
    }
    let mut decision = Decision::on(job_set);
    if job_set.paused != paused {
        decision.set_paused(paused);
        match paused {
            true => decision.log(EventName::Paused, None, "paused by a user: running folds are saved and released"),
            false => decision.log(EventName::Resumed, None, "resumed by a user"),
        }
    }
    Ok(decision.effects())
}

/// Queues failed and cancelled jobs again, of all folds or of one. Their earlier failures count no longer.
///
/// # Errors
/// [`Error::WrongState`] if there are none.
pub async fn retry(coordinator: &Coordinator, id: &JobSetId, fold: Option<Fold>) -> Result<(), Error> {
    coordinator.change(id, Box::new(move |job_set| decide_retry(job_set, fold))).await.map(|_| ())
}

fn decide_retry(job_set: &JobSet, fold: Option<Fold>) -> Result<Vec<Effect>, Error> {
    let has_ended = matches!(job_set.state, JobSetState::Failed | JobSetState::Cancelled);
    let mut decision = Decision::on(job_set);
    let mut retried = 0;
    for job in job_set.jobs.iter().filter(|job| fold.is_none_or(|fold| job.fold == fold)) {
        if matches!(job.state, JobState::Failed | JobState::Cancelled) {
            let transition = decision.move_job(job.id, JobEvent::Retried, "")?;
            decision.add(Effect::Retry { job: job.id, transition });
            retried += 1;
        }
    }
    // A job set may have ended without such a job: its results did not fit together, or it was cancelled before its fit.
    if retried == 0 && (!has_ended || fold.is_some()) {
        let which = fold.map_or("none of its jobs".to_owned(), |fold| format!("no job of fold {fold}"));
        return Err(Error::WrongState(format!("{} is {}: {which} failed or was cancelled", job_set.id, job_set.state)));
    }
    if has_ended {
        decision.set_state(unfinished_state(job_set), "");
    }
    let message = match fold {
        None => "failed and cancelled jobs are queued again".to_owned(),
        Some(fold) => format!("fold {fold} is queued again"),
    };
    decision.log(EventName::Retried, None, message);
    Ok(decision.effects())
}

fn unfinished_state(job_set: &JobSet) -> JobSetState {
    match job_set.fit {
        None => JobSetState::Training,
        Some(_) => JobSetState::Predicting,
    }
}

/// Queues a trained fold for another training from its beginning. A new fit and a new submission follow; earlier fits stay,
/// with their checkpoints.
///
/// # Errors
/// [`Error::WrongState`] if the fold is not trained, or the job set failed or was cancelled.
pub async fn retrain(coordinator: &Coordinator, id: &JobSetId, fold: Fold) -> Result<(), Error> {
    coordinator.change(id, Box::new(move |job_set| decide_retrain(job_set, fold))).await.map(|_| ())
}

fn decide_retrain(job_set: &JobSet, fold: Fold) -> Result<Vec<Effect>, Error> {
    const REASON: &str = "to be trained again";
    let JobSet { id, state, .. } = job_set;
    if matches!(state, JobSetState::Failed | JobSetState::Cancelled) {
        return Err(Error::WrongState(format!("{id} is {state}: `fivefold retry` it first")));
    }
    let trained = job_set.jobs_of(JobKind::Train).find(|job| job.fold == fold && job.state == JobState::Succeeded);
    let Some(job) = trained else {
        return Err(Error::WrongState(format!("fold {fold} of {id} is not trained: there is nothing to train again")));
    };
    let mut decision = Decision::on(job_set);
    let transition = decision.move_job(job.id, JobEvent::Retrained, REASON)?;
    decision.add(Effect::TrainAgain { job: job.id, transition, reason: REASON.to_owned() });
    // The predictions of the other folds stay valid.
    for job in job_set.jobs_of(JobKind::Predict).filter(|job| job.fold == fold) {
        decision.add(Effect::RemoveJob { job: job.id });
    }
    decision.add(Effect::ClearFit);
    decision.set_state(JobSetState::Training, "");
    decision.log(EventName::Retrained, None, format!("fold {fold} is to be trained again"));
    Ok(decision.effects())
}

/// Queues the prediction of a test list by all folds, in place of an earlier one. The same list again changes nothing.
///
/// # Errors
/// If the list cannot be used; [`Error::WrongState`] if the job set ended before all folds were trained.
pub async fn predict(coordinator: &Coordinator, id: &JobSetId, test: Digest) -> Result<(), Error> {
    require_artifact(coordinator, "test_digest", test).await?;
    read_test_list(&*coordinator.blobs, test).await?;
    coordinator.change(id, Box::new(move |job_set| decide_predict(job_set, test))).await.map(|_| ())
}

fn decide_predict(job_set: &JobSet, test: Digest) -> Result<Vec<Effect>, Error> {
    let JobSet { id, state, .. } = job_set;
    let goes_on = match state {
        JobSetState::Training | JobSetState::Predicting | JobSetState::Succeeded => true,
        JobSetState::Failed | JobSetState::Cancelled => false,
    };
    if goes_on && job_set.inputs.test == Some(test) {
        return Ok(Vec::new());
    }
    if job_set.fit.is_none() && *state != JobSetState::Training {
        return Err(Error::WrongState(format!("{id} is {state}: its folds are not all trained")));
    }
    let mut decision = Decision::on(job_set);
    for job in job_set.jobs_of(JobKind::Predict) {
        decision.add(Effect::RemoveJob { job: job.id });
    }
    decision.add(Effect::SetTest { test });
    decision.add(Effect::ClearSubmission);
    decision.set_state(unfinished_state(job_set), "");
    if job_set.fit.is_some() {
        add_predict_jobs(&mut decision);
    }
    Ok(decision.effects())
}

/// Queues the predict jobs that are missing.
pub(super) fn add_predict_jobs(decision: &mut Decision) {
    for fold in decision.job_set.spec.trained_folds() {
        decision.add(Effect::AddJob { kind: JobKind::Predict, fold });
    }
    decision.log(EventName::Predicting, None, "the test list is being predicted");
}

/// Makes a worker known. The same name again is the same worker.
///
/// # Errors
/// If the database fails.
pub async fn register_worker(coordinator: &Coordinator, worker: NewWorker) -> Result<(), Error> {
    coordinator.queue.register_worker(coordinator.now(), worker).await
}

/// Notes a sign of life of a worker.
///
/// # Errors
/// [`Error::NotFound`] if it never registered.
pub async fn see_worker(coordinator: &Coordinator, name: &str) -> Result<(), Error> {
    coordinator.queue.see_worker(coordinator.now(), name).await
}

/// Leases no more jobs to a worker, which returns the one that it holds; or leases jobs to it again.
///
/// # Errors
/// [`Error::NotFound`] if it never registered.
pub async fn drain(coordinator: &Coordinator, worker: &str, draining: bool) -> Result<(), Error> {
    coordinator.queue.set_draining(worker, draining).await
}
