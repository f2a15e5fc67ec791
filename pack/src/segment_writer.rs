//! A segment being written, under a temporary name until it is sealed.

use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use fivefold_common::durable_file::{DurableFile, WriteError};
use fivefold_common::ids::Digest;

use crate::codec::Encoder;
use crate::identity::{Identity, ImageKey};
use crate::index::{Index, Record};
use crate::segment::{ENDING, MAGIC, Segment, file_name, footer};
use crate::stamp::{self, SourceStamp};

/// The usual size of a segment, in bytes.
pub const SEGMENT_BYTES: u64 = 64 << 20;
/// More than an image takes in the index and among the stamps, without its name.
const ENTRY_BYTES: usize = 160;
/// More than a segment without images takes, in bytes.
const EMPTY_BYTES: u64 = 1024;
const BUFFER_BYTES: usize = 1 << 20;

/// A compressed image and its digest.
pub struct Compressed {
    bytes: Vec<u8>,
    digest: Digest,
}

impl Compressed {
    /// Compresses an image of square planes of `side` x `side` bytes.
    ///
    /// # Errors
    /// When there is no memory.
    pub fn of(image: &[u8], side: usize, encoder: &mut Encoder) -> io::Result<Self> {
        encoder.encode(image, side).map(Self::new)
    }

    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self { digest: Digest::of(&bytes), bytes }
    }

    /// The size in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes.len() as u64
    }
}

/// A segment being written. Dropping it before [`seal`](SegmentWriter::seal) deletes its file.
pub struct SegmentWriter {
    output: BufWriter<DurableFile>,
    path: PathBuf,
    hasher: blake3::Hasher,
    index: Index,
    stamps: Vec<SourceStamp>,
    /// More than the index and the stamps of its images take, in bytes.
    entries_bytes: u64,
}

/// The name of unsealed segments of an identity, before a random part.
pub(crate) fn unsealed_name(identity: &Identity) -> String {
    format!("{}.unsealed", identity.digest())
}

