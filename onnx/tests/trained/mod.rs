//! Checkpoints whose weights are computed from their names, as in `tests/golden/model.py`.
#![allow(
    dead_code,
    clippy::allow_attributes,
    reason = "each test uses a part of it, so an expectation would not always hold"
)]

use std::collections::HashMap;
use std::path::Path;

use fivefold_common::decision_rule::DecisionRule;
use fivefold_common::network::{Network, TensorKind, TensorShape};
use fivefold_common::spec::JobSetSpec;
use fivefold_common::threshold::EmptyRows;
use fivefold_onnx::About;
use safetensors::tensor::{Dtype, TensorView};

/// A tensor of a checkpoint.
pub(crate) struct NamedBytes {
    pub(crate) name: String,
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    pub(crate) bytes: Vec<u8>,
}

/// The tensors of a network with 28 outputs and the weights of `tests/golden/model.py`.
pub(crate) fn tensors_of(spec: &JobSetSpec) -> Vec<NamedBytes> {
    let tensors = Network::of(spec).tensors();
    tensors.into_iter().map(|tensor| NamedBytes { bytes: bytes_of(&tensor), ..named(&tensor) }).collect()
}

fn named(tensor: &TensorShape) -> NamedBytes {
    let dtype = if tensor.kind == TensorKind::BatchCount { Dtype::I64 } else { Dtype::F32 };
    let shape = tensor.shape.iter().map(|&length| length as usize).collect();
    NamedBytes { name: tensor.name.clone(), dtype, shape, bytes: Vec::new() }
}

/// Writes a checkpoint of fold 2.
pub(crate) fn write_checkpoint(path: &Path, spec: &JobSetSpec, tensors: &[NamedBytes]) {
    let header = serde_json::json!({ "format": 1, "version": "0.1.0", "fold": 2, "spec": spec, "state": {} });
    write_safetensors(path, tensors, &header.to_string());
}

/// Writes a safetensors file whose metadata has `header`.
pub(crate) fn write_safetensors(path: &Path, tensors: &[NamedBytes], header: &str) {
    let views = tensors.iter().map(|NamedBytes { name, dtype, shape, bytes }| {
        (name.as_str(), TensorView::new(*dtype, shape.clone(), bytes).unwrap())
    });
    let metadata = HashMap::from([("fivefold".to_owned(), header.to_owned())]);
    safetensors::serialize_to_file(views, Some(metadata), path).unwrap();
}

/// Names for 28 classes.
pub(crate) fn about() -> About {
    let classes = (0..28).map(|class| format!("class \"{class}\"")).collect();
    let rule = DecisionRule::Threshold { threshold: 0.1 + 0.2, empty_rows: EmptyRows::Argmax };
    About { job_set: "js-abcdefgh".to_owned(), classes, rule }
}

/// Noise: `count` images of `size` pixels a side. Each plane has its own brightness.
pub(crate) fn images_of(name: &str, count: usize, size: usize) -> Vec<f64> {
    let plane = size * size;
    let brightness = units(&format!("{name} brightness"), count * 3);
    let noise = units(name, count * 3 * plane).into_iter().enumerate();
    noise
        .map(|(place, unit)| f64::from(((0.5 + 0.5 * unit) * (0.5 + 0.5 * brightness[place / plane])) as f32))
        .collect()
}

fn bytes_of(TensorShape { name, shape, kind }: &TensorShape) -> Vec<u8> {
    if *kind == TensorKind::BatchCount {
        return 7i64.to_le_bytes().to_vec();
    }
    let (middle, spread) = match (name.rsplit('.').next().unwrap(), shape.as_slice()) {
        ("running_mean", _) => (0.0, 0.1),
        ("running_var", _) => (1.0, 0.3),
        (_, &[outputs, _, height, width]) => (0.0, (6.0 / f64::from(outputs * height * width)).sqrt()),
        (_, &[_, inputs]) => (0.0, 1.0 / f64::from(inputs).sqrt()),
        ("weight", _) if name.ends_with("bn3.weight") => (0.25, 0.05),
        ("weight", _) => (1.0, 0.2),
        _ => (0.0, 0.1),
    };
    let count = shape.iter().product::<u32>() as usize;
    units(name, count).into_iter().flat_map(|unit| ((middle + spread * unit) as f32).to_le_bytes()).collect()
}

/// `count` numbers in [-1, 1): SplitMix64 from the FNV-1a digest of the name.
fn units(name: &str, count: usize) -> Vec<f64> {
    let fnv1a = |digest: u64, &byte: &u8| (digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
    let key = name.as_bytes().iter().fold(0xCBF2_9CE4_8422_2325, fnv1a);
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
