//! What users change of job sets and workers.

use fivefold_common::event::EventName;
use fivefold_common::fold_set::FoldSet;
use fivefold_common::ids::{Fold, JobSetId};
use fivefold_common::job::{JobEvent, JobKind, JobState};
use fivefold_common::job_set::JobSetState;

use super::Coordinator;
use super::decision::Decision;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::queue::{Effect, JobSet, NewWorker};

/// Cancels a job set and all its unfinished jobs. Jobs that failed keep their reasons.
///
/// # Errors
/// [`Error::WrongState`] if it has succeeded or failed.
pub async fn cancel(coordinator: &Coordinator, id: &JobSetId) -> Result<(), Error> {
    coordinator.change(id, Box::new(decide_cancel)).await.map(|_| ())
}

fn decide_cancel(job_set: &JobSet) -> Result<Vec<Effect>, Error> {
    const REASON: &str = "cancelled by a user";
    match job_set.state {
        JobSetState::Cancelled => return Ok(Vec::new()),
        JobSetState::Succeeded | JobSetState::Failed => {
            let JobSet { id, state, .. } = job_set;
            return Err(Error::WrongState(format!("{id} has {state}: there is nothing to cancel")));
        }
        JobSetState::Training | JobSetState::Predicting => {}
    }
    let mut decision = Decision::on(job_set);
    for job in job_set.jobs.iter().filter(|job| job.state.is_unfinished()) {
        let transition = decision.move_job(job.id, JobEvent::Cancelled, REASON)?;
        decision.add(Effect::Cancel { job: job.id, transition, reason: REASON.to_owned() });
    }
    decision.set_state(JobSetState::Cancelled, REASON);
    decision.log(EventName::Cancelled, None, REASON);
    Ok(decision.effects())
}

/// Leases no more jobs of a job set; workers return the ones that they hold. A pause at a later time is dropped.
///
/// # Errors
/// [`Error::WrongState`] if the job set has ended.
pub async fn pause(coordinator: &Coordinator, id: &JobSetId) -> Result<(), Error> {
    coordinator.change(id, Box::new(decide_pause)).await.map(|_| ())
}

/// Pauses a job set at a time, unless it ends before. A time that is over is now.
///
/// # Errors
/// [`Error::WrongState`] if the job set has ended, or is paused already.
pub async fn pause_at(coordinator: &Coordinator, id: &JobSetId, at: Timestamp) -> Result<(), Error> {
    if at <= coordinator.now() {
        return pause(coordinator, id).await;
    }
    coordinator.change(id, Box::new(move |job_set| decide_pause_at(job_set, at))).await.map(|_| ())
}

