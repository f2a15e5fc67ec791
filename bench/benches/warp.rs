//! The warp of one batch on the CPU: 16 images of 256 px, each with its own matrix.
#![expect(clippy::unwrap_used, reason = "a benchmark")]

use divan::Bencher;
use divan::counter::ItemsCount;
use fivefold_common::ids::Fold;
use fivefold_common::spec::{JobSetSpec, Normalization};
use fivefold_train::tch::{Kind, Tensor};
use fivefold_train::torch::device::{Device, prepare};
use fivefold_train::transform::augmentation::training_matrices;
use fivefold_train::transform::warp::warp;

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
    let images = Tensor::randint(256, [BATCH as i64, 3, side, side], (Kind::Uint8, Device::Cpu.into()));
    let matrices = training_matrices(&spec, Fold(0), 0, 0, BATCH);
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| warp(&images, &matrices, Normalization::None));
}
