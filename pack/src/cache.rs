//! A pack that fills itself: images are read from it, or decoded and added.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::mem;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use fivefold_common::durable_file::WriteError;
use fivefold_common::ids::Digest;
use fivefold_common::size::size_text;

use crate::codec::{Decoder, Encoder, most_compressed_bytes};
use crate::eviction::{Room, make_room};
use crate::identity::{Identity, IdentityError, ImageKey};
use crate::lock::BuilderLock;
use crate::pack::{FolderError, Pack, Place};
use crate::segment::{Segment, SegmentError};
use crate::segment_writer::{Compressed, SEGMENT_BYTES, SegmentWriter};
use crate::stamp::{self, SourceStamp};

/// Segments that were used within this time stay. Other processes may need them.
const IN_USE: Duration = Duration::from_secs(3600);

/// How much a cache may take of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheLimit {
    /// The most bytes of the folder's files; `None` for no limit.
    pub bytes: Option<u64>,
    /// The size at which a segment ends, in bytes.
    pub segment_bytes: u64,
}

impl CacheLimit {
    /// At most `bytes`, in segments of the usual size.
    pub fn of(bytes: Option<u64>) -> Self {
        Self { bytes, segment_bytes: SEGMENT_BYTES }
    }
}

/// A cache that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The settings are impossible.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The folder cannot be read.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The folder cannot be made.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// The memory of a thread that reads images.
#[derive(Default)]
pub struct Buffers {
    decoder: Decoder,
    encoder: Option<Encoder>,
}

impl Buffers {
    pub(crate) fn decoder(&mut self) -> &mut Decoder {
        &mut self.decoder
    }
}

/// A folder of packed images. Several processes may share it: one adds, all read. Where anything is wrong with it, a
/// warning says so and images come from their source.
pub struct Cache {
    limit: CacheLimit,
    opened: SystemTime,
    pack: RwLock<Pack>,
    adding: Mutex<Adding>,
    /// Segments with records of changed sources, each of which is logged once.
    stale: Mutex<HashSet<Digest>>,
    /// Whether images were decoded since the last call of [`Cache::seal`].
    missed: AtomicBool,
}

/// Whether this process adds images.
enum Adding {
    /// It has the right to.
    Builder(Box<Builder>),
    /// Another process has it.
    Waiting,
    /// There is no room, the folder cannot be written, or the disk failed.
    Stopped,
}

struct Builder {
    _lock: BuilderLock,
    unsealed: Option<SegmentWriter>,
    /// Images that are being compressed or in an unsealed segment.
    keys: HashSet<ImageKey>,
}

impl Cache {
    /// Opens the images of `identity` in `folder`, which is made if it does not exist.
    ///
    /// # Errors
    /// When the folder cannot be made or read.
    pub fn open(folder: &Path, identity: &Identity, limit: CacheLimit) -> Result<Self, CacheError> {
        identity.check()?;
        fs::create_dir_all(folder).map_err(|error| WriteError { path: folder.to_owned(), error })?;
        let (pack, unusable) = Pack::open(folder, identity)?;
        let adding = Adding::begin(folder, identity).unwrap_or_else(|error| {
            tracing::warn!("{error}; images are read from this pack, and none are added");
            Adding::Stopped
        });
        let cache = Self {
            limit,
            opened: SystemTime::now(),
            pack: RwLock::new(pack),
            adding: Mutex::new(adding),
            stale: Mutex::new(HashSet::new()),
            missed: AtomicBool::new(false),
        };
        unusable.iter().for_each(|error| cache.warn_of(error));
        Ok(cache)
    }

    /// Fills `image` with an image whose source has `stamp`: from a segment, or by `decode`, and then the image is
    /// added. `image` has as many bytes as the identity says.
    ///
    /// # Errors
    /// Those of `decode` alone.
    pub fn image<E>(
        &self,
        key: &ImageKey,
        stamp: SourceStamp,
        image: &mut [u8],
        buffers: &mut Buffers,
        decode: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        while let Some(Place { segment, place, .. }) = self.find(key, &stamp) {
            match segment.read(place, &mut buffers.decoder, image) {
                Ok(()) => {
                    segment.note_use();
                    return Ok(());
                }
                Err(error) => self.lose(&segment, &error),
            }
        }
        decode(image)?;
        self.missed.store(true, Ordering::Relaxed);
        self.add(key, stamp, image, &mut buffers.encoder);
        Ok(())
    }

    /// Seals what was added, so that it can be read, and takes in what other processes added. To be called between
    /// epochs.
    pub fn seal(&self) {
        if !self.missed.swap(false, Ordering::Relaxed) {
            return;
        }
        let mut adding = locked(&self.adding);
        match &mut *adding {
            Adding::Builder(builder) => {
                let unsealed = builder.unsealed.take();
                drop(adding);
                if let Some(unsealed) = unsealed {
                    self.seal_segment(unsealed);
                }
            }
            Adding::Waiting => {
                let mut pack = self.pack.write().unwrap_or_else(PoisonError::into_inner);
                // First, so that what its last owner added is taken in.
                if let Ok(begun) = Adding::begin(pack.folder(), pack.identity()) {
                    *adding = begun;
                }
                let unusable = pack.refresh().unwrap_or_default();
                drop((pack, adding));
                unusable.iter().for_each(|error| self.warn_of(error));
            }
            Adding::Stopped => {}
        }
    }

