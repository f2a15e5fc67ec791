//! Blobs in a folder.
//!
//! An upload grows in `uploads/DIGEST.part`. When all bytes are there, they are synced and hashed, and the file is renamed
//! to `artifacts/DIGEST`.

use std::collections::HashSet;
use std::io::SeekFrom;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fivefold_common::durable_file::{self, WriteError};
use fivefold_common::ids::Digest;
use tokio::fs::{self, File, OpenOptions};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _};
use tokio::sync::Semaphore;
use tokio_stream::StreamExt as _;

use super::{Blobs, Chunks, Claim, DiskSpace};
use crate::error::Error;

/// Uploads that write, sync or hash at a time. The limit leaves processor and disk to the queue.
const WRITERS: usize = 2;
/// An upload is synced after every so many bytes. Otherwise a commit of the database would wait for all of them.
const SYNC_BYTES: u64 = 8 << 20;
/// The age at which a partial upload is deleted at the next start.
const ABANDONED: Duration = Duration::from_secs(7 * 24 * 3600);
/// Bytes per piece of a download.
const CHUNK_BYTES: usize = 512 * 1024;

/// The blobs of one state folder.
#[derive(Debug, Clone)]
pub struct FolderBlobs {
    whole: PathBuf,
    partial: PathBuf,
    writers: Arc<Semaphore>,
}

impl FolderBlobs {
    /// Opens the blobs below `state` and creates the folders that are missing.
    ///
    /// # Errors
    /// If a folder cannot be created.
    pub async fn open(state: &Path) -> Result<FolderBlobs, Error> {
        let (whole, partial) = (state.join("artifacts"), state.join("uploads"));
        for folder in [&whole, &partial] {
            fs::create_dir_all(folder).await.map_err(|error| at(folder, error))?;
        }
        Ok(FolderBlobs { whole, partial, writers: Arc::new(Semaphore::new(WRITERS)) })
    }

    fn path(&self, digest: Digest) -> PathBuf {
        self.whole.join(digest.to_string())
    }

    fn partial_path(&self, digest: Digest) -> PathBuf {
        self.partial.join(format!("{digest}.part"))
    }

    async fn begin(&self, claim: &Claim, size_bytes: u64, start: Start) -> Result<Upload, Error> {
        let digest = claim.digest();
        let (path, whole) = (self.partial_path(digest), self.path(digest));
        let (offset_bytes, truncate) = match start {
            Start::Anew => (0, true),
            Start::At(offset_bytes) => (offset_bytes, false),
        };
        let mut options = OpenOptions::new();
        options.create(true).write(true).truncate(truncate);
        let mut file = options.open(&path).await.map_err(|error| at(&path, error))?;
        let held_bytes = file.seek(SeekFrom::End(0)).await.map_err(|error| at(&path, error))?;
        if held_bytes != offset_bytes {
            return Err(Error::WrongOffset { digest, held_bytes });
        }
        let (claim, writers) = (claim.clone(), self.writers.clone());
        Ok(Upload { claim, writers, size_bytes, held_bytes, unsynced_bytes: 0, file, path, whole })
    }
}

fn at(path: &Path, error: std::io::Error) -> Error {
    Error::file(path.display().to_string(), error)
}

#[async_trait::async_trait]
impl Blobs for FolderBlobs {
    async fn read(&self, digest: Digest) -> Result<Bytes, Error> {
        let path = self.path(digest);
        fs::read(&path).await.map(Bytes::from).map_err(|error| at(&path, error))
    }

    async fn read_from(&self, digest: Digest, offset_bytes: u64) -> Result<Chunks, Error> {
        let path = self.path(digest);
        let mut file = File::open(&path).await.map_err(|error| at(&path, error))?;
        file.seek(SeekFrom::Start(offset_bytes)).await.map_err(|error| at(&path, error))?;
        let chunks = futures_util::stream::try_unfold((file, path), async |(mut file, path)| {
            let chunk = next_chunk(&mut file).await.map_err(|error| at(&path, error))?;
            Ok(chunk.map(|chunk| (chunk, (file, path))))
        });
        Ok(Box::pin(chunks))
    }

    async fn put(&self, claim: &Claim, bytes: Bytes) -> Result<(), Error> {
        let mut upload = self.begin(claim, bytes.len() as u64, Start::Anew).await?;
        upload.append(bytes).await?;
        upload.finish().await
    }

