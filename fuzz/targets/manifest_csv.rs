//! Lists of images: any bytes give a checked list or an error.
#![no_main]

use fivefold_common::manifest::Manifest;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let read = [Manifest::read_labelled_csv("list.csv", "", bytes), Manifest::read_test_csv("list.csv", bytes)];
    for manifest in read.into_iter().flatten() {
        assert!(!manifest.rows.is_empty());
        assert!(manifest.rows.iter().all(|row| !row.id.contains('/') && !row.id.starts_with('.')));
    }
});
