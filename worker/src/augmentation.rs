//! Random transformations of images, each composed into one matrix, so that an image is resampled once.

use fivefold_common::ids::Fold;
use fivefold_common::randomness::{Purpose, Stream};
use fivefold_common::spec::{Augmentation, JobSetSpec};

/// An affine map from a pixel of the output to a place in the input: `x = a u + b v + c`, `y = d u + e v + f`, stored as
/// `[a, b, c, d, e, f]`. Coordinates are those of pixel centres, 0 to S - 1, x to the right and y down, as for OpenCV's
/// `warpAffine` with `WARP_INVERSE_MAP`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Matrix(pub [f64; 6]);

impl Matrix {
    /// The map that changes nothing.
    pub const IDENTITY: Self = Self([1.0, 0.0, 0.0, 0.0, 1.0, 0.0]);

    /// First this map, then `next`: the input of an image that is first transformed by `next` and then by `self`.
    pub fn then(self, next: Self) -> Self {
        let ([a, b, c, d, e, f], [p, q, r, s, t, u]) = (self.0, next.0);
        Self([p * a + q * d, p * b + q * e, p * c + q * f + r, s * a + t * d, s * b + t * e, s * c + t * f + u])
    }

    /// The linear map `[a, b, d, e]` about the centre of an image of `size` pixels.
    fn about_centre([a, b, d, e]: [f64; 4], size: u32) -> Self {
        let centre = (f64::from(size) - 1.0) / 2.0;
        Self([a, b, centre - (a + b) * centre, d, e, centre - (d + e) * centre])
    }

    /// The part of `side` pixels at (`left`, `top`), blown up to `size`, with the edges of the outer pixels aligned as
    /// OpenCV's `resize` has them.
    fn crop(left: f64, top: f64, side: f64, size: u32) -> Self {
        let scale = side / f64::from(size);
        let shift = 0.5 * scale - 0.5;
        Self([scale, 0.0, left + shift, 0.0, scale, top + shift])
    }

    /// `turns` quarter turns counter-clockwise. All entries are whole numbers.
    fn quarter_turns(turns: u64, size: u32) -> Self {
        let last = f64::from(size) - 1.0;
        match turns % 4 {
            0 => Self::IDENTITY,
            1 => Self([0.0, -1.0, last, 1.0, 0.0, 0.0]),
            2 => Self([-1.0, 0.0, last, 0.0, -1.0, last]),
            _ => Self([0.0, 1.0, 0.0, -1.0, 0.0, last]),
        }
    }

    /// Mirrored left to right.
    fn flip_sides(size: u32) -> Self {
        Self([-1.0, 0.0, f64::from(size) - 1.0, 0.0, 1.0, 0.0])
    }

    /// Mirrored top to bottom.
    fn flip_ends(size: u32) -> Self {
        Self([1.0, 0.0, 0.0, 0.0, -1.0, f64::from(size) - 1.0])
    }
}

/// The matrices of `count` training images, whose places in the epoch (counted from 0) start at `first_index`. A function
/// of the spec's seed, the fold, the epoch and each image's place alone.
pub fn training_matrices(spec: &JobSetSpec, fold: Fold, epoch: u32, first_index: u64, count: usize) -> Vec<Matrix> {
    if spec.augmentation == Augmentation::None {
        return vec![Matrix::IDENTITY; count];
    }
    let matrix = |index| {
        let mut stream = Stream::new(spec.seed, fold.0.into(), epoch.into(), Purpose::Augmentation, index);
        training_matrix(&mut stream, spec.image_size)
    };
    (first_index..).take(count).map(matrix).collect()
}

/// The matrices of `count` images in one pass (counted from 0) of test-time augmentation; the images' places in their
/// table start at `first_index`. With `tta = 1` the only pass is the plain image.
pub fn test_time_matrices(spec: &JobSetSpec, fold: Fold, pass: u32, first_index: u64, count: usize) -> Vec<Matrix> {
    if spec.tta == 1 {
        return vec![Matrix::IDENTITY; count];
    }
    let matrix = |index| {
        let mut stream = Stream::new(spec.seed, fold.0.into(), pass.into(), Purpose::TestTime, index);
        crop_turn_flip(&mut stream, spec.image_size)
    };
    (first_index..).take(count).map(matrix).collect()
}

/// Crop, turn and flips; then shear within 15 degrees, with probability 0.5; then a shift within 5% of the side, a scale
/// within 10% and a rotation within 10 degrees, together with probability 0.3. Matrices are composed from the output back.
fn training_matrix(stream: &mut Stream, size: u32) -> Matrix {
    let cropped = crop_turn_flip(stream, size);
    // Every number is drawn, used or not, so that each has its own place in the stream.
    let sheared = stream.chance(0.5);
    let shear = stream.between(-15.0, 15.0).to_radians().tan();
    let moved = stream.chance(0.3);
    let [right, down] = [(); 2].map(|()| stream.between(-0.05, 0.05) * f64::from(size));
    let scale = 1.0 + stream.between(-0.1, 0.1);
    let (sin, cos) = stream.between(-10.0, 10.0).to_radians().sin_cos();

    let mut matrix = Matrix::IDENTITY;
    if moved {
        let back = Matrix([1.0, 0.0, -right, 0.0, 1.0, -down]);
        let linear = [cos / scale, -sin / scale, sin / scale, cos / scale];
        matrix = back.then(Matrix::about_centre(linear, size));
    }
    if sheared {
        matrix = matrix.then(Matrix::about_centre([1.0, -shear, 0.0, 1.0], size));
    }
    matrix.then(cropped)
}

/// A crop of half to the full side, back to full size; a quarter turn, each equally likely; each flip with probability 0.5.
fn crop_turn_flip(stream: &mut Stream, size: u32) -> Matrix {
    let least = size.div_ceil(2);
    let side = u64::from(least) + stream.below(u64::from(size - least) + 1);
    let [left, top] = [(); 2].map(|()| stream.below(u64::from(size) - side + 1) as f64);
    let turns = stream.below(4);
    let [sides, ends] = [(); 2].map(|()| stream.chance(0.5));

    let mut matrix = Matrix::IDENTITY;
    if ends {
        matrix = matrix.then(Matrix::flip_ends(size));
    }
    if sides {
        matrix = matrix.then(Matrix::flip_sides(size));
    }
    matrix.then(Matrix::quarter_turns(turns, size)).then(Matrix::crop(left, top, side as f64, size))
}
