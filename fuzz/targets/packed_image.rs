//! A compressed image: any bytes give an image of the expected size or an error; any image comes back as it was.
#![no_main]

use fivefold_pack::codec::{Decoder, Encoder};
use libfuzzer_sys::fuzz_target;

const SIDE: usize = 16;

fuzz_target!(|bytes: &[u8]| {
    let mut image = vec![0; 3 * SIDE * SIDE];
    let mut decoder = Decoder::default();
    let _ = decoder.decode(bytes, SIDE, &mut image);
    let pixels = bytes.iter().chain(std::iter::repeat(&7));
    let original: Vec<u8> = pixels.take(3 * SIDE * SIDE).copied().collect();
    let mut encoder = Encoder::new().expect("zstd has memory");
    let compressed = encoder.encode(&original, SIDE).expect("zstd has memory");
    decoder.decode(&compressed, SIDE, &mut image).expect("it was just compressed");
    assert_eq!(image, original);
});
