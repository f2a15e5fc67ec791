//! A cache: it fills itself, is shared, and is never wrong.
#![expect(clippy::unwrap_used, reason = "tests")]

mod source;

use std::fs;
use std::io;
use std::time::{Duration, SystemTime};

use fivefold_pack::{Buffers, Cache, CacheLimit, ImageKey};

use crate::source::{IMAGE_BYTES, Source, identity, segments};

/// Segments of about three images.
const SEGMENT_BYTES: u64 = 2000;

fn open(source: &Source, bytes: Option<u64>) -> Cache {
    Cache::open(&source.pack, &identity(), CacheLimit { bytes, segment_bytes: SEGMENT_BYTES }).unwrap()
}

/// Reads all images on two threads, as an epoch does, checks them, and returns how many were decoded.
fn epoch(source: &Source, cache: &Cache, keys: &[ImageKey]) -> usize {
    std::thread::scope(|scope| {
        for half in [&keys[..keys.len() / 2], &keys[keys.len() / 2..]] {
            scope.spawn(move || {
                let mut buffers = Buffers::default();
                for key in half {
                    let mut image = vec![0; IMAGE_BYTES];
                    let stamp = source.stamp(key).unwrap();
                    let decode = |image: &mut [u8]| source.decode(key, image);
                    cache.image(key, stamp, &mut image, &mut buffers, decode).unwrap();
                    assert_eq!(image, source.expected(key), "{key}");
                }
            });
        }
    });
    cache.seal();
    source.take_decoded()
}

#[test]
fn images_are_decoded_once() {
    let (source, keys) = Source::of(40);
    let cache = open(&source, None);
    assert_eq!(epoch(&source, &cache, &keys), 40);
    assert_eq!(epoch(&source, &cache, &keys), 0);
    drop(cache);
    assert_eq!(epoch(&source, &open(&source, None), &keys), 0);
    // It is a pack as any other.
    assert_eq!(source.build(&keys).unwrap().progress.kept, 40);
}

#[test]
fn what_is_not_sealed_yet_is_sealed_at_the_end() {
    let (source, keys) = Source::of(2);
    let cache = open(&source, None);
    let mut image = vec![0; IMAGE_BYTES];
    let read = |image: &mut [u8]| source.decode(&keys[0], image);
    let stamp = source.stamp(&keys[0]).unwrap();
    for _ in 0..2 {
        cache.image(&keys[0], stamp, &mut image, &mut Buffers::default(), read).unwrap();
    }
    assert_eq!((source.take_decoded(), segments(&source.pack).len()), (2, 0));
    drop(cache);
    assert_eq!(segments(&source.pack).len(), 1);
    assert_eq!(epoch(&source, &open(&source, None), &keys), 1);
}

#[test]
fn errors_of_the_source_are_passed_on() {
    let (source, keys) = Source::of(1);
    let cache = open(&source, None);
    let stamp = source.stamp(&keys[0]).unwrap();
    let fails = |_: &mut [u8]| Err(io::Error::other("broken"));
    let error = cache.image(&keys[0], stamp, &mut [0; IMAGE_BYTES], &mut Buffers::default(), fails).unwrap_err();
    assert_eq!(error.to_string(), "broken");
    assert_eq!(epoch(&source, &cache, &keys), 1, "it is not in the cache");
}

#[test]
fn changed_images_are_decoded_again() {
    let (source, keys) = Source::of(20);
    let cache = open(&source, None);
    epoch(&source, &cache, &keys);
    source.write(&keys[2], "changed");
    source.write(&keys[15], "too");
    assert_eq!(epoch(&source, &cache, &keys), 2);
    assert_eq!(epoch(&source, &cache, &keys), 0);
    drop(cache);
    assert_eq!(epoch(&source, &open(&source, None), &keys), 0);
    source.write(&keys[2], "2");
    assert_eq!(epoch(&source, &open(&source, None), &keys), 0, "as at first, and still packed");
}

