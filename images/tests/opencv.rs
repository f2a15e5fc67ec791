//! Decoding and resizing compared with OpenCV's, luma compared with Pillow's (`fixtures/images.json`, made by
//! `tests/golden/images.py`), and files that must be refused.

#![expect(clippy::unwrap_used, reason = "a test's helper may panic")]

use std::path::{Path, PathBuf};

use fivefold_common::spec::ImageFit;
use fivefold_images::ImageProblem;
use fivefold_images::image_file::{Taken, decode_planes, read_planes};
use fivefold_images::image_header::{ImageHeader, read_header};
use fivefold_images::target::{Scaling, Target};
use serde::Deserialize;

#[derive(Deserialize)]
struct Fixture {
    cases: Vec<Case>,
    fits: Vec<FitCase>,
    lumas: Vec<LumaCase>,
}

/// One plane as OpenCV decodes it: its pixels in hex where there is a tolerance, else their digest.
#[derive(Deserialize)]
struct Case {
    file: String,
    colour: String,
    size: u32,
    tolerance: u8,
    /// The tolerance for one pixel in 50.
    outliers: Option<u8>,
    #[serde(default)]
    pixels: String,
    #[serde(default)]
    fnv1a: String,
}

/// The green plane of an image of another size or shape.
#[derive(Deserialize)]
struct FitCase {
    file: String,
    scaling: String,
    fit: ImageFit,
    size: u32,
    pixels: String,
}

/// The luma of an image.
#[derive(Deserialize)]
struct LumaCase {
    file: String,
    size: u32,
    fnv1a: String,
}

fn fixture() -> Fixture {
    serde_json::from_str(&std::fs::read_to_string(fixtures().join("images.json")).unwrap()).unwrap()
}

fn target(size: u32, scaling: Scaling) -> Target {
    Target { size, scaling, fit: ImageFit::Stretch }
}

fn plane_of(file: &str, taken: Taken, target: Target) -> Vec<u8> {
    let mut plane = vec![0; (target.size * target.size) as usize];
    read_planes(&fixtures().join("images").join(file), taken, &target, &mut plane).unwrap();
    plane
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn fixture_file(name: &str) -> Vec<u8> {
    std::fs::read(fixtures().join("images").join(name)).unwrap()
}

fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, |digest, &byte| (digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
}

fn from_hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|place| u8::from_str_radix(&text[place..place + 2], 16).unwrap()).collect()
}

