//! One training step of the full ResNet50 on the CPU: 8 images of 64 px, one intra-op thread.
#![expect(clippy::unwrap_used, reason = "a benchmark")]

use divan::Bencher;
use divan::counter::ItemsCount;
use fivefold_common::ids::Fold;
use fivefold_common::spec::JobSetSpec;
use fivefold_train::engine::synthetic::SyntheticBatch;
use fivefold_train::engine::training::Training;
use fivefold_train::torch::device::{Device, prepare};

const BATCH: u32 = 8;

fn main() {
    divan::main();
}

#[divan::bench(sample_count = 20)]
fn one_step(bencher: Bencher<'_, '_>) {
    let spec = JobSetSpec { image_size: 64, batch_size: BATCH, intraop_threads: 1, ..JobSetSpec::default() };
    prepare(Device::Cpu, &spec).unwrap();
    let batch = SyntheticBatch::new(&spec, 0);
    let mut training = Training::new(&spec, Fold(0), &[], Device::Cpu);
    bencher
        .counter(ItemsCount::new(BATCH as usize))
        .bench_local(|| training.step(&batch.images, &batch.targets).unwrap());
}
