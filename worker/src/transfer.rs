//! Artifacts over the wire: uploads and downloads that go on where they broke off, checked by their digests.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use fivefold_common::ids::Digest;
use fivefold_proto::status::{Reason, has_reason};
use fivefold_proto::v1;
use fivefold_proto::v1::upload_artifact_request::Part;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::coordinator_client::{CallError, CoordinatorClient, Pauses, no_answer};

const CHUNK_BYTES: usize = 512 * 1024;
/// A download from which nothing comes for so long is begun again.
const IDLE: std::time::Duration = std::time::Duration::from_secs(60);
/// How often bytes that do not have their digest are sent or fetched again.
const MOST_MISMATCHES: u32 = 3;

/// Why an artifact did not get across.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The coordinator did not want it, or the caller not any more.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The local file cannot be read or written.
    #[error("{}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The bytes that came are others, again and again.
    #[error("what the coordinator sends as {digest} has another digest, {tries} times now")]
    Mismatch {
        /// The digest it should have.
        digest: Digest,
        /// How often it was fetched.
        tries: u32,
    },
}

fn file_error(path: &Path) -> impl Fn(std::io::Error) -> TransferError + '_ {
    |error| TransferError::File { path: path.to_owned(), error }
}

/// Digest and size in bytes of a file.
///
/// # Errors
/// When it cannot be read.
pub async fn digest_of_file(path: &Path) -> Result<(Digest, u64), TransferError> {
    let owned = path.to_owned();
    let hashed = tokio::task::spawn_blocking(move || {
        let mut file = std::fs::File::open(owned)?;
        let mut hasher = blake3::Hasher::new();
        let mut buffer = vec![0; 1 << 20];
        let mut size_bytes = 0;
        loop {
            let read = file.read(&mut buffer)?;
            if read == 0 {
                return Ok((Digest::from(hasher.finalize()), size_bytes));
            }
            hasher.update(&buffer[..read]);
            size_bytes += read as u64;
        }
    });
    hashed.await.map_err(std::io::Error::other).flatten().map_err(file_error(path))
}

/// Uploads the file at `path`, unless the coordinator holds it already, and returns what it is called.
///
/// # Errors
/// When the file cannot be read, the lease is lost, or the caller gives up.
pub async fn upload(
    client: &CoordinatorClient,
    kind: v1::ArtifactKind,
    path: &Path,
    lease: v1::LeaseRef,
    give_up: &CancellationToken,
) -> Result<v1::Artifact, TransferError> {
    let (digest, size_bytes) = digest_of_file(path).await?;
    let artifact = v1::Artifact { kind: kind.into(), digest: digest.to_string(), size_bytes };
    let mut pauses = Pauses::default();
    let mut mismatches = 0;
    loop {
        let request = v1::GetUploadRequest { artifact: Some(artifact.clone()), lease: Some(lease) };
        let held = client
            .persist("say how much of an upload it holds", give_up, || {
                let (mut artifacts, request) = (client.artifacts(), request.clone());
                async move { artifacts.get_upload(request).await }
            })
            .await?;
        if held.complete {
            return Ok(artifact);
        }
        let header =
            v1::UploadHeader { artifact: Some(artifact.clone()), offset_bytes: held.offset_bytes, lease: Some(lease) };
        let sent = tokio::select! {
            sent = send_from(client, path, header) => sent?,
            () = give_up.cancelled() => return Err(CallError::GivenUp.into()),
        };
        let Err(status) = sent else {
            client.note_answer();
            return Ok(artifact);
        };
        mismatches += u32::from(has_reason(&status, Reason::DigestMismatch));
        let again = has_reason(&status, Reason::WrongOffset)
            || (has_reason(&status, Reason::DigestMismatch) && mismatches < MOST_MISMATCHES);
        let status = if again { no_answer() } else { status };
        let pause = client.pause_after("take an upload", &status, &mut pauses)?;
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = give_up.cancelled() => return Err(CallError::GivenUp.into()),
        }
    }
}

