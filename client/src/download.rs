//! Downloads.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use fivefold_common::durable_file::{self, DurableFile};
use fivefold_common::ids::Digest;
use fivefold_proto::v1;
use tokio::sync::mpsc;
use tonic::{Code, Status};

use crate::retry::Retries;
use crate::transfers::{MOST_MISMATCHES, TransferError, TransferProgress, Transfers, blocking};

/// Chunks received ahead of the disk.
const CHUNKS_AHEAD: usize = 4;

/// What became of a download that several processes may need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fetched {
    /// The file is there.
    Here,
    /// Another process is downloading it.
    Elsewhere,
}

impl Transfers {
    /// Downloads an artifact to `path`. Afterwards the file is there with the right digest, synced, or is as it was before.
    ///
    /// # Errors
    /// When the file cannot be written, the bytes never have their digest, or as [`Connection::call`](crate::Connection::call).
    pub async fn download(&self, digest: Digest, path: &Path) -> Result<(), TransferError> {
        let path = path.to_owned();
        self.connection.until_cancelled(self.receive(digest, move || Incoming::temporary(&path))).await
    }

    /// Downloads an artifact into `folder`, where its name is its digest, unless it is there already, and returns its path.
    /// The part of an interrupted download is kept and resumed, also by another process. Several processes may share the folder.
    ///
    /// # Errors
    /// As [`Transfers::download`].
    pub async fn fetch(&self, digest: Digest, folder: &Path) -> Result<PathBuf, TransferError> {
        let path = folder.join(digest.to_string());
        let target = path.clone();
        let fetch = async {
            if !blocking({
                let path = path.clone();
                move || Ok(has_digest(&path, digest))
            })
            .await?
            {
                self.receive(digest, move || Incoming::resumable(&target)).await?;
            }
            Ok(path)
        };
        self.connection.until_cancelled(fetch).await
    }

    /// Downloads an artifact to `path`, unless a file is there or another process is downloading it to there. A file that is
    /// there is not read. The part of an interrupted download, `path` with `.part`, is kept and resumed, also by another process.
    ///
    /// # Errors
    /// As [`Transfers::download`].
    pub async fn fetch_once(&self, digest: Digest, path: &Path) -> Result<Fetched, TransferError> {
        let path = path.to_owned();
        let fetch = async {
            match blocking(move || Incoming::of_one(&path)).await? {
                Claim::Taken(incoming) => {
                    self.receive(digest, move || Ok(*incoming)).await?;
                    Ok(Fetched::Here)
                }
                Claim::Done => Ok(Fetched::Here),
                Claim::InUse => Ok(Fetched::Elsewhere),
            }
        };
        self.connection.until_cancelled(fetch).await
    }

    async fn receive(
        &self,
        digest: Digest,
        open: impl FnOnce() -> Result<Incoming, TransferError> + Send + 'static,
    ) -> Result<(), TransferError> {
        let mut incoming = blocking(open).await?;
        let mut retries = self.connection.retries();
        let mut mismatches = 0;
        loop {
            let offset_bytes = incoming.hasher.count();
            let (received, outcome) = self.receive_rest(digest, incoming, &mut retries).await?;
            incoming = received;
            match outcome {
                Ok(()) if incoming.digest() == digest => return blocking(move || incoming.commit()).await,
                Ok(()) => mismatches += 1,
                // An offset behind the end: the part is of another file.
                Err(status) if offset_bytes > 0 && status.code() == Code::InvalidArgument => mismatches += 1,
                Err(status) => {
                    retries.wait(status).await?;
                    continue;
                }
            }
            incoming = blocking(move || incoming.restart()).await?;
            if mismatches == MOST_MISMATCHES {
                return Err(TransferError::Mismatch { digest, tries: mismatches });
            }
        }
    }