/// Pauses the job sets whose time has come.
pub(super) async fn pause_due(coordinator: &Coordinator) -> Result<(), Error> {
    let now = coordinator.now();
    for id in coordinator.queue.due_pauses(now).await? {
        let decide = move |job_set: &JobSet| match job_set.pause_at {
            Some(at) if at <= now => decide_pause(job_set),
            _ => Ok(Vec::new()),
        };
        match coordinator.change(&id, Box::new(decide)).await {
            // It was deleted in the meantime.
            Ok(_) | Err(Error::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Leases the jobs of a paused job set again, and drops a pause at a later time.
///
/// # Errors
/// [`Error::WrongState`] if the job set has ended.
pub async fn resume(coordinator: &Coordinator, id: &JobSetId) -> Result<(), Error> {
    coordinator.change(id, Box::new(decide_resume)).await.map(|_| ())
}

fn refuse_ended(job_set: &JobSet) -> Result<(), Error> {
    if job_set.state.has_ended() {
        let JobSet { id, state, .. } = job_set;
        return Err(Error::WrongState(format!("{id} has ended ({state}): there is nothing to pause or resume")));
    }
    Ok(())
}

fn decide_pause(job_set: &JobSet) -> Result<Vec<Effect>, Error> {
    refuse_ended(job_set)?;
    let mut decision = Decision::on(job_set);
    decision.set_pause_at(None);
    if !job_set.paused {
        decision.set_paused(true);
        decision.log(EventName::Paused, None, "paused by a user: running folds are saved and released");
    }
    Ok(decision.effects())
}

fn decide_pause_at(job_set: &JobSet, at: Timestamp) -> Result<Vec<Effect>, Error> {
    refuse_ended(job_set)?;
    if job_set.paused {
        let id = &job_set.id;
        return Err(Error::WrongState(format!("{id} is paused already: `fivefold resume {id}` lets it go on before")));
    }
    let mut decision = Decision::on(job_set);
    decision.set_pause_at(Some(at));
    Ok(decision.effects())
}

fn decide_resume(job_set: &JobSet) -> Result<Vec<Effect>, Error> {
    refuse_ended(job_set)?;
    let mut decision = Decision::on(job_set);
    decision.set_pause_at(None);
    if job_set.paused {
        decision.set_paused(false);
        decision.lift_exclusions();
        decision.log(EventName::Resumed, None, "resumed by a user");
    }
    Ok(decision.effects())
}

/// Queues failed and cancelled jobs again, of all folds or of one. Their earlier failures count no longer. Folds that a job
/// set was ended without join it again if they are asked for, or once the other ones have succeeded. Workers that were excluded
/// from the job set may take its jobs again.
///
/// # Errors
/// [`Error::WrongState`] if there are none, and no worker is excluded.
pub async fn retry(coordinator: &Coordinator, id: &JobSetId, fold: Option<Fold>) -> Result<(), Error> {
    coordinator.change(id, Box::new(move |job_set| decide_retry(job_set, fold))).await.map(|_| ())
}

fn decide_retry(job_set: &JobSet, fold: Option<Fold>) -> Result<Vec<Effect>, Error> {
    require_folds(job_set, fold.into_iter().collect())?;
    let has_ended = matches!(job_set.state, JobSetState::Failed | JobSetState::Cancelled);
    let mut decision = Decision::on(job_set);
    let (mut retried, mut rejoining) = (0, FoldSet::default());
    for job in job_set.jobs.iter().filter(|job| fold.is_none_or(|fold| job.fold == fold)) {
        let is_left_out = !job_set.folds_of(job.kind).contains(job.fold);
        let is_wanted = !is_left_out || fold.is_some() || job_set.state == JobSetState::Succeeded;
        if is_wanted && matches!(job.state, JobState::Failed | JobState::Cancelled) {
            let transition = decision.move_job(job.id, JobEvent::Retried, "")?;
            decision.add(Effect::Retry { job: job.id, transition });
            retried += 1;
            if is_left_out && job.kind == JobKind::Train {
                rejoining = rejoining.union([job.fold].into_iter().collect());
            }
        }
    }
    // A job set may have ended without such a job: its results did not fit together, or it was cancelled before its fit.
    let wants_workers = fold.is_none() && job_set.state != JobSetState::Succeeded;
    let lifts = !job_set.exclusions.is_empty() && (retried > 0 || wants_workers);
    if lifts {
        decision.lift_exclusions();
    }
    if retried == 0 && !lifts && (!has_ended || fold.is_some()) {
        let which = fold.map_or("none of its jobs".to_owned(), |fold| format!("no job of fold {fold}"));
        return Err(Error::WrongState(format!("{} is {}: {which} failed or was cancelled", job_set.id, job_set.state)));
    }
    if !rejoining.is_empty() {
        let folds = job_set.folds_of(JobKind::Train).union(rejoining);
        decision.add(Effect::SetKept { folds: Some(folds).filter(|folds| *folds != job_set.spec.fold_set()) });
        decision.add(Effect::ClearFit);
        decision.set_state(JobSetState::Training, "");
    } else if has_ended {
        decision.set_state(unfinished_state(job_set), "");
    }
    let message = match fold {
        None if retried == 0 && lifts => "workers that could not use the images get its jobs again".to_owned(),
        None => "failed and cancelled jobs are queued again".to_owned(),
        Some(fold) => format!("fold {fold} is queued again"),
    };
    decision.log(EventName::Retried, None, message);
    Ok(decision.effects())
}

/// Refuses folds that no job of the job set is for.
pub(super) fn require_folds(job_set: &JobSet, folds: FoldSet) -> Result<(), Error> {
    let all = job_set.spec.fold_set();
    folds.without(all).iter().next().map_or(Ok(()), |other| {
        let problem = format!("{} has no fold {other}: its folds are {all}", job_set.id);
        Err(Error::bad_field("fold", problem))
    })
}

pub(super) fn unfinished_state(job_set: &JobSet) -> JobSetState {
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
    require_folds(job_set, [fold].into_iter().collect())?;
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
    decision.reopen(JobSetState::Training);
    decision.log(EventName::Retrained, None, format!("fold {fold} is to be trained again"));
    Ok(decision.effects())
}

/// Makes a worker known. The same name again is the same worker.
///
/// # Errors
/// If the database fails.
pub async fn register_worker(coordinator: &Coordinator, worker: NewWorker) -> Result<(), Error> {
    coordinator.queue.register_worker(coordinator.now(), worker).await
}

/// Marks a worker as gone: it ends, and holds no lease.
///
/// # Errors
/// If the database fails.
pub async fn unregister_worker(coordinator: &Coordinator, name: &str) -> Result<(), Error> {
    coordinator.queue.unregister_worker(name).await
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
