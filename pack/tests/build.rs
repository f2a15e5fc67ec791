//! Builds of a pack: what they write, what they keep, and what they do after a kill, a change or damage.
#![expect(clippy::unwrap_used, reason = "tests")]

mod source;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

use fivefold_common::ids::Digest;
use fivefold_pack::codec::Decoder;
use fivefold_pack::pack::Pack;
use fivefold_pack::{
    BuildError, Cache, CacheLimit, ImageIndex, ImageKey, Progress, Segment, remove_damaged, summarise, verify,
};

use crate::source::{IMAGE_BYTES, Source, identity, segments};

/// Reads every image of a pack and compares it with its source.
fn check(source: &Source, keys: &[ImageKey]) {
    let (pack, unusable) = Pack::open(&source.pack, &identity()).unwrap();
    assert!(unusable.is_empty());
    let mut decoder = Decoder::default();
    for key in keys {
        let place = pack.find(key, &source.stamp(key).unwrap()).unwrap();
        let mut image = vec![0; IMAGE_BYTES];
        place.segment.read(place.place, &mut decoder, &mut image).unwrap();
        assert_eq!(image, source.expected(key), "{key}");
    }
}

/// The images in all segments, as often as they are there.
fn stored(source: &Source) -> Vec<ImageKey> {
    let mut keys = Vec::new();
    for path in segments(&source.pack) {
        keys.extend(Segment::open(&path).unwrap().index().records.iter().map(|record| record.key.clone()));
    }
    keys.sort();
    keys
}

fn sorted(keys: &[ImageKey]) -> Vec<ImageKey> {
    keys.iter().cloned().collect::<BTreeSet<_>>().into_iter().collect()
}

