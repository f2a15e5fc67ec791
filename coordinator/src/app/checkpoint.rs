//! Checkpoints that training resumes from.

use fivefold_common::checkpoint::{Checkpoint, CheckpointRole};
use fivefold_common::ids::{Fold, JobSetId, LeaseRef};
use fivefold_common::job::{JobKind, JobState};
use fivefold_common::spec::ScoredCheckpoint;

use super::Coordinator;
use crate::error::Error;
use crate::queue::{Job, JobSet};

/// Records an uploaded checkpoint as the job's newest of its role. As many are kept as the spec says.
///
/// # Errors
/// [`Error::StaleAttempt`]; [`Error::NotFound`] if it is not held.
pub async fn record_checkpoint(
    coordinator: &Coordinator,
    lease: LeaseRef,
    checkpoint: &Checkpoint,
) -> Result<(), Error> {
    let spec = coordinator.queue.attempt(lease).await?.spec;
    let keep = match checkpoint.role {
        CheckpointRole::Last => spec.keep_last,
        CheckpointRole::Best => spec.keep_best,
    };
    coordinator.queue.record_checkpoint(coordinator.now(), lease, checkpoint, keep).await
}

/// The newest checkpoint of a trained fold, from which training can go on.
///
/// # Errors
/// [`Error::WrongState`] if the fold is not trained, or a checkpoint that it needs was not kept.
pub async fn resumable(coordinator: &Coordinator, id: &JobSetId, fold: Fold) -> Result<Checkpoint, Error> {
    let job_set = coordinator.queue.job_set(id).await?;
    let trained = job_set.jobs_of(JobKind::Train).find(|job| job.fold == fold && job.state == JobState::Succeeded);
    let Some(job) = trained else {
        return Err(Error::WrongState(format!("fold {fold} of {id} is not trained")));
    };
    require_resumable(coordinator, &job_set, job).await
}

/// The newest checkpoint of a trained job. Refuses a job without its optimiser state, and one that would be scored with a best
/// checkpoint that is gone: no later epoch may be better.
pub(super) async fn require_resumable(
    coordinator: &Coordinator,
    job_set: &JobSet,
    job: &Job,
) -> Result<Checkpoint, Error> {
    let (id, fold) = (&job_set.id, job.fold);
    let checkpoints = coordinator.queue.checkpoints(job.id).await?;
    let of_role = |role| checkpoints.iter().find(|checkpoint| checkpoint.role == role);
    let Some(last) = of_role(CheckpointRole::Last) else {
        return Err(Error::WrongState(format!(
            "the optimiser state of fold {fold} of {id} is gone, so its training cannot go on: submit with \
             --keep_optimizer to keep it"
        )));
    };
    if job_set.spec.oof_checkpoint == ScoredCheckpoint::Best && of_role(CheckpointRole::Best).is_none() {
        return Err(Error::WrongState(format!(
            "the best checkpoint of fold {fold} of {id} is gone, with which it is scored (oof_checkpoint = best): \
             `fivefold submit --like {id}` trains for longer from the start"
        )));
    }
    Ok(*last)
}
