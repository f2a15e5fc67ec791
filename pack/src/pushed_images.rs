//! The images that a fold needs of a pushed data set. Their segments are fetched into a folder while images are read from
//! those that are there.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use fivefold_common::durable_file::WriteError;
use fivefold_common::ids::Digest;
use fivefold_common::size::size_text;

use crate::cache::Buffers;
use crate::eviction::Contents;
use crate::identity::{Identity, ImageKey};
use crate::image_index::ImageIndex;
use crate::pack::FolderError;
use crate::reservation::{Reservation, Reserved, RoomLock};
use crate::segment::{Segment, SegmentError, SegmentProblem, file_name};

/// How often a segment is fetched again whose file was lost or damaged.
const MOST_LOSSES: u32 = 3;

/// Images that cannot be held.
#[derive(Debug, thiserror::Error)]
pub enum PushedImagesError {
    /// The index does not have an image.
    #[error("image {0} is not among the pushed images")]
    NotPushed(ImageKey),
    /// The limit of the folder leaves too little room, also without all segments that no fold uses.
    #[error(
        "{}: the images of this fold take {}, but the cache has only {} for them beside what other folds use",
        folder.display(), size_text(*needed_bytes), size_text(*room_bytes)
    )]
    OverLimit {
        /// The folder.
        folder: PathBuf,
        /// The size of the segments that are needed, in bytes.
        needed_bytes: u64,
        /// The room for them, in bytes.
        room_bytes: u64,
    },
    /// The disk has too little room, also without all segments that no fold uses.
    #[error(
        "{}: {} of images are still to be fetched, but the disk has only {} for them",
        folder.display(), size_text(*needed_bytes), size_text(*room_bytes)
    )]
    DiskFull {
        /// The folder.
        folder: PathBuf,
        /// The size of what is still to be fetched, in bytes.
        needed_bytes: u64,
        /// The room for it, in bytes.
        room_bytes: u64,
    },
    /// The folder cannot be read.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The folder cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// An image that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("image {image}: {problem}")]
pub struct ReadError {
    /// The file of the segment that has the image.
    pub segment: PathBuf,
    /// The image.
    pub image: ImageKey,
    /// What is wrong.
    pub problem: String,
}

/// A segment that has another content than the index of the pushed images says.
#[derive(Debug, thiserror::Error)]
#[error("segment {digest} of the pushed images {problem}")]
pub struct WrongSegment {
    /// The segment.
    pub digest: Digest,
    /// What is wrong with it.
    pub problem: String,
}

