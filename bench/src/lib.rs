//! Shared data of the benchmarks: folds, threshold, decode, loader, pack, warp and one training step.

use fivefold_common::labels::{LABEL_COUNT, Labels};
use fivefold_common::randomness::{Purpose, Stream};

/// Occurrences of each label in the 31,072 rows of the Human Protein Atlas training list.
const LABEL_ROWS: [u32; LABEL_COUNT] = [
    12885, 1254, 3621, 1561, 1858, 2513, 1008, 2822, 53, 45, 28, 1093, 688, 537, 1066, 21, 530, 210, 902, 1482, 172,
    3777, 802, 2965, 322, 8228, 328, 11,
];

/// Labels of `rows` rows: each label independent, with the frequency of the real list.
pub fn synthetic_labels(rows: usize) -> Vec<Labels> {
    let row = |index| {
        let mut stream = Stream::new(1, 0, 0, Purpose::Synthetic, index as u64);
        let held =
            (0..LABEL_COUNT as u16).filter(|&label| stream.chance(f64::from(LABEL_ROWS[label as usize]) / 31_072.0));
        Labels::from_indices(held.collect::<Vec<_>>()).unwrap_or_default()
    };
    (0..rows).map(row).collect()
}

/// Scores (rows x 28, row-major) of a model that is right more often than not.
pub fn synthetic_scores(labels: &[Labels]) -> Vec<f32> {
    let mut stream = Stream::new(2, 0, 0, Purpose::Synthetic, 0);
    let mut score = |holds: bool| {
        let mean = if holds { 0.6 } else { 0.15 };
        (mean + 0.2 * stream.normal()).clamp(0.0, 1.0) as f32
    };
    labels
        .iter()
        .flat_map(|row| (0..LABEL_COUNT as u16).map(|label| score(row.contains(label))).collect::<Vec<_>>())
        .collect()
}

/// A grey image of `size` x `size` pixels, row by row, about as compressible as a real one: smooth shapes under noise.
pub fn noisy_plane(seed: u64, size: u32) -> Vec<u8> {
    let mut stream = Stream::new(seed, 0, 0, Purpose::Synthetic, 1);
    let mut pixels = Vec::with_capacity((size * size) as usize);
    for y in 0..size {
        for x in 0..size {
            let shape = 60.0 + 50.0 * (f64::from(x) / 40.0).sin() * (f64::from(y) / 55.0).cos();
            pixels.push((shape + 4.0 * stream.normal()).clamp(0.0, 255.0) as u8);
        }
    }
    pixels
}
