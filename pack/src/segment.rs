//! A sealed segment: some images of a pack in one file that is never changed, called by the BLAKE3 digest of its
//! content.
//!
//! | bytes | content |
//! |---|---|
//! | 8 | `FFPACK`, 0, the version of the format |
//! | any | the records: one compressed image after the other |
//! | any | the [`Index`] |
//! | 8 | the size of the index in bytes, little-endian |
//! | 32 | the digest of the index |
//! | 8 | the first bytes again |
//!
//! Each record has its digest in the index. So an image is right or an error, whatever happened to the file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use fivefold_common::ids::Digest;

use crate::codec::Decoder;
use crate::identity::ImageKey;
use crate::index::{Index, Record};

pub(crate) const MAGIC: &[u8; 8] = b"FFPACK\0\x01";
const FOOTER_BYTES: u64 = 48;
/// The ending of a segment's file name.
pub(crate) const ENDING: &str = "segment";
/// The time between two notes of a segment's use.
const NOTE_SECONDS: u64 = 60;
/// What is read at a time of a whole segment.
const BLOCK_BYTES: usize = 1 << 20;

/// A segment that cannot be used, or an image in one.
#[derive(Debug, thiserror::Error)]
#[error("{}: {}{problem}", segment.display(), image.as_ref().map_or(String::new(), |image| format!("image {image} ")))]
pub struct SegmentError {
    /// The file.
    pub segment: PathBuf,
    /// The image, where the problem concerns one alone.
    pub image: Option<ImageKey>,
    /// What is wrong.
    pub problem: SegmentProblem,
}

/// What is wrong with a segment.
#[derive(Debug, thiserror::Error)]
pub enum SegmentProblem {
    /// The file does not exist or cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(io::Error),
    /// The file is something else.
    #[error("is no segment of packed images")]
    NotASegment,
    /// A newer version wrote it.
    #[error("has version {version} of the format, and this program reads version 1: use a newer one")]
    OtherVersion {
        /// The version.
        version: u8,
    },
    /// The end of the file is missing.
    #[error("is truncated")]
    Truncated,
    /// The index is damaged.
    #[error("is damaged: the index: {0}")]
    DamagedIndex(String),
    /// A record is damaged.
    #[error("is damaged: {0}")]
    DamagedImage(String),
    /// The whole content has another digest than the file's name says.
    #[error("is damaged: its content has the digest {found}")]
    OtherContent {
        /// The digest of the content.
        found: Digest,
    },
    /// The file's name is no digest.
    #[error("is not called by the digest of its content")]
    OtherName,
}

impl SegmentProblem {
    /// Whether the file is there and its content is wrong. Reading again does not help.
    pub fn is_damage(&self) -> bool {
        !matches!(self, Self::Unreadable(_) | Self::OtherVersion { .. })
    }

    /// Whether the file does not exist, or no longer.
    pub fn is_absence(&self) -> bool {
        matches!(self, Self::Unreadable(error) if error.kind() == io::ErrorKind::NotFound)
    }
}

/// A segment whose index was read. The file is opened for each image, so that any number of segments can be in use, and
/// one that is deleted gives an error.
#[derive(Debug)]
pub struct Segment {
    path: PathBuf,
    digest: Digest,
    index: Index,
    /// When its last use was noted, in seconds of the Unix epoch.
    noted_seconds: AtomicU64,
}

impl Segment {
    pub(crate) fn new(path: PathBuf, digest: Digest, index: Index) -> Self {
        Self { path, digest, index, noted_seconds: AtomicU64::new(0) }
    }

    /// Reads the index of the segment at `path`.
    ///
    /// # Errors
    /// When the file cannot be read, is no segment, or its index is damaged.
    pub fn open(path: &Path) -> Result<Self, SegmentError> {
        let failed = |problem| SegmentError { segment: path.to_owned(), image: None, problem };
        let digest = digest_in_name(path).ok_or_else(|| failed(SegmentProblem::OtherName))?;
        let file = File::open(path).map_err(|error| failed(SegmentProblem::Unreadable(error)))?;
        let index = read_index(&file).map_err(failed)?;
        Ok(Self::new(path.to_owned(), digest, index))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The digest in the file's name.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The index.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// Reads the image at `place` of the index. `image` has as many bytes as the identity says; after an error they are
    /// unspecified.
    ///
    /// # Errors
    /// When the record cannot be read or is damaged.
    ///
    /// # Panics
    /// When there is no such place, or `image` has another size.
    pub fn read(&self, place: usize, decoder: &mut Decoder, image: &mut [u8]) -> Result<(), SegmentError> {
        let Index { identity, records } = &self.index;
        assert_eq!(image.len(), identity.image_bytes(), "the memory for an image of {identity}");
        let record = &records[place];
        self.open_file()
            .and_then(|file| read_record(&file, record, decoder.compressed_mut()))
            .and_then(|()| {
                let decoded = decoder.decode_read(identity.side(), image);
                decoded.map_err(|error| SegmentProblem::DamagedImage(error.to_string()))
            })
            .map_err(|problem| self.error_at(record, problem))
    }

    /// Reads the compressed bytes of the image at `place` of the index.
    pub(crate) fn read_compressed(&self, place: usize) -> Result<Vec<u8>, SegmentError> {
        let record = &self.index.records[place];
        let mut compressed = Vec::new();
        self.open_file()
            .and_then(|file| read_record(&file, record, &mut compressed))
            .map_err(|problem| self.error_at(record, problem))?;
        Ok(compressed)
    }

    /// Notes in the time of the file that it is in use, so that others are deleted before it.
    pub(crate) fn note_use(&self) {
        let now = SystemTime::now();
        let seconds = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |duration| duration.as_secs());
        if seconds.saturating_sub(self.noted_seconds.load(Ordering::Relaxed)) >= NOTE_SECONDS {
            self.noted_seconds.store(seconds, Ordering::Relaxed);
            // Not allowed for the files of other users; then their last use stays unknown.
            let _ = File::open(&self.path).and_then(|file| file.set_modified(now));
        }
    }

