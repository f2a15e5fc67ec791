//! Artifacts on their way to and from the coordinator: resumed where a connection broke, and checked by their digest.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use fivefold_common::durable_file::DurableFile;
use fivefold_common::ids::Digest;
use fivefold_proto::status::{Reason, has_reason};
use fivefold_proto::v1::upload_artifact_request::Part;
use fivefold_proto::v1::{
    Artifact, ArtifactKind, DownloadArtifactRequest, GetUploadRequest, UploadArtifactRequest, UploadHeader,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::connection::{Coordinator, in_time, say_on_stderr};

/// Bytes per message.
const CHUNK_BYTES: usize = 512 * 1024;
/// From here on an upload is announced: it takes a while.
const LARGE_BYTES: u64 = 16 * 1024 * 1024;

/// What is uploaded.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    /// Bytes that were read already.
    Memory(Bytes),
    /// A file, too large for the memory.
    File(PathBuf),
}

impl Content {
    fn artifact(&self, kind: ArtifactKind) -> anyhow::Result<Artifact> {
        let (digest, size_bytes) = match self {
            Content::Memory(bytes) => (Digest::of(bytes), bytes.len() as u64),
            Content::File(path) => {
                let cannot = || format!("cannot read {}", path.display());
                let mut hasher = blake3::Hasher::new();
                hasher.update_reader(File::open(path).with_context(cannot)?).with_context(cannot)?;
                (Digest::from(hasher.finalize()), hasher.count())
            }
        };
        Ok(Artifact { kind: kind.into(), digest: digest.to_string(), size_bytes })
    }

