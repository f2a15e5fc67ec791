//! The index of a segment: any bytes give an index that is stored as it was read, or an error.
#![no_main]

use fivefold_pack::index::Index;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u64, &[u8])| {
    let (records_bytes, json) = input;
    let Ok(index) = Index::parse(json, records_bytes) else { return };
    assert_eq!(index.records_bytes(), records_bytes);
    let stored = index.to_json().expect("an index can be stored");
    assert_eq!(Index::parse(&stored, records_bytes), Ok(index));
});
