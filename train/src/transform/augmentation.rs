//! Random transformations of images, each composed into one matrix so that an image is resampled once.

use fivefold_common::ids::Fold;
use fivefold_common::randomness::{Purpose, Stream};
use fivefold_common::spec::{Augmentation, JobSetSpec};

/// An affine map from a pixel `(u, v)` of the output to a point of the input, `x = a u + b v + c`, `y = d u + e v + f`,
/// stored as `[a, b, c, d, e, f]`. Coordinates are those of pixel centres, 0 to S - 1, x to the right and y down, as for
/// OpenCV's `warpAffine` with `WARP_INVERSE_MAP`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Matrix(pub [f64; 6]);

impl Matrix {
    /// The identity.
    pub const IDENTITY: Self = Self([1.0, 0.0, 0.0, 0.0, 1.0, 0.0]);

    /// This map followed by `next`: it maps an output to the input of an image transformed first by `next` and then by `self`.
    pub fn then(self, next: Self) -> Self {
        let ([a, b, c, d, e, f], [p, q, r, s, t, u]) = (self.0, next.0);
        Self([p * a + q * d, p * b + q * e, p * c + q * f + r, s * a + t * d, s * b + t * e, s * c + t * f + u])
    }

    /// The linear map `[a, b, d, e]` about the centre of an image.
    pub(super) fn about_centre([a, b, d, e]: [f64; 4], size: u32) -> Self {
        let centre = (f64::from(size) - 1.0) / 2.0;
        Self([a, b, centre - (a + b) * centre, d, e, centre - (d + e) * centre])
    }

    /// The square of `side` pixels at (`left`, `top`), enlarged to `size`. The edges of the outer pixels are aligned, as in
    /// OpenCV's `resize`.
    pub(super) fn crop(left: f64, top: f64, side: f64, size: u32) -> Self {
        let scale = side / f64::from(size);
        let shift = 0.5 * scale - 0.5;
        Self([scale, 0.0, left + shift, 0.0, scale, top + shift])
    }

    /// Quarter turns counter-clockwise. All entries are integers.
    pub(super) fn quarter_turns(turns: u32, size: u32) -> Self {
        let last = f64::from(size) - 1.0;
        match turns % 4 {
            0 => Self::IDENTITY,
            1 => Self([0.0, -1.0, last, 1.0, 0.0, 0.0]),
            2 => Self([-1.0, 0.0, last, 0.0, -1.0, last]),
            _ => Self([0.0, 1.0, 0.0, -1.0, 0.0, last]),
        }
    }

    /// Left and right exchanged.
    pub(super) fn flip_left_right(size: u32) -> Self {
        Self([-1.0, 0.0, f64::from(size) - 1.0, 0.0, 1.0, 0.0])
    }

    /// Top and bottom exchanged.
    pub(super) fn flip_top_bottom(size: u32) -> Self {
        Self([1.0, 0.0, 0.0, 0.0, -1.0, f64::from(size) - 1.0])
    }
}

/// A transformation of an image: crop, quarter turns, flips, shear, then scale, rotation and shift, in this order.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Transformation {
    /// Left edge of the cropped square, in pixels.
    pub left: u32,
    /// Top edge of the cropped square, in pixels.
    pub top: u32,
    /// Side of the cropped square, in pixels. It is enlarged to the size of the image.
    pub side: u32,
    /// Quarter turns counter-clockwise.
    pub quarter_turns: u32,
    /// Whether left and right are exchanged.
    pub flip_left_right: bool,
    /// Whether top and bottom are exchanged.
    pub flip_top_bottom: bool,
    /// Angle by which vertical lines are tilted, about the centre.
    pub shear_degrees: f64,
    /// Shift to the right, in pixels.
    pub right: f64,
    /// Shift down, in pixels.
    pub down: f64,
    /// Magnification about the centre.
    pub scale: f64,
    /// Rotation counter-clockwise, about the centre.
    pub degrees: f64,
}

impl Transformation {
    /// The identity for images of `size` pixels.
    pub fn identity(size: u32) -> Self {
        Self {
            left: 0,
            top: 0,
            side: size,
            quarter_turns: 0,
            flip_left_right: false,
            flip_top_bottom: false,
            shear_degrees: 0.0,
            right: 0.0,
            down: 0.0,
            scale: 1.0,
            degrees: 0.0,
        }
    }

