//! Image files: any bytes give planes of the requested size or an error, within the memory limit.
#![no_main]

use fivefold_common::spec::ImageFit;
use fivefold_images::image_file::{Taken, decode_planes};
use fivefold_images::target::{Scaling, Target};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for (size, scaling, fit, taken) in [
        (16, Scaling::Exact, ImageFit::Stretch, Taken::Green),
        (4, Scaling::Area, ImageFit::Stretch, Taken::Grey),
        (5, Scaling::Bilinear, ImageFit::Crop, Taken::Rgb),
        (5, Scaling::Bilinear, ImageFit::Pad, Taken::Rgb),
    ] {
        let mut planes = vec![0; taken.plane_count() * size as usize * size as usize];
        let _ = decode_planes(bytes, taken, &Target { size, scaling, fit }, &mut planes);
    }
});
