//! Lists of images: any bytes give a checked list or an error.
#![no_main]

use fivefold_common::manifest::{Manifest, ManifestKind};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for kind in [ManifestKind::Labelled, ManifestKind::Test] {
        if let Ok(manifest) = Manifest::read_csv("list.csv", kind, bytes) {
            assert!(!manifest.rows.is_empty());
            assert!(manifest.rows.iter().all(|row| !row.id.contains('/') && !row.id.starts_with('.')));
        }
    }
});
