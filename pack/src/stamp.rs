//! What tells the source files of an image from what they were before.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use fivefold_common::durable_file;
use fivefold_common::ids::Digest;

/// The first bytes of a file of stamps; the number is raised with every change of the format.
const MAGIC: &[u8; 8] = b"FFSTAMP1";
const STAMP_BYTES: usize = 32;
const DIGEST_BYTES: usize = 32;

/// A digest of the paths, sizes and times of change of the files that an image is decoded from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SourceStamp([u8; STAMP_BYTES]);

impl SourceStamp {
    /// The stamp of an image that is decoded from `files`. Paths should be absolute, so that equal names in two folders
    /// differ.
    ///
    /// # Errors
    /// When a file does not exist or cannot be reached.
    pub fn of_files<P: AsRef<Path>>(files: impl IntoIterator<Item = P>) -> io::Result<Self> {
        let mut hasher = blake3::Hasher::new();
        for file in files {
            let (path, metadata) = (file.as_ref().as_os_str().as_bytes(), file.as_ref().metadata()?);
            hasher.update(&(path.len() as u64).to_le_bytes()).update(path);
            for fact in [metadata.size() as i64, metadata.mtime(), metadata.mtime_nsec()] {
                hasher.update(&fact.to_le_bytes());
            }
        }
        Ok(Self(*hasher.finalize().as_bytes()))
    }

    /// A stamp made otherwise, such as for tests.
    pub fn from_bytes(bytes: [u8; STAMP_BYTES]) -> Self {
        Self(bytes)
    }
}

/// Where the stamps of a segment's images are: beside the segment, so that equal images make equal segments, whenever
/// their files were written.
fn file_of(segment: &Path) -> PathBuf {
    segment.with_extension("stamps")
}

/// Writes the stamps of a segment's images, in their order.
pub(crate) fn write(segment: &Path, stamps: &[SourceStamp]) -> Result<(), durable_file::WriteError> {
    let mut content = Vec::with_capacity(MAGIC.len() + stamps.len() * STAMP_BYTES + DIGEST_BYTES);
    content.extend_from_slice(MAGIC);
    for SourceStamp(stamp) in stamps {
        content.extend_from_slice(stamp);
    }
    let digest = Digest::of(&content);
    content.extend_from_slice(digest.as_bytes());
    durable_file::write(&file_of(segment), |output| output.write_all(&content))
}

/// The stamps of a segment of `images` images. There are none in a file that is absent or damaged.
pub(crate) fn read(segment: &Path, images: usize) -> Option<Vec<SourceStamp>> {
    let expected = MAGIC.len() + images * STAMP_BYTES + DIGEST_BYTES;
    let mut content = Vec::with_capacity(expected + 1);
    File::open(file_of(segment)).ok()?.take(expected as u64 + 1).read_to_end(&mut content).ok()?;
    parse(&content).filter(|stamps| stamps.len() == images)
}

/// The stamps in a file's bytes.
fn parse(content: &[u8]) -> Option<Vec<SourceStamp>> {
    let (content, digest) = content.split_at_checked(content.len().checked_sub(DIGEST_BYTES)?)?;
    let stamps = content.strip_prefix(MAGIC)?;
    if Digest::of(content).as_bytes() != digest {
        return None;
    }
    let (stamps, []) = stamps.as_chunks::<STAMP_BYTES>() else { return None };
    Some(stamps.iter().copied().map(SourceStamp).collect())
}

/// Deletes the stamps of a segment, if there are any.
pub(crate) fn remove(segment: &Path) {
    // A file that stays is small, and is overwritten when an equal segment is written.
    let _ = std::fs::remove_file(file_of(segment));
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn a_stamp_changes_with_path_size_and_time() {
        let folder = tempfile::tempdir().unwrap();
        let [a, b] = ["a.png", "b.png"].map(|name| folder.path().join(name));
        fs::write(&a, "12").unwrap();
        fs::write(&b, "12").unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000, 5);
        let set_time = |time| {
            for path in [&a, &b] {
                File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
            }
        };
        set_time(time);
        let first = SourceStamp::of_files([&a, &b]).unwrap();
        assert_eq!(SourceStamp::of_files([&a, &b]).unwrap(), first);
        assert_ne!(SourceStamp::of_files([&b, &a]).unwrap(), first);
        assert_ne!(SourceStamp::of_files([&a]).unwrap(), first);
        fs::write(&a, "123").unwrap();
        set_time(time);
        assert_ne!(SourceStamp::of_files([&a, &b]).unwrap(), first, "of another size");
        fs::write(&a, "21").unwrap();
        set_time(time + Duration::from_nanos(1));
        assert_ne!(SourceStamp::of_files([&a, &b]).unwrap(), first, "of another time");
        fs::remove_file(&b).unwrap();
        assert_eq!(SourceStamp::of_files([&a, &b]).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn damaged_stamps_are_none() {
        let folder = tempfile::tempdir().unwrap();
        let segment = folder.path().join("1234.segment");
        let stamps = [SourceStamp([1; 32]), SourceStamp([2; 32])];
        assert_eq!(read(&segment, 2), None);
        write(&segment, &stamps).unwrap();
        assert_eq!(read(&segment, 2).as_deref(), Some(&stamps[..]));
        assert_eq!(read(&segment, 1), None);
        assert_eq!(read(&segment, 3), None);
        let whole = fs::read(file_of(&segment)).unwrap();
        for place in 0..whole.len() {
            let mut changed = whole.clone();
            changed[place] ^= 1;
            assert_eq!(parse(&changed), None, "{place}");
            assert_eq!(parse(&whole[..place]), None, "{place}");
        }
        remove(&segment);
        assert_eq!(read(&segment, 2), None);
    }
}
