//! Decoding compared with OpenCV's (`fixtures/images.json`, made by `tests/golden/images.py`), and files that must be refused.

#![expect(clippy::unwrap_used, reason = "a test's helper may panic")]

use std::path::{Path, PathBuf};

use fivefold_train::data::image_file::{Colour, ImageProblem, Resize, decode_plane, read_plane};
use serde::Deserialize;

#[derive(Deserialize)]
struct Fixture {
    cases: Vec<Case>,
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
    let text = std::fs::read_to_string(fixtures().join("images.json")).unwrap();
    let fixture: Fixture = serde_json::from_str(&text).unwrap();
    let mut wrong = Vec::new();
    for case in fixture.cases {
        let colour = Colour::ALL.into_iter().find(|colour| colour.word() == case.colour).unwrap();
        let mut plane = vec![0; (case.size * case.size) as usize];
        read_plane(&fixtures().join("images").join(&case.file), colour, case.size, Resize::Area, &mut plane).unwrap();
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

fn refusal(bytes: &[u8], resize: Resize) -> Option<ImageProblem> {
    decode_plane(bytes, Colour::Green, 24, resize, &mut vec![0; 24 * 24]).err()
}

#[test]
fn truncated_files_are_refused() {
    for name in ["grey8.png", "rgb16.png", "palette.png", "grey.jpg", "rgb_444.jpg"] {
        let bytes = fixture_file(name);
        assert!(refusal(&bytes, Resize::Exact).is_none());
        for length in 0..bytes.len() {
            assert!(refusal(&bytes[..length], Resize::Exact).is_some(), "{name} cut to {length} bytes was read");
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
            assert!(refusal(&damaged, Resize::Exact).is_some(), "flipping bit {bit} of byte {place} was not noticed");
        }
    }
    for name in ["rgb_420.jpg", "grey.jpg"] {
        let bytes = fixture_file(name);
        for place in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[place] ^= 1 << bit;
                let _ = refusal(&damaged, Resize::Area);
            }
        }
    }
}

#[test]
fn resizes_are_refused_by_name() {
    let problem = |name, resize| refusal(&fixture_file(name), resize).unwrap().to_string();
    let refused = problem("large_rgb.png", Resize::Exact);
    assert_eq!(refused, "is 83 x 61 pixels, but 24 x 24 are expected (image_size)");
    let small = decode_plane(&fixture_file("grey8.png"), Colour::Red, 25, Resize::Area, &mut vec![0; 625]);
    assert!(matches!(small, Err(ImageProblem::TooSmall { width: 24, height: 24, expected: 25 })));
    assert!(matches!(refusal(b"GIF89a and more", Resize::Area), Some(ImageProblem::UnknownFormat)));
    assert!(matches!(refusal(b"", Resize::Area), Some(ImageProblem::Empty)));
}

#[test]
fn a_decompression_bomb_is_refused_by_its_header() {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 1 << 20, 1 << 20);
    encoder.set_color(png::ColorType::Rgba);
    encoder.set_depth(png::BitDepth::Sixteen);
    drop(encoder.write_header().unwrap());
    assert!(matches!(refusal(&bytes, Resize::Area), Some(ImageProblem::TooLarge { .. })));

    // A JPEG whose frame header claims 65500 x 65500.
    let mut bytes = fixture_file("rgb_444.jpg");
    let frame = bytes.windows(2).position(|pair| pair == [0xFF, 0xC0]).unwrap();
    bytes[frame + 5..frame + 9].copy_from_slice(&[0xFF, 0xDC, 0xFF, 0xDC]);
    assert!(matches!(refusal(&bytes, Resize::Area), Some(ImageProblem::TooLarge { width: 65500, .. })));
}