    /// The current record of an image. Records of a changed source are logged.
    fn find(&self, key: &ImageKey, stamp: &SourceStamp) -> Option<Place> {
        let pack = self.pack.read().unwrap_or_else(PoisonError::into_inner);
        let found = pack.find(key, stamp);
        if found.is_none() {
            // Fetched segments have no stamps.
            for Place { segment, .. } in pack.places(key).iter().filter(|place| place.stamp.is_some()) {
                if locked(&self.stale).insert(segment.digest()) {
                    tracing::warn!(
                        "{}: the files of image {key} and perhaps of others were changed since they were packed; those \
                         images are decoded again",
                        segment.path().display()
                    );
                }
            }
        }
        found.cloned()
    }

    /// Forgets a segment that cannot be read.
    fn lose(&self, segment: &Arc<Segment>, error: &SegmentError) {
        let is_known = self.pack.write().unwrap_or_else(PoisonError::into_inner).forget(segment);
        // Others may have deleted it to make room.
        if is_known && !error.problem.is_absence() {
            self.warn_of(error);
        }
    }

    /// Logs what is wrong with a segment, and deletes it where its content is damaged and this process is the builder.
    fn warn_of(&self, error: &SegmentError) {
        tracing::warn!("{error}; the images of this segment are decoded again");
        if error.problem.is_damage() && matches!(*locked(&self.adding), Adding::Builder(_)) {
            match fs::remove_file(&error.segment) {
                Ok(()) => stamp::remove(&error.segment),
                Err(failed) => tracing::warn!("cannot delete {}: {failed}", error.segment.display()),
            }
        }
    }

    fn add(&self, key: &ImageKey, stamp: SourceStamp, image: &[u8], encoder: &mut Option<Encoder>) {
        // Another thread may have decoded it at the same time.
        let is_new = match &mut *locked(&self.adding) {
            Adding::Builder(builder) => builder.keys.insert(key.clone()),
            Adding::Waiting | Adding::Stopped => false,
        };
        if !is_new {
            return;
        }
        let side = self.pack.read().unwrap_or_else(PoisonError::into_inner).identity().side();
        let compressed = match encoder {
            Some(encoder) => Compressed::of(image, side, encoder),
            None => Encoder::new().and_then(|new| Compressed::of(image, side, encoder.insert(new))),
        };
        let added = compressed.and_then(|compressed| self.append(key, stamp, &compressed));
        match added {
            Ok(None) => {}
            Ok(Some(full)) => self.seal_segment(full),
            Err(error) => self.stop(&error.to_string()),
        }
    }

    /// Adds a compressed image to the unsealed segment, and returns that when it is full.
    fn append(&self, key: &ImageKey, stamp: SourceStamp, image: &Compressed) -> io::Result<Option<SegmentWriter>> {
        let mut adding = locked(&self.adding);
        let Adding::Builder(builder) = &mut *adding else { return Ok(None) };
        let mut unsealed = match builder.unsealed.take() {
            Some(unsealed) => unsealed,
            None => self.begin_segment()?,
        };
        unsealed.append(key.clone(), stamp, image).map_err(io::Error::other)?;
        if unsealed.bytes() >= self.limit.segment_bytes {
            return Ok(Some(unsealed));
        }
        builder.unsealed = Some(unsealed);
        Ok(None)
    }

    /// Begins a segment, for which there is room.
    fn begin_segment(&self) -> io::Result<SegmentWriter> {
        let pack = self.pack.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(limit_bytes) = self.limit.bytes {
            let used_since = self.opened.min(SystemTime::now() - IN_USE);
            let last_image = most_compressed_bytes(pack.identity().image_bytes()) as u64;
            let needed_bytes = self.limit.segment_bytes + last_image;
            if make_room(pack.folder(), limit_bytes, needed_bytes, used_since)? == Room::Short {
                return Err(io::Error::other(format!("all of its {} are in use", size_text(limit_bytes))));
            }
        }
        SegmentWriter::create(pack.folder(), pack.identity()).map_err(io::Error::other)
    }

    fn seal_segment(&self, unsealed: SegmentWriter) {
        let sealed = match unsealed.seal() {
            Ok(sealed) => sealed,
            Err(error) => return self.stop(&error.to_string()),
        };
        let keys: Vec<ImageKey> = sealed.index().records.iter().map(|record| record.key.clone()).collect();
        self.pack.write().unwrap_or_else(PoisonError::into_inner).add(sealed);
        if let Adding::Builder(builder) = &mut *locked(&self.adding) {
            keys.iter().for_each(|key| _ = builder.keys.remove(key));
        }
    }

    /// Adds no more images.
    fn stop(&self, reason: &str) {
        let mut adding = locked(&self.adding);
        if matches!(*adding, Adding::Builder(_)) {
            let pack = self.pack.read().unwrap_or_else(PoisonError::into_inner);
            tracing::warn!("{}: no more images are packed for this job: {reason}", pack.folder().display());
            *adding = Adding::Stopped;
        }
    }
}

impl Adding {
    fn begin(folder: &Path, identity: &Identity) -> Result<Self, WriteError> {
        let lock = BuilderLock::try_take(folder, identity)?;
        let builder = |lock| Self::Builder(Box::new(Builder { _lock: lock, unsealed: None, keys: HashSet::new() }));
        Ok(lock.map_or(Self::Waiting, builder))
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        let adding = mem::replace(&mut *locked(&self.adding), Adding::Stopped);
        if let Adding::Builder(builder) = adding
            && let Some(Err(error)) = builder.unsealed.map(SegmentWriter::seal)
        {
            tracing::warn!("{error}");
        }
    }
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").field("limit", &self.limit).finish_non_exhaustive()
    }
}

/// What a thread that panicked left is whole: nothing that can panic runs between two changes.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
