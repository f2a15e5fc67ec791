//! Tensors computed from a name, as in `tests/golden/model.py`, so that fixtures need not contain them.
#![allow(
    dead_code,
    clippy::allow_attributes,
    reason = "each test uses a part of it, so an expectation would not always hold"
)]

use std::fs::File;
use std::path::Path;

use fivefold_train::models::Model;
use fivefold_train::torch::tensors::{NamedTensor, channels_last};
use tch::{Kind, Tensor};

pub(crate) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, |digest, &byte| (digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
}

/// `count` numbers in [-1, 1): SplitMix64 from the FNV-1a digest of the name.
pub(crate) fn units(name: &str, count: usize) -> Vec<f64> {
    let key = fnv1a(name.as_bytes());
    (1..=count as u64)
        .map(|index| {
            let mut z = key.wrapping_add(index.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^= z >> 31;
            (z >> 11) as f64 * (1.0 / (1u64 << 52) as f64) - 1.0
        })
        .collect()
}

pub(crate) fn filled(name: &str, shape: &[i64], middle: f64, spread: f64) -> Tensor {
    let count = shape.iter().product::<i64>() as usize;
    let values: Vec<f32> = units(name, count).into_iter().map(|unit| (middle + spread * unit) as f32).collect();
    Tensor::from_slice(&values).reshape(shape)
}

pub(crate) fn fill(model: &Model) {
    for NamedTensor { name, tensor } in model.parameters().iter().chain(model.buffers()) {
        let shape = tensor.size();
        let (middle, spread) = match (name.rsplit('.').next().unwrap(), shape.as_slice()) {
            ("num_batches_tracked", _) => continue,
            ("running_mean", _) => (0.0, 0.1),
            ("running_var", _) => (1.0, 0.3),
            (_, &[outputs, _, height, width]) => (0.0, (6.0 / (outputs * height * width) as f64).sqrt()),
            (_, &[_, inputs]) => (0.0, 1.0 / (inputs as f64).sqrt()),
            ("weight", _) if name.ends_with("bn3.weight") => (0.25, 0.05),
            ("weight", _) => (1.0, 0.2),
            _ => (0.0, 0.1),
        };
        tch::no_grad(|| tensor.shallow_clone().copy_(&filled(name, &shape, middle, spread)));
    }
}

/// Noise. Each plane has its own brightness, so that the images of a batch differ.
pub(crate) fn images_of(name: &str, count: i64, size: i64) -> Tensor {
    let plane = (size * size) as usize;
    let brightness = units(&format!("{name} brightness"), count as usize * 3);
    let values: Vec<f32> = units(name, count as usize * 3 * plane)
        .into_iter()
        .enumerate()
        .map(|(place, unit)| ((0.5 + 0.5 * unit) * (0.5 + 0.5 * brightness[place / plane])) as f32)
        .collect();
    channels_last(&Tensor::from_slice(&values).reshape([count, 3, size, size]))
}

pub(crate) fn numbers(tensor: &Tensor) -> Vec<f64> {
    Vec::<f64>::try_from(tensor.detach().to_kind(Kind::Double).reshape([-1])).unwrap()
}

/// The largest difference, relative to the largest reference value.
pub(crate) fn relative_error(found: &[f64], reference: &[f64]) -> f64 {
    assert_eq!(found.len(), reference.len());
    let scale = reference.iter().fold(f64::MIN_POSITIVE, |most, x| most.max(x.abs()));
    let error = found.iter().zip(reference).fold(0.0f64, |most, (a, b)| most.max((a - b).abs()));
    assert!(found.iter().all(|x| x.is_finite()));
    error / scale
}

/// Writes one plane of an image of the training list.
pub(crate) fn write_plane(folder: &Path, id: &str, colour: &str, size: u32, bytes: &[u8]) {
    let folder = folder.join("train");
    std::fs::create_dir_all(&folder).unwrap();
    let file = File::create(folder.join(format!("{id}_{colour}.png"))).unwrap();
    let mut encoder = png::Encoder::new(file, size, size);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.write_header().unwrap().write_image_data(bytes).unwrap();
}