    /// The matrix for images of `size` pixels: the inverses of the parts, from the last to the first.
    pub fn matrix(&self, size: u32) -> Matrix {
        let mut matrix = Matrix::IDENTITY;
        if (self.right, self.down) != (0.0, 0.0) {
            matrix = matrix.then(Matrix([1.0, 0.0, -self.right, 0.0, 1.0, -self.down]));
        }
        if (self.scale, self.degrees) != (1.0, 0.0) {
            let (sin, cos) = self.degrees.to_radians().sin_cos();
            let linear = [cos, -sin, sin, cos].map(|entry| entry / self.scale);
            matrix = matrix.then(Matrix::about_centre(linear, size));
        }
        if self.shear_degrees != 0.0 {
            let tangent = self.shear_degrees.to_radians().tan();
            matrix = matrix.then(Matrix::about_centre([1.0, -tangent, 0.0, 1.0], size));
        }
        if self.flip_top_bottom {
            matrix = matrix.then(Matrix::flip_top_bottom(size));
        }
        if self.flip_left_right {
            matrix = matrix.then(Matrix::flip_left_right(size));
        }
        matrix.then(Matrix::quarter_turns(self.quarter_turns, size)).then(Matrix::crop(
            self.left.into(),
            self.top.into(),
            self.side.into(),
            size,
        ))
    }
}

/// The matrices of `count` training images whose places in the epoch start at `first_index` (from 0). Each depends on the
/// spec's seed, the fold, the epoch and the image's place alone.
pub fn training_matrices(spec: &JobSetSpec, fold: Fold, epoch: u32, first_index: u64, count: usize) -> Vec<Matrix> {
    if spec.augmentation == Augmentation::None {
        return vec![Matrix::IDENTITY; count];
    }
    let matrix = |index| {
        let mut stream = Stream::new(spec.seed, fold.0.into(), epoch.into(), Purpose::Augmentation, index);
        full(&mut stream, spec.image_size).matrix(spec.image_size)
    };
    (first_index..).take(count).map(matrix).collect()
}

/// The matrices of `count` images in one pass (from 0) of test-time augmentation. The images' places in their table start at
/// `first_index`. With `tta = 1` the only pass is the unchanged image.
pub fn test_time_matrices(spec: &JobSetSpec, fold: Fold, pass: u32, first_index: u64, count: usize) -> Vec<Matrix> {
    if spec.tta == 1 {
        return vec![Matrix::IDENTITY; count];
    }
    let matrix = |index| {
        let mut stream = Stream::new(spec.seed, fold.0.into(), pass.into(), Purpose::TestTime, index);
        crop_turn_flip(&mut stream, spec.image_size).matrix(spec.image_size)
    };
    (first_index..).take(count).map(matrix).collect()
}

/// `augmentation = "full"`: [`crop_turn_flip`]; with probability 0.5 a shear of at most 15 degrees; with probability 0.3 a shift
/// of at most 5% of the side, a scale of 0.9 to 1.1 and a rotation of at most 10 degrees, together.
fn full(stream: &mut Stream, size: u32) -> Transformation {
    let mut transformation = crop_turn_flip(stream, size);
    if stream.chance(0.5) {
        transformation.shear_degrees = stream.between(-15.0, 15.0);
    }
    if stream.chance(0.3) {
        transformation.right = stream.between(-0.05, 0.05) * f64::from(size);
        transformation.down = stream.between(-0.05, 0.05) * f64::from(size);
        transformation.scale = stream.between(0.9, 1.1);
        transformation.degrees = stream.between(-10.0, 10.0);
    }
    transformation
}