/// A segment that arrived and cannot be taken in.
#[derive(Debug, thiserror::Error)]
pub enum ArrivalError {
    /// It has another content, also when it was fetched again.
    #[error(transparent)]
    Wrong(#[from] WrongSegment),
    /// It cannot be read now.
    #[error(transparent)]
    Unreadable(SegmentError),
}

/// A segment that a fold needs.
#[derive(Debug)]
pub struct NeededSegment {
    /// The digest of its content.
    pub digest: Digest,
    /// Its size in bytes.
    pub bytes: u64,
    /// Where it is, or is to be.
    pub path: PathBuf,
    /// The images that are needed of it.
    pub images: Vec<ImageKey>,
}

/// The images that a fold needs. Their segments stay, and have room, until this is dropped.
///
/// One task fetches what is [wanted](Self::wanted) and tells of it with [`arrived`](Self::arrived); any number of threads
/// [read](Self::read), and wait for segments that are still to come.
pub struct PushedImages {
    folder: PathBuf,
    identity: Identity,
    /// In the order of need.
    segments: Vec<NeededSegment>,
    /// The segment of each image, as a number in `segments`.
    numbers: HashMap<ImageKey, usize>,
    states: Mutex<States>,
    changed: Condvar,
    /// Called when a segment that was there is wanted again.
    on_loss: Box<dyn Fn() + Send + Sync>,
    _reservation: Reservation,
}

#[derive(Debug)]
struct States {
    /// Of each segment.
    segments: Vec<State>,
    /// How often each was lost.
    losses: Vec<u32>,
    /// Why nothing more is fetched.
    closed: Option<String>,
    /// Threads that wait for a segment.
    waiting: usize,
}

#[derive(Debug, Clone)]
enum State {
    Wanted,
    Here(Arc<Opened>),
}

/// A segment that is there, with the places of its needed images.
#[derive(Debug)]
struct Opened {
    segment: Segment,
    places: HashMap<ImageKey, usize>,
}

impl PushedImages {
    /// The images `needed`, in the order in which they are first needed, of those in `index`. Their segments are held in
    /// `folder`, which is made if it does not exist. Unused segments are deleted as far as necessary, so that its files take
    /// `limit_bytes` at most and those that are missing find room on the disk. `on_loss` is called when a segment has to be
    /// fetched again.
    ///
    /// # Errors
    /// When an image is not in the index, there is no room, or the folder cannot be read and written.
    pub fn open(
        folder: &Path,
        limit_bytes: Option<u64>,
        index: &ImageIndex,
        needed: &[ImageKey],
        on_loss: impl Fn() + Send + Sync + 'static,
    ) -> Result<Self, PushedImagesError> {
        let (segments, numbers) = needed_segments(folder, index, needed)?;
        fs::create_dir_all(folder).map_err(|error| WriteError { path: folder.to_owned(), error })?;
        let reservation = reserve(folder, limit_bytes, &segments)?;
        let images = Self {
            folder: folder.to_owned(),
            identity: index.identity.clone(),
            states: Mutex::new(States {
                segments: vec![State::Wanted; segments.len()],
                losses: vec![0; segments.len()],
                closed: None,
                waiting: 0,
            }),
            segments,
            numbers,
            changed: Condvar::new(),
            on_loss: Box::new(on_loss),
            _reservation: reservation,
        };
        for (number, needed) in images.segments.iter().enumerate() {
            match images.look_at(needed) {
                Ok(opened) => images.locked().segments[number] = State::Here(Arc::new(opened)),
                Err(error) if error.problem.is_absence() => {}
                Err(error) if error.problem.is_damage() => images.delete(&error),
                Err(error) => tracing::warn!("{error}"),
            }
        }
        Ok(images)
    }

    /// The folder of the segments.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// How the images were decoded.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The segments, in the order of need.
    pub fn segments(&self) -> &[NeededSegment] {
        &self.segments
    }

    /// The segments that are still to be fetched, as numbers in [`segments`](Self::segments).
    pub fn wanted(&self) -> Vec<usize> {
        let states = self.locked();
        let numbers = states.segments.iter().enumerate();
        numbers.filter(|(_, state)| matches!(state, State::Wanted)).map(|(number, _)| number).collect()
    }

    /// Whether all of these images can be read without waiting.
    pub fn are_here<'a>(&self, mut keys: impl Iterator<Item = &'a ImageKey>) -> bool {
        let states = self.locked();
        keys.all(|key| self.numbers.get(key).is_some_and(|number| matches!(states.segments[*number], State::Here(_))))
    }

    /// Whether a thread waits for a segment.
    pub fn is_awaited(&self) -> bool {
        self.locked().waiting > 0
    }

    /// Takes in a segment whose file is there now. One that is damaged is deleted, and wanted again.
    ///
    /// # Errors
    /// When it cannot be read, or again and again is not what the index says.
    pub fn arrived(&self, number: usize) -> Result<(), ArrivalError> {
        let needed = &self.segments[number];
        let opened = match self.look_at(needed) {
            Ok(opened) => opened,
            // Whoever deletes it now knows nothing of reservations.
            Err(error) if error.problem.is_absence() || error.problem.is_damage() => {
                if error.problem.is_damage() {
                    self.delete(&error);
                }
                let wrong = WrongSegment { digest: needed.digest, problem: error.problem.to_string() };
                return self.note_loss(number).map_err(|()| wrong.into());
            }
            Err(error) => return Err(ArrivalError::Unreadable(error)),
        };
        self.locked().segments[number] = State::Here(Arc::new(opened));
        self.changed.notify_all();
        Ok(())
    }

