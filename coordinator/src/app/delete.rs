//! The deletion of job sets that have ended. Their artifacts go with the next cleaning, unless another job set needs them.

use fivefold_common::ids::JobSetId;

use super::Coordinator;
use crate::error::Error;
use crate::queue::{Effect, JobSet};

/// Seconds of a day.
const DAY_SECONDS: u32 = 86_400;

/// Deletes a job set with its jobs, metrics, events and fits.
///
/// # Errors
/// [`Error::WrongState`] if it has not ended.
pub async fn delete(coordinator: &Coordinator, id: &JobSetId) -> Result<(), Error> {
    coordinator.queue.change(coordinator.now(), id, Box::new(decide_delete)).await?;
    tracing::info!("job set {id} is deleted");
    Ok(())
}

fn decide_delete(job_set: &JobSet) -> Result<Vec<Effect>, Error> {
    let JobSet { id, state, .. } = job_set;
    if !state.has_ended() {
        return Err(Error::WrongState(format!("{id} is {state}: `fivefold cancel {id}` it first")));
    }
    Ok(vec![Effect::Delete])
}

/// Deletes the job sets that have not changed for `retain_days` since they ended; none if it is 0.
///
/// # Errors
/// If the database fails.
pub async fn delete_old(coordinator: &Coordinator) -> Result<(), Error> {
    let days = coordinator.settings.retain_days;
    if days == 0 {
        return Ok(());
    }
    for id in coordinator.queue.ended_before(coordinator.now().minus_seconds(days.saturating_mul(DAY_SECONDS))).await? {
        match delete(coordinator, &id).await {
            // Queued again or deleted by a user meanwhile.
            Ok(()) | Err(Error::WrongState(_) | Error::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