#[test]
fn a_pack_holds_what_decoding_gives_and_is_made_once() {
    let (source, keys) = Source::of(40);
    let built = source.build(&keys).unwrap();
    assert!(!built.is_stopped && built.failures.is_empty());
    let Progress { images, kept, packed, failed, packed_bytes } = built.progress;
    assert_eq!((images, kept, packed, failed), (40, 0, 40, 0));
    assert!(segments(&source.pack).len() > 3);
    check(&source, &keys);
    assert_eq!(source.take_decoded(), 40);

    let first = segments(&source.pack);
    assert_eq!(source.build(&keys).unwrap().progress.kept, 40);
    assert_eq!((source.take_decoded(), segments(&source.pack)), (0, first.clone()));

    let (summaries, unusable) = summarise(&source.pack).unwrap();
    assert!(unusable.is_empty());
    let [summary] = &summaries[..] else { panic!("{summaries:?}") };
    assert_eq!((summary.images(), summary.lists["train"], summary.segments), (40, 40, first.len() as u64));
    assert!(summary.stored_bytes > packed_bytes && summary.decoded_bytes() == 40 * IMAGE_BYTES as u64);
    assert_eq!(summary.identity, identity());

    // The same images elsewhere make the same segments, whatever the times of their files.
    let (other, keys) = Source::of(40);
    other.build(&keys).unwrap();
    let names = |paths: &[PathBuf]| paths.iter().map(|path| path.file_name().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(names(&segments(&other.pack)), names(&first));
}

#[test]
fn a_stopped_or_killed_build_goes_on_after_its_sealed_segments() {
    let (whole, keys) = Source::of(40);
    whole.build(&keys).unwrap();

    let (source, keys) = Source::of(40);
    let stopped = source.build_until(&keys, |progress| progress.packed == 25).unwrap();
    assert!(stopped.is_stopped && stopped.progress.packed == 25);
    let sealed = stored(&source).len();
    assert!((1..=25).contains(&sealed), "{sealed}");
    source.take_decoded();
    // As a kill leaves it.
    let left = source.pack.join(format!(".{}.unsealedXYZ.part", identity().digest()));
    fs::write(&left, "half").unwrap();
    let resumed = source.build(&keys).unwrap();
    assert_eq!(resumed.progress.kept, sealed as u64);
    assert_eq!(source.take_decoded(), 40 - sealed);
    assert!(!left.exists());
    check(&source, &keys);
    let names = |source: &Source| {
        segments(&source.pack).iter().map(|path| path.file_name().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&source), names(&whole), "as if it had not been stopped");
}

#[test]
fn changed_images_replace_the_old_ones() {
    let (source, keys) = Source::of(40);
    source.build(&keys).unwrap();
    source.take_decoded();
    for key in [&keys[3], &keys[30]] {
        source.write(key, "another");
    }
    let built = source.build(&keys).unwrap();
    assert_eq!((built.progress.kept, built.progress.packed, source.take_decoded()), (38, 2, 2));
    assert_eq!(stored(&source), sorted(&keys), "each image once");
    check(&source, &keys);

    // New times, equal pixels.
    keys.iter().for_each(|key| source.set_time(key, SystemTime::now()));
    assert_eq!(source.build(&keys).unwrap().progress.packed, 40);
    assert_eq!(source.build(&keys).unwrap().progress.kept, 40);
    assert_eq!(stored(&source), sorted(&keys), "each image once");
    keys.iter().for_each(|key| source.set_time(key, SystemTime::UNIX_EPOCH));
    let before = segments(&source.pack);
    assert_eq!(source.build(&keys).unwrap().progress.packed, 40);
    assert_eq!(segments(&source.pack), before, "equal segments are not deleted");
    check(&source, &keys);
}

#[test]
fn lists_may_be_packed_one_after_the_other() {
    let (source, keys) = Source::of(40);
    source.build(&keys[..25]).unwrap();
    source.build(&keys[20..]).unwrap();
    assert_eq!(source.take_decoded(), 40);
    assert_eq!(stored(&source), sorted(&keys));
    // The same image twice in a list is packed once.
    source.build(&[&keys[..], &keys[..]].concat()).unwrap();
    assert_eq!(stored(&source), sorted(&keys));
}

#[test]
fn images_that_cannot_be_read_are_named_and_the_rest_is_packed() {
    let (source, keys) = Source::of(10);
    fs::remove_file(source.path(&keys[4])).unwrap();
    let built = source.build(&keys).unwrap();
    assert_eq!((built.progress.packed, built.progress.failed, built.progress.done()), (9, 1, 10));
    assert_eq!(built.failures[0].0, keys[4]);
    assert_eq!(stored(&source).len(), 9);
}

#[test]
fn damage_is_found_and_mended() {
    let (source, keys) = Source::of(40);
    source.build(&keys).unwrap();
    let paths = segments(&source.pack);
    let never = AtomicBool::new(false);
    let mut steps = Vec::new();
    let verified = verify(&source.pack, 2, &never, |done, all| steps.push((done, all))).unwrap();
    assert_eq!((verified.images, verified.segments, verified.errors.len()), (40, paths.len() as u64, 0));
    assert_eq!(steps.last(), Some(&(paths.len() as u64, paths.len() as u64)));

    // One is cut off, one has a flipped bit in its first image, one is an empty file.
    let bytes = fs::read(&paths[0]).unwrap();
    fs::write(&paths[0], &bytes[..bytes.len() - 1]).unwrap();
    let mut bytes = fs::read(&paths[1]).unwrap();
    bytes[20] ^= 4;
    fs::write(&paths[1], bytes).unwrap();
    fs::write(&paths[2], "").unwrap();
    let image = Segment::open(&paths[1]).unwrap().index().records[0].key.clone();
    let errors = verify(&source.pack, 2, &never, |_, _| {}).unwrap().errors;
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(errors.len(), 3, "{texts:?}");
    assert_eq!(errors[1].image.as_ref(), Some(&image));
    for (text, path) in texts.iter().zip(&paths) {
        assert!(text.starts_with(&path.display().to_string()), "{text}");
    }
    assert_eq!(summarise(&source.pack).unwrap().1.len(), 2, "an index shows no damaged image");

    let built = source.build(&keys).unwrap();
    assert_eq!(built.damaged.len(), 2);
    let removed = remove_damaged(&source.pack, 2, &never, |_, _| {}).unwrap();
    assert_eq!(removed.iter().map(|error| &error.segment).collect::<Vec<_>>(), [&paths[1]]);
    assert!(!paths[1].exists());
    source.build(&keys).unwrap();
    assert!(verify(&source.pack, 2, &never, |_, _| {}).unwrap().errors.is_empty());
    check(&source, &keys);
}

#[test]
fn a_second_builder_is_refused_and_readers_are_not() {
    let (source, keys) = Source::of(12);
    let build_twice = |progress: Progress| {
        if progress.packed == 8 {
            let refused = source.build(&keys).unwrap_err();
            assert!(matches!(refused, BuildError::Busy { .. }), "{refused}");
            assert!(refused.to_string().contains("another process packs the same images"));
            let (pack, _) = Pack::open(&source.pack, &identity()).unwrap();
            assert!(pack.segments().count() > 0, "sealed segments are read while others are written");
            let cache = Cache::open(&source.pack, &identity(), CacheLimit::of(None)).unwrap();
            drop(cache);
        }
        false
    };
    source.build_until(&keys, build_twice).unwrap();
    check(&source, &keys);
    source.build(&keys).unwrap();
}

#[test]
fn other_settings_are_other_images() {
    let (source, keys) = Source::of(5);
    source.build(&keys).unwrap();
    for other in [
        fivefold_pack::Identity { decoding: "other".to_owned(), ..identity() },
        fivefold_pack::Identity { image_size: 16, ..identity() },
        fivefold_pack::Identity { channels: 1, ..identity() },
    ] {
        let (pack, unusable) = Pack::open(&source.pack, &other).unwrap();
        assert!(unusable.is_empty() && pack.places(&keys[0]).is_empty());
    }
}

#[test]
fn an_index_of_some_images_names_their_segments_alone() {
    let (source, keys) = Source::of(40);
    source.build(&keys).unwrap();
    let (pack, _) = Pack::open(&source.pack, &identity()).unwrap();
    let stamped =
        |keys: &[ImageKey]| -> Vec<_> { keys.iter().map(|key| (key.clone(), source.stamp(key).unwrap())).collect() };
    let index = ImageIndex::of_pack(&pack, stamped(&keys)).unwrap();
    assert_eq!(ImageIndex::parse(&index.to_json().unwrap()), Ok(index.clone()));
    assert_eq!(index.segments.len(), segments(&source.pack).len());
    assert_eq!(sorted(&index.images().cloned().collect::<Vec<_>>()), sorted(&keys));
    for indexed in &index.segments {
        let path = source.pack.join(format!("{}.segment", indexed.digest));
        assert_eq!(Digest::of(&fs::read(&path).unwrap()), indexed.digest);
        assert_eq!(indexed.bytes, fs::metadata(&path).unwrap().len());
        let records: Vec<_> =
            Segment::open(&path).unwrap().index().records.iter().map(|record| record.key.clone()).collect();
        assert_eq!(indexed.images, records);
    }
    // In any order, and of one segment.
    let mut reversed = stamped(&keys);
    reversed.reverse();
    assert_eq!(ImageIndex::of_pack(&pack, reversed).unwrap(), index);
    let one = ImageIndex::of_pack(&pack, stamped(&keys[..1])).unwrap();
    assert_eq!((one.segments.len(), one.segments[0].images.as_slice()), (1, &keys[..1]));

    source.write(&keys[7], "1007");
    let refused = ImageIndex::of_pack(&pack, stamped(&keys)).unwrap_err().to_string();
    assert!(refused.contains(&keys[7].to_string()) && refused.contains("pack it again"), "{refused}");
}
