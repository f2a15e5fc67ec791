//! The artifact store: blobs named by the BLAKE3 digest of their bytes.
//!
//! An upload grows in `uploads/DIGEST.part`. When all bytes are there they are synced and hashed, and the file is renamed to
//! `artifacts/DIGEST`; only then may the database name it. A broken upload goes on from the bytes that are held.

use std::collections::HashSet;
use std::io::SeekFrom;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use fivefold_common::ids::Digest;
use tokio::fs::{self, File, OpenOptions};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _};
use tokio::sync::Semaphore;

use crate::error::Error;

/// Uploads that write, sync or hash at a time. The others wait, so that many large uploads leave processor and disk to the
/// queue.
const WRITERS: usize = 2;
/// An upload is synced each time so many bytes were added. Without it, a commit of the database has to wait until all that was
/// uploaded meanwhile is on the disk.
const SYNC_BYTES: u64 = 8 << 20;
/// A partial upload that nobody has gone on with for so long is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(7 * 24 * 3600);

/// Bytes per message of a download.
pub const CHUNK_BYTES: usize = 512 * 1024;

/// The blobs of one state folder.
#[derive(Debug, Clone)]
pub struct Store {
    whole: PathBuf,
    partial: PathBuf,
    claimed: Arc<Mutex<HashSet<Digest>>>,
    writers: Arc<Semaphore>,
}

impl Store {
    /// Opens the store below `state`, making its folders.
    ///
    /// # Errors
    /// When they cannot be made.
    pub async fn open(state: &Path) -> Result<Store, Error> {
        let (whole, partial) = (state.join("artifacts"), state.join("uploads"));
        for folder in [&whole, &partial] {
            fs::create_dir_all(folder).await.map_err(|error| Error::file(folder.display().to_string(), error))?;
        }
        Ok(Store { whole, partial, claimed: Arc::default(), writers: Arc::new(Semaphore::new(WRITERS)) })
    }

    /// Deletes blobs that are not `named`, and partial uploads that have been lying for a week. For the start, when nobody
    /// uploads: a blob that a crash left without a row was never acknowledged.
    ///
    /// # Errors
    /// When the folders cannot be read or written.
    pub async fn tidy(&self, named: &HashSet<String>) -> Result<usize, Error> {
        let mut deleted = 0;
        for (folder, is_partial) in [(&self.whole, false), (&self.partial, true)] {
            let failed = |error| Error::file(folder.display().to_string(), error);
            let mut entries = fs::read_dir(folder).await.map_err(failed)?;
            while let Some(entry) = entries.next_entry().await.map_err(failed)? {
                let needless = if is_partial {
                    let modified = entry.metadata().await.and_then(|metadata| metadata.modified()).map_err(failed)?;
                    modified.elapsed().is_ok_and(|age| age > FORGOTTEN)
                } else {
                    !named.contains(entry.file_name().to_string_lossy().as_ref())
                };
                if needless {
                    fs::remove_file(entry.path()).await.map_err(failed)?;
                    deleted += 1;
                }
            }
        }
        Ok(deleted)
    }

    /// Where the whole blob is.
    pub fn path(&self, digest: Digest) -> PathBuf {
        self.whole.join(digest.to_string())
    }

    /// Bytes of a partial upload that are held.
    pub async fn held_bytes(&self, digest: Digest) -> u64 {
        fs::metadata(self.partial_path(digest)).await.map_or(0, |metadata| metadata.len())
    }

