//! Segments of packed images: any bytes give images of the right size or an error, within the memory of a small file.
#![no_main]

use fivefold_common::ids::Digest;
use fivefold_pack::Segment;
use fivefold_pack::codec::Decoder;
use libfuzzer_sys::fuzz_target;

/// The largest image that is decoded here, in bytes.
const MOST_BYTES: usize = 1 << 20;

fuzz_target!(|bytes: &[u8]| {
    let folder = std::env::temp_dir().join(format!("fivefold-fuzz-segment-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("the temporary folder can be written");
    let path = folder.join(format!("{}.segment", Digest::of(b"any")));
    std::fs::write(&path, bytes).expect("the temporary folder can be written");
    let Ok(segment) = Segment::open(&path) else { return };
    let image_bytes = segment.index().identity.image_bytes();
    if image_bytes <= MOST_BYTES {
        let (mut decoder, mut image) = (Decoder::default(), vec![0; image_bytes]);
        for place in 0..segment.index().records.len() {
            let _ = segment.read(place, &mut decoder, &mut image);
        }
    }
});
