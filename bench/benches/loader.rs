//! The loader with its threads: 64 images of 512 px, three greyscale PNGs each, in batches of 32 for the device. With
//! `IMAGES=DIR` it reads the images in `DIR/train/` instead.
#![expect(clippy::unwrap_used, reason = "a benchmark")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use divan::Bencher;
use divan::counter::ItemsCount;
use fivefold_bench::noisy_plane;
use fivefold_common::labels::Labels;
use fivefold_common::manifest::LabelledRow;
use fivefold_common::scores::Source;
use fivefold_common::spec::JobSetSpec;
use fivefold_images::{ImageFolder, ImageLayout};
use fivefold_train::data::loader::load_batches;

const SIZE: u32 = 512;

fn main() {
    divan::main();
}

fn draw(folder: &Path) {
    std::fs::create_dir(folder.join("train")).unwrap();
    for image in 0..64 {
        for (channel, colour) in (0..).zip(["red", "green", "blue"]) {
            let path = folder.join("train").join(format!("i{image}_{colour}.png"));
            let plane = noisy_plane(3 * image + channel, SIZE);
            image::save_buffer(path, &plane, SIZE, SIZE, image::ExtendedColorType::L8).unwrap();
        }
    }
}

#[divan::bench(args = [1, 2, 4, 8, 16], sample_count = 5)]
fn load(bencher: Bencher<'_, '_>, threads: usize) {
    let drawn = tempfile::tempdir().unwrap();
    let folder = std::env::var_os("IMAGES").map(PathBuf::from).unwrap_or_else(|| {
        draw(drawn.path());
        drawn.path().to_owned()
    });
    let mut rows = Vec::new();
    for entry in std::fs::read_dir(folder.join("train")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if let Some(id) = name.strip_suffix("_red.png") {
            let labels = Labels::from_indices([0]).unwrap();
            rows.push(LabelledRow { id: id.into(), source: Source::Train, labels });
        }
    }
    let images = Arc::new(ImageFolder::open(&folder).unwrap());
    let rows: Arc<[LabelledRow]> = rows.into();
    let places: Vec<u32> = (0..rows.len() as u32).collect();
    let plan: Vec<Vec<u32>> = places.chunks(32).map(<[u32]>::to_vec).collect();
    let layout = ImageLayout::of(&JobSetSpec { image_size: SIZE, ..JobSetSpec::default() }).unwrap();
    bencher.counter(ItemsCount::new(rows.len())).bench_local(|| {
        for batch in load_batches(images.clone().into(), rows.clone(), plan.clone(), layout.clone(), threads) {
            batch.unwrap();
        }
    });
}