    async fn held_bytes(&self, digest: Digest) -> Result<u64, Error> {
        let path = self.partial_path(digest);
        match fs::metadata(&path).await {
            Ok(metadata) => Ok(metadata.len()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(at(&path, error)),
        }
    }

    async fn all_held_bytes(&self) -> Result<u64, Error> {
        let failed = |error| at(&self.partial, error);
        let mut held_bytes = 0;
        let mut entries = fs::read_dir(&self.partial).await.map_err(failed)?;
        while let Some(entry) = entries.next_entry().await.map_err(failed)? {
            // One that was completed meanwhile has moved.
            held_bytes += entry.metadata().await.map_or(0, |metadata| metadata.len());
        }
        Ok(held_bytes)
    }

    async fn disk_space(&self) -> Result<DiskSpace, Error> {
        let folder = self.whole.clone();
        let read = tokio::task::spawn_blocking(move || rustix::fs::statvfs(&folder)).await;
        let read = read.map_err(|_| Error::EndedEarly("the look at the disk"))?;
        let disk = read.map_err(|error| at(&self.whole, error.into()))?;
        Ok(DiskSpace { free_bytes: disk.f_bavail * disk.f_frsize, total_bytes: disk.f_blocks * disk.f_frsize })
    }

    async fn upload(&self, claim: &Claim, size_bytes: u64, offset_bytes: u64, mut chunks: Chunks) -> Result<(), Error> {
        let mut upload = self.begin(claim, size_bytes, Start::At(offset_bytes)).await?;
        while let Some(chunk) = chunks.next().await {
            let appended = match chunk {
                Ok(chunk) => upload.append(chunk).await,
                Err(error) => Err(error),
            };
            if let Err(error) = appended {
                upload.pause().await?;
                return Err(error);
            }
        }
        upload.finish().await
    }

    async fn delete(&self, claim: &Claim) -> Result<(), Error> {
        let path = self.path(claim.digest());
        match fs::remove_file(&path).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(at(&path, error)),
            _ => Ok(()),
        }
    }

    async fn tidy(&self, named: &HashSet<Digest>) -> Result<usize, Error> {
        let is_named = |name: &str| name.parse().is_ok_and(|digest| named.contains(&digest));
        let unnamed = delete_files(&self.whole, |name, _| !is_named(name)).await?;
        let abandoned = delete_files(&self.partial, |_, age| age.is_some_and(|age| age > ABANDONED)).await?;
        Ok(unnamed + abandoned)
    }
}

/// Deletes files by name and age. Returns their number.
async fn delete_files(folder: &Path, is_unwanted: impl Fn(&str, Option<Duration>) -> bool) -> Result<usize, Error> {
    let failed = |error| at(folder, error);
    let mut deleted = 0;
    let mut entries = fs::read_dir(folder).await.map_err(failed)?;
    while let Some(entry) = entries.next_entry().await.map_err(failed)? {
        let modified = entry.metadata().await.and_then(|metadata| metadata.modified()).map_err(failed)?;
        if is_unwanted(&entry.file_name().to_string_lossy(), modified.elapsed().ok()) {
            fs::remove_file(entry.path()).await.map_err(failed)?;
            deleted += 1;
        }
    }
    Ok(deleted)
}

/// At most [`CHUNK_BYTES`]; `None` at the end.
async fn next_chunk(file: &mut File) -> std::io::Result<Option<Bytes>> {
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut filled = 0;
    while filled < chunk.len() {
        let read = file.read(&mut chunk[filled..]).await?;
        if read == 0 {
            break;
        }
        filled += read;
    }
    chunk.truncate(filled);
    Ok((!chunk.is_empty()).then(|| Bytes::from(chunk)))
}

/// Where an upload starts.
enum Start {
    /// At the beginning; held bytes are thrown away.
    Anew,
    /// At this offset, where the held bytes have to end.
    At(u64),
}

/// An upload under way.
#[derive(Debug)]
struct Upload {
    /// Held until the file is renamed.
    claim: Claim,
    writers: Arc<Semaphore>,
    size_bytes: u64,
    held_bytes: u64,
    unsynced_bytes: u64,
    file: File,
    path: PathBuf,
    whole: PathBuf,
}

impl Upload {
    /// Adds the next bytes. After an error, earlier bytes are still held.
    async fn append(&mut self, bytes: Bytes) -> Result<(), Error> {
        let held_bytes = self.held_bytes + bytes.len() as u64;
        if held_bytes > self.size_bytes {
            return Err(Error::BadContent(format!("more than the announced {} bytes", self.size_bytes)));
        }
        let _turn = self.writers.acquire().await;
        let failed = |error| at(&self.path, error);
        self.file.write_all(&bytes).await.map_err(failed)?;
        self.file.flush().await.map_err(failed)?;
        self.held_bytes = held_bytes;
        self.unsynced_bytes += bytes.len() as u64;
        if self.unsynced_bytes >= SYNC_BYTES {
            self.file.sync_data().await.map_err(failed)?;
            self.unsynced_bytes = 0;
        }
        Ok(())
    }