    /// Fills `image` with an image, as soon as its segment is there. `image` has as many bytes as the identity says.
    ///
    /// # Errors
    /// When nothing more is fetched, or its segment was lost again and again.
    ///
    /// # Panics
    /// When `image` has another size.
    pub fn read(&self, key: &ImageKey, buffers: &mut Buffers, image: &mut [u8]) -> Result<(), ReadError> {
        let failed = |segment: &Path, problem| ReadError { segment: segment.to_owned(), image: key.clone(), problem };
        let Some(number) = self.numbers.get(key).copied() else {
            return Err(failed(&self.folder, "is not among the images of this fold".to_owned()));
        };
        let path = &self.segments[number].path;
        loop {
            let opened = self.wait_for(number).map_err(|reason| failed(path, reason))?;
            match opened.segment.read(opened.places[key], buffers.decoder(), image) {
                Ok(()) => {
                    opened.segment.note_use();
                    return Ok(());
                }
                Err(error) => {
                    self.lose(number, &opened, &error).map_err(|()| failed(path, error.problem.to_string()))?
                }
            }
        }
    }

    /// Ends all waits for segments that are not there, with the reason why nothing more is fetched.
    pub fn close(&self, reason: &str) {
        self.locked().closed.get_or_insert_with(|| reason.to_owned());
        self.changed.notify_all();
    }

    /// Whether nothing more is fetched.
    pub fn is_closed(&self) -> bool {
        self.locked().closed.is_some()
    }

    /// Deletes unused segments of the folder until `bytes` or more are free. Returns how many are.
    ///
    /// # Errors
    /// When the folder cannot be read, or a file not be deleted.
    pub fn free_unused(&self, bytes: u64) -> Result<u64, FolderError> {
        let failed = |error| FolderError { path: self.folder.clone(), error };
        let lock = RoomLock::take(&self.folder).map_err(|WriteError { error, .. }| failed(error))?;
        let reserved = lock.reserved().map_err(failed)?;
        let mut contents = Contents::of(&lock, &reserved, SystemTime::now()).map_err(failed)?;
        contents.delete_unused(bytes).map_err(failed)
    }

    /// The error for a disk that became full.
    pub fn disk_full(&self) -> PushedImagesError {
        PushedImagesError::DiskFull {
            folder: self.folder.clone(),
            needed_bytes: self.wanted().into_iter().map(|number| self.segments[number].bytes).sum(),
            room_bytes: free_bytes(&self.folder).unwrap_or(0),
        }
    }

    /// Waits for a segment.
    fn wait_for(&self, number: usize) -> Result<Arc<Opened>, String> {
        let mut states = self.locked();
        loop {
            if let State::Here(opened) = &states.segments[number] {
                return Ok(opened.clone());
            }
            if let Some(reason) = &states.closed {
                return Err(reason.clone());
            }
            states.waiting += 1;
            states = self.changed.wait(states).unwrap_or_else(PoisonError::into_inner);
            states.waiting -= 1;
        }
    }

    /// Wants a segment again that cannot be read. `Err` where that was tried often enough or does not help.
    fn lose(&self, number: usize, opened: &Arc<Opened>, error: &SegmentError) -> Result<(), ()> {
        if !error.problem.is_damage() && !error.problem.is_absence() {
            return Err(());
        }
        {
            let mut states = self.locked();
            match &states.segments[number] {
                State::Here(known) if Arc::ptr_eq(known, opened) => states.segments[number] = State::Wanted,
                // Another thread has found it first.
                _ => return Ok(()),
            }
        }
        self.delete(error);
        self.note_loss(number)
    }

    fn note_loss(&self, number: usize) -> Result<(), ()> {
        {
            let mut states = self.locked();
            states.losses[number] += 1;
            if states.losses[number] > MOST_LOSSES {
                return Err(());
            }
        }
        (self.on_loss)();
        Ok(())
    }

    /// Deletes the file of a segment that cannot be used.
    fn delete(&self, error: &SegmentError) {
        tracing::warn!("{error}; this segment is fetched again");
        match fs::remove_file(&error.segment) {
            Err(failed) if failed.kind() != io::ErrorKind::NotFound => {
                tracing::warn!("cannot delete {}: {failed}", error.segment.display());
            }
            _ => {}
        }
    }

