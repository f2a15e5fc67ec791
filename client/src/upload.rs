//! Uploads.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use fivefold_common::artifact::{Artifact, ArtifactKind};
use fivefold_common::ids::Digest;
use fivefold_proto::convert::artifact_to_wire;
use fivefold_proto::status::{Reason, reason};
use fivefold_proto::v1;
use fivefold_proto::v1::upload_artifact_request::Part;
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::failure::{CallError, Refusal};
use crate::retry::Retries;
use crate::transfers::{MOST_MISMATCHES, TransferError, TransferProgress, Transfers, blocking};

/// Bytes per message.
const CHUNK_BYTES: usize = 512 * 1024;
/// Chunks read ahead of the connection.
const CHUNKS_AHEAD: usize = 4;
/// How often an upload whose offset changed is resumed, as when another client uploads the same bytes.
const MOST_OTHER_OFFSETS: u32 = 20;

/// The bytes of an upload.
#[derive(Debug, Clone)]
pub enum Source {
    /// Bytes in memory, in pieces of any size.
    Memory(Vec<Bytes>),
    /// A file. It must not change during the upload.
    File(PathBuf),
}

impl From<Bytes> for Source {
    fn from(bytes: Bytes) -> Self {
        Self::Memory(vec![bytes])
    }
}

impl From<PathBuf> for Source {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}

impl From<&Path> for Source {
    fn from(path: &Path) -> Self {
        Self::File(path.to_owned())
    }
}

impl From<&str> for Source {
    fn from(path: &str) -> Self {
        Self::File(path.into())
    }
}

impl Transfers {
    /// Uploads `source`, or the part of it that the coordinator lacks.
    ///
    /// # Errors
    /// When the source cannot be read, or as [`Connection::call`](crate::Connection::call).
    pub async fn upload(&self, kind: ArtifactKind, source: Source) -> Result<Artifact, TransferError> {
        self.connection.until_cancelled(self.upload_to_the_end(kind, source)).await
    }

    async fn upload_to_the_end(&self, kind: ArtifactKind, source: Source) -> Result<Artifact, TransferError> {
        let measured = source.clone();
        let (digest, size_bytes) = blocking(move || measured.digest_and_size()).await?;
        let artifact = Artifact { kind, digest, size_bytes };
        let request = v1::GetUploadRequest { artifact: Some(artifact_to_wire(artifact)), lease: self.wire_lease() };
        let mut retries = self.connection.retries();
        let mut restarts = Restarts::default();
        loop {
            let asked = self.connection.call(request.clone(), async |c, r| c.artifacts().get_upload(r).await);
            let held = asked.await?;
            if held.complete {
                self.progress()(TransferProgress { done_bytes: size_bytes, total_bytes: size_bytes });
                return Ok(artifact);
            }
            match self.send_rest(artifact, held.offset_bytes, source.clone()).await? {
                Ok(()) => {
                    retries.succeeded();
                    return Ok(artifact);
                }
                Err(status) => restarts.wait(status, &mut retries).await?,
            }
        }
    }

    /// Sends the bytes from an offset on, once. The outer error is this machine's, the inner one the coordinator's.
    async fn send_rest(
        &self,
        artifact: Artifact,
        offset_bytes: u64,
        source: Source,
    ) -> Result<Result<(), Status>, TransferError> {
        let (sender, parts) = mpsc::channel(CHUNKS_AHEAD);
        let header =
            v1::UploadHeader { artifact: Some(artifact_to_wire(artifact)), offset_bytes, lease: self.wire_lease() };
        let reading = tokio::task::spawn_blocking(move || {
            let send = |part| sender.blocking_send(v1::UploadArtifactRequest { part: Some(part) }).is_ok();
            // A closed channel means that the coordinator has answered already: its answer counts.
            if send(Part::Header(header)) {
                source.read_from(offset_bytes, |chunk| send(Part::Chunk(chunk)))
            } else {
                Ok(())
            }
        });
        let (report, total_bytes) = (self.progress(), artifact.size_bytes);
        let mut done_bytes = offset_bytes;
        let parts = ReceiverStream::new(parts).map(move |request| {
            if let Some(Part::Chunk(chunk)) = &request.part {
                done_bytes += chunk.len() as u64;
                report(TransferProgress { done_bytes, total_bytes });
            }
            request
        });
        let answer = self.connection.artifacts().upload_artifact(parts).await;
        reading.await??;
        Ok(answer.map(|_| ()))
    }
}

