//! Image files: any bytes give a plane of the requested size or an error, within the memory limit.
#![no_main]

use fivefold_train::data::image_file::{Colour, Resize, decode_plane};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for (size, resize) in [(16, Resize::Exact), (4, Resize::Area)] {
        let mut plane = vec![0; size as usize * size as usize];
        let _ = decode_plane(bytes, Colour::Green, size, resize, &mut plane);
    }
});
