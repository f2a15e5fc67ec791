//! The port to the bytes of artifacts, which are named by their BLAKE3 digest.
//!
//! A blob is there whole and durable, or not at all. The queue names only blobs that are there.

mod claim;
pub mod folder;

use std::collections::HashSet;
use std::fmt::Debug;
use std::pin::Pin;

use bytes::Bytes;
use fivefold_common::ids::Digest;
use tokio_stream::Stream;

pub use self::claim::{Claim, Claims};
use crate::error::Error;

/// The disk that holds the blobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskSpace {
    /// Bytes that may still be written.
    pub free_bytes: u64,
    pub total_bytes: u64,
}

/// Bytes in pieces.
pub type Chunks = Pin<Box<dyn Stream<Item = Result<Bytes, Error>> + Send>>;

#[async_trait::async_trait]
pub trait Blobs: Debug + Send + Sync {
    /// All bytes of a small blob: a list, a table, a report.
    async fn read(&self, digest: Digest) -> Result<Bytes, Error>;

    /// The bytes of a blob from `offset_bytes` to its end.
    async fn read_from(&self, digest: Digest, offset_bytes: u64) -> Result<Chunks, Error>;

    /// Stores bytes that the coordinator made itself.
    async fn put(&self, claim: &Claim, bytes: Bytes) -> Result<(), Error>;

    /// Bytes of a partial upload that are held.
    async fn held_bytes(&self, digest: Digest) -> Result<u64, Error>;

    /// Bytes of all partial uploads.
    async fn all_held_bytes(&self) -> Result<u64, Error>;

    async fn disk_space(&self) -> Result<DiskSpace, Error>;

    /// Resumes an upload at `offset_bytes` with `chunks`. If `chunks` ends with an error, or early, what has come is kept
    /// for a later upload.
    ///
    /// # Errors
    /// The error in `chunks`; [`Error::WrongOffset`] if the held bytes do not end where this upload starts or ends;
    /// [`Error::DigestMismatch`] if the bytes are others than announced: they are deleted.
    async fn upload(&self, claim: &Claim, size_bytes: u64, offset_bytes: u64, chunks: Chunks) -> Result<(), Error>;

    /// Deletes a blob that the queue does not name any more.
    async fn delete(&self, claim: &Claim) -> Result<(), Error>;

    /// Deletes all blobs but those in `named`, and abandoned partial uploads. For the start, before anybody uploads. Returns
    /// the number of files.
    async fn tidy(&self, named: &HashSet<Digest>) -> Result<usize, Error>;
}