    /// Keeps what is held for a later upload.
    async fn pause(mut self) -> Result<(), Error> {
        self.file.flush().await.map_err(|error| at(&self.path, error))
    }

    /// Syncs and checks the bytes, and gives the blob its name.
    async fn finish(self) -> Result<(), Error> {
        let Upload { claim, writers, size_bytes, held_bytes, mut file, path, whole, .. } = self;
        let digest = claim.digest();
        if held_bytes != size_bytes {
            return Err(Error::WrongOffset { digest, held_bytes });
        }
        file.flush().await.map_err(|error| at(&path, error))?;
        let file = file.into_std().await;
        let turn = writers.acquire_owned().await;
        // The task outlives a caller that goes away, and holds the claim to its end.
        let task = tokio::task::spawn_blocking(move || {
            let _held = (claim, turn);
            name_file(&file, &path, &whole, digest)
        });
        task.await.unwrap_or(Err(Error::EndedEarly("the check of an upload")))
    }
}

fn name_file(file: &std::fs::File, path: &Path, whole: &Path, digest: Digest) -> Result<(), Error> {
    let failed = |error| at(path, error);
    file.sync_all().map_err(failed)?;
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(std::fs::File::open(path).map_err(failed)?).map_err(failed)?;
    let found = Digest::from(hasher.finalize());
    if found != digest {
        std::fs::remove_file(path).map_err(failed)?;
        return Err(Error::DigestMismatch { announced: digest, found });
    }
    durable_file::rename(path, whole).map_err(|WriteError { path, error }| at(&path, error))
}

#[cfg(test)]
mod tests {
    use super::super::Claims;
    use super::*;

    fn chunks(parts: Vec<Result<&'static [u8], Error>>) -> Chunks {
        Box::pin(tokio_stream::iter(parts.into_iter().map(|part| part.map(Bytes::from_static))))
    }

    #[tokio::test]
    async fn an_interrupted_upload_is_resumed() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = FolderBlobs::open(folder.path()).await.unwrap();
        let (digest, claims) = (Digest::of(b"fivefold"), Claims::default());
        let claim = claims.claim(digest).unwrap();
        assert!(matches!(claims.claim(digest), Err(Error::Unavailable(_))));
        let broken = chunks(vec![Ok(b"five"), Err(Error::Unavailable("cut off".into()))]);
        assert!(matches!(blobs.upload(&claim, 8, 0, broken).await, Err(Error::Unavailable(_))));
        drop(claim);

        let blobs = FolderBlobs::open(folder.path()).await.unwrap();
        assert_eq!(blobs.held_bytes(digest).await.unwrap(), 4);
        assert_eq!(blobs.all_held_bytes().await.unwrap(), 4);
        let claim = claims.claim(digest).unwrap();
        let again = blobs.upload(&claim, 8, 0, chunks(vec![])).await;
        assert!(matches!(again, Err(Error::WrongOffset { held_bytes: 4, .. })));
        blobs.upload(&claim, 8, 4, chunks(vec![Ok(b"fold")])).await.unwrap();
        assert_eq!(blobs.read(digest).await.unwrap().as_ref(), b"fivefold");
        assert_eq!(blobs.held_bytes(digest).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn the_disk_has_some_size() {
        let folder = tempfile::tempdir().unwrap();
        let disk = FolderBlobs::open(folder.path()).await.unwrap().disk_space().await.unwrap();
        assert!(disk.total_bytes > 0 && disk.free_bytes <= disk.total_bytes, "{disk:?}");
    }

    #[tokio::test]
    async fn wrong_bytes_are_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = FolderBlobs::open(folder.path()).await.unwrap();
        let digest = Digest::of(b"fivefold");
        let claim = Claims::default().claim(digest).unwrap();
        let wrong = blobs.upload(&claim, 8, 0, chunks(vec![Ok(b"fourfold")])).await;
        assert!(matches!(wrong, Err(Error::DigestMismatch { .. })));
        assert_eq!(blobs.held_bytes(digest).await.unwrap(), 0);
        assert!(blobs.read(digest).await.is_err());
        let too_many = blobs.upload(&claim, 8, 0, chunks(vec![Ok(b"ninebytes")])).await;
        assert!(matches!(too_many, Err(Error::BadContent(_))));
    }
}
