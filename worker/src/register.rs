//! Registration with the coordinator.

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
    };
    connection.call(request, async |c, r| c.workers().register_worker(r).await).await?;
    Ok(())
}
