//! `ArtifactService`: uploads that can be resumed, and downloads.

use std::time::Duration;

use bytes::Bytes;
use fivefold_common::artifact::{Artifact, ArtifactKind, ArtifactOrigin};
use fivefold_proto::convert::{WireError, artifact_kind_from_wire, digest_from_wire, lease_from_wire, required};
use fivefold_proto::v1;
use fivefold_proto::v1::artifact_service_server::ArtifactService;
use fivefold_proto::v1::upload_artifact_request::Part;
use tokio_stream::StreamExt as _;
use tonic::{Code, Request, Response, Status, Streaming};

use super::Services;
use super::limits::{self, Answers, ReaderGone, Sender};
use crate::access::Caller;
use crate::app::{self, Held, Party};
use crate::blobs::Chunks;
use crate::error::Error;

const MAX_CHUNK_BYTES: usize = 1024 * 1024;

/// The artifact that is announced for an upload.
fn announced(artifact: &v1::Artifact, field: &str) -> Result<Artifact, WireError> {
    let digest = digest_from_wire(&format!("{field}.digest"), &artifact.digest)?;
    let kind = artifact_kind_from_wire(artifact.kind)?;
    if limit_bytes(kind).is_none() {
        return Err(WireError::new("artifact.kind", "it is not a kind that can be uploaded"));
    }
    Ok(Artifact { kind, digest, size_bytes: artifact.size_bytes })
}

/// The most bytes that an upload of this kind may have; `None` if it cannot be uploaded.
fn limit_bytes(kind: ArtifactKind) -> Option<u64> {
    match kind.origin() {
        ArtifactOrigin::User { limit_bytes } | ArtifactOrigin::Worker { limit_bytes } => Some(limit_bytes),
        ArtifactOrigin::Coordinator => None,
    }
}

fn party(caller: &Caller) -> Party {
    if caller.is_worker() { Party::Worker } else { Party::User }
}

#[tonic::async_trait]
impl ArtifactService for Services {
    async fn get_upload(
        &self,
        request: Request<v1::GetUploadRequest>,
    ) -> Result<Response<v1::GetUploadResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let artifact = required("artifact", request.artifact)?;
        let digest = digest_from_wire("artifact.digest", &artifact.digest)?;
        let kind = artifact_kind_from_wire(artifact.kind)?;
        let lease = request.lease.map(|lease| lease_from_wire(Some(lease))).transpose()?;
        app::allow_upload(&self.coordinator, party(&caller), lease, kind).await?;
        let (offset_bytes, complete) = match app::held(&self.coordinator, digest).await? {
            Held::Whole { size_bytes } => (size_bytes, true),
            Held::Partial { offset_bytes } => (offset_bytes, false),
        };
        Ok(Response::new(v1::GetUploadResponse { offset_bytes, complete }))
    }

    async fn upload_artifact(
        &self,
        request: Request<Streaming<v1::UploadArtifactRequest>>,
    ) -> Result<Response<v1::UploadArtifactResponse>, Status> {
        let caller = Caller::of(&request)?;
        let _permit = self.uploads.acquire()?;
        let mut parts = request.into_inner();
        let Some(Part::Header(header)) = next_part(&mut parts, self.limits.slow).await? else {
            return Err(WireError::new("header", "the first message of an upload should be its header").into());
        };
        let wire = required("header.artifact", header.artifact)?;
        let artifact = announced(&wire, "header.artifact")?;
        let Artifact { kind, size_bytes, .. } = artifact;
        if let Some(limit_bytes) = limit_bytes(kind).filter(|&limit_bytes| size_bytes > limit_bytes) {
            let problem = format!("{size_bytes} bytes are more than the {limit_bytes} that a {kind} may have");
            return Err(WireError::new("header.artifact.size_bytes", problem).into());
        }
        let lease = header.lease.map(|lease| lease_from_wire(Some(lease))).transpose()?;
        app::allow_upload(&self.coordinator, party(&caller), lease, kind).await?;
        let chunks = chunks(parts, caller, self.limits.slow);
        app::upload(&self.coordinator, artifact, header.offset_bytes, chunks).await?;
        Ok(Response::new(v1::UploadArtifactResponse { artifact: Some(wire) }))
    }

    type DownloadArtifactStream = Answers<v1::DownloadArtifactResponse>;

    async fn download_artifact(
        &self,
        request: Request<v1::DownloadArtifactRequest>,
    ) -> Result<Response<Self::DownloadArtifactStream>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let digest = digest_from_wire("digest", &request.digest)?;
        if caller.is_worker() {
            app::allow_download(&self.coordinator, lease_from_wire(request.lease)?, digest).await?;
        }
        let size_bytes = app::size_bytes(&self.coordinator, digest).await?;
        if request.offset_bytes > size_bytes {
            return Err(WireError::new("offset_bytes", format!("the artifact has {size_bytes} bytes")).into());
        }
        let place = self.downloads.acquire()?;
        let chunks = app::download(&self.coordinator, digest, request.offset_bytes).await?;
        let (sender, answers) = limits::answers(place, 4, self.limits.slow);
        tokio::spawn(send(caller, chunks, size_bytes, sender));
        Ok(Response::new(answers))
    }
}

/// Sends an artifact's bytes, to their end or until the caller may not have them any more.
async fn send(caller: Caller, mut chunks: Chunks, size_bytes: u64, mut sender: Sender<v1::DownloadArtifactResponse>) {
    while let Some(chunk) = chunks.next().await {
        let chunk = match caller.require_live().and(chunk) {
            Ok(chunk) => chunk,
            Err(error) => return sender.end(error),
        };
        sender = match sender.send(v1::DownloadArtifactResponse { chunk, size_bytes }).await {
            Ok(sender) => sender,
            Err(ReaderGone) => return,
        };
    }
}

/// The bytes of an upload after its header.
fn chunks(parts: Streaming<v1::UploadArtifactRequest>, caller: Caller, slow: Duration) -> Chunks {
    Box::pin(futures_util::stream::try_unfold((parts, caller), move |(mut parts, caller)| async move {
        let chunk = next_chunk(&mut parts, &caller, slow).await?;
        Ok(chunk.map(|chunk| (chunk, (parts, caller))))
    }))
}

async fn next_chunk(
    parts: &mut Streaming<v1::UploadArtifactRequest>,
    caller: &Caller,
    slow: Duration,
) -> Result<Option<Bytes>, Error> {
    let Some(part) = next_part(parts, slow).await? else { return Ok(None) };
    caller.require_live()?;
    match part {
        Part::Chunk(chunk) if chunk.len() <= MAX_CHUNK_BYTES => Ok(Some(chunk)),
        Part::Chunk(_) => Err(Error::bad_field("chunk", "it has more than 1 MiB")),
        Part::Header(_) => Err(Error::bad_field("header", "an upload has one header")),
    }
}

async fn next_part(parts: &mut Streaming<v1::UploadArtifactRequest>, slow: Duration) -> Result<Option<Part>, Error> {
    let next = tokio::time::timeout(slow, parts.message()).await;
    let next = next.map_err(|_| Error::Unavailable(format!("the upload said nothing for {} s", slow.as_secs())))?;
    let message = next.map_err(broken)?;
    Ok(message.map(|message| required("part", message.part)).transpose()?)
}

/// A stream that ended with an error.
fn broken(status: Status) -> Error {
    match status.code() {
        Code::OutOfRange | Code::InvalidArgument => Error::bad_field("part", status.message()),
        _ => Error::Unavailable(format!("the upload broke off: {}", status.message())),
    }
}