    /// Receives what is missing, as far as the connection holds. The outer error is this machine's, the inner one the
    /// coordinator's.
    async fn receive_rest(
        &self,
        digest: Digest,
        mut incoming: Incoming,
        retries: &mut Retries,
    ) -> Result<(Incoming, Result<(), Status>), TransferError> {
        let mut done_bytes = incoming.hasher.count();
        let request = v1::DownloadArtifactRequest {
            digest: digest.to_string(),
            offset_bytes: done_bytes,
            lease: self.wire_lease(),
        };
        let mut artifacts = self.connection.artifacts();
        let mut messages = match retries.attempt(artifacts.download_artifact(request)).await {
            Ok(answer) => answer.into_inner(),
            Err(status) => return Ok((incoming, Err(status))),
        };
        let (chunks, mut queue) = mpsc::channel::<Bytes>(CHUNKS_AHEAD);
        let writing = tokio::task::spawn_blocking(move || {
            while let Some(chunk) = queue.blocking_recv() {
                incoming.append(&chunk)?;
            }
            Ok::<_, TransferError>(incoming)
        });
        let report = self.progress();
        let outcome = loop {
            match retries.attempt(messages.message()).await {
                Ok(Some(message)) => {
                    retries.succeeded();
                    done_bytes += message.chunk.len() as u64;
                    // A closed queue means that writing has failed, and says why.
                    if chunks.send(message.chunk).await.is_err() {
                        break Ok(());
                    }
                    report(TransferProgress { done_bytes, total_bytes: message.size_bytes });
                }
                Ok(None) => break Ok(()),
                Err(status) => break Err(status),
            }
        };
        drop(chunks);
        Ok((writing.await??, outcome))
    }
}

/// A download in progress: its file, and the hash of what the file holds.
#[derive(Debug)]
struct Incoming {
    file: Unfinished,
    hasher: blake3::Hasher,
    path: PathBuf,
}

#[derive(Debug)]
enum Unfinished {
    /// Deleted when it is not finished.
    Temporary(DurableFile),
    /// Kept when it is not finished. Locked against other processes.
    Part { file: File, part: PathBuf },
}

/// Whether a download may begin.
enum Claim {
    Taken(Box<Incoming>),
    /// The file is there.
    Done,
    /// Another process has its part.
    InUse,
}

impl Incoming {
    fn temporary(path: &Path) -> Result<Self, TransferError> {
        let file = Unfinished::Temporary(DurableFile::create(path)?);
        Ok(Self { file, hasher: blake3::Hasher::new(), path: path.to_owned() })
    }

    /// The kept part of `path`, or a temporary file while another process downloads the same.
    fn resumable(path: &Path) -> Result<Self, TransferError> {
        let part = part_of(path);
        match lock_part(&part).map_err(|error| TransferError::File { path: part.clone(), error })? {
            Lock::Held(file) => Self::resume(file, part, path),
            Lock::InUse | Lock::Unsupported => Self::temporary(path),
        }
    }

    /// The kept part of `path`, where no other process downloads the same and the file is not there.
    fn of_one(path: &Path) -> Result<Claim, TransferError> {
        if path.exists() {
            return Ok(Claim::Done);
        }
        let part = part_of(path);
        let failed = |error| TransferError::File { path: part.clone(), error };
        let file = match lock_part(&part).map_err(failed)? {
            Lock::Held(file) => file,
            Lock::InUse => return Ok(Claim::InUse),
            Lock::Unsupported => return Ok(Claim::Taken(Box::new(Self::temporary(path)?))),
        };
        // Another process may have finished since; then this part is a new one.
        if path.exists() {
            std::fs::remove_file(&part).map_err(failed)?;
            return Ok(Claim::Done);
        }
        Ok(Claim::Taken(Box::new(Self::resume(file, part, path)?)))
    }

    /// Goes on with a part, which this process has locked.
    fn resume(file: File, part: PathBuf, path: &Path) -> Result<Self, TransferError> {
        let mut hasher = blake3::Hasher::new();
        if let Err(error) = hasher.update_reader(&file) {
            return Err(TransferError::File { path: part, error });
        }
        Ok(Self { file: Unfinished::Part { file, part }, hasher, path: path.to_owned() })
    }

    fn append(&mut self, chunk: &[u8]) -> Result<(), TransferError> {
        let written = match &mut self.file {
            Unfinished::Temporary(file) => file.write_all(chunk),
            Unfinished::Part { file, .. } => file.write_all(chunk),
        };
        written.map_err(|error| TransferError::File { path: self.path.clone(), error })?;
        self.hasher.update(chunk);
        Ok(())
    }