    /// Reads everything, and returns all that is wrong.
    pub fn verify(&self, decoder: &mut Decoder) -> Vec<SegmentError> {
        let mut image = vec![0; self.index.identity.image_bytes()];
        let places = 0..self.index.records.len();
        let mut errors: Vec<SegmentError> =
            places.filter_map(|place| self.read(place, decoder, &mut image).err()).collect();
        let whole = self.open_file().and_then(|file| digest_of(&file).map_err(SegmentProblem::Unreadable));
        let problem = match whole {
            // The damaged images explain it.
            Ok(found) if found != self.digest && errors.is_empty() => Some(SegmentProblem::OtherContent { found }),
            Ok(_) => None,
            Err(problem) => Some(problem),
        };
        errors.extend(problem.map(|problem| SegmentError { segment: self.path.clone(), image: None, problem }));
        errors
    }

    fn open_file(&self) -> Result<File, SegmentProblem> {
        File::open(&self.path).map_err(SegmentProblem::Unreadable)
    }

    fn error_at(&self, record: &Record, problem: SegmentProblem) -> SegmentError {
        SegmentError { segment: self.path.clone(), image: Some(record.key.clone()), problem }
    }
}

/// The digest in the name of a segment's file.
pub(crate) fn digest_in_name(path: &Path) -> Option<Digest> {
    path.file_name()?.to_str()?.strip_suffix(ENDING)?.strip_suffix('.')?.parse().ok()
}

/// The name of a segment's file.
pub(crate) fn file_name(digest: Digest) -> String {
    format!("{digest}.{ENDING}")
}

/// The last bytes of a segment.
pub(crate) fn footer(index: &[u8]) -> Vec<u8> {
    [&(index.len() as u64).to_le_bytes()[..], Digest::of(index).as_bytes(), MAGIC].concat()
}

fn read_index(file: &File) -> Result<Index, SegmentProblem> {
    let bytes = file.metadata().map_err(SegmentProblem::Unreadable)?.len();
    let first = MAGIC.len() as u64;
    let mut magic = [0; MAGIC.len()];
    read_at(file, &mut magic, 0)?;
    match magic {
        _ if &magic == MAGIC => {}
        [name @ .., version] if MAGIC.starts_with(&name) => return Err(SegmentProblem::OtherVersion { version }),
        _ => return Err(SegmentProblem::NotASegment),
    }
    let footer_start = bytes.checked_sub(FOOTER_BYTES).filter(|start| *start >= first);
    let footer_start = footer_start.ok_or(SegmentProblem::Truncated)?;
    let mut footer = [0; FOOTER_BYTES as usize];
    read_at(file, &mut footer, footer_start)?;
    let Some((size, rest)) = footer.split_first_chunk::<8>() else { return Err(SegmentProblem::Truncated) };
    let Some((digest, end)) = rest.split_first_chunk::<32>() else { return Err(SegmentProblem::Truncated) };
    if end != MAGIC {
        return Err(SegmentProblem::Truncated);
    }
    let damaged = |problem: &str| SegmentProblem::DamagedIndex(problem.to_owned());
    let index_bytes = u64::from_le_bytes(*size);
    let index_start = footer_start.checked_sub(index_bytes).filter(|start| *start >= first);
    let index_start = index_start.ok_or_else(|| damaged("it is larger than the file"))?;
    let mut json = vec![0; index_bytes as usize];
    read_at(file, &mut json, index_start)?;
    if Digest::of(&json).as_bytes() != digest {
        return Err(damaged("its digest is another one"));
    }
    Index::parse(&json, index_start - first).map_err(SegmentProblem::DamagedIndex)
}

/// Reads the bytes of a record and checks them.
fn read_record(file: &File, record: &Record, compressed: &mut Vec<u8>) -> Result<(), SegmentProblem> {
    compressed.resize(record.bytes as usize, 0);
    read_at(file, compressed, MAGIC.len() as u64 + record.offset)?;
    if Digest::of(compressed) != record.digest {
        return Err(SegmentProblem::DamagedImage("its digest is another one".to_owned()));
    }
    Ok(())
}

fn read_at(file: &File, bytes: &mut [u8], offset: u64) -> Result<(), SegmentProblem> {
    file.read_exact_at(bytes, offset).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => SegmentProblem::Truncated,
        _ => SegmentProblem::Unreadable(error),
    })
}

/// The digest of a whole file.
fn digest_of(file: &File) -> io::Result<Digest> {
    let mut hasher = blake3::Hasher::new();
    let mut block = vec![0; BLOCK_BYTES];
    let mut offset = 0;
    loop {
        match file.read_at(&mut block, offset)? {
            0 => return Ok(hasher.finalize().into()),
            bytes => {
                hasher.update(&block[..bytes]);
                offset += bytes as u64;
            }
        }
    }
}
