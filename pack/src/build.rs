//! A data set packed at once, with all cores.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fivefold_common::durable_file::WriteError;
use fivefold_common::ids::Digest;

use crate::codec::Encoder;
use crate::identity::{Identity, IdentityError, ImageKey};
use crate::in_order::in_order;
use crate::lock::BuilderLock;
use crate::pack::{FolderError, Pack};
use crate::segment::{Segment, SegmentError};
use crate::segment_writer::{Compressed, SegmentWriter};
use crate::stamp::{self, SourceStamp};

/// The failed images that are kept with their errors.
const KEPT_FAILURES: usize = 20;

/// What is packed, and how.
pub struct Build<'a, S, D> {
    /// The folder of the pack; it is made if it does not exist.
    pub folder: &'a Path,
    /// How the images are decoded.
    pub identity: &'a Identity,
    /// Threads that decode and compress.
    pub threads: usize,
    /// The size at which a segment ends, in bytes.
    pub segment_bytes: u64,
    /// `Fn(&ImageKey) -> Result<SourceStamp, E>`: the stamp of an image's source.
    pub stamp: S,
    /// `Fn(&ImageKey, &mut [u8]) -> Result<(), E>`: decodes an image into as many bytes as the identity says.
    pub decode: D,
}

/// How far a build is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Images that are asked for.
    pub images: u64,
    /// Those of them that were packed before.
    pub kept: u64,
    /// Those that were packed now.
    pub packed: u64,
    /// Those that cannot be read.
    pub failed: u64,
    /// The size of the records of those packed now, in bytes.
    pub packed_bytes: u64,
}

impl Progress {
    /// Images that are done.
    pub fn done(&self) -> u64 {
        self.kept + self.packed + self.failed
    }
}

/// What a build did.
#[derive(Debug)]
pub struct Built<E> {
    /// The counts.
    pub progress: Progress,
    /// Whether it was stopped before its end. Sealed segments stay, and the next build goes on after them.
    pub is_stopped: bool,
    /// The first images that cannot be read, with their errors.
    pub failures: Vec<(ImageKey, E)>,
    /// Segments that were damaged. They were deleted, and their images decoded again.
    pub damaged: Vec<SegmentError>,
}

/// A build that failed.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The settings are impossible.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Another process packs the same.
    #[error("another process packs the same images into {}: wait until it has ended", folder.display())]
    Busy {
        /// The folder.
        folder: PathBuf,
    },
    /// The folder cannot be read.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The folder cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A segment that is to be replaced cannot be read.
    #[error(transparent)]
    Segment(#[from] SegmentError),
    /// There is no memory.
    #[error("cannot compress: {0}")]
    Memory(io::Error),
}

/// What became of one image on its thread.
enum Step<E> {
    /// It is packed already.
    Kept(SourceStamp),
    Packed(SourceStamp, Compressed),
    Failed(E),
    NoMemory(io::Error),
}

impl<S, D> Build<'_, S, D> {
    /// Packs `keys`, of which those stay that are packed already and whose sources are unchanged. Segments are filled
    /// in the order of `keys`, so that the same images make the same segments. `progress` is called after each image.
    /// `stop` ends the build after the images in work.
    ///
    /// # Errors
    /// When another process packs the same, or the folder cannot be read or written. Images that cannot be read are no
    /// error here: they are in the result.
    pub fn run<E: Send>(
        &self,
        keys: &[ImageKey],
        stop: &AtomicBool,
        mut progress: impl FnMut(Progress),
    ) -> Result<Built<E>, BuildError>
    where
        S: Fn(&ImageKey) -> Result<SourceStamp, E> + Sync,
        D: Fn(&ImageKey, &mut [u8]) -> Result<(), E> + Sync,
    {
        self.identity.check()?;
        fs::create_dir_all(self.folder).map_err(|error| WriteError { path: self.folder.to_owned(), error })?;
        let Some(_lock) = BuilderLock::try_take(self.folder, self.identity)? else {
            return Err(BuildError::Busy { folder: self.folder.to_owned() });
        };
        let (pack, unusable) = Pack::open(self.folder, self.identity)?;
        let damaged = delete_damaged(unusable)?;
        let counts = Progress { images: keys.len() as u64, ..Progress::default() };
        let mut built = Built { progress: counts, is_stopped: false, failures: Vec::new(), damaged };
        let mut output = Output::new(self.folder, self.identity, self.segment_bytes);
        let mut stamps = HashMap::with_capacity(keys.len());
        let memory = || (Encoder::new(), vec![0; self.identity.image_bytes()]);
        let work = |(encoder, image): &mut (io::Result<Encoder>, Vec<u8>), key: &ImageKey| {
            self.step(&pack, key, encoder, image)
        };
        let ended = in_order(keys, self.threads, memory, work, |place, step| {
            let key = &keys[place];
            let counts = &mut built.progress;
            match step {
                Step::Kept(stamp) => {
                    counts.kept += 1;
                    stamps.insert(key, stamp);
                }
                Step::Packed(stamp, image) => {
                    counts.packed += 1;
                    counts.packed_bytes += image.bytes();
                    stamps.insert(key, stamp);
                    if let Err(error) = output.append(key, stamp, &image) {
                        return ControlFlow::Break(Err(error.into()));
                    }
                }
                Step::Failed(error) => {
                    counts.failed += 1;
                    if built.failures.len() < KEPT_FAILURES {
                        built.failures.push((key.clone(), error));
                    }
                }
                Step::NoMemory(error) => return ControlFlow::Break(Err(BuildError::Memory(error))),
            }
            progress(*counts);
            if stop.load(Ordering::Relaxed) { ControlFlow::Break(Ok(())) } else { ControlFlow::Continue(()) }
        });
        if let ControlFlow::Break(ended) = ended {
            ended?;
            built.is_stopped = built.progress.done() < built.progress.images;
        }
        if !built.is_stopped {
            replace_stale(&pack, &stamps, output)?;
        }
        Ok(built)
    }

    /// Decodes and compresses an image, unless it is packed already.
    fn step<E>(&self, pack: &Pack, key: &ImageKey, encoder: &mut io::Result<Encoder>, image: &mut [u8]) -> Step<E>
    where
        S: Fn(&ImageKey) -> Result<SourceStamp, E>,
        D: Fn(&ImageKey, &mut [u8]) -> Result<(), E>,
    {
        // Before it is decoded: a source that is changed meanwhile is decoded again next time.
        let stamp = match (self.stamp)(key) {
            Ok(stamp) => stamp,
            Err(error) => return Step::Failed(error),
        };
        if pack.find(key, &stamp).is_some() {
            return Step::Kept(stamp);
        }
        if let Err(error) = (self.decode)(key, image) {
            return Step::Failed(error);
        }
        let compressed = match encoder {
            Ok(encoder) => Compressed::of(image, self.identity.side(), encoder),
            Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
        };
        compressed.map_or_else(Step::NoMemory, |compressed| Step::Packed(stamp, compressed))
    }
}

