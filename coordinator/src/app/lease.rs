//! Leases.

use fivefold_common::event::EventName;
use fivefold_common::job::{FailureCause, JobEvent, JobState, Transition};

use super::{Coordinator, Count, fail};
use crate::error::Error;
use crate::queue::{ImageAccess, LeaseRequest, Leased, NameLock, NewEvent};

const LEASE: Transition = match JobState::Queued.on(JobEvent::Leased) {
    Some(transition) => transition,
    None => panic!("a queued job can be leased"),
};

/// Leases a job to a worker with a folder of images and without a lock on its name, if one is free. A repeated request gets the
/// same lease.
///
/// # Errors
/// If the database fails.
pub async fn acquire(coordinator: &Coordinator, worker: &str, request_id: &str) -> Result<Option<Leased>, Error> {
    acquire_under(coordinator, worker, request_id, None, ImageAccess::Folder).await
}

/// Leases a job to a worker, if one is free. A repeated request gets the same lease.
///
/// # Errors
/// If the database fails.
pub async fn acquire_under(
    coordinator: &Coordinator,
    worker: &str,
    request_id: &str,
    name_lock: Option<NameLock>,
    images: ImageAccess,
) -> Result<Option<Leased>, Error> {
    let (worker, request_id) = (worker.to_owned(), request_id.to_owned());
    let expires = coordinator.lease_expires();
    let request = LeaseRequest { worker, request_id, name_lock, images, expires, transition: LEASE, event: leased };
    let leased = coordinator.queue.acquire(coordinator.now(), request).await?;
    coordinator.counts.add(Count::Leases, leased.is_some().into());
    Ok(leased)
}

/// Ends the leases of a worker's earlier processes. The lock on the worker's name has only one holder, so they have ended. A
/// worker on another machine has another lock, and its leases stay.
///
/// # Errors
/// If the database fails.
pub async fn end_leases_of_earlier(coordinator: &Coordinator, worker: &str, present: &NameLock) -> Result<(), Error> {
    const MESSAGE: &str = "was started again";
    for (id, lease) in coordinator.queue.leases_of_earlier(worker, present).await? {
        match fail::fail(coordinator, lease, FailureCause::WorkerLost, MESSAGE).await {
            // It has ended, or its job set was deleted, in the meantime.
            Err(Error::StaleAttempt(_) | Error::NotFound { .. }) => tracing::debug!("{lease} of {id} has ended before"),
            ended => ended.map(|_| ())?,
        }
    }
    Ok(())
}

fn leased(Leased { lease, worker, fold, .. }: &Leased) -> NewEvent {
    let message = format!("fold {fold} is with {worker}, attempt {}", lease.attempt);
    NewEvent { name: EventName::Leased, job: Some(lease.job), message }
}

/// Whether a job is free for a worker.
///
/// # Errors
/// If the database fails.
pub async fn has_free_job(coordinator: &Coordinator, worker: &str, images: ImageAccess) -> Result<bool, Error> {
    coordinator.queue.has_free_job(coordinator.now(), worker, images).await
}
