//! Leases from the coordinator.

use std::time::Duration;

use anyhow::Context as _;
use fivefold_client::{CallError, Connection, random_id};
use fivefold_common::ids::{Attempt, JobId, LeaseRef};
use fivefold_proto::convert::lease_to_wire;
use fivefold_proto::status::Reason;
use fivefold_proto::{PROTOCOL, v1};
use tokio::time::Instant;

use crate::daemon::Worker;

/// How long the coordinator may wait for a job before it answers.
const WAIT_SECONDS: u32 = 30;

/// How long a worker that leaves tries to give back a lease that was just given.
const GIVE_BACK_TIMEOUT: Duration = Duration::from_secs(5);

/// A lease as it came.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) message: v1::Lease,
    /// The lease lasts from this moment on, at least.
    pub(crate) requested_at: Instant,
}

/// The answer to a request for a lease.
#[derive(Debug)]
pub(crate) enum Acquired {
    /// A lease.
    Lease(Box<Lease>),
    /// No job came in time.
    Nothing,
    /// The worker has to register again.
    UnknownWorker,
    /// The connection's token was cancelled.
    Cancelled,
}

/// Waits for a job, up to half a minute, or until the token of `until_leaving` is cancelled. A lease whose answer is on its way
/// at that moment is given back over `connection`.
///
/// # Errors
/// When the coordinator refuses this worker.
pub(crate) async fn acquire(
    connection: &Connection,
    until_leaving: &Connection,
    worker: &Worker,
) -> anyhow::Result<Acquired> {
    // Every try of this wait has the same request id: a lease whose answer was lost is given again.
    let request = v1::AcquireLeaseRequest {
        worker_name: worker.name.clone(),
        wait_seconds: WAIT_SECONDS,
        request_id: random_id().context("no randomness for a request id")?,
        protocol: PROTOCOL,
        has_image_folder: worker.images.is_some(),
        name_lock: worker.name_lock.clone(),
    };
    let requested_at = Instant::now();
    match until_leaving.call(request.clone(), async |c, r| c.workers().acquire_lease(r).await).await {
        Ok(v1::AcquireLeaseResponse { lease: Some(message) }) => {
            Ok(Acquired::Lease(Box::new(Lease { message, requested_at })))
        }
        Ok(v1::AcquireLeaseResponse { lease: None }) => Ok(Acquired::Nothing),
        Err(CallError::Cancelled) => {
            give_back(connection, request).await;
            Ok(Acquired::Cancelled)
        }
        Err(CallError::Refused(refusal)) if refusal.reason() == Some(Reason::NotFound) => Ok(Acquired::UnknownWorker),
        Err(error) => Err(error).context("the coordinator gives this worker no lease"),
    }
}

/// Releases the lease that the coordinator may have given for a request whose answer was not awaited. The same request gets the
/// same lease again. A coordinator that is away is not waited for.
async fn give_back(connection: &Connection, request: v1::AcquireLeaseRequest) {
    if connection.is_away() {
        return;
    }
    let request = v1::AcquireLeaseRequest { wait_seconds: 0, ..request };
    let given_back = async {
        let answer = connection.call(request, async |c, r| c.workers().acquire_lease(r).await).await?;
        let Some(v1::Lease { job_id, attempt, .. }) = answer.lease else { return Ok(()) };
        let lease = LeaseRef { job: JobId(job_id), attempt: Attempt(attempt) };
        let request = v1::ReleaseLeaseRequest { lease: Some(lease_to_wire(lease)) };
        connection.call(request, async |c, r| c.workers().release_lease(r).await).await?;
        tracing::info!("{lease} is released: it was given while the worker was told to leave");
        Ok::<_, CallError>(())
    };
    match tokio::time::timeout(GIVE_BACK_TIMEOUT, given_back).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!("a lease that was just given could not be given back: {error}"),
        Err(_) => {
            tracing::info!("the coordinator does not answer: a lease, if it has just given one, runs out by itself")
        }
    }
}
