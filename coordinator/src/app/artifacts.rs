//! Uploads and downloads.

use bytes::Bytes;
use fivefold_common::artifact::{Artifact, ArtifactKind, ArtifactOrigin};
use fivefold_common::ids::{Digest, LeaseRef};
use fivefold_common::job::JobState;
use futures_util::TryStreamExt as _;

use super::{Coordinator, Count};
use crate::blobs::Chunks;
use crate::error::Error;

/// Who reads or writes an artifact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Party {
    User,
    /// Reaches the artifacts of its lease alone.
    Worker,
}

/// How much of an artifact is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    Whole {
        size_bytes: u64,
    },
    /// An upload can be resumed at this offset.
    Partial {
        offset_bytes: u64,
    },
}

/// Refuses an upload under a lease that is not held. A worker needs a lease, and uploads only kinds that workers make.
///
/// # Errors
/// [`Error::RoleNotEnough`] or [`Error::StaleAttempt`].
pub async fn allow_upload(
    coordinator: &Coordinator,
    party: Party,
    lease: Option<LeaseRef>,
    kind: ArtifactKind,
) -> Result<(), Error> {
    // Before the lease: `fivefold submit` with a worker's token names none.
    if party == Party::Worker && !matches!(kind.origin(), ArtifactOrigin::Worker { .. }) {
        return Err(Error::RoleNotEnough(format!(
            "this is a worker's token, which uploads no {kind}: submitting and predicting need a token of the role user"
        )));
    }
    match (party, lease) {
        (_, Some(lease)) => require_lease(coordinator, lease).await,
        (Party::Worker, None) => Err(Error::bad_field("lease", "it is not set")),
        (Party::User, None) => Ok(()),
    }
}

/// Refuses a worker's download of an artifact that its leased job does not need.
///
/// # Errors
/// [`Error::RoleNotEnough`] or [`Error::StaleAttempt`].
pub async fn allow_download(coordinator: &Coordinator, lease: LeaseRef, digest: Digest) -> Result<(), Error> {
    require_lease(coordinator, lease).await?;
    if coordinator.queue.is_needed_by(lease.job, digest).await? {
        return Ok(());
    }
    Err(Error::RoleNotEnough(format!("{digest} is not part of the leased job {}", lease.job)))
}

async fn require_lease(coordinator: &Coordinator, lease: LeaseRef) -> Result<(), Error> {
    match coordinator.queue.attempt(lease).await?.state {
        JobState::Leased => Ok(()),
        _ => Err(Error::StaleAttempt(lease)),
    }
}

/// How much of an artifact is held. A whole one is kept for a while from now on.
///
/// # Errors
/// If the database or the disk fails.
pub async fn held(coordinator: &Coordinator, digest: Digest) -> Result<Held, Error> {
    match touch(coordinator, digest).await? {
        Some(size_bytes) => Ok(Held::Whole { size_bytes }),
        None => Ok(Held::Partial { offset_bytes: coordinator.blobs.held_bytes(digest).await? }),
    }
}

/// Notes that an artifact is wanted, and returns its size in bytes; `None` if it is not held.
async fn touch(coordinator: &Coordinator, digest: Digest) -> Result<Option<u64>, Error> {
    if coordinator.queue.artifact_size(digest).await?.is_none() {
        return Ok(None);
    }
    coordinator.queue.touch_artifact(coordinator.now(), digest).await
}

/// How much longer than other artifacts a segment is kept that nothing refers to: an interrupted push goes on with it.
const SEGMENT_SECONDS: u32 = 23 * 3600;

