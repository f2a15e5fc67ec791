//! Decoding of one image, three greyscale PNGs of 512 px in the page cache, on one thread.
#![expect(clippy::unwrap_used, reason = "a benchmark")]

use divan::Bencher;
use divan::counter::ItemsCount;
use fivefold_bench::noisy_plane;
use fivefold_common::scores::Source;
use fivefold_common::spec::JobSetSpec;
use fivefold_images::{ImageFolder, ImageLayout};

const SIZE: u32 = 512;

fn main() {
    divan::main();
}

#[divan::bench]
fn read_image(bencher: Bencher<'_, '_>) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("train")).unwrap();
    for (seed, colour) in (0..).zip(["red", "green", "blue"]) {
        let path = folder.path().join("train").join(format!("a_{colour}.png"));
        image::save_buffer(path, &noisy_plane(seed, SIZE), SIZE, SIZE, image::ExtendedColorType::L8).unwrap();
    }
    let images = ImageFolder::open(folder.path()).unwrap();
    let layout = ImageLayout::of(&JobSetSpec { image_size: SIZE, ..JobSetSpec::default() }).unwrap();
    bencher.counter(ItemsCount::new(1usize)).bench(|| images.read_image(&layout, Source::Train, "a").unwrap());
}
