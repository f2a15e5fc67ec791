//! Leases.

use fivefold_common::event::EventName;
use fivefold_common::job::{JobEvent, JobState, Transition};

use super::Coordinator;
use crate::error::Error;
use crate::queue::{LeaseRequest, Leased, NewEvent};

const LEASE: Transition = match JobState::Queued.on(JobEvent::Leased) {
    Some(transition) => transition,
    None => panic!("a queued job can be leased"),
};

/// Leases a job to a worker, if one is free. A repeated request gets the same lease.
///
/// # Errors
/// If the database fails.
pub async fn acquire(coordinator: &Coordinator, worker: &str, request_id: &str) -> Result<Option<Leased>, Error> {
    let (worker, request_id) = (worker.to_owned(), request_id.to_owned());
    let expires = coordinator.lease_expires();
    let request = LeaseRequest { worker, request_id, expires, transition: LEASE, event: leased };
    coordinator.queue.acquire(coordinator.now(), request).await
}

fn leased(Leased { lease, worker, fold, .. }: &Leased) -> NewEvent {
    let message = format!("fold {fold} is with {worker}, attempt {}", lease.attempt);
    NewEvent { name: EventName::Leased, job: Some(lease.job), message }
}

/// Whether a job is free for a worker.
///
/// # Errors
/// If the database fails.
pub async fn has_free_job(coordinator: &Coordinator, worker: &str) -> Result<bool, Error> {
    coordinator.queue.has_free_job(coordinator.now(), worker).await
}
