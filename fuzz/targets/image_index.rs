//! The index of pushed images: any bytes give an index that is stored as it was read, or an error.
#![no_main]

use fivefold_pack::ImageIndex;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|json: &[u8]| {
    let Ok(index) = ImageIndex::parse(json) else { return };
    let stored = index.to_json().expect("an index can be stored");
    assert_eq!(ImageIndex::parse(&stored), Ok(index));
});
