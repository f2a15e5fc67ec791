//! Pushed images: they are read as soon as their segments are there, have room, stay while they are needed, and are never
//! wrong.
#![expect(clippy::unwrap_used, reason = "tests")]

mod source;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use fivefold_common::ids::Digest;
use fivefold_pack::{
    Buffers, Cache, CacheLimit, ImageIndex, ImageKey, IndexedSegment, PushedImages, PushedImagesError, Segment,
};

use crate::source::{IMAGE_BYTES, Source, identity, segments};

const PATIENCE: Duration = Duration::from_secs(20);

/// A packed data set, and a folder that its segments are fetched into.
struct Pushed {
    source: Source,
    keys: Vec<ImageKey>,
    index: ImageIndex,
    cache: PathBuf,
    losses: Arc<AtomicUsize>,
}

impl Pushed {
    fn of(images: usize) -> Self {
        let (source, keys) = Source::of(images);
        source.build(&keys).unwrap();
        source.take_decoded();
        let paths = segments(&source.pack);
        let segments = paths.iter().map(|path| {
            let segment = Segment::open(path).unwrap();
            let images = segment.index().records.iter().map(|record| record.key.clone()).collect();
            IndexedSegment { digest: segment.digest(), bytes: fs::metadata(path).unwrap().len(), images }
        });
        let index = ImageIndex { identity: identity(), segments: segments.collect() };
        let cache = source.pack.with_file_name("cache");
        Self { source, keys, index, cache, losses: Arc::default() }
    }

    fn open(&self, limit_bytes: Option<u64>, needed: &[ImageKey]) -> Result<PushedImages, PushedImagesError> {
        let losses = self.losses.clone();
        let on_loss = move || _ = losses.fetch_add(1, Ordering::SeqCst);
        PushedImages::open(&self.cache, limit_bytes, &self.index, needed, on_loss)
    }

    /// Copies a segment to where it is fetched to.
    fn copy(&self, images: &PushedImages, number: usize) {
        let path = &images.segments()[number].path;
        fs::copy(self.source.pack.join(path.file_name().unwrap()), path).unwrap();
    }

    /// Fetches all that is wanted.
    fn fetch(&self, images: &PushedImages) {
        for number in images.wanted() {
            self.copy(images, number);
            images.arrived(number).unwrap();
        }
    }

    fn read(&self, images: &PushedImages, key: &ImageKey) -> Result<(), String> {
        let mut image = vec![0; IMAGE_BYTES];
        images.read(key, &mut Buffers::default(), &mut image).map_err(|error| error.to_string())?;
        assert_eq!(image, self.source.expected(key), "{key}");
        Ok(())
    }
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn write_old(path: &Path, bytes: usize) {
    fs::write(path, vec![0; bytes]).unwrap();
    fs::File::open(path).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
}

#[test]
fn an_image_is_read_as_soon_as_its_segment_is_there() {
    let pushed = Pushed::of(30);
    let last_first: Vec<ImageKey> = pushed.keys.iter().rev().cloned().collect();
    let images = pushed.open(None, &last_first).unwrap();
    let wanted = images.wanted();
    assert!(wanted.len() > 3 && wanted.iter().copied().eq(0..wanted.len()));
    assert!(images.segments()[0].images.contains(&last_first[0]), "in the order of need");
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| pushed.read(&images, &last_first[0]));
        until("a thread waits", || images.is_awaited());
        pushed.copy(&images, 1);
        images.arrived(1).unwrap();
        assert!(!images.are_here([&last_first[0]].into_iter()) && !reading.is_finished());
        pushed.copy(&images, 0);
        images.arrived(0).unwrap();
        reading.join().unwrap().unwrap();
    });
    assert!(images.are_here(images.segments()[0].images.iter()));
    pushed.fetch(&images);
    pushed.keys.iter().for_each(|key| pushed.read(&images, key).unwrap());
    drop(images);
    assert!(pushed.open(None, &pushed.keys).unwrap().wanted().is_empty(), "they are still there");
    assert_eq!((pushed.source.take_decoded(), pushed.losses.load(Ordering::SeqCst)), (0, 0));
}

#[test]
fn waits_end_when_nothing_more_is_fetched() {
    let pushed = Pushed::of(8);
    let images = pushed.open(None, &pushed.keys).unwrap();
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| pushed.read(&images, &pushed.keys[0]));
        until("a thread waits", || images.is_awaited());
        images.close("the hub is gone");
        images.close("another reason");
        assert_eq!(reading.join().unwrap(), Err("image train/0: the hub is gone".to_owned()));
    });
    pushed.fetch(&images);
    pushed.read(&images, &pushed.keys[0]).unwrap();
    let other = ImageKey::new("train", "other");
    assert!(pushed.read(&images, &other).unwrap_err().contains("is not among the images of this fold"));
    let error = pushed.open(None, &[other]).unwrap_err();
    assert_eq!(error.to_string(), "image train/other is not among the pushed images");
}

