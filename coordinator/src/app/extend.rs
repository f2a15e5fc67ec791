//! More epochs for folds that are trained.

use fivefold_common::early_stop::EarlyStop;
use fivefold_common::event::EventName;
use fivefold_common::fold_set::FoldSet;
use fivefold_common::ids::{Attempt, Fold, JobId, JobSetId};
use fivefold_common::job::{JobEvent, JobKind, JobState};
use fivefold_common::job_set::JobSetState;
use fivefold_common::spec::JobSetSpec;

use super::Coordinator;
use super::checkpoint::require_resumable;
use super::control::require_folds;
use super::decision::Decision;
use crate::error::Error;
use crate::queue::{Effect, Job, JobSet};

/// A longer training of folds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extension {
    /// The number of epochs from the start.
    pub epochs: u32,
    /// The folds; `None` for all that lead to the results.
    pub folds: Option<FoldSet>,
}

/// Queues trained folds for more epochs. They go on where they ended, as a longer training would have. A new fit and a new
/// submission follow; earlier fits stay, with their checkpoints. Returns the folds that stopped early: a longer training would
/// have ended there too, so they stay as they are. The same extension again changes nothing.
///
/// # Errors
/// [`Error::WrongState`] if a fold is not trained, nothing can be trained on, or the schedule depends on the number of epochs.
pub async fn extend(coordinator: &Coordinator, id: &JobSetId, extension: Extension) -> Result<FoldSet, Error> {
    let job_set = coordinator.queue.job_set(id).await?;
    let wanted = extension.folds.unwrap_or_else(|| job_set.folds_of(JobKind::Train));
    require_folds(&job_set, wanted)?;
    check_spec(&job_set, extension.epochs)?;
    check_states(&job_set, extension.epochs)?;
    let mut found = Found::default();
    for job in job_set.jobs_of(JobKind::Train).filter(|job| wanted.contains(job.fold)) {
        found.add(coordinator, &job_set, job, extension.epochs).await?;
    }
    if found.to_extend.is_empty() {
        found.explain(&job_set, extension.epochs)?;
        return Ok(found.stopped_early);
    }
    let Found { to_extend, stopped_early, .. } = found;
    let decide = move |job_set: &JobSet| decide_extend(job_set, &to_extend, extension.epochs);
    coordinator.change(id, Box::new(decide)).await?;
    Ok(stopped_early)
}

/// Refuses a number of epochs that is not possible, or of which the learning rate of each batch would depend.
fn check_spec(job_set: &JobSet, epochs: u32) -> Result<(), Error> {
    let JobSet { id, spec, .. } = job_set;
    if spec.schedule_has_an_end() {
        let schedule = spec.lr_schedule;
        return Err(Error::WrongState(format!(
            "with lr_schedule = {schedule} the learning rate depends on the number of epochs: {epochs} epochs are another \
             training from the start; `fivefold submit --like {id} --epochs={epochs}` trains it"
        )));
    }
    if epochs < spec.epochs {
        return Err(Error::bad_field("epochs", format!("{epochs} is below the {} that {id} has", spec.epochs)));
    }
    let longer = JobSetSpec { epochs, ..spec.clone() };
    longer.check().map_err(|error| Error::bad_field(error.key, error.problem))
}

/// Refuses job sets that have to be retried first, and a change of the epochs of folds in training.
fn check_states(job_set: &JobSet, epochs: u32) -> Result<(), Error> {
    let JobSet { id, state, spec, .. } = job_set;
    if matches!(state, JobSetState::Failed | JobSetState::Cancelled) {
        return Err(Error::WrongState(format!("{id} is {state}: `fivefold retry` it first")));
    }
    let unfinished = job_set.jobs_of(JobKind::Train).find(|job| job.state.is_unfinished());
    if let Some(job) = unfinished.filter(|_| epochs != spec.epochs) {
        return Err(Error::WrongState(format!(
            "fold {} of {id} is {} for epochs = {}: extend the folds once all of them are trained",
            job.fold, job.state, spec.epochs
        )));
    }
    Ok(())
}

/// What was found out about the folds.
#[derive(Debug, Default)]
struct Found {
    to_extend: Vec<(JobId, Option<Attempt>)>,
    stopped_early: FoldSet,
    /// Queued or in training for as many epochs already.
    under_way: FoldSet,
}

impl Found {
    async fn add(&mut self, coordinator: &Coordinator, job_set: &JobSet, job: &Job, epochs: u32) -> Result<(), Error> {
        let one: FoldSet = [job.fold].into_iter().collect();
        if job.state.is_unfinished() {
            self.under_way = self.under_way.union(one);
            return Ok(());
        }
        if job.state != JobState::Succeeded {
            let (id, fold, state) = (&job_set.id, job.fold, job.state);
            return Err(Error::WrongState(format!("fold {fold} of {id} is {state}: `fivefold retry` it first")));
        }
        let trained = coordinator.queue.epochs(job.id).await?;
        if EarlyStop::after(&job_set.spec, &trained).has_stopped() {
            self.stopped_early = self.stopped_early.union(one);
        } else if trained.last().is_none_or(|last| last.metrics.epoch + 1 < epochs) {
            require_resumable(coordinator, job_set, job).await?;
            self.to_extend.push((job.id, job.attempt));
        }
        Ok(())
    }

    /// Why there is nothing to extend. It is no error if the folds are under way.
    fn explain(&self, job_set: &JobSet, epochs: u32) -> Result<(), Error> {
        if !self.under_way.is_empty() {
            return Ok(());
        }
        let (id, stopped) = (&job_set.id, self.stopped_early);
        Err(Error::WrongState(if stopped.is_empty() {
            format!("the folds of {id} are trained for {epochs} epochs already")
        } else {
            let patience = job_set.spec.early_stop_patience;
            format!(
                "nothing to train on: folds that stopped early ({stopped}) would have ended there with more epochs too; \
                 `fivefold submit --like {id}` with early_stop_patience above {patience} trains longer"
            )
        }))
    }
}

fn decide_extend(job_set: &JobSet, jobs: &[(JobId, Option<Attempt>)], epochs: u32) -> Result<Vec<Effect>, Error> {
    let reason = format!("to be trained on to {epochs} epochs");
    check_states(job_set, epochs)?;
    let mut decision = Decision::on(job_set);
    let mut folds: Vec<Fold> = Vec::new();
    for &(id, attempt) in jobs {
        let Some(job) = job_set.job(id).filter(|job| job.attempt == attempt) else {
            return Err(Error::WrongState(format!("a fold of {} has changed in the meantime: try again", job_set.id)));
        };
        let transition = decision.move_job(id, JobEvent::Extended, &reason)?;
        decision.add(Effect::TrainOn { job: id, transition, reason: reason.clone() });
        folds.push(job.fold);
        // The predictions of the other folds stay valid.
        for job in job_set.jobs_of(JobKind::Predict).filter(|predict| predict.fold == job.fold) {
            decision.add(Effect::RemoveJob { job: job.id });
        }
    }
    decision.add(Effect::SetEpochs { epochs });
    decision.add(Effect::ClearFit);
    decision.reopen(JobSetState::Training);
    let folds: FoldSet = folds.into_iter().collect();
    decision.log(EventName::Extended, None, format!("folds to be trained on to {epochs} epochs: {folds}"));
    Ok(decision.effects())
}
