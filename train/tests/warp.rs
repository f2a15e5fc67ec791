//! The warp compared with OpenCV's warpAffine (`fixtures/warp.json`, made by `tests/golden/warp.py`).

#![expect(clippy::unwrap_used, reason = "a test's helper may panic")]

use fivefold_common::spec::Normalization;
use fivefold_train::transform::augmentation::{Matrix, Transformation};
use fivefold_train::transform::warp::{pixels, warp};
use serde::Deserialize;
use tch::{Kind, Tensor};

#[derive(Deserialize)]
struct Fixture {
    unit: f64,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    size: u32,
    left: u32,
    top: u32,
    side: u32,
    quarter_turns: u32,
    flip_sides: bool,
    flip_ends: bool,
    shear_degrees: f64,
    right: f64,
    down: f64,
    scale: f64,
    degrees: f64,
    matrix: [f64; 6],
    places: Vec<i64>,
    values: Vec<i64>,
}

impl Case {
    fn matrix(&self) -> Matrix {
        Transformation {
            left: self.left,
            top: self.top,
            side: self.side,
            quarter_turns: self.quarter_turns,
            flip_left_right: self.flip_sides,
            flip_top_bottom: self.flip_ends,
            shear_degrees: self.shear_degrees,
            right: self.right,
            down: self.down,
            scale: self.scale,
            degrees: self.degrees,
        }
        .matrix(self.size)
    }
}

fn fixture() -> Fixture {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/warp.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The same noise as in the script: `[1, 3, size, size]` with three equal planes.
fn noise(size: u32) -> Tensor {
    let key = format!("warp {size}")
        .bytes()
        .fold(0xCBF2_9CE4_8422_2325u64, |digest, byte| (digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3));
    let pixel = |index: u64| {
        let mut z = key.wrapping_add(index.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 56) as u8
    };
    let bytes: Vec<u8> = (1..=u64::from(size * size)).map(pixel).collect();
    let side = i64::from(size);
    Tensor::from_slice(&bytes).view([1, 1, side, side]).repeat([1, 3, 1, 1])
}

#[test]
fn transformations_compose_as_in_opencv_and_numpy() {
    for case in fixture().cases {
        let Matrix(ours) = case.matrix();
        for (ours, theirs) in ours.iter().zip(&case.matrix) {
            assert!((ours - theirs).abs() < 1e-9, "{:?} is not {:?}", case.matrix(), case.matrix);
        }
    }
}

#[test]
fn a_warp_equals_opencvs() {
    let fixture = fixture();
    let mut worst = std::collections::BTreeMap::new();
    for case in &fixture.cases {
        let warped = warp(&noise(case.size), &[case.matrix()], Normalization::None);
        assert!(warped.permute([0, 2, 3, 1]).is_contiguous(), "channels-last");
        for channel in 0..3 {
            let plane: Vec<f32> = warped.get(0).get(channel).contiguous().view(-1).try_into().unwrap();
            for (&place, &value) in case.places.iter().zip(&case.values) {
                let error = (f64::from(plane[place as usize]) - value as f64 * fixture.unit).abs() * 255.0;
                let worst = worst.entry(case.size).or_insert(0.0f64);
                *worst = worst.max(error);
            }
        }
    }
    println!("largest errors by size, in 1/255: {worst:?}");
    assert_eq!(worst.len(), 3);
    for (size, error) in worst {
        // Noise shows every thousandth of a pixel, and fp32 coordinates are less precise in large images.
        assert!(error <= if size < 64 { 0.002 } else { 0.05 }, "{size} px: {error}/255");
    }
}

#[test]
fn an_image_is_warped_the_same_in_any_batch() {
    let cases: Vec<Case> = fixture().cases.into_iter().filter(|case| case.size == 32).take(20).collect();
    let matrices: Vec<Matrix> = cases.iter().map(Case::matrix).collect();
    let images = noise(32).repeat([20, 1, 1, 1]);
    let together = warp(&images, &matrices, Normalization::Imagenet);
    for (place, matrix) in matrices.iter().enumerate() {
        let alone = warp(&noise(32), &[*matrix], Normalization::Imagenet);
        assert!(alone.get(0).equal(&together.get(place as i64)));
    }
}

/// Row-major, `[size, size]`.
type Plane = Vec<Vec<u8>>;

fn turned(plane: &Plane) -> Plane {
    let size = plane.len();
    (0..size).map(|v| (0..size).map(|u| plane[u][size - 1 - v]).collect()).collect()
}

#[test]
fn turns_and_flips_move_pixels_and_change_none() {
    for size in [1, 2, 31, 32, 500] {
        let image = noise(size);
        let bytes: Vec<u8> = image.get(0).get(0).contiguous().view(-1).try_into().unwrap();
        let plane: Plane = bytes.chunks_exact(size as usize).map(<[u8]>::to_vec).collect();
        let mut expected = Vec::new();
        let mut matrices = vec![Matrix([0.9, 0.1, 0.0, -0.1, 0.9, 1.5])];
        for quarter_turns in 0..4 {
            for (flip_left_right, flip_top_bottom) in [(false, false), (false, true), (true, false), (true, true)] {
                let whole = Transformation::identity(size);
                matrices.push(Transformation { quarter_turns, flip_left_right, flip_top_bottom, ..whole }.matrix(size));
                let mut plane = (0..quarter_turns).fold(plane.clone(), |plane, _| turned(&plane));
                if flip_left_right {
                    plane.iter_mut().for_each(|row| row.reverse());
                }
                if flip_top_bottom {
                    plane.reverse();
                }
                expected.push(plane.concat());
            }
        }
        // In one batch with an image that is interpolated.
        let warped = warp(&image.repeat([17, 1, 1, 1]), &matrices, Normalization::None);
        for (place, expected) in expected.iter().enumerate() {
            let wanted = Tensor::from_slice(expected).to_kind(Kind::Float) / 255.0;
            for channel in 0..3 {
                let plane = warped.get(place as i64 + 1).get(channel).contiguous().view(-1);
                assert!(plane.equal(&wanted), "{size} px, case {place}");
            }
        }
    }
}

#[test]
fn pixels_are_scaled_and_normalised() {
    let images = Tensor::from_slice(&[0u8, 51, 255]).view([1, 3, 1, 1]).to_device(tch::Device::Cpu);
    let values = |normalization| Vec::<f32>::try_from(pixels(&images, normalization).view(-1)).unwrap();
    assert_eq!(values(Normalization::None), [0.0, 0.2, 1.0]);
    let expected = [-0.485 / 0.229, (0.2 - 0.456) / 0.224, (1.0 - 0.406) / 0.225];
    for (value, expected) in values(Normalization::Imagenet).iter().zip(expected) {
        assert!((f64::from(*value) - expected).abs() < 1e-6);
    }
}
