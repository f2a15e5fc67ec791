//! Checkpoints of running jobs.

use fivefold_common::checkpoint::{Checkpoint, CheckpointRole};
use fivefold_common::ids::LeaseRef;

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
