//! `ArtifactService`: uploads that go on where they broke off, and downloads.

use std::time::Duration;

use fivefold_proto::convert::{WireError, digest_from_wire, lease_from_wire, required};
use fivefold_proto::v1;
use fivefold_proto::v1::artifact_service_server::ArtifactService;
use fivefold_proto::v1::upload_artifact_request::Part;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::access::{Caller, Role};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::queue::{artifacts, lease};
use crate::services::Coordinator;
use crate::store::Upload;

const MAX_CHUNK_BYTES: usize = 1024 * 1024;
/// An upload that says nothing for so long is cut off; what was held stays.
const IDLE: Duration = Duration::from_secs(60);

/// The word that the database has for a kind, and the most bytes that such an artifact may have.
fn kind_and_limit(kind: i32) -> Result<(&'static str, u64), WireError> {
    const MIB: u64 = 1 << 20;
    Ok(match v1::ArtifactKind::try_from(kind) {
        Ok(v1::ArtifactKind::Manifest) => ("manifest", 512 * MIB),
        Ok(v1::ArtifactKind::Weights) => ("weights", 4096 * MIB),
        Ok(v1::ArtifactKind::Checkpoint) => ("checkpoint", 16 * 1024 * MIB),
        Ok(v1::ArtifactKind::Oof) => ("oof", 2048 * MIB),
        Ok(v1::ArtifactKind::Predictions) => ("predictions", 2048 * MIB),
        _ => return Err(WireError::new("artifact.kind", "it is not a kind that can be uploaded")),
    })
}

#[tonic::async_trait]
impl ArtifactService for Coordinator {
    async fn get_upload(
        &self,
        request: Request<v1::GetUploadRequest>,
    ) -> Result<Response<v1::GetUploadResponse>, Status> {
        let caller = request.extensions().get().cloned();
        let request = request.into_inner();
        let artifact = required("artifact", request.artifact)?;
        let digest = digest_from_wire("artifact.digest", &artifact.digest)?;
        self.require_upload(caller, request.lease, artifact.kind()).await?;
        let held = artifacts::size_bytes(self.database.readers(), digest).await?;
        let Some(size_bytes) = held else {
            let offset_bytes = self.store.held_bytes(digest).await;
            return Ok(Response::new(v1::GetUploadResponse { offset_bytes, complete: false }));
        };
        // Touched, so that a checkpoint which is about to be named is not forgotten as unnamed.
        let (kind, _) = kind_and_limit(artifact.kind)?;
        let now = Timestamp::now();
        self.database
            .write(move |c| Box::pin(async move { artifacts::record(c, now, digest, kind, size_bytes).await }))
            .await?;
        Ok(Response::new(v1::GetUploadResponse { offset_bytes: size_bytes, complete: true }))
    }

    async fn upload_artifact(
        &self,
        request: Request<Streaming<v1::UploadArtifactRequest>>,
    ) -> Result<Response<v1::UploadArtifactResponse>, Status> {
        let caller = request.extensions().get().cloned();
        let mut parts = request.into_inner();
        let Some(Part::Header(header)) = next_part(&mut parts).await? else {
            return Err(WireError::new("header", "the first message of an upload should be its header").into());
        };
        let artifact = required("header.artifact", header.artifact)?;
        let digest = digest_from_wire("header.artifact.digest", &artifact.digest)?;
        let (kind, limit_bytes) = kind_and_limit(artifact.kind)?;
        let size_bytes = artifact.size_bytes;
        if size_bytes > limit_bytes {
            let problem = format!("{size_bytes} bytes are more than the {limit_bytes} that a {kind} may have");
            return Err(WireError::new("header.artifact.size_bytes", problem).into());
        }
        self.require_upload(caller, header.lease, artifact.kind()).await?;
        if artifacts::size_bytes(self.database.readers(), digest).await?.is_none() {
            let mut upload = self.store.begin_upload(digest, size_bytes, Some(header.offset_bytes)).await?;
            match receive(&mut parts, &mut upload).await {
                Ok(()) => upload.finish().await?,
                Err(status) => {
                    upload.pause().await?;
                    return Err(status);
                }
            }
        }
        let now = Timestamp::now();
        self.database
            .write(move |c| Box::pin(async move { artifacts::record(c, now, digest, kind, size_bytes).await }))
            .await?;
        Ok(Response::new(v1::UploadArtifactResponse { artifact: Some(artifact) }))
    }

