//! The warp of one batch on the CPU: 16 images of 256 px, each through a matrix of its own.
#![expect(clippy::unwrap_used, reason = "a benchmark")]

use divan::Bencher;
use divan::counter::ItemsCount;
use fivefold_common::ids::Fold;
use fivefold_common::spec::{JobSetSpec, Normalization};
use fivefold_worker::augmentation::training_matrices;
use fivefold_worker::device::prepare;
use fivefold_worker::warp::warp;
use tch::{Device, Kind, Tensor};

const BATCH: usize = 16;
const SIZE: u32 = 256;

fn main() {
    divan::main();
}

#[divan::bench]
fn one_batch(bencher: Bencher<'_, '_>) {
    let spec = JobSetSpec { image_size: SIZE, intraop_threads: 1, ..JobSetSpec::default() };
    prepare(Device::Cpu, &spec).unwrap();
    let side = i64::from(SIZE);
    let images = Tensor::randint(256, [BATCH as i64, 3, side, side], (Kind::Uint8, Device::Cpu));
    let matrices = training_matrices(&spec, Fold(0), 0, 0, BATCH);
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| warp(&images, &matrices, Normalization::None));
}
