//! The gRPC services: wire types to the vocabulary, a use case, and back. Streams, limits and tokens are handled here.

mod artifacts;
mod data_sets;
mod job_sets;
pub mod limits;
mod logs;
mod messages;
mod status;
mod watch;
mod workers;

use tokio_util::sync::CancellationToken;

use self::limits::{CallLimit, Limits};
use crate::app::Coordinator;

/// All services of one coordinator.
#[derive(Debug, Clone)]
pub struct Services {
    coordinator: Coordinator,
    limits: Limits,
    uploads: CallLimit,
    downloads: CallLimit,
    watches: CallLimit,
    fits: CallLimit,
    report_streams: CallLimit,
    waits: CallLimit,
    /// Cancelled when the coordinator stops: streams and waits for a lease end.
    stopping: CancellationToken,
}

impl Services {
    pub fn new(coordinator: Coordinator, limits: Limits, stopping: CancellationToken) -> Self {
        Self {
            coordinator,
            uploads: CallLimit::new("uploads", limits.uploads),
            downloads: CallLimit::new("downloads", limits.downloads),
            watches: CallLimit::new("watches", limits.watches),
            fits: CallLimit::new("fits on request", limits.fits),
            report_streams: CallLimit::new("streams of reports", limits.report_streams),
            waits: CallLimit::new("waits for a lease", limits.waits),
            limits,
            stopping,
        }
    }
}
