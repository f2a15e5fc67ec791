//! Fold tables: reading back a written table gives the same table.
#![no_main]

use fivefold_common::manifest::FoldTable;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(table) = FoldTable::read_csv("folds.csv", bytes) {
        let mut written = Vec::new();
        table.write_csv(&mut written).expect("writing into memory");
        assert_eq!(FoldTable::read_csv("folds.csv", written.as_slice()).expect("what we wrote"), table);
    }
});
