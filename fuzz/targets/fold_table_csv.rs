//! Fold tables: reading back a written table gives the same table. Folds made elsewhere: two to a hundred of them.
#![no_main]

use fivefold_common::manifest::{FoldTable, GivenFolds};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(folds) = GivenFolds::read_csv("folds.csv", bytes) {
        assert!((2..=100).contains(&folds.fold_count()));
    }
    if let Ok(table) = FoldTable::read_csv("folds.csv", bytes) {
        let mut written = Vec::new();
        table.write_csv(&mut written).expect("writing into memory");
        assert_eq!(FoldTable::read_csv("folds.csv", written.as_slice()).expect("what we wrote"), table);
    }
});