impl SegmentWriter {
    /// Begins a segment in `folder`.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn create(folder: &Path, identity: &Identity) -> Result<Self, WriteError> {
        let path = folder.join(unsealed_name(identity));
        let output = BufWriter::with_capacity(BUFFER_BYTES, DurableFile::create(&path)?);
        let index = Index { identity: identity.clone(), records: Vec::new() };
        let hasher = blake3::Hasher::new();
        let mut writer = Self { output, path, hasher, index, stamps: Vec::new(), entries_bytes: 0 };
        writer.write(MAGIC)?;
        Ok(writer)
    }

    /// Adds an image, once.
    ///
    /// # Errors
    /// When the disk fails; the segment cannot be sealed then.
    pub fn append(&mut self, key: ImageKey, stamp: SourceStamp, image: &Compressed) -> Result<(), WriteError> {
        let record = Record { key, offset: self.index.records_bytes(), bytes: image.bytes(), digest: image.digest };
        self.write(&image.bytes)?;
        // A name is at most six times as long in JSON.
        self.entries_bytes += (ENTRY_BYTES + 6 * (record.key.list.len() + record.key.id.len())) as u64;
        self.index.records.push(record);
        self.stamps.push(stamp);
        Ok(())
    }

    /// The size of the segment and its stamps if it were sealed now, in bytes, or a little more.
    pub fn bytes(&self) -> u64 {
        EMPTY_BYTES + self.index.records_bytes() + self.entries_bytes
    }

    /// Writes the index, syncs the file and renames it to the digest of its content.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn seal(mut self) -> Result<Segment, WriteError> {
        let json = self.index.to_json().map_err(|error| self.failed(error.into()))?;
        self.write(&json)?;
        self.write(&footer(&json))?;
        let Self { output, path, hasher, index, stamps, .. } = self;
        let digest = hasher.finalize().into();
        let sealed = path.with_file_name(file_name(digest));
        let output = output.into_inner().map_err(|error| WriteError { path, error: error.into_error() })?;
        stamp::write(&sealed, &stamps)?;
        output.commit_as(&file_name(digest))?;
        Ok(Segment::new(sealed, digest, index))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        self.hasher.update(bytes);
        self.output.write_all(bytes).map_err(|error| self.failed(error))
    }

    fn failed(&self, error: io::Error) -> WriteError {
        WriteError { path: self.path.with_extension(ENDING), error }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::codec::Decoder;
    use crate::segment::SegmentProblem;
    use crate::test_images::{files, identity, image, stamp};

    const SIDE: usize = 4;

    /// A sealed segment of `count` images in `folder`.
    fn seal(folder: &Path, count: usize) -> Segment {
        let mut writer = SegmentWriter::create(folder, &identity(SIDE)).unwrap();
        let mut encoder = Encoder::new().unwrap();
        for seed in 0..count {
            let compressed = Compressed::of(&image(seed, 3, SIDE), SIDE, &mut encoder).unwrap();
            writer.append(ImageKey::new("train", format!("i{seed}")), stamp(seed), &compressed).unwrap();
        }
        writer.seal().unwrap()
    }

    #[test]
    fn a_segment_has_the_digest_of_its_content_as_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let sealed = seal(folder.path(), 5);
        assert_eq!(sealed.digest(), Digest::of(&fs::read(sealed.path()).unwrap()));
        let read = Segment::open(sealed.path()).unwrap();
        assert_eq!((read.index(), read.digest()), (sealed.index(), sealed.digest()));
        let mut decoder = Decoder::default();
        for seed in 0..5 {
            let mut found = vec![0; 3 * SIDE * SIDE];
            read.read(seed, &mut decoder, &mut found).unwrap();
            assert_eq!(found, image(seed, 3, SIDE));
        }
        assert!(read.verify(&mut decoder).is_empty());
        assert_eq!(seal(folder.path(), 5).digest(), sealed.digest(), "equal images make equal segments");
        assert!(seal(folder.path(), 0).index().records.is_empty());
    }

    #[test]
    fn an_unsealed_segment_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = SegmentWriter::create(folder.path(), &identity(SIDE)).unwrap();
        writer.append(ImageKey::new("train", "a"), stamp(1), &Compressed::new(vec![1; 100])).unwrap();
        assert_eq!(files(folder.path()).len(), 1);
        drop(writer);
        assert_eq!(files(folder.path()), [""; 0]);
    }

    /// Opens the segment and reads all its images: an error, or exactly the images.
    fn read_changed(path: &Path, bytes: &[u8]) -> Result<(), SegmentProblem> {
        fs::write(path, bytes).unwrap();
        let segment = Segment::open(path).map_err(|error| error.problem)?;
        let mut decoder = Decoder::default();
        let mut first_error = None;
        assert_eq!(segment.index().records.len(), 3);
        for place in 0..3 {
            let mut found = vec![0; 3 * SIDE * SIDE];
            match segment.read(place, &mut decoder, &mut found) {
                Ok(()) => assert_eq!(found, image(place, 3, SIDE), "wrong pixels"),
                Err(error) => {
                    assert_eq!(error.image, Some(ImageKey::new("train", format!("i{place}"))));
                    assert!(error.to_string().contains(&format!("image train/i{place} ")), "{error}");
                    first_error.get_or_insert(error.problem);
                }
            }
        }
        let verified = segment.verify(&mut decoder);
        assert_eq!(verified.is_empty(), first_error.is_none() && Digest::of(bytes) == segment.digest());
        first_error.map_or(Ok(()), Err)
    }

    #[test]
    fn a_segment_cut_off_anywhere_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = seal(folder.path(), 3).path().to_owned();
        let whole = fs::read(&path).unwrap();
        for length in 0..whole.len() {
            let problem = read_changed(&path, &whole[..length]).unwrap_err();
            assert!(problem.is_damage() && !problem.is_absence(), "{length}: {problem}");
        }
        let longer = [&whole[..], b"x"].concat();
        assert!(read_changed(&path, &longer).unwrap_err().is_damage());
        read_changed(&path, &whole).unwrap();
    }

    #[test]
    fn a_flipped_bit_anywhere_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = seal(folder.path(), 3).path().to_owned();
        let whole = fs::read(&path).unwrap();
        for place in 0..whole.len() {
            for bit in [0, 7] {
                let mut changed = whole.clone();
                changed[place] ^= 1 << bit;
                let problem = read_changed(&path, &changed).unwrap_err();
                assert!(problem.is_damage() || place == 7, "{place}: {problem}");
            }
        }
    }

    #[test]
    fn a_file_that_shrinks_or_goes_while_it_is_in_use_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let segment = seal(folder.path(), 3);
        let mut decoder = Decoder::default();
        let mut read = |place| segment.read(place, &mut decoder, &mut [0; 3 * SIDE * SIDE]);
        fs::File::options().write(true).open(segment.path()).unwrap().set_len(20).unwrap();
        let error = read(2).unwrap_err();
        let name = segment.path().display();
        assert_eq!(error.to_string(), format!("{name}: image train/i2 is truncated"));
        fs::remove_file(segment.path()).unwrap();
        assert!(read(0).unwrap_err().problem.is_absence());
    }

    #[test]
    fn other_files_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(file_name(Digest::of(b"")));
        let problem = |path: &Path, bytes: &[u8]| {
            fs::write(path, bytes).unwrap();
            Segment::open(path).unwrap_err().problem.to_string()
        };
        assert_eq!(problem(&path, b"something else"), "is no segment of packed images");
        assert!(problem(&path, b"FFPACK\0\x02 and more").contains("version 2"));
        assert!(problem(&folder.path().join("a.segment"), b"").contains("not called by the digest"));
        let absent = Segment::open(&folder.path().join(file_name(Digest::of(b"1")))).unwrap_err();
        assert!(absent.problem.is_absence() && !absent.problem.is_damage());
    }
}
