//! `ArtifactService`: uploads that go on where they broke off, and downloads.

use fivefold_common::ids::Digest;
use fivefold_proto::convert::{WireError, digest_from_wire, lease_from_wire, required};
use fivefold_proto::v1;
use fivefold_proto::v1::artifact_service_server::ArtifactService;
use fivefold_proto::v1::upload_artifact_request::Part;
use tonic::{Request, Response, Status, Streaming};

use crate::access::Caller;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::queue::{artifacts, lease};
use crate::services::Coordinator;
use crate::services::limits::{self, Answers, NobodyReads};
use crate::store::Upload;

const MAX_CHUNK_BYTES: usize = 1024 * 1024;

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
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let artifact = required("artifact", request.artifact)?;
        let digest = digest_from_wire("artifact.digest", &artifact.digest)?;
        self.require_upload(&caller, request.lease, artifact.kind()).await?;
        let Some(size_bytes) = self.touch(digest).await? else {
            let offset_bytes = self.store.held_bytes(digest).await;
            return Ok(Response::new(v1::GetUploadResponse { offset_bytes, complete: false }));
        };
        Ok(Response::new(v1::GetUploadResponse { offset_bytes: size_bytes, complete: true }))
    }

    async fn upload_artifact(
        &self,
        request: Request<Streaming<v1::UploadArtifactRequest>>,
    ) -> Result<Response<v1::UploadArtifactResponse>, Status> {
        let caller = Caller::of(&request)?;
        let _place = self.uploads.take()?;
        let mut parts = request.into_inner();
        let Some(Part::Header(header)) = self.next_part(&mut parts).await? else {
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
        self.require_upload(&caller, header.lease, artifact.kind()).await?;
        if self.touch(digest).await?.is_some() {
            return Ok(Response::new(v1::UploadArtifactResponse { artifact: Some(artifact) }));
        }
        // From before the row is looked for once more, until it is there.
        let claim = self.store.claim(digest)?;
        if self.touch(digest).await?.is_none() {
            let mut upload = self.store.begin_upload(&claim, size_bytes, Some(header.offset_bytes)).await?;
            match self.receive(&caller, &mut parts, &mut upload).await {
                Ok(()) => upload.finish().await?,
                Err(status) => {
                    upload.pause().await?;
                    return Err(status);
                }
            }
            let now = Timestamp::now();
            self.database
                .write(move |c| Box::pin(async move { artifacts::record(c, now, digest, kind, size_bytes).await }))
                .await?;
        }
        Ok(Response::new(v1::UploadArtifactResponse { artifact: Some(artifact) }))
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
        let place = self.downloads.take()?;
        let mut reader = self.store.open_at(digest, request.offset_bytes).await?;
        let (mut sender, answers) = limits::answers(place, 4, self.limits.slow);
        tokio::spawn(async move {
            loop {
                let chunk = match caller.require_live() {
                    Ok(()) => reader.next().await,
                    Err(error) => Err(error),
                };
                sender = match chunk {
                    Ok(None) => return,
                    Err(error) => return sender.end(error),
                    Ok(Some(chunk)) => match sender.send(v1::DownloadArtifactResponse { chunk, size_bytes }).await {
                        Ok(sender) => sender,
                        Err(NobodyReads) => return,
                    },
                };
            }
        });
        Ok(Response::new(answers))
    }
}

impl Coordinator {
    /// Refuses an upload under a lease that is not held; a worker has to have one, and uploads only what workers make.
    async fn require_upload(
        &self,
        caller: &Caller,
        lease: Option<v1::LeaseRef>,
        kind: v1::ArtifactKind,
    ) -> Result<(), Status> {
        let is_worker = caller.is_worker();
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

    /// Notes that a blob is wanted, and returns its size in bytes; `None` when it is not held.
    async fn touch(&self, digest: Digest) -> Result<Option<u64>, Error> {
        if artifacts::size_bytes(self.database.readers(), digest).await?.is_none() {
            return Ok(None);
        }
        let now = Timestamp::now();
        self.database.write(move |c| Box::pin(async move { artifacts::touch(c, now, digest).await })).await
    }

    /// Writes the chunks that come, to the end of the stream.
    async fn receive(
        &self,
        caller: &Caller,
        parts: &mut Streaming<v1::UploadArtifactRequest>,
        upload: &mut Upload,
    ) -> Result<(), Status> {
        while let Some(part) = self.next_part(parts).await? {
            caller.require_live()?;
            match part {
                Part::Chunk(chunk) if chunk.len() <= MAX_CHUNK_BYTES => upload.append(chunk).await?,
                Part::Chunk(_) => return Err(WireError::new("chunk", "it has more than 1 MiB").into()),
                Part::Header(_) => return Err(WireError::new("header", "an upload has one header").into()),
            }
        }
        Ok(())
    }

    async fn next_part(&self, parts: &mut Streaming<v1::UploadArtifactRequest>) -> Result<Option<Part>, Status> {
        let slow = self.limits.slow;
        let next = tokio::time::timeout(slow, parts.message()).await;
        let message =
            next.map_err(|_| Error::Unavailable(format!("the upload said nothing for {} s", slow.as_secs())))??;
        message.map(|message| required("part", message.part)).transpose().map_err(Status::from)
    }
}
