//! Leases from the coordinator.

use anyhow::Context as _;
use fivefold_client::{CallError, Connection, random_id};
use fivefold_proto::status::Reason;
use fivefold_proto::{PROTOCOL, v1};
use tokio::time::Instant;

/// How long the coordinator may wait for a job before it answers.
const WAIT_SECONDS: u32 = 30;

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

/// Waits for a job, up to half a minute.
///
/// # Errors
/// When the coordinator refuses this worker.
pub(crate) async fn acquire(connection: &Connection, worker_name: &str) -> anyhow::Result<Acquired> {
    // Every try of this wait has the same request id: a lease whose answer was lost is given again.
    let request = v1::AcquireLeaseRequest {
        worker_name: worker_name.to_owned(),
        wait_seconds: WAIT_SECONDS,
        request_id: random_id().context("no randomness for a request id")?,
        protocol: PROTOCOL,
    };
    let requested_at = Instant::now();
    match connection.call(request, async |c, r| c.workers().acquire_lease(r).await).await {
        Ok(v1::AcquireLeaseResponse { lease: Some(message) }) => {
            Ok(Acquired::Lease(Box::new(Lease { message, requested_at })))
        }
        Ok(v1::AcquireLeaseResponse { lease: None }) => Ok(Acquired::Nothing),
        Err(CallError::Cancelled) => Ok(Acquired::Cancelled),
        Err(CallError::Refused(refusal)) if refusal.reason() == Some(Reason::NotFound) => Ok(Acquired::UnknownWorker),
        Err(error) => Err(error).context("the coordinator gives this worker no lease"),
    }
}