/// The segments that a build writes.
struct Output<'a> {
    folder: &'a Path,
    identity: &'a Identity,
    segment_bytes: u64,
    unsealed: Option<SegmentWriter>,
    sealed: HashSet<Digest>,
    /// The images of all these segments.
    keys: HashSet<ImageKey>,
}

impl<'a> Output<'a> {
    fn new(folder: &'a Path, identity: &'a Identity, segment_bytes: u64) -> Self {
        Self { folder, identity, segment_bytes, unsealed: None, sealed: HashSet::new(), keys: HashSet::new() }
    }

    /// Adds an image, unless it is there already.
    fn append(&mut self, key: &ImageKey, stamp: SourceStamp, image: &Compressed) -> Result<(), WriteError> {
        if !self.keys.insert(key.clone()) {
            return Ok(());
        }
        let mut writer = match self.unsealed.take() {
            Some(writer) => writer,
            None => SegmentWriter::create(self.folder, self.identity)?,
        };
        writer.append(key.clone(), stamp, image)?;
        let is_full = writer.bytes() >= self.segment_bytes;
        self.unsealed = Some(writer);
        if is_full { self.seal() } else { Ok(()) }
    }

    fn seal(&mut self) -> Result<(), WriteError> {
        if let Some(writer) = self.unsealed.take() {
            self.sealed.insert(writer.seal()?.digest());
        }
        Ok(())
    }
}

/// Deletes the damaged ones of `unusable` and returns them.
fn delete_damaged(unusable: Vec<SegmentError>) -> Result<Vec<SegmentError>, BuildError> {
    for error in &unusable {
        if error.problem.is_damage() {
            delete(&error.segment)?;
        }
    }
    Ok(unusable)
}

pub(crate) fn delete(segment: &Path) -> Result<(), WriteError> {
    fs::remove_file(segment).map_err(|error| WriteError { path: segment.to_owned(), error })?;
    stamp::remove(segment);
    Ok(())
}

/// Copies what is still right in segments with records of changed sources, and deletes these segments. `stamps` are
/// those of the images that were asked for.
fn replace_stale(
    pack: &Pack,
    stamps: &HashMap<&ImageKey, SourceStamp>,
    mut output: Output<'_>,
) -> Result<(), BuildError> {
    let is_stale =
        |key: &ImageKey, stamp: Option<SourceStamp>| stamps.get(key).is_some_and(|current| stamp != Some(*current));
    let mut stale: BTreeMap<Digest, &Arc<Segment>> = BTreeMap::new();
    for key in stamps.keys() {
        let places = pack.places(key).iter().filter(|place| is_stale(key, place.stamp));
        stale.extend(places.map(|place| (place.segment.digest(), &place.segment)));
    }
    for segment in stale.values() {
        for (place, record) in segment.index().records.iter().enumerate() {
            let key = &record.key;
            let found = pack.places(key).iter().find(|found| {
                found.segment.digest() == segment.digest() && found.place == place && !is_stale(key, found.stamp)
            });
            let is_elsewhere = pack.places(key).iter().any(|other| {
                !stale.contains_key(&other.segment.digest()) && found.is_some_and(|found| found.stamp == other.stamp)
            });
            // Without a stamp a record counts for nobody.
            if let Some(stamp) = found.and_then(|found| found.stamp).filter(|_| !is_elsewhere) {
                output.append(key, stamp, &Compressed::new(segment.read_compressed(place)?))?;
            }
        }
    }
    output.seal()?;
    // Where the images are the same as before, so is the segment.
    for segment in stale.values().filter(|segment| !output.sealed.contains(&segment.digest())) {
        delete(segment.path())?;
    }
    Ok(())
}
