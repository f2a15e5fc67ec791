//! Lists of images: any bytes give a checked list or an error.
#![no_main]

use fivefold_common::manifest::Manifest;
use fivefold_common::spec::{JobSetSpec, LabelFormat};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for &label_format in LabelFormat::ALL {
        let classes = ["a", "b", "c"].map(str::to_owned).to_vec();
        let spec = JobSetSpec { classes, label_format, ..JobSetSpec::default() };
        let read =
            [Manifest::read_labelled_csv("list.csv", &spec, bytes), Manifest::read_test_csv("list.csv", &spec, bytes)];
        for manifest in read.into_iter().flatten() {
            assert!(!manifest.rows.is_empty());
            let leaves = |id: &str| id.split('/').any(|part| part.is_empty() || part.starts_with('.'));
            assert!(manifest.rows.iter().all(|row| !leaves(&row.id)));
            assert!(manifest.rows.iter().flat_map(|row| row.labels.iter()).all(|label| label < 3));
        }
    }
});
