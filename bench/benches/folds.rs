//! MultilabelStratifiedKFold on lists with the sizes and label frequencies of the real ones.

use divan::Bencher;
use fivefold_bench::synthetic_labels;
use fivefold_common::folds::{RowOrder, multilabel_stratified_folds};
use fivefold_common::labels::LABEL_COUNT;

fn main() {
    divan::main();
}

#[divan::bench(args = [31_072, 74_606])]
fn five_folds(bencher: Bencher<'_, '_>, rows: usize) {
    let labels = synthetic_labels(rows);
    bencher.bench(|| multilabel_stratified_folds(&labels, LABEL_COUNT, 5, 42, RowOrder::AsGiven));
}
