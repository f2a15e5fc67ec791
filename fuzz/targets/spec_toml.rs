//! Specs: an accepted spec is within its limits, and unchanged after a round trip through TOML and the wire format.
#![no_main]

use fivefold_common::spec::JobSetSpec;
use fivefold_proto::convert::{spec_from_wire, spec_to_wire};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(spec) = JobSetSpec::from_toml(text) {
        spec.check().expect("an accepted spec is within its limits");
        let again = spec_from_wire(spec_to_wire(&spec)).expect("an accepted spec goes over the wire");
        assert_eq!(again.trained_folds(), spec.trained_folds());
    }
});
