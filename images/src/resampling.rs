//! Planes of another size, after OpenCV.

use crate::target::{Scaling, Side, Target};

/// The weight of a source pixel in a target pixel, along one side.
struct Share {
    target: usize,
    source: usize,
    weight: f32,
}

/// The source pixels that each kept pixel is made of, with their weights.
fn shares(scaling: Scaling, side: Side) -> Vec<Share> {
    let scale = f64::from(side.source) / f64::from(side.scaled);
    let mut shares = Vec::new();
    for target in 0..side.kept as usize {
        let place = side.skipped as usize + target;
        match scaling {
            Scaling::Bilinear => add_neighbours(&mut shares, target, place, scale, side.source),
            Scaling::Exact | Scaling::Area => add_area(&mut shares, target, place, scale, side.source),
        }
    }
    shares
}

/// The source pixels that the scaled pixel `place` covers (OpenCV's `computeResizeAreaTab`).
fn add_area(shares: &mut Vec<Share>, target: usize, place: usize, scale: f64, source_side: u32) {
    let start = place as f64 * scale;
    let end = start + scale;
    let cell = scale.min(f64::from(source_side) - start);
    let last_whole = (end.floor() as usize).min(source_side as usize - 1);
    let first_whole = (start.ceil() as usize).min(last_whole);
    // Anything below a thousandth of a pixel is a rounding error.
    if first_whole as f64 - start > 1e-3 {
        let weight = ((first_whole as f64 - start) / cell) as f32;
        shares.push(Share { target, source: first_whole - 1, weight });
    }
    for source in first_whole..last_whole {
        shares.push(Share { target, source, weight: (1.0 / cell) as f32 });
    }
    if end - last_whole as f64 > 1e-3 {
        let weight = ((end - last_whole as f64).min(1.0).min(cell) / cell) as f32;
        shares.push(Share { target, source: last_whole, weight });
    }
}

/// The two source pixels whose centres are next to that of the scaled pixel `place`. Beyond the outermost centres the outermost
/// pixel counts alone.
fn add_neighbours(shares: &mut Vec<Share>, target: usize, place: usize, scale: f64, source_side: u32) {
    let last = source_side as usize - 1;
    let centre = ((place as f64 + 0.5) * scale - 0.5).clamp(0.0, last as f64);
    let source = centre.floor() as usize;
    let weight = (centre - source as f64) as f32;
    shares.push(Share { target, source, weight: 1.0 - weight });
    if weight > 0.0 {
        shares.push(Share { target, source: source + 1, weight });
    }
}

/// Gives a plane of `width` x `height` pixels the size of the target; `plane` has its `size * size` bytes.
pub(crate) fn resample(source: &[u8], [width, height]: [u32; 2], target: &Target, plane: &mut [u8]) {
    let sides = target.sides([width, height]);
    let [across, down] = sides.map(|side| shares(target.scaling, side));
    let [left, top] = sides.map(|side| side.margin as usize);
    let (width, size, kept) = (width as usize, target.size as usize, sides[0].kept as usize);
    if sides.iter().any(|side| side.kept < target.size) {
        plane.fill(0);
    }
    let mut row = vec![0.0f32; kept];
    let mut row_source = None;
    let mut sums = vec![0.0f32; kept];
    let mut current = 0;
    for share in &down {
        if share.target != current {
            round_row(&sums, &mut plane[(top + current) * size + left..][..kept]);
            sums.fill(0.0);
            current = share.target;
        }
        if row_source != Some(share.source) {
            row_source = Some(share.source);
            let pixels = &source[share.source * width..][..width];
            row.fill(0.0);
            for part in &across {
                row[part.target] += f32::from(pixels[part.source]) * part.weight;
            }
        }
        for (sum, value) in sums.iter_mut().zip(&row) {
            *sum += value * share.weight;
        }
    }
    round_row(&sums, &mut plane[(top + current) * size + left..][..kept]);
}

fn round_row(sums: &[f32], target: &mut [u8]) {
    for (to, &from) in target.iter_mut().zip(sums) {
        *to = from.round_ties_even() as u8;
    }
}
