//! Checkpoints that training resumes from.

use fivefold_common::checkpoint::{Checkpoint, CheckpointRole};
use fivefold_common::ids::{Fold, JobSetId, LeaseRef};
use fivefold_common::job::{JobKind, JobState};

use super::Coordinator;
use crate::error::Error;

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
/// [`Error::WrongState`] if the fold is not trained, or its optimiser state was not kept.
pub async fn resumable(coordinator: &Coordinator, id: &JobSetId, fold: Fold) -> Result<Checkpoint, Error> {
    let job_set = coordinator.queue.job_set(id).await?;
    let trained = job_set.jobs_of(JobKind::Train).find(|job| job.fold == fold && job.state == JobState::Succeeded);
    let Some(job) = trained else {
        return Err(Error::WrongState(format!("fold {fold} of {id} is not trained")));
    };
    let checkpoints = coordinator.queue.checkpoints(job.id).await?;
    let last = checkpoints.into_iter().find(|checkpoint| checkpoint.role == CheckpointRole::Last);
    last.ok_or_else(|| {
        Error::WrongState(format!(
            "the optimiser state of fold {fold} of {id} is gone, so its training cannot go on: submit with \
             --keep_optimizer to keep it"
        ))
    })
}
