//! What users look at.

use fivefold_common::ids::{Fold, JobSetId};
use fivefold_common::job::JobKind;
use fivefold_common::progress::EpochReport;

use super::Coordinator;
use crate::error::Error;
use crate::queue::{Event, JobSet, SubmissionNumber, Worker};

/// One job set.
///
/// # Errors
/// [`Error::NotFound`].
pub async fn job_set(coordinator: &Coordinator, id: &JobSetId) -> Result<JobSet, Error> {
    coordinator.queue.job_set(id).await
}

/// A page of job sets, newest first, and where the next one starts.
///
/// # Errors
/// If the database fails.
pub async fn job_sets(
    coordinator: &Coordinator,
    before: Option<SubmissionNumber>,
    page_size: usize,
) -> Result<(Vec<JobSet>, Option<SubmissionNumber>), Error> {
    let limit = u32::try_from(page_size).unwrap_or(u32::MAX).saturating_add(1);
    let mut job_sets = coordinator.queue.job_sets(before, limit).await?;
    let has_more = job_sets.len() > page_size;
    job_sets.truncate(page_size);
    let next = job_sets.last().filter(|_| has_more).map(|job_set| job_set.number);
    Ok((job_sets, next))
}

/// At most `limit` events of a job set after `cursor`, oldest first.
///
/// # Errors
/// If the database fails.
pub async fn events(coordinator: &Coordinator, id: &JobSetId, cursor: i64, limit: u32) -> Result<Vec<Event>, Error> {
    coordinator.queue.events(id, cursor, limit).await
}

/// The epochs of one fold in their order.
///
/// # Errors
/// [`Error::NotFound`].
pub async fn epochs(coordinator: &Coordinator, id: &JobSetId, fold: Fold) -> Result<Vec<EpochReport>, Error> {
    let job_set = coordinator.queue.job_set(id).await?;
    let job = job_set.jobs_of(JobKind::Train).find(|job| job.fold == fold);
    let job = job.ok_or_else(|| Error::NotFound { what: "fold", name: format!("{fold} in {id}") })?;
    coordinator.queue.epochs(job.id).await
}

/// A worker, and whether it is still there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerView {
    pub worker: Worker,
    pub presence: Presence,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It was heard of within the last lease period and has not left since, or holds a lease.
    Present,
    Gone,
}

/// All workers by name.
///
/// # Errors
/// If the database fails.
pub async fn workers(coordinator: &Coordinator) -> Result<Vec<WorkerView>, Error> {
    let since = coordinator.now().minus_seconds(coordinator.settings.lease_seconds);
    let view = |worker: Worker| {
        let is_gone = worker.job.is_none() && (worker.has_left || worker.last_seen < since);
        WorkerView { worker, presence: if is_gone { Presence::Gone } else { Presence::Present } }
    };
    Ok(coordinator.queue.workers().await?.into_iter().map(view).collect())
}
