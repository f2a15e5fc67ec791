//! Headers of image files, which are read of all files before training: any bytes give a size or an error.
#![no_main]

use fivefold_images::image_header::read_header;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let path = std::env::temp_dir().join(format!("fivefold-fuzz-header-{}", std::process::id()));
    std::fs::write(&path, bytes).expect("the temporary folder can be written");
    let _ = read_header(&path);
});