    /// Opens a segment's file, and finds the needed images in it.
    fn look_at(&self, needed: &NeededSegment) -> Result<Opened, SegmentError> {
        let segment = Segment::open(&needed.path)?;
        let wrong = |problem: String| SegmentError {
            segment: needed.path.clone(),
            image: None,
            problem: SegmentProblem::DamagedIndex(problem),
        };
        let index = segment.index();
        if index.identity != self.identity {
            return Err(wrong(format!("its images are {}", index.identity)));
        }
        let mut places: HashMap<&ImageKey, usize> =
            index.records.iter().enumerate().map(|(place, record)| (&record.key, place)).collect();
        let mut found = HashMap::with_capacity(needed.images.len());
        for key in &needed.images {
            let place = places.remove(key).ok_or_else(|| wrong(format!("it does not have image {key}")))?;
            found.insert(key.clone(), place);
        }
        Ok(Opened { places: found, segment })
    }

    /// What a thread that panicked left is whole: nothing that can panic runs between two changes.
    fn locked(&self) -> MutexGuard<'_, States> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for PushedImages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PushedImages").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// The segments that have the images `needed`, in the order of need, and the number of that of each image.
fn needed_segments(
    folder: &Path,
    index: &ImageIndex,
    needed: &[ImageKey],
) -> Result<(Vec<NeededSegment>, HashMap<ImageKey, usize>), PushedImagesError> {
    let pushed: HashMap<&ImageKey, usize> = index
        .segments
        .iter()
        .enumerate()
        .flat_map(|(place, segment)| segment.images.iter().map(move |key| (key, place)))
        .collect();
    let mut segments: Vec<NeededSegment> = Vec::new();
    let mut numbers = HashMap::with_capacity(needed.len());
    let mut number_of_place = vec![None; index.segments.len()];
    for key in needed {
        let place = *pushed.get(key).ok_or_else(|| PushedImagesError::NotPushed(key.clone()))?;
        let number = *number_of_place[place].get_or_insert_with(|| {
            let pushed = &index.segments[place];
            let (digest, path) = (pushed.digest, folder.join(file_name(pushed.digest)));
            segments.push(NeededSegment { digest, bytes: pushed.bytes, path, images: Vec::new() });
            segments.len() - 1
        });
        if numbers.insert(key.clone(), number).is_none() {
            segments[number].images.push(key.clone());
        }
    }
    Ok((segments, numbers))
}

/// Makes room for segments and reserves it.
fn reserve(
    folder: &Path,
    limit_bytes: Option<u64>,
    segments: &[NeededSegment],
) -> Result<Reservation, PushedImagesError> {
    let failed = |error| FolderError { path: folder.to_owned(), error };
    let lock = RoomLock::take(folder)?;
    let own: Reserved = segments.iter().map(|segment| (segment.digest, segment.bytes)).collect();
    let mut reserved = lock.reserved().map_err(failed)?;
    reserved.extend(&own);
    let mut contents = Contents::of(&lock, &reserved, SystemTime::now()).map_err(failed)?;
    let over_limit_bytes = limit_bytes.map_or(0, |limit| contents.total_bytes.saturating_sub(limit));
    let unused_bytes = contents.unused_bytes();
    let folder = folder.to_owned();
    if over_limit_bytes > unused_bytes {
        let needed_bytes: u64 = own.values().sum();
        let room_bytes = needed_bytes.saturating_sub(over_limit_bytes - unused_bytes);
        return Err(PushedImagesError::OverLimit { folder, needed_bytes, room_bytes });
    }
    let (needed_bytes, free_bytes) = (contents.missing_bytes, free_bytes(&folder).map_err(failed)?);
    let over_disk_bytes = needed_bytes.saturating_sub(free_bytes);
    if over_disk_bytes > unused_bytes {
        let room_bytes = free_bytes.saturating_add(unused_bytes);
        return Err(PushedImagesError::DiskFull { folder, needed_bytes, room_bytes });
    }
    contents.delete_unused(over_limit_bytes.max(over_disk_bytes)).map_err(failed)?;
    Ok(lock.reserve(&own)?)
}

/// What programs may still write to the disk of a folder, in bytes.
///
/// # Errors
/// When the system does not say.
pub fn free_bytes(folder: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(folder)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}
