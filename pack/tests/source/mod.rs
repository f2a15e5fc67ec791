//! A data set of small files, whose images are made from what is in them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use fivefold_pack::build::Built;
use fivefold_pack::{Build, BuildError, Identity, ImageKey, Progress, SourceStamp};

pub(crate) const SIDE: usize = 8;
pub(crate) const IMAGE_BYTES: usize = 3 * SIDE * SIDE;

/// The folder of the files and that of the pack.
pub(crate) struct Source {
    _root: tempfile::TempDir,
    pub(crate) files: PathBuf,
    pub(crate) pack: PathBuf,
    pub(crate) decoded: AtomicUsize,
}

impl Source {
    /// A data set of the images `train/0` and so on.
    pub(crate) fn of(images: usize) -> (Self, Vec<ImageKey>) {
        let root = tempfile::tempdir().unwrap();
        let [files, pack] = ["files", "pack"].map(|name| root.path().join(name));
        fs::create_dir(&files).unwrap();
        let source = Self { _root: root, files, pack, decoded: AtomicUsize::new(0) };
        let keys: Vec<ImageKey> = (0..images).map(|id| ImageKey::new("train", id.to_string())).collect();
        keys.iter().for_each(|key| source.write(key, &key.id));
        (source, keys)
    }

    pub(crate) fn path(&self, key: &ImageKey) -> PathBuf {
        self.files.join(&key.id)
    }

    /// Writes the file of an image. Each content has a time of its own.
    pub(crate) fn write(&self, key: &ImageKey, content: &str) {
        let seconds = content.bytes().fold(1, |sum, byte| 31 * sum + u64::from(byte)) % 1_000_000_000;
        fs::write(self.path(key), content).unwrap();
        self.set_time(key, SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
    }

    pub(crate) fn set_time(&self, key: &ImageKey, time: SystemTime) {
        fs::File::open(self.path(key)).unwrap().set_modified(time).unwrap();
    }

    pub(crate) fn stamp(&self, key: &ImageKey) -> io::Result<SourceStamp> {
        SourceStamp::of_files([self.path(key)])
    }

    /// Pixels that follow from the content of the file.
    pub(crate) fn decode(&self, key: &ImageKey, image: &mut [u8]) -> io::Result<()> {
        self.decoded.fetch_add(1, Ordering::SeqCst);
        let content = fs::read_to_string(self.path(key))?;
        let seed = content.bytes().fold(7_usize, |sum, byte| 31 * sum + usize::from(byte));
        for (place, value) in image.iter_mut().enumerate() {
            let mixed = (seed ^ place).wrapping_mul(6_364_136_223_846_793_005);
            *value = ((mixed ^ (mixed >> 29)).wrapping_mul(1_442_695_040_888_963_407) >> 48) as u8;
        }
        Ok(())
    }

    /// The number of images decoded since the last call.
    pub(crate) fn take_decoded(&self) -> usize {
        self.decoded.swap(0, Ordering::SeqCst)
    }

    pub(crate) fn expected(&self, key: &ImageKey) -> Vec<u8> {
        let mut image = vec![0; IMAGE_BYTES];
        self.decode(key, &mut image).unwrap();
        self.decoded.fetch_sub(1, Ordering::SeqCst);
        image
    }

    /// Packs `keys` in segments of a few images.
    pub(crate) fn build(&self, keys: &[ImageKey]) -> Result<Built<io::Error>, BuildError> {
        self.build_until(keys, |_| false)
    }

    /// As `build`, and stopped once `is_enough`.
    pub(crate) fn build_until(
        &self,
        keys: &[ImageKey],
        is_enough: impl Fn(Progress) -> bool,
    ) -> Result<Built<io::Error>, BuildError> {
        let stop = AtomicBool::new(false);
        let build = Build {
            folder: &self.pack,
            identity: &identity(),
            threads: 3,
            segment_bytes: 3000,
            stamp: |key: &ImageKey| self.stamp(key),
            decode: |key: &ImageKey, image: &mut [u8]| self.decode(key, image),
        };
        build.run(keys, &stop, |progress| stop.store(is_enough(progress), Ordering::SeqCst))
    }
}

pub(crate) fn identity() -> Identity {
    Identity { image_size: SIDE as u32, channels: 3, decoding: "test".to_owned() }
}

/// The segments in a folder, in the order of their names.
pub(crate) fn segments(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|ending| ending == "segment")).collect();
    paths.sort();
    paths
}
