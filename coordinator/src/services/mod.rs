//! The three gRPC services. They turn requests into domain types, call the queue and the store, and turn the answers back.

pub mod artifacts;
pub mod job_set_messages;
pub mod job_sets;
pub mod limits;
pub mod workers;

use tokio_util::sync::CancellationToken;

use crate::database::Database;
use crate::services::limits::{Limits, Places};
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
    /// How much is served at a time, and how long is waited.
    pub limits: Limits,
    /// Places for uploads.
    pub uploads: Places,
    /// Places for downloads.
    pub downloads: Places,
    /// Places for watches.
    pub watches: Places,
    /// Places for streams of reports.
    pub report_streams: Places,
    /// Places for workers that wait for a lease.
    pub waits: Places,
    /// Cancelled when the coordinator stops: streams and long polls end.
    pub stopping: CancellationToken,
}
