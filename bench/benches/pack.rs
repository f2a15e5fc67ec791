//! Packed images of 512 px and three planes, on one thread: reading them from segments in the page cache, and packing
//! them. With `IMAGES=DIR` they are those of `DIR/train/`, in place of noisy drawings.
#![expect(clippy::unwrap_used, reason = "a benchmark")]

use std::path::{Path, PathBuf};

use divan::Bencher;
use divan::counter::ItemsCount;
use fivefold_bench::noisy_plane;
use fivefold_common::scores::Source;
use fivefold_common::spec::JobSetSpec;
use fivefold_images::{ImageFolder, ImageLayout};
use fivefold_pack::codec::{Decoder, Encoder};
use fivefold_pack::segment_writer::{Compressed, SegmentWriter};
use fivefold_pack::{Identity, ImageKey, Segment, SourceStamp};

const SIDE: usize = 512;
const IMAGES: u64 = 64;

fn main() {
    divan::main();
}

fn identity() -> Identity {
    Identity { image_size: SIDE as u32, channels: 3, decoding: "benchmark".to_owned() }
}

/// The images, decoded.
fn images() -> Vec<Vec<u8>> {
    let Some(folder) = std::env::var_os("IMAGES").map(PathBuf::from) else {
        let image = |image| (0..3).flat_map(|plane| noisy_plane(3 * image + plane, SIDE as u32)).collect();
        return (0..IMAGES).map(image).collect();
    };
    let spec = JobSetSpec { image_size: SIDE as u32, ..JobSetSpec::default() };
    let (layout, images) = (ImageLayout::of(&spec).unwrap(), ImageFolder::open(&folder).unwrap());
    let ids = images.found_images(Source::Train).unwrap().ids;
    ids.iter().take(IMAGES as usize).map(|id| images.read_image(&layout, Source::Train, id).unwrap()).collect()
}

/// A segment of all images.
fn pack(folder: &Path, images: &[Vec<u8>]) -> Segment {
    let mut encoder = Encoder::new().unwrap();
    let mut writer = SegmentWriter::create(folder, &identity()).unwrap();
    for (place, image) in images.iter().enumerate() {
        let compressed = Compressed::of(image, SIDE, &mut encoder).unwrap();
        let stamp = SourceStamp::from_bytes([0; 32]);
        writer.append(ImageKey::new("train", place.to_string()), stamp, &compressed).unwrap();
    }
    writer.seal().unwrap()
}

#[divan::bench]
fn read_packed(bencher: Bencher<'_, '_>) {
    let folder = tempfile::tempdir().unwrap();
    let images = images();
    let segment = pack(folder.path(), &images);
    let bytes: usize = images.iter().map(Vec::len).sum();
    eprintln!("{:.2} times smaller", bytes as f64 / segment.index().records_bytes() as f64);
    let (mut decoder, mut image) = (Decoder::default(), vec![0; identity().image_bytes()]);
    bencher.counter(ItemsCount::new(images.len())).bench_local(|| {
        for (place, expected) in images.iter().enumerate() {
            segment.read(place, &mut decoder, &mut image).unwrap();
            assert_eq!(image[SIDE * SIDE - 1], expected[SIDE * SIDE - 1]);
        }
    });
}

#[divan::bench(sample_count = 5)]
fn write_packed(bencher: Bencher<'_, '_>) {
    let images = images();
    bencher.counter(ItemsCount::new(images.len())).bench_local(|| {
        let folder = tempfile::tempdir().unwrap();
        pack(folder.path(), &images)
    });
}