#[test]
fn damaged_and_lost_segments_are_fetched_again() {
    let pushed = Pushed::of(30);
    let images = pushed.open(None, &pushed.keys).unwrap();
    pushed.fetch(&images);
    let segment = |number: usize| &images.segments()[number];
    // While it is in use: the first record, and the whole file.
    let mut bytes = fs::read(&segment(0).path).unwrap();
    bytes[8] ^= 1;
    fs::write(&segment(0).path, bytes).unwrap();
    fs::remove_file(&segment(1).path).unwrap();
    for (number, losses) in [(0, 1), (1, 2)] {
        std::thread::scope(|scope| {
            let reading = scope.spawn(|| pushed.read(&images, &segment(number).images[0]));
            until("it is wanted again", || images.wanted() == [number]);
            until("the task is told", || pushed.losses.load(Ordering::SeqCst) == losses);
            pushed.fetch(&images);
            reading.join().unwrap().unwrap();
        });
    }
    // Before it is in use.
    let (cut, other) = (segment(2).path.clone(), segment(3).path.clone());
    drop(images);
    fs::File::options().write(true).open(&cut).unwrap().set_len(100).unwrap();
    fs::write(&other, "something else").unwrap();
    let images = pushed.open(None, &pushed.keys).unwrap();
    assert_eq!(images.wanted(), [2, 3]);
    assert!(!cut.exists() && !other.exists());
    pushed.fetch(&images);
    pushed.keys.iter().for_each(|key| pushed.read(&images, key).unwrap());
}

#[test]
fn a_disk_that_damages_all_is_an_error() {
    let pushed = Pushed::of(2);
    let images = pushed.open(None, &pushed.keys).unwrap();
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| pushed.read(&images, &pushed.keys[0]));
        until("the thread gives up", || {
            for number in images.wanted() {
                pushed.copy(&images, number);
                let path = &images.segments()[number].path;
                let mut bytes = fs::read(path).unwrap();
                bytes[8] ^= 1;
                fs::write(path, bytes).unwrap();
                images.arrived(number).unwrap();
            }
            reading.is_finished()
        });
        let error = reading.join().unwrap().unwrap_err();
        assert!(error.contains("is damaged: its digest is another one"), "{error}");
    });
}

/// Why the first segment is not taken in, however often it is fetched.
fn refusal(pushed: &Pushed, images: &PushedImages) -> String {
    for _ in 0..10 {
        pushed.copy(images, 0);
        if let Err(error) = images.arrived(0) {
            return error.to_string();
        }
        assert_eq!(images.wanted(), [0], "it is fetched again");
    }
    panic!("it is fetched for ever");
}

#[test]
fn a_segment_of_other_images_is_an_error() {
    let mut pushed = Pushed::of(8);
    let other = ImageKey::new("train", "other");
    pushed.index.segments[0].images.push(other.clone());
    let needed = [pushed.index.segments[0].images[0].clone(), other];
    let error = refusal(&pushed, &pushed.open(None, &needed).unwrap());
    assert!(error.contains("it does not have image train/other"), "{error}");
    pushed.index.identity.decoding = "otherwise".to_owned();
    let error = refusal(&pushed, &pushed.open(None, &needed[..1]).unwrap());
    assert!(error.contains("its images are 3 x 8 x 8, test"), "{error}");
}

#[test]
fn unused_segments_make_room_and_used_ones_stay() {
    let pushed = Pushed::of(30);
    let all_bytes = pushed.index.images_bytes();
    fs::create_dir(&pushed.cache).unwrap();
    let unused = |name: &[u8]| pushed.cache.join(format!("{}.segment", Digest::of(name)));
    write_old(&unused(b"1"), 1000);
    write_old(&pushed.cache.join("else"), 500);
    let reservation_bytes = 80 * pushed.index.segments.len() as u64;

    let error = pushed.open(Some(all_bytes + 499), &pushed.keys).unwrap_err();
    let PushedImagesError::OverLimit { needed_bytes, room_bytes, .. } = &error else { panic!("{error}") };
    assert_eq!((*needed_bytes, *room_bytes), (all_bytes, all_bytes - 1));
    assert!(error.to_string().contains("but the cache has only"), "{error}");
    assert!(unused(b"1").exists(), "nothing is deleted in vain");

    let limit_bytes = all_bytes + 500 + reservation_bytes;
    let images = pushed.open(Some(limit_bytes), &pushed.keys).unwrap();
    assert!(!unused(b"1").exists());
    pushed.fetch(&images);
    let paths: Vec<&PathBuf> = images.segments().iter().map(|segment| &segment.path).collect();
    for path in &paths {
        fs::File::open(path).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    }

    // Another fold needs half of them, and a cache of decoded images has no room beside them.
    let half = pushed.open(Some(limit_bytes + reservation_bytes), &pushed.keys[..15]).unwrap();
    assert!(half.wanted().is_empty());
    let limit = CacheLimit { bytes: Some(limit_bytes), segment_bytes: 1000 };
    let cache = Cache::open(&pushed.cache, &identity(), limit).unwrap();
    let (key, mut image) = (&pushed.keys[0], [0; IMAGE_BYTES]);
    let decode = |image: &mut [u8]| pushed.source.decode(key, image);
    let stamp = pushed.source.stamp(key).unwrap();
    cache.image(key, stamp, &mut image, &mut Buffers::default(), decode).unwrap();
    drop(cache);
    assert!(paths.iter().all(|path| path.exists()));
    assert!(pushed.open(Some(all_bytes / 2), &pushed.keys[..15]).is_err(), "the other half is in use");

    let half_bytes: u64 = half.segments().iter().map(|segment| segment.bytes).sum();
    drop((images, half));
    let half = pushed.open(Some(half_bytes + 500), &pushed.keys[..15]).unwrap();
    assert!(half.wanted().is_empty(), "what is needed stays");
    assert_eq!(segments(&pushed.cache).len(), half.segments().len(), "the rest is gone");
    assert_eq!(half.free_unused(1).unwrap(), 0);
    write_old(&unused(b"2"), 700);
    assert_eq!(half.free_unused(1).unwrap(), 700);
}
