//! The exact threshold fit for 28 labels; 100,000 rows should take less than a second.

use divan::Bencher;
use fivefold_bench::{synthetic_labels, synthetic_scores};
use fivefold_common::labels::LABEL_COUNT;
use fivefold_common::threshold::{EmptyRows, fit_threshold};

fn main() {
    divan::main();
}

#[divan::bench(args = [10_000, 100_000], sample_count = 10)]
fn fit(bencher: Bencher<'_, '_>, rows: usize) {
    let labels = synthetic_labels(rows);
    let scores = synthetic_scores(&labels);
    bencher.bench(|| fit_threshold(&scores, LABEL_COUNT, &labels, EmptyRows::Argmax));
}