    type DownloadArtifactStream = ReceiverStream<Result<v1::DownloadArtifactResponse, Status>>;

    async fn download_artifact(
        &self,
        request: Request<v1::DownloadArtifactRequest>,
    ) -> Result<Response<Self::DownloadArtifactStream>, Status> {
        let caller: Option<Caller> = request.extensions().get().cloned();
        let request = request.into_inner();
        let digest = digest_from_wire("digest", &request.digest)?;
        if caller.is_some_and(|caller| caller.role == Role::Worker) {
            let (job, attempt) = lease_from_wire(request.lease)?;
            lease::require(self.database.readers(), job, attempt).await?;
            if !artifacts::belongs_to(self.database.readers(), job, digest).await? {
                return Err(Error::RoleNotEnough(format!("{digest} is not part of the leased job {job}")).into());
            }
        }
        let size_bytes = artifacts::size_bytes(self.database.readers(), digest).await?;
        let size_bytes = size_bytes.ok_or_else(|| Error::NotFound { what: "artifact", name: digest.to_string() })?;
        if request.offset_bytes > size_bytes {
            return Err(WireError::new("offset_bytes", format!("the artifact has {size_bytes} bytes")).into());
        }
        let mut reader = self.store.open_at(digest, request.offset_bytes).await?;
        let (sender, receiver) = mpsc::channel(4);
        tokio::spawn(async move {
            loop {
                let message = match reader.next().await {
                    Ok(Some(chunk)) => Ok(v1::DownloadArtifactResponse { chunk, size_bytes }),
                    Ok(None) => return,
                    Err(error) => Err(error.into()),
                };
                let last = message.is_err();
                // A receiver that is gone wants nothing more.
                if sender.send(message).await.is_err() || last {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

impl Coordinator {
    /// Refuses an upload under a lease that is not held; a worker has to have one, and uploads only what workers make.
    async fn require_upload(
        &self,
        caller: Option<Caller>,
        lease: Option<v1::LeaseRef>,
        kind: v1::ArtifactKind,
    ) -> Result<(), Status> {
        let is_worker = caller.is_some_and(|caller| caller.role == Role::Worker);
        if is_worker || lease.is_some() {
            let (job, attempt) = lease_from_wire(lease)?;
            lease::require(self.database.readers(), job, attempt).await?;
        }
        let of_workers = [v1::ArtifactKind::Checkpoint, v1::ArtifactKind::Oof, v1::ArtifactKind::Predictions];
        if is_worker && !of_workers.contains(&kind) {
            let refused = format!("a worker uploads no artifact of the kind {}", kind.as_str_name());
            return Err(Error::RoleNotEnough(refused).into());
        }
        Ok(())
    }
}

/// Writes the chunks that come, to the end of the stream.
async fn receive(parts: &mut Streaming<v1::UploadArtifactRequest>, upload: &mut Upload) -> Result<(), Status> {
    while let Some(part) = next_part(parts).await? {
        match part {
            Part::Chunk(chunk) if chunk.len() <= MAX_CHUNK_BYTES => upload.append(chunk).await?,
            Part::Chunk(_) => return Err(WireError::new("chunk", "it has more than 1 MiB").into()),
            Part::Header(_) => return Err(WireError::new("header", "an upload has one header").into()),
        }
    }
    Ok(())
}

async fn next_part(parts: &mut Streaming<v1::UploadArtifactRequest>) -> Result<Option<Part>, Status> {
    let next = tokio::time::timeout(IDLE, parts.message()).await;
    let message =
        next.map_err(|_| Error::Unavailable(format!("the upload said nothing for {} s", IDLE.as_secs())))??;
    message.map(|message| required("part", message.part)).transpose().map_err(Status::from)
}