/// Sends the rest of a file once.
async fn send_from(
    client: &CoordinatorClient,
    path: &Path,
    header: v1::UploadHeader,
) -> Result<Result<(), Status>, TransferError> {
    let mut file = tokio::fs::File::open(path).await.map_err(file_error(path))?;
    file.seek(std::io::SeekFrom::Start(header.offset_bytes)).await.map_err(file_error(path))?;
    let (parts, receiver) = mpsc::channel(2);
    let reading = async move {
        let request = |part| v1::UploadArtifactRequest { part: Some(part) };
        if parts.send(request(Part::Header(header))).await.is_err() {
            return Ok(());
        }
        loop {
            let mut chunk = Vec::with_capacity(CHUNK_BYTES);
            let read = (&mut file).take(CHUNK_BYTES as u64).read_to_end(&mut chunk).await?;
            // Nobody listens any more when the call has ended; its status says why.
            if read == 0 || parts.send(request(Part::Chunk(chunk.into()))).await.is_err() {
                return Ok(());
            }
        }
    };
    let mut artifacts = client.artifacts();
    let (read, sent) = tokio::join!(reading, artifacts.upload_artifact(ReceiverStream::new(receiver)));
    read.map_err(file_error(path))?;
    Ok(sent.map(|_| ()))
}

/// Fetches an artifact into `folder`, where its name is its digest, unless it is there already, and returns its path.
///
/// # Errors
/// When there is no such artifact, the file cannot be written, or the caller gives up.
pub async fn download(
    client: &CoordinatorClient,
    digest: Digest,
    folder: &Path,
    lease: v1::LeaseRef,
    give_up: &CancellationToken,
) -> Result<PathBuf, TransferError> {
    let path = folder.join(digest.to_string());
    if path.exists() && digest_of_file(&path).await?.0 == digest {
        return Ok(path);
    }
    let part = folder.join(format!("{digest}.part"));
    let mut pauses = Pauses::default();
    let mut tries = 0;
    loop {
        let received = tokio::select! {
            received = receive_rest(client, digest, lease, &part) => received?,
            () = give_up.cancelled() => return Err(CallError::GivenUp.into()),
        };
        match received {
            Ok(()) if digest_of_file(&part).await?.0 == digest => {
                client.note_answer();
                tokio::fs::rename(&part, &path).await.map_err(file_error(&part))?;
                return Ok(path);
            }
            Ok(()) => {
                tries += 1;
                tokio::fs::remove_file(&part).await.map_err(file_error(&part))?;
                if tries == MOST_MISMATCHES {
                    return Err(TransferError::Mismatch { digest, tries });
                }
            }
            Err(status) => {
                let pause = client.pause_after("send a file", &status, &mut pauses)?;
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = give_up.cancelled() => return Err(CallError::GivenUp.into()),
                }
            }
        }
    }
}

/// Appends to a part of a file what is missing, as far as it comes.
async fn receive_rest(
    client: &CoordinatorClient,
    digest: Digest,
    lease: v1::LeaseRef,
    part: &Path,
) -> Result<Result<(), Status>, TransferError> {
    let mut options = tokio::fs::OpenOptions::new();
    let mut file = options.create(true).append(true).open(part).await.map_err(file_error(part))?;
    let offset_bytes = file.metadata().await.map_err(file_error(part))?.len();
    let request = v1::DownloadArtifactRequest { digest: digest.to_string(), offset_bytes, lease: Some(lease) };
    let mut chunks = match client.artifacts().download_artifact(request).await {
        Ok(chunks) => chunks.into_inner(),
        Err(status) if offset_bytes > 0 && status.code() == tonic::Code::InvalidArgument => {
            // More than there is: it was not a part of this file.
            file.set_len(0).await.map_err(file_error(part))?;
            return Ok(Err(no_answer()));
        }
        Err(status) => return Ok(Err(status)),
    };
    loop {
        let next = match tokio::time::timeout(IDLE, chunks.message()).await {
            Ok(Ok(next)) => next,
            Ok(Err(status)) => return Ok(Err(status)),
            Err(_) => return Ok(Err(no_answer())),
        };
        let Some(message) = next else {
            file.sync_all().await.map_err(file_error(part))?;
            return Ok(Ok(()));
        };
        file.write_all(&message.chunk).await.map_err(file_error(part))?;
    }
}