    fn send_from(self, offset_bytes: u64, parts: &mpsc::Sender<UploadArtifactRequest>) -> anyhow::Result<()> {
        // A closed channel means that the coordinator has answered already; its answer is what counts.
        let send = |chunk: Bytes| parts.blocking_send(UploadArtifactRequest { part: Some(Part::Chunk(chunk)) }).is_ok();
        match self {
            Content::Memory(bytes) => {
                let mut rest = bytes.slice((offset_bytes as usize).min(bytes.len())..);
                while !rest.is_empty() && send(rest.split_to(rest.len().min(CHUNK_BYTES))) {}
            }
            Content::File(path) => {
                let cannot = || format!("cannot read {}", path.display());
                let mut file = File::open(&path).with_context(cannot)?;
                file.seek(SeekFrom::Start(offset_bytes)).with_context(cannot)?;
                loop {
                    let mut chunk = Vec::with_capacity(CHUNK_BYTES);
                    std::io::Read::by_ref(&mut file)
                        .take(CHUNK_BYTES as u64)
                        .read_to_end(&mut chunk)
                        .with_context(cannot)?;
                    if chunk.is_empty() || !send(chunk.into()) {
                        break;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Uploads `content`, or what the coordinator lacks of it; `name` is what the user calls it. Returns its digest.
pub(crate) async fn upload(
    coordinator: &Coordinator,
    name: &str,
    kind: ArtifactKind,
    content: Content,
) -> anyhow::Result<String> {
    let artifact = {
        let content = content.clone();
        tokio::task::spawn_blocking(move || content.artifact(kind)).await??
    };
    let mut outage = coordinator.outage();
    let mut restarts_left = 1;
    loop {
        let request = GetUploadRequest { artifact: Some(artifact.clone()), lease: None };
        let held = coordinator.call(async || coordinator.artifacts().get_upload(request.clone()).await).await?;
        if held.complete {
            return Ok(artifact.digest);
        }
        let left_bytes = artifact.size_bytes.saturating_sub(held.offset_bytes);
        if left_bytes >= LARGE_BYTES {
            say_on_stderr(&format!("uploading {name}: {} MB", left_bytes / 1_000_000));
        }
        match upload_rest(coordinator, &artifact, held.offset_bytes, content.clone()).await? {
            Ok(()) => return Ok(artifact.digest),
            // Another upload of the same bytes was faster, or what was held is broken: ask once more.
            Err(status)
                if restarts_left > 0
                    && (has_reason(&status, Reason::WrongOffset) || has_reason(&status, Reason::DigestMismatch)) =>
            {
                restarts_left -= 1;
            }
            Err(status) => outage.wait_or_refuse(status, say_on_stderr).await.with_context(|| name.to_owned())?,
        }
    }
}

/// The outer error is this machine's, the inner one the coordinator's.
async fn upload_rest(
    coordinator: &Coordinator,
    artifact: &Artifact,
    offset_bytes: u64,
    content: Content,
) -> anyhow::Result<Result<(), Status>> {
    let (sender, parts) = mpsc::channel(4);
    let header = UploadHeader { artifact: Some(artifact.clone()), offset_bytes, lease: None };
    sender.send(UploadArtifactRequest { part: Some(Part::Header(header)) }).await.context("upload")?;
    let reading = tokio::task::spawn_blocking(move || content.send_from(offset_bytes, &sender));
    let answer = coordinator.artifacts().upload_artifact(ReceiverStream::new(parts)).await;
    reading.await??;
    Ok(answer.map(|_| ()))
}

/// Downloads `artifact` to `path`, which is there afterwards with the right digest, or is as it was before.
pub(crate) async fn download(coordinator: &Coordinator, artifact: &Artifact, path: &Path) -> anyhow::Result<()> {
    let mut file = DurableFile::create(path)?;
    let mut hasher = blake3::Hasher::new();
    let mut outage = coordinator.outage();
    loop {
        let request =
            DownloadArtifactRequest { digest: artifact.digest.clone(), offset_bytes: hasher.count(), lease: None };
        let broken = match in_time(coordinator.artifacts().download_artifact(request)).await {
            Err(status) => Some(status),
            Ok(answer) => {
                let mut chunks = answer.into_inner();
                loop {
                    match in_time(chunks.message()).await {
                        Ok(Some(message)) => {
                            outage.end(say_on_stderr);
                            file.write_all(&message.chunk)
                                .with_context(|| format!("cannot write {}", path.display()))?;
                            hasher.update(&message.chunk);
                        }
                        Ok(None) => break None,
                        Err(status) => break Some(status),
                    }
                }
            }
        };
        match broken {
            None => break,
            Some(status) => {
                outage.wait_or_refuse(status, say_on_stderr).await.with_context(|| path.display().to_string())?;
            }
        }
    }
    let (found, expected) = (hasher.finalize().to_hex(), &artifact.digest);
    ensure!(
        found.as_str() == expected,
        "{}: {} bytes with digest {found} came where {expected} was asked for; nothing was kept, try again",
        path.display(),
        hasher.count(),
    );
    Ok(file.commit()?)
}

/// Refuses a file that is not safetensors by its first bytes, before hundreds of megabytes are uploaded.
pub(crate) fn check_safetensors(path: &Path) -> anyhow::Result<()> {
    let name = path.display();
    let mut file = File::open(path).with_context(|| format!("cannot read {name}"))?;
    let size_bytes = file.metadata().with_context(|| format!("cannot read {name}"))?.len();
    let mut length = [0; 8];
    let header_bytes = file.read_exact(&mut length).map(|()| u64::from_le_bytes(length)).unwrap_or(u64::MAX);
    let fits = header_bytes < size_bytes.min(100_000_000);
    let header = fits.then(|| {
        let mut header = Vec::new();
        file.take(header_bytes).read_to_end(&mut header).ok()?;
        serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&header).ok()
    });
    ensure!(
        header.flatten().is_some(),
        "{name} is not a safetensors file; save a PyTorch model with safetensors.torch.save_file"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_begin_at_the_offset() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights");
        let bytes: Vec<u8> = (0..CHUNK_BYTES + 1000).map(|place| place as u8).collect();
        std::fs::write(&path, &bytes).unwrap();
        let contents = [Content::Memory(bytes.clone().into()), Content::File(path)];
        let artifacts = contents.clone().map(|content| content.artifact(ArtifactKind::Weights).unwrap());
        assert_eq!(artifacts[0], artifacts[1]);
        assert_eq!(artifacts[0].size_bytes, bytes.len() as u64);
        for (content, offset) in contents.into_iter().flat_map(|content| [(content.clone(), 0), (content, 7)]) {
            let (sender, mut receiver) = mpsc::channel(10);
            content.send_from(offset, &sender).unwrap();
            drop(sender);
            let mut got = Vec::new();
            while let Some(request) = receiver.blocking_recv() {
                let Some(Part::Chunk(chunk)) = request.part else { panic!("no chunk") };
                assert!(chunk.len() <= CHUNK_BYTES);
                got.extend_from_slice(&chunk);
            }
            assert!(got == bytes[offset as usize..]);
        }
    }

    #[test]
    fn what_is_not_safetensors_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights");
        for bytes in [&b""[..], b"PK\x03\x04 a zip file of PyTorch", b"\x02\0\0\0\0\0\0\0[]", b"\xff\xff\0\0\0\0\0\0{}"]
        {
            std::fs::write(&path, bytes).unwrap();
            assert!(check_safetensors(&path).unwrap_err().to_string().contains("not a safetensors file"));
        }
        std::fs::write(&path, b"\x02\0\0\0\0\0\0\0{}....").unwrap();
        check_safetensors(&path).unwrap();
    }
}