    /// All bytes of a small blob: a list, a table, a report.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn read(&self, digest: Digest) -> Result<Vec<u8>, Error> {
        let path = self.path(digest);
        fs::read(&path).await.map_err(|error| Error::file(path.display().to_string(), error))
    }

    /// Opens a blob for streaming from `offset_bytes`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn open_at(&self, digest: Digest, offset_bytes: u64) -> Result<Reader, Error> {
        let path = self.path(digest);
        let failed = |error| Error::file(path.display().to_string(), error);
        let mut file = File::open(&path).await.map_err(failed)?;
        file.seek(SeekFrom::Start(offset_bytes)).await.map_err(failed)?;
        Ok(Reader { file, path })
    }

    /// Stores bytes that the coordinator made itself, whole or not at all.
    ///
    /// # Errors
    /// When the disk is full or cannot be written.
    pub async fn put(&self, claim: &Claim, bytes: Vec<u8>) -> Result<(), Error> {
        let mut upload = self.begin_upload(claim, bytes.len() as u64, None).await?;
        upload.append(Bytes::from(bytes)).await?;
        upload.finish().await
    }

    /// Begins an upload, or goes on with one, at `offset_bytes`; `None` starts anew.
    ///
    /// # Errors
    /// When the held bytes end elsewhere.
    pub async fn begin_upload(
        &self,
        claim: &Claim,
        size_bytes: u64,
        offset_bytes: Option<u64>,
    ) -> Result<Upload, Error> {
        let (claim, digest) = (claim.clone(), claim.inner.digest);
        let path = self.partial_path(digest);
        let mut options = OpenOptions::new();
        options.create(true).write(true).truncate(offset_bytes.is_none());
        let mut file = options.open(&path).await.map_err(|error| Error::file(path.display().to_string(), error))?;
        let held_bytes = file.seek(SeekFrom::End(0)).await.map_err(|error| Error::file("seek", error))?;
        if held_bytes != offset_bytes.unwrap_or(0) {
            return Err(Error::WrongOffset { digest, held_bytes });
        }
        let (writers, whole) = (self.writers.clone(), self.path(digest));
        Ok(Upload { claim, writers, digest, size_bytes, held_bytes, unsynced_bytes: 0, file, path, whole })
    }

    /// Deletes a blob that nothing names any more.
    ///
    /// # Errors
    /// When it cannot be deleted.
    pub async fn delete(&self, claim: &Claim) -> Result<(), Error> {
        let path = self.path(claim.inner.digest);
        match fs::remove_file(&path).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::file(path.display().to_string(), error))
            }
            _ => Ok(()),
        }
    }

    fn partial_path(&self, digest: Digest) -> PathBuf {
        self.partial.join(format!("{digest}.part"))
    }

    /// The right to make or delete a blob, which one at a time has. Whoever has it, until the last clone is dropped, finds the
    /// blob's row and its file as they were.
    ///
    /// # Errors
    /// When another one has it.
    pub fn claim(&self, digest: Digest) -> Result<Claim, Error> {
        let mut claimed = self.claimed.lock().unwrap_or_else(PoisonError::into_inner);
        if !claimed.insert(digest) {
            return Err(Error::Unavailable(format!("another upload of {digest} is under way: try again")));
        }
        Ok(Claim { inner: Arc::new(ClaimInner { digest, claimed: self.claimed.clone() }) })
    }
}

/// See [`Store::claim`].
#[derive(Debug, Clone)]
pub struct Claim {
    inner: Arc<ClaimInner>,
}

#[derive(Debug)]
struct ClaimInner {
    digest: Digest,
    claimed: Arc<Mutex<HashSet<Digest>>>,
}

impl Drop for ClaimInner {
    fn drop(&mut self) {
        self.claimed.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.digest);
    }
}

/// An upload under way.
#[derive(Debug)]
pub struct Upload {
    /// Held until the file is renamed.
    claim: Claim,
    writers: Arc<Semaphore>,
    digest: Digest,
    size_bytes: u64,
    held_bytes: u64,
    unsynced_bytes: u64,
    file: File,
    path: PathBuf,
    whole: PathBuf,
}

impl Upload {
    /// Adds the next bytes.
    ///
    /// # Errors
    /// When the disk is full, or more bytes come than were announced; what is held stays.
    pub async fn append(&mut self, bytes: Bytes) -> Result<(), Error> {
        let held_bytes = self.held_bytes + bytes.len() as u64;
        if held_bytes > self.size_bytes {
            return Err(Error::BadContent(format!("more than the announced {} bytes", self.size_bytes)));
        }
        let _turn = self.writers.acquire().await;
        let failed = |error| Error::file(self.path.display().to_string(), error);
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

    /// Keeps what is held for a later upload that goes on from there.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn pause(mut self) -> Result<(), Error> {
        self.file.flush().await.map_err(|error| Error::file(self.path.display().to_string(), error))
    }

