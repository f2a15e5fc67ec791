//! Image files: any bytes give a plane of the requested size or an error, within the memory limit.
#![no_main]

use fivefold_train::data::image_file::{Colour, OtherSize, decode_plane};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for (size, other_size) in [(16, OtherSize::Refused), (4, OtherSize::Shrunk)] {
        let mut plane = vec![0; size as usize * size as usize];
        let _ = decode_plane(bytes, Colour::Green, size, other_size, &mut plane);
    }
});