#[test]
fn planes_are_those_of_opencv() {
    let mut wrong = Vec::new();
    for case in fixture().cases {
        let plane = plane_of(&case.file, Taken::of_channel(&case.colour), target(case.size, Scaling::Area));
        let name = format!("{} {}", case.file, case.colour);
        if case.tolerance == 0 {
            if format!("{:016x}", fnv1a(&plane)) != case.fnv1a {
                wrong.push(format!("{name}: the pixels differ"));
            }
            continue;
        }
        let expected = from_hex(&case.pixels);
        assert_eq!(plane.len(), expected.len());
        let differences: Vec<u8> = plane.iter().zip(&expected).map(|(a, b)| a.abs_diff(*b)).collect();
        let largest = *differences.iter().max().unwrap();
        let outliers = differences.iter().filter(|&&difference| difference > case.tolerance).count();
        let allowed = if case.outliers.is_some() { plane.len() / 50 } else { 0 };
        println!("{name}: at most {largest}, {outliers} outliers");
        if outliers > allowed || largest > case.outliers.unwrap_or(case.tolerance) {
            wrong.push(format!("{name}: {outliers} pixels differ by up to {largest}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn images_of_other_shapes_are_fitted_as_by_opencv() {
    let mut wrong = Vec::new();
    for FitCase { file, scaling, fit, size, pixels } in fixture().fits {
        let by = if scaling == "area" { Scaling::Area } else { Scaling::Bilinear };
        let plane = plane_of(&file, Taken::Green, Target { size, scaling: by, fit });
        let differences = plane.iter().zip(from_hex(&pixels)).map(|(a, b)| a.abs_diff(b));
        let (largest, count) =
            differences.fold((0, 0), |(most, count), one| (one.max(most), count + u32::from(one > 0)));
        println!("{file} {scaling} {fit} {size}: {count} of {} pixels differ, by at most {largest}", plane.len());
        if largest > 1 || plane.len() * 2 != pixels.len() {
            wrong.push(format!("{file} {scaling} {fit} {size}: pixels differ by up to {largest}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn luma_is_that_of_pillow_and_three_planes_are_those_of_each_colour() {
    for LumaCase { file, size, fnv1a: expected } in fixture().lumas {
        let plane = plane_of(&file, Taken::Grey, target(size, Scaling::Exact));
        assert_eq!(format!("{:016x}", fnv1a(&plane)), expected, "{file}");
    }
    for file in ["rgb8.png", "grey8.png", "rgb16.tif", "grey8.tif", "lossless.webp", "grey.jpg"] {
        for target in [target(24, Scaling::Exact), target(11, Scaling::Area)] {
            let mut planes = vec![0; 3 * (target.size * target.size) as usize];
            read_planes(&fixtures().join("images").join(file), Taken::Rgb, &target, &mut planes).unwrap();
            let expected = [Taken::Red, Taken::Green, Taken::Blue].map(|taken| plane_of(file, taken, target));
            assert_eq!(planes, expected.concat(), "{file}");
        }
    }
}

fn refusal(bytes: &[u8], scaling: Scaling) -> Option<ImageProblem> {
    decode_planes(bytes, Taken::Green, &target(24, scaling), &mut vec![0; 24 * 24]).err()
}

/// Files of 24 x 24 pixels.
const FILES: [&str; 11] = [
    "grey8.png",
    "rgb16.png",
    "palette.png",
    "grey.jpg",
    "rgb_444.jpg",
    "grey16.tif",
    "rgb8.tif",
    "rgb8_packed.tif",
    "rgba8_plain.tif",
    "lossless.webp",
    "alpha.webp",
];

#[test]
fn truncated_files_are_refused() {
    for name in FILES {
        let bytes = fixture_file(name);
        assert!(refusal(&bytes, Scaling::Exact).is_none());
        for length in 0..bytes.len() {
            assert!(refusal(&bytes[..length], Scaling::Exact).is_some(), "{name} cut to {length} bytes was read");
        }
    }
}

#[test]
fn headers_are_read_and_truncated_files_are_known_by_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image");
    for name in FILES {
        let bytes = fixture_file(name);
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(read_header(&path).unwrap(), ImageHeader { width: 24, height: 24 }, "{name}");
        for length in (0..bytes.len()).step_by(7).chain([bytes.len() - 1]) {
            std::fs::write(&path, &bytes[..length]).unwrap();
            assert!(read_header(&path).is_err(), "{name} cut to {length} bytes");
        }
    }
}

#[test]
fn a_flipped_bit_is_found_in_a_png_and_never_panics() {
    let bytes = fixture_file("grey8.png");
    for place in 0..bytes.len() {
        for bit in 0..8 {
            let mut damaged = bytes.clone();
            damaged[place] ^= 1 << bit;
            assert!(refusal(&damaged, Scaling::Exact).is_some(), "flipping bit {bit} of byte {place} was not noticed");
        }
    }
    for name in ["rgb_420.jpg", "grey.jpg", "rgb16.tif", "lossy.webp", "lossless.webp"] {
        let bytes = fixture_file(name);
        for place in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[place] ^= 1 << bit;
                let _ = refusal(&damaged, Scaling::Area);
            }
        }
    }
}

#[test]
fn resizes_are_refused_by_name() {
    let problem = |name, scaling| refusal(&fixture_file(name), scaling).unwrap().to_string();
    let refused = problem("large_rgb.png", Scaling::Exact);
    assert_eq!(refused, "is 83 x 61 pixels, but 24 x 24 are expected (image_size)");
    let small = decode_planes(&fixture_file("grey8.png"), Taken::Red, &target(25, Scaling::Area), &mut vec![0; 625]);
    assert!(matches!(small, Err(ImageProblem::TooSmall { width: 24, height: 24, expected: 25 })));
    assert!(matches!(refusal(b"GIF89a and more", Scaling::Area), Some(ImageProblem::UnknownFormat)));
    assert!(matches!(refusal(b"", Scaling::Area), Some(ImageProblem::Empty)));
}

#[test]
fn a_decompression_bomb_is_refused_by_its_header() {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 1 << 20, 1 << 20);
    encoder.set_color(png::ColorType::Rgba);
    encoder.set_depth(png::BitDepth::Sixteen);
    drop(encoder.write_header().unwrap());
    assert!(matches!(refusal(&bytes, Scaling::Area), Some(ImageProblem::TooLarge { .. })));

    // A JPEG whose frame header claims 65500 x 65500.
    let mut bytes = fixture_file("rgb_444.jpg");
    let frame = bytes.windows(2).position(|pair| pair == [0xFF, 0xC0]).unwrap();
    bytes[frame + 5..frame + 9].copy_from_slice(&[0xFF, 0xDC, 0xFF, 0xDC]);
    assert!(matches!(refusal(&bytes, Scaling::Area), Some(ImageProblem::TooLarge { width: 65500, .. })));
}