/// How often an upload began again although the connection held.
#[derive(Debug, Default)]
struct Restarts {
    mismatches: u32,
    other_offsets: u32,
}

impl Restarts {
    /// Pauses before the coordinator is asked again what it holds.
    ///
    /// # Errors
    /// When it would refuse the upload again.
    async fn wait(&mut self, status: Status, retries: &mut Retries) -> Result<(), CallError> {
        let is_restarted = match reason(&status) {
            Some(Reason::DigestMismatch) => {
                self.mismatches += 1;
                self.mismatches < MOST_MISMATCHES
            }
            Some(Reason::WrongOffset) => {
                self.other_offsets += 1;
                self.other_offsets < MOST_OTHER_OFFSETS
            }
            _ => return retries.wait(status).await,
        };
        if !is_restarted {
            return Err(Refusal::new(status).into());
        }
        tokio::time::sleep(retries.next_pause()).await;
        Ok(())
    }
}

impl Source {
    fn digest_and_size(&self) -> Result<(Digest, u64), TransferError> {
        let mut hasher = blake3::Hasher::new();
        match self {
            Self::Memory(pieces) => {
                for piece in pieces {
                    hasher.update(piece);
                }
            }
            Self::File(path) => {
                let hashed = File::open(path).and_then(|file| hasher.update_reader(file).map(|_| ()));
                hashed.map_err(|error| TransferError::File { path: path.clone(), error })?;
            }
        }
        Ok((Digest::from(hasher.finalize()), hasher.count()))
    }

    /// Gives the bytes from an offset on to `send`, in chunks, until it returns false.
    fn read_from(&self, offset_bytes: u64, send: impl FnMut(Bytes) -> bool) -> Result<(), TransferError> {
        match self {
            Self::Memory(pieces) => {
                chunk_memory(pieces, offset_bytes, send);
                Ok(())
            }
            Self::File(path) => {
                chunk_file(path, offset_bytes, send).map_err(|error| TransferError::File { path: path.clone(), error })
            }
        }
    }
}

fn chunk_memory(pieces: &[Bytes], offset_bytes: u64, mut send: impl FnMut(Bytes) -> bool) {
    let mut skipped = offset_bytes;
    for piece in pieces {
        let from = skipped.min(piece.len() as u64);
        skipped -= from;
        let mut rest = piece.slice(from as usize..);
        while !rest.is_empty() {
            if !send(rest.split_to(rest.len().min(CHUNK_BYTES))) {
                return;
            }
        }
    }
}

fn chunk_file(path: &Path, offset_bytes: u64, mut send: impl FnMut(Bytes) -> bool) -> io::Result<()> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(offset_bytes))?;
    loop {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        file.by_ref().take(CHUNK_BYTES as u64).read_to_end(&mut chunk)?;
        if chunk.is_empty() || !send(chunk.into()) {
            return Ok(());
        }
    }
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
        let pieces = vec![Bytes::copy_from_slice(&bytes[..300]), Bytes::copy_from_slice(&bytes[300..])];
        for source in [Source::Memory(pieces), Source::File(path)] {
            assert_eq!(source.digest_and_size().unwrap(), (Digest::of(&bytes), bytes.len() as u64));
            for offset in [0, 7, 300, 400, bytes.len()] {
                let mut got = Vec::new();
                let take = |chunk: Bytes| {
                    assert!(chunk.len() <= CHUNK_BYTES);
                    got.extend_from_slice(&chunk);
                    true
                };
                source.read_from(offset as u64, take).unwrap();
                assert!(got == bytes[offset..], "from {offset}");
            }
        }
    }
}