/// Stores an artifact, or the rest of it from `offset_bytes` on.
///
/// # Errors
/// Those of [`Blobs::upload`](crate::blobs::Blobs::upload).
pub async fn upload(
    coordinator: &Coordinator,
    artifact: Artifact,
    offset_bytes: u64,
    chunks: Chunks,
) -> Result<(), Error> {
    if touch(coordinator, artifact.digest).await?.is_some() {
        return Ok(());
    }
    // Held from before the second look until the row is there: the artifact may be deleted in between.
    let claim = coordinator.claims.claim(artifact.digest)?;
    if touch(coordinator, artifact.digest).await?.is_some() {
        return Ok(());
    }
    coordinator
        .blobs
        .upload(&claim, artifact.size_bytes, offset_bytes, counted(coordinator, chunks, Count::UploadedBytes))
        .await?;
    let wanted = match artifact.kind {
        ArtifactKind::Segment => coordinator.now().plus_seconds(SEGMENT_SECONDS),
        _ => coordinator.now(),
    };
    coordinator.queue.record_artifact(wanted, artifact).await
}

/// Which of these artifacts are not held, in their order. Those that are held are kept for a while from now on.
///
/// # Errors
/// If the database fails.
pub async fn missing_artifacts(coordinator: &Coordinator, digests: Vec<Digest>) -> Result<Vec<Digest>, Error> {
    let held = coordinator.queue.touch_artifacts(coordinator.now(), digests.clone()).await?;
    Ok(digests.into_iter().filter(|digest| !held.contains_key(digest)).collect())
}

/// Size of an artifact in bytes.
///
/// # Errors
/// [`Error::NotFound`].
pub async fn size_bytes(coordinator: &Coordinator, digest: Digest) -> Result<u64, Error> {
    coordinator.queue.artifact_size(digest).await?.ok_or_else(|| Error::no_artifact(digest))
}

/// The bytes of an artifact from an offset on.
///
/// # Errors
/// If the disk fails.
pub async fn download(coordinator: &Coordinator, digest: Digest, offset_bytes: u64) -> Result<Chunks, Error> {
    let chunks = coordinator.blobs.read_from(digest, offset_bytes).await?;
    Ok(counted(coordinator, chunks, Count::DownloadedBytes))
}

/// Counts the bytes as they pass.
fn counted(coordinator: &Coordinator, chunks: Chunks, count: Count) -> Chunks {
    let counts = coordinator.counts.clone();
    Box::pin(chunks.inspect_ok(move |chunk| counts.add(count, chunk.len() as u64)))
}

/// Stores an artifact that the coordinator made, unless it is held: first its bytes, then its row.
///
/// # Errors
/// If the database or the disk fails.
pub async fn put(coordinator: &Coordinator, kind: ArtifactKind, bytes: Vec<u8>) -> Result<Artifact, Error> {
    let artifact = Artifact { kind, digest: Digest::of(&bytes), size_bytes: bytes.len() as u64 };
    if touch(coordinator, artifact.digest).await?.is_some() {
        return Ok(artifact);
    }
    let claim = coordinator.claims.claim(artifact.digest)?;
    coordinator.blobs.put(&claim, Bytes::from(bytes)).await?;
    coordinator.queue.record_artifact(coordinator.now(), artifact).await?;
    Ok(artifact)
}

/// Deletes blobs without a row, which a crash may leave: their uploads were never acknowledged. For the start, before anybody
/// uploads. Returns the number of files.
///
/// # Errors
/// If the database or the disk fails.
pub async fn start_blobs(coordinator: &Coordinator) -> Result<usize, Error> {
    let artifacts = coordinator.queue.artifacts().await?;
    coordinator.blobs.tidy(&artifacts.iter().map(|artifact| artifact.digest).collect()).await
}

/// Refuses an artifact that is not held, and keeps one that is for a while from now on. `field` is the field of the request
/// that names it.
pub(super) async fn require_artifact(coordinator: &Coordinator, field: &str, digest: Digest) -> Result<(), Error> {
    match touch(coordinator, digest).await? {
        Some(_) => Ok(()),
        None => Err(Error::bad_field(field, format!("{digest} is not held: upload it first"))),
    }
}
