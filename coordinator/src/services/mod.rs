//! The three gRPC services. They turn requests into domain types, call the queue and the store, and turn the answers back.

pub mod artifacts;
pub mod job_set_messages;
pub mod job_sets;
pub mod workers;

use tokio_util::sync::CancellationToken;

use crate::database::Database;
use crate::store::Store;

/// What every service has.
#[derive(Debug, Clone)]
pub struct Coordinator {
    /// The queue.
    pub database: Database,
    /// The blobs.
    pub store: Store,
    /// How long a lease lasts without renewal, in seconds.
    pub lease_seconds: u32,
    /// How long a job may stand still before it is taken back, in seconds; 0 is for ever.
    pub stall_seconds: u32,
    /// Cancelled when the coordinator stops: streams and long polls end.
    pub stopping: CancellationToken,
}