/// A square crop of half to the full side; 0 to 3 quarter turns, equally likely; each flip with probability 0.5.
fn crop_turn_flip(stream: &mut Stream, size: u32) -> Transformation {
    let mut below = |bound: u32| stream.below(u64::from(bound)) as u32;
    let least = size.div_ceil(2);
    let side = least + below(size - least + 1);
    let (left, top) = (below(size - side + 1), below(size - side + 1));
    let quarter_turns = below(4);
    let (flip_left_right, flip_top_bottom) = (stream.chance(0.5), stream.chance(0.5));
    Transformation {
        left,
        top,
        side,
        quarter_turns,
        flip_left_right,
        flip_top_bottom,
        ..Transformation::identity(size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draws(draw: fn(&mut Stream, u32) -> Transformation, size: u32) -> Vec<Transformation> {
        (0..20_000).map(|index| draw(&mut Stream::new(1, 0, 0, Purpose::Augmentation, index), size)).collect()
    }

    #[test]
    fn draws_have_the_ranges_and_frequencies_of_the_recipe() {
        let drawn = draws(full, 512);
        let share = |is: &dyn Fn(&Transformation) -> bool| {
            drawn.iter().filter(|drawn| is(drawn)).count() as f64 / drawn.len() as f64
        };
        let near = |share: f64, expected: f64| (share - expected).abs() < 0.015;
        for turns in 0..4 {
            assert!(near(share(&|drawn| drawn.quarter_turns == turns), 0.25));
        }
        assert!(near(share(&|drawn| drawn.flip_left_right), 0.5) && near(share(&|drawn| drawn.flip_top_bottom), 0.5));
        assert!(near(share(&|drawn| drawn.shear_degrees != 0.0), 0.5));
        assert!(near(share(&|drawn| drawn.scale != 1.0), 0.3));
        assert!(near(share(&|drawn| drawn.side < 384), 0.5));
        for drawn in &drawn {
            assert!((256..=512).contains(&drawn.side));
            assert!(drawn.left + drawn.side <= 512 && drawn.top + drawn.side <= 512);
            assert!(drawn.shear_degrees.abs() <= 15.0 && drawn.degrees.abs() <= 10.0);
            assert!(drawn.right.abs() <= 25.6 && drawn.down.abs() <= 25.6 && (0.9..=1.1).contains(&drawn.scale));
        }
        assert!(drawn.iter().any(|drawn| drawn.side == 256) && drawn.iter().any(|drawn| drawn.side == 512));
        for size in [1, 16, 17] {
            assert!(draws(crop_turn_flip, size).iter().all(|drawn| drawn.side >= 1 && drawn.left + drawn.side <= size));
        }
    }

    #[test]
    fn a_matrix_depends_on_the_images_place_alone() {
        let spec = JobSetSpec::default();
        let all = training_matrices(&spec, Fold(1), 2, 0, 12);
        let parts = [training_matrices(&spec, Fold(1), 2, 0, 5), training_matrices(&spec, Fold(1), 2, 5, 7)].concat();
        assert_eq!(all, parts);
        assert_ne!(all, training_matrices(&spec, Fold(1), 3, 0, 12));
        assert_ne!(all, training_matrices(&spec, Fold(0), 2, 0, 12));
        let pass = test_time_matrices(&spec, Fold(1), 2, 0, 12);
        assert_ne!(pass, test_time_matrices(&spec, Fold(1), 3, 0, 12));
        assert_eq!(pass[4..], test_time_matrices(&spec, Fold(1), 2, 4, 8));
    }

    #[test]
    fn without_augmentation_images_are_unchanged() {
        let spec = JobSetSpec { augmentation: Augmentation::None, tta: 1, ..JobSetSpec::default() };
        assert_eq!(training_matrices(&spec, Fold(0), 0, 0, 2), [Matrix::IDENTITY; 2]);
        assert_eq!(test_time_matrices(&spec, Fold(0), 0, 0, 2), [Matrix::IDENTITY; 2]);
        assert_eq!(Transformation::identity(31).matrix(31), Matrix::IDENTITY);
    }

    #[test]
    fn a_crop_is_placed_at_its_edges() {
        let crop = Transformation { left: 4, top: 6, side: 8, ..Transformation::identity(16) }.matrix(16);
        // The outer edge of the first pixel, -0.5, lies at the crop's edge, 3.5 and 5.5; a step is half a pixel.
        assert_eq!(crop, Matrix([0.5, 0.0, 3.75, 0.0, 0.5, 5.75]));
    }
}