    fn digest(&self) -> Digest {
        Digest::from(self.hasher.finalize())
    }

    /// The same file, empty.
    fn restart(self) -> Result<Self, TransferError> {
        match self.file {
            Unfinished::Temporary(_) => Self::temporary(&self.path),
            Unfinished::Part { file, part } => {
                file.set_len(0).map_err(|error| TransferError::File { path: part.clone(), error })?;
                Ok(Self { file: Unfinished::Part { file, part }, hasher: blake3::Hasher::new(), path: self.path })
            }
        }
    }

    /// Syncs the file and gives it its name.
    fn commit(self) -> Result<(), TransferError> {
        let path = self.path;
        match self.file {
            Unfinished::Temporary(file) => Ok(file.commit()?),
            Unfinished::Part { file, part } => {
                file.sync_all().map_err(|error| TransferError::File { path: part.clone(), error })?;
                Ok(durable_file::rename(&part, &path)?)
            }
        }
    }
}

/// The part of the download to `path`.
fn part_of(path: &Path) -> PathBuf {
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    PathBuf::from(part)
}

/// The lock on the part of a download.
enum Lock {
    Held(File),
    /// Another process has it.
    InUse,
    /// Files cannot be locked here.
    Unsupported,
}

/// Opens and locks the part of a download.
fn lock_part(part: &Path) -> io::Result<Lock> {
    loop {
        let file = OpenOptions::new().create(true).read(true).append(true).open(part)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(Lock::InUse),
            Err(TryLockError::Error(_)) => return Ok(Lock::Unsupported),
        }
        // Between opening and locking, another process may have finished it and given it its name.
        let held = file.metadata()?;
        match std::fs::metadata(part) {
            Ok(named) if (named.dev(), named.ino()) == (held.dev(), held.ino()) => return Ok(Lock::Held(file)),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
}

/// Whether a file is there with that digest. One that cannot be read is not.
fn has_digest(path: &Path, digest: Digest) -> bool {
    let mut hasher = blake3::Hasher::new();
    let hashed = File::open(path).and_then(|file| hasher.update_reader(file).map(|_| ()));
    hashed.is_ok() && Digest::from(hasher.finalize()) == digest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_resumed_and_locked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("artifact");
        let mut first = Incoming::resumable(&path).unwrap();
        first.append(b"five").unwrap();
        let mut second = Incoming::resumable(&path).unwrap();
        assert!(matches!(second.file, Unfinished::Temporary(_)), "the part is in use");
        second.append(b"fivefold").unwrap();
        second.commit().unwrap();
        drop(first);
        let mut third = Incoming::resumable(&path).unwrap();
        assert_eq!(third.hasher.count(), 4);
        third.append(b"fold").unwrap();
        assert_eq!(third.digest(), Digest::of(b"fivefold"));
        third.commit().unwrap();
        assert!(has_digest(&path, Digest::of(b"fivefold")));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn one_process_at_a_time_fetches_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("artifact");
        let claim = || Incoming::of_one(&path).unwrap();
        let Claim::Taken(mut first) = claim() else { panic!("nobody has it") };
        first.append(b"five").unwrap();
        assert!(matches!(claim(), Claim::InUse));
        drop(first);
        let Claim::Taken(mut second) = claim() else { panic!("nobody has it any more") };
        assert_eq!(second.hasher.count(), 4);
        second.append(b"fold").unwrap();
        second.commit().unwrap();
        assert!(matches!(claim(), Claim::Done));
        assert_eq!(std::fs::read(&path).unwrap(), b"fivefold");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_part_of_other_bytes_begins_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("artifact");
        for open in [Incoming::resumable, Incoming::temporary] {
            let mut incoming = open(&path).unwrap();
            incoming.append(b"other").unwrap();
            let mut incoming = incoming.restart().unwrap();
            incoming.append(b"bytes").unwrap();
            assert_eq!(incoming.digest(), Digest::of(b"bytes"));
            incoming.commit().unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), b"bytes");
        }
    }
}
