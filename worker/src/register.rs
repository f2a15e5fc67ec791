//! Registration with the coordinator.

use std::time::Duration;

use fivefold_client::{CallError, Connection};
use fivefold_proto::{PROTOCOL, v1};
use fivefold_train::torch::device;

use crate::daemon::Worker;

/// Registers the worker. The same name again is the same worker.
///
/// # Errors
/// When the coordinator refuses it, as for another version of the protocol, or the call is cancelled.
pub(crate) async fn register(connection: &Connection, worker: &Worker) -> Result<(), CallError> {
    let request = v1::RegisterWorkerRequest {
        name: worker.name.clone(),
        device: device::describe(worker.device),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        protocol: PROTOCOL,
        has_image_folder: worker.images.is_some(),
    };
    connection.call(request, async |c, r| c.workers().register_worker(r).await).await?;
    Ok(())
}

/// How long a worker that leaves tries to say so.
const UNREGISTER_TIMEOUT: Duration = Duration::from_secs(2);

/// Tells the coordinator that the worker is gone. Otherwise it would be listed as present for a lease period. A coordinator
/// that is away is not waited for.
pub(crate) async fn unregister(connection: &Connection, worker: &Worker) {
    if connection.is_away() {
        return;
    }
    let request = v1::UnregisterWorkerRequest { name: worker.name.clone() };
    let call = connection.call(request, async |c, r| c.workers().unregister_worker(r).await);
    match tokio::time::timeout(UNREGISTER_TIMEOUT, call).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => tracing::debug!("the coordinator was not told that worker {} leaves: {error}", worker.name),
        Err(_) => tracing::debug!("the coordinator does not answer: worker {} leaves all the same", worker.name),
    }
}