#[test]
fn damaged_segments_are_decoded_again_and_replaced() {
    let (source, keys) = Source::of(20);
    epoch(&source, &open(&source, None), &keys);
    let count = segments(&source.pack).len();
    // Open while the files are damaged, and opened afterwards.
    for is_open in [true, false] {
        let cache = open(&source, None);
        for (place, path) in segments(&source.pack).iter().enumerate() {
            let mut bytes = fs::read(path).unwrap();
            match place % 4 {
                0 => bytes.truncate(bytes.len() / 2),
                1 => bytes[12] ^= 1,
                2 => bytes.clear(),
                _ => continue,
            }
            fs::write(path, bytes).unwrap();
        }
        let cache = if is_open {
            cache
        } else {
            drop(cache);
            open(&source, None)
        };
        let decoded = epoch(&source, &cache, &keys);
        assert!((10..20).contains(&decoded), "{decoded}");
        // Those that were read before their segment's damage was met.
        epoch(&source, &cache, &keys);
        assert_eq!(epoch(&source, &cache, &keys), 0);
        assert!(segments(&source.pack).len() <= count + 2, "damaged files are deleted");
    }
}

#[test]
fn one_process_adds_and_all_read() {
    let (source, keys) = Source::of(20);
    let (first, second) = (open(&source, None), open(&source, None));
    assert_eq!(epoch(&source, &second, &keys), 20);
    assert_eq!(segments(&source.pack).len(), 0, "the other one has the right to add");
    assert_eq!(epoch(&source, &first, &keys[..12]), 12);
    assert_eq!(epoch(&source, &second, &keys), 20, "it looks again at the end of an epoch");
    assert_eq!(epoch(&source, &second, &keys), 8);
    drop(first);
    assert_eq!(epoch(&source, &second, &keys), 8, "now it has the right");
    assert_eq!(epoch(&source, &second, &keys), 8);
    assert_eq!(epoch(&source, &second, &keys), 0);
}

#[test]
fn a_folder_that_cannot_be_written_is_read() {
    let (source, keys) = Source::of(20);
    epoch(&source, &open(&source, None), &keys[..10]);
    let lock = source.pack.join(format!("{}.lock", identity().digest()));
    fs::remove_file(&lock).unwrap();
    fs::create_dir(&lock).unwrap();
    let cache = open(&source, None);
    assert_eq!(epoch(&source, &cache, &keys), 10);
    assert_eq!(epoch(&source, &cache, &keys), 10);
}

#[test]
fn deleted_segments_are_no_error() {
    let (source, keys) = Source::of(20);
    let cache = open(&source, None);
    epoch(&source, &cache, &keys);
    fs::remove_dir_all(&source.pack).unwrap();
    assert_eq!(epoch(&source, &cache, &keys), 20);
    assert_eq!(epoch(&source, &cache, &keys), 20, "there is no folder to add to");
}

/// The bytes of all files.
fn bytes(source: &Source) -> u64 {
    fs::read_dir(&source.pack).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
}

#[test]
fn a_full_cache_deletes_what_was_not_used() {
    let (source, keys) = Source::of(40);
    epoch(&source, &open(&source, None), &keys[..20]);
    let limit = bytes(&source) + SEGMENT_BYTES;
    // All is in use: a part of the new images fits, and the old ones stay.
    let cache = open(&source, Some(limit));
    assert_eq!(epoch(&source, &cache, &keys[20..]), 20);
    assert!(bytes(&source) <= limit);
    assert_eq!(epoch(&source, &cache, &keys[..20]), 0);
    drop(cache);
    // Yesterday's segments give way, apart from those that are read now.
    let yesterday = SystemTime::now() - Duration::from_secs(86_400);
    for path in segments(&source.pack) {
        fs::File::open(path).unwrap().set_modified(yesterday).unwrap();
    }
    let cache = open(&source, Some(limit));
    assert_eq!(epoch(&source, &cache, &keys[..4]), 0);
    let left = epoch(&source, &cache, &keys[20..]);
    assert!(left >= 15, "{left}");
    assert!(bytes(&source) <= limit);
    assert_eq!(epoch(&source, &cache, &keys[..4]), 0, "they were in use");
    let left = epoch(&source, &cache, &keys[20..]);
    assert!(left < 15, "{left}");
}