    /// Syncs and checks the bytes, and gives the blob its name.
    ///
    /// # Errors
    /// When bytes are missing (they may still come), or are not those that were announced (all are thrown away).
    pub async fn finish(self) -> Result<(), Error> {
        let Upload { claim, writers, digest, size_bytes, held_bytes, file, path, whole, .. } = self;
        if held_bytes != size_bytes {
            return Err(Error::WrongOffset { digest, held_bytes });
        }
        let mut file = file;
        file.flush().await.map_err(|error| Error::file(path.display().to_string(), error))?;
        let file = file.into_std().await;
        let turn = writers.acquire_owned().await;
        // A task of its own: once begun it ends, even if the caller goes away, and holds the claim until then.
        let task = tokio::task::spawn_blocking(move || {
            let _held = (claim, turn);
            let failed = |error| Error::file(path.display().to_string(), error);
            file.sync_all().map_err(failed)?;
            let mut hasher = blake3::Hasher::new();
            hasher.update_reader(std::fs::File::open(&path).map_err(failed)?).map_err(failed)?;
            let found = Digest::from(hasher.finalize());
            if found != digest {
                std::fs::remove_file(&path).map_err(failed)?;
                return Err(Error::DigestMismatch { announced: digest, found });
            }
            std::fs::rename(&path, &whole).map_err(failed)?;
            // The rename is durable when the folder is.
            let folder = whole.parent().unwrap_or(Path::new("."));
            std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
        });
        task.await.unwrap_or_else(|error| Err(Error::Stored(format!("hashing an upload ended early: {error}"))))
    }
}

/// A blob that is being read.
#[derive(Debug)]
pub struct Reader {
    file: File,
    path: PathBuf,
}

impl Reader {
    /// The next bytes, at most [`CHUNK_BYTES`]; `None` at the end.
    ///
    /// # Errors
    /// When the disk fails.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut filled = 0;
        while filled < chunk.len() {
            let read = self.file.read(&mut chunk[filled..]).await;
            let read = read.map_err(|error| Error::file(self.path.display().to_string(), error))?;
            if read == 0 {
                break;
            }
            filled += read;
        }
        chunk.truncate(filled);
        Ok((!chunk.is_empty()).then(|| Bytes::from(chunk)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_upload_goes_on_where_it_broke_off() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).await.unwrap();
        let digest = Digest::of(b"fivefold");
        let claim = store.claim(digest).unwrap();
        assert!(matches!(store.claim(digest), Err(Error::Unavailable(_))));
        let mut upload = store.begin_upload(&claim, 8, Some(0)).await.unwrap();
        upload.append(Bytes::from_static(b"five")).await.unwrap();
        upload.pause().await.unwrap();

        let store = Store::open(folder.path()).await.unwrap();
        assert_eq!(store.held_bytes(digest).await, 4);
        let claim = store.claim(digest).unwrap();
        assert!(matches!(store.begin_upload(&claim, 8, Some(0)).await, Err(Error::WrongOffset { held_bytes: 4, .. })));
        let mut upload = store.begin_upload(&claim, 8, Some(4)).await.unwrap();
        upload.append(Bytes::from_static(b"fold")).await.unwrap();
        upload.finish().await.unwrap();
        assert_eq!(store.read(digest).await.unwrap(), b"fivefold");
        assert_eq!(store.held_bytes(digest).await, 0);
    }

    #[tokio::test]
    async fn wrong_bytes_are_thrown_away() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).await.unwrap();
        let digest = Digest::of(b"fivefold");
        let claim = store.claim(digest).unwrap();
        let mut upload = store.begin_upload(&claim, 8, Some(0)).await.unwrap();
        upload.append(Bytes::from_static(b"fourfold")).await.unwrap();
        assert!(matches!(upload.finish().await, Err(Error::DigestMismatch { .. })));
        assert_eq!(store.held_bytes(digest).await, 0);
        assert!(store.read(digest).await.is_err());
        let mut upload = store.begin_upload(&claim, 8, Some(0)).await.unwrap();
        assert!(upload.append(Bytes::from_static(b"ninebytes")).await.is_err());
    }
}
