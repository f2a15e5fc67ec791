//! Specs as JSON: a file of settings or a report gives settings or an error; a stored spec is stored as it was read.
#![no_main]

use std::path::Path;

use fivefold_common::spec::{JobSetSpec, SpecOverrides};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(overrides) = SpecOverrides::from_file_text(Path::new("report.json"), text) {
        let mut spec = JobSetSpec::default();
        overrides.apply_to(&mut spec);
        let _ = spec.check();
    }
    if let Ok(spec) = JobSetSpec::from_stored_json(text) {
        let again = JobSetSpec::from_stored_json(&spec.to_stored_json()).expect("a stored spec is read");
        assert_eq!(again, spec);
    }
});
