//! Uploads and downloads of artifacts.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use fivefold_common::durable_file::WriteError;
use fivefold_common::ids::{Digest, LeaseRef};
use fivefold_proto::convert::lease_to_wire;
use fivefold_proto::v1;

use crate::connection::Connection;
use crate::failure::CallError;

/// How often bytes that do not have their digest are sent or fetched again.
pub(crate) const MOST_MISMATCHES: u32 = 3;

/// Uploads and downloads over one connection. They resume where a connection broke, and every artifact is checked by its
/// BLAKE3 digest. Files are read, hashed and written on blocking threads.
#[derive(Clone)]
pub struct Transfers {
    pub(crate) connection: Connection,
    lease: Option<LeaseRef>,
    progress: Option<ProgressCallback>,
}

/// Receives the progress of a transfer. It is called for every chunk and should return at once.
pub type ProgressCallback = Arc<dyn Fn(TransferProgress) + Send + Sync>;

/// How far a transfer is. What the receiver held before counts as done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransferProgress {
    /// Bytes transferred.
    pub done_bytes: u64,
    /// Size of the artifact in bytes.
    pub total_bytes: u64,
}

/// Why an artifact was not transferred.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The coordinator refused it, or the caller cancelled it.
    #[error(transparent)]
    Call(#[from] CallError),
    /// A local file cannot be read or written.
    #[error("{}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        error: io::Error,
    },
    /// The downloaded file cannot be created or renamed.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The downloaded bytes have another digest, again and again.
    #[error("the coordinator sent bytes with another digest than {digest}, {tries} times in a row; nothing was kept")]
    Mismatch {
        /// The digest that was asked for.
        digest: Digest,
        /// How often it was downloaded.
        tries: u32,
    },
    /// The runtime is shutting down.
    #[error("the transfer was interrupted: {0}")]
    Interrupted(#[from] tokio::task::JoinError),
}

impl Transfers {
    pub(crate) fn new(connection: Connection) -> Self {
        Self { connection, lease: None, progress: None }
    }

    /// The same for a worker, whose transfers belong to a lease.
    pub fn under_lease(self, lease: LeaseRef) -> Self {
        Self { lease: Some(lease), ..self }
    }

    /// The same, with its progress going to `callback`.
    pub fn with_progress(self, callback: impl Fn(TransferProgress) + Send + Sync + 'static) -> Self {
        Self { progress: Some(Arc::new(callback)), ..self }
    }

    pub(crate) fn wire_lease(&self) -> Option<v1::LeaseRef> {
        self.lease.map(lease_to_wire)
    }

    pub(crate) fn progress(&self) -> impl Fn(TransferProgress) + Send + Sync + 'static {
        let callback = self.progress.clone();
        move |progress| {
            if let Some(callback) = &callback {
                callback(progress);
            }
        }
    }
}

impl fmt::Debug for Transfers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transfers")
            .field("connection", &self.connection)
            .field("lease", &self.lease)
            .finish_non_exhaustive()
    }
}

/// Runs work that blocks on a thread for it.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, TransferError> + Send + 'static,
) -> Result<T, TransferError> {
    tokio::task::spawn_blocking(work).await?
}
