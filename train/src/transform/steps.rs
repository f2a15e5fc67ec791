//! The augmentation that a spec lists step by step: geometric steps become one matrix, the others change pixels after it.

use fivefold_common::augmentation::{AugmentationStep, Change};
use fivefold_common::ids::Fold;
use fivefold_common::randomness::{Purpose, Stream};
use fivefold_common::spec::JobSetSpec;
use tch::Tensor;

use crate::transform::augmentation::{Matrix, training_matrices};
use crate::transform::warp::{normalized, warped};

/// What becomes of a training image.
#[derive(Debug, Clone)]
pub struct ImageChange {
    /// Its warp.
    pub matrix: Matrix,
    /// The changes of the warped image, in order.
    pub pixels: Vec<PixelChange>,
}

/// A change of an image with pixels of 0 to 1, which stay within that range.
#[derive(Debug, Clone)]
pub enum PixelChange {
    /// A number is added.
    Brightness(f64),
    /// A factor.
    Contrast(f64),
    /// Normal noise.
    Noise {
        /// Its standard deviation.
        deviation: f64,
        /// Where it is drawn from.
        stream: Stream,
    },
    /// A rectangle becomes black.
    Erase {
        /// Its left edge, in pixels.
        left: u32,
        /// Its top edge, in pixels.
        top: u32,
        /// Its width, in pixels.
        width: u32,
        /// Its height, in pixels.
        height: u32,
    },
}

/// What becomes of `count` training images whose places in the epoch start at `first_index` (from 0). Each depends on the spec's
/// seed, the fold, the epoch and the image's place alone.
pub fn training_changes(spec: &JobSetSpec, fold: Fold, epoch: u32, first_index: u64, count: usize) -> Vec<ImageChange> {
    let steps = spec.augmentation_steps();
    if steps.is_empty() {
        let plain = |matrix| ImageChange { matrix, pixels: Vec::new() };
        return training_matrices(spec, fold, epoch, first_index, count).into_iter().map(plain).collect();
    }
    let change = |index| {
        let mut stream = Stream::new(spec.seed, fold.0.into(), epoch.into(), Purpose::Augmentation, index);
        drawn(&steps, &mut stream, spec.image_size)
    };
    (first_index..).take(count).map(change).collect()
}

/// Changes `images` (u8 `[N, C, S, S]`, on any device), each by its own of the N `changes`. The result is a model's input: fp32,
/// normalised, channels-last, of the same shape on the same device.
pub fn changed(
    images: &Tensor,
    changes: &[ImageChange],
    normalization: fivefold_common::spec::Normalization,
) -> Tensor {
    let matrices: Vec<Matrix> = changes.iter().map(|change| change.matrix).collect();
    let images = warped(images, &matrices);
    for (place, change) in (0..).zip(changes) {
        for pixels in &change.pixels {
            pixels.apply(&images.get(place));
        }
    }
    normalized(images, normalization)
}

fn drawn(steps: &[AugmentationStep], stream: &mut Stream, size: u32) -> ImageChange {
    let mut drawn = ImageChange { matrix: Matrix::IDENTITY, pixels: Vec::new() };
    for step in steps {
        if step.probability < 1.0 && !stream.chance(step.probability) {
            continue;
        }
        let matrix = match step.change {
            Change::Brightness | Change::Contrast | Change::Noise | Change::Erase => {
                drawn.pixels.push(pixel_change(step, stream, size));
                continue;
            }
            _ => matrix(step, stream, size),
        };
        drawn.matrix = matrix.then(drawn.matrix);
    }
    drawn
}

/// The matrix of a geometric step.
fn matrix(step: &AugmentationStep, stream: &mut Stream, size: u32) -> Matrix {
    let mut value = || stream.between(step.from, step.to);
    let side = f64::from(size);
    match step.change {
        Change::Crop => {
            let cropped = pixels_of(value(), size);
            let mut edge = || stream.below(u64::from(size - cropped + 1)) as f64;
            Matrix::crop(edge(), edge(), cropped.into(), size)
        }
        Change::QuarterTurn => Matrix::quarter_turns(stream.below(4) as u32, size),
        Change::FlipLeftRight => Matrix::flip_left_right(size),
        Change::FlipTopBottom => Matrix::flip_top_bottom(size),
        Change::Rotate => {
            let (sin, cos) = value().to_radians().sin_cos();
            Matrix::about_centre([cos, -sin, sin, cos], size)
        }
        Change::Shear => Matrix::about_centre([1.0, -value().to_radians().tan(), 0.0, 1.0], size),
        Change::Shift => Matrix([1.0, 0.0, -value() * side, 0.0, 1.0, -value() * side]),
        Change::Scale => {
            let scale = value();
            Matrix::about_centre([1.0 / scale, 0.0, 0.0, 1.0 / scale], size)
        }
        Change::Brightness | Change::Contrast | Change::Noise | Change::Erase => Matrix::IDENTITY,
    }
}

/// The change of a step that is not geometric.
fn pixel_change(step: &AugmentationStep, stream: &mut Stream, size: u32) -> PixelChange {
    let mut value = || stream.between(step.from, step.to);
    match step.change {
        Change::Brightness => PixelChange::Brightness(value()),
        Change::Noise => {
            let deviation = value();
            // One number of the image's stream tells the noise of its steps apart.
            let noise = Stream::new(stream.bits(), 0, 0, Purpose::Augmentation, 0);
            PixelChange::Noise { deviation, stream: noise }
        }
        Change::Erase => {
            let [width, height] = [value(), value()].map(|share| (share * f64::from(size)).round() as u32);
            let mut edge = |length: u32| stream.below(u64::from(size - length + 1)) as u32;
            PixelChange::Erase { left: edge(width), top: edge(height), width, height }
        }
        _ => PixelChange::Contrast(value()),
    }
}

/// A share of a side in pixels, at least one.
fn pixels_of(share: f64, size: u32) -> u32 {
    ((share * f64::from(size)).round() as u32).clamp(1, size)
}

impl PixelChange {
    /// Changes an image, fp32 `[C, S, S]`, in place.
    fn apply(&self, image: &Tensor) {
        let mut image = image.shallow_clone();
        match self {
            Self::Brightness(number) => drop(image.g_add_scalar_(*number).clamp_(0.0, 1.0)),
            Self::Contrast(factor) => drop(image.g_mul_scalar_(*factor).clamp_(0.0, 1.0)),
            Self::Noise { deviation, stream } => {
                let mut stream = stream.clone();
                let values: Vec<f32> = (0..image.numel()).map(|_| (deviation * stream.normal()) as f32).collect();
                let noise = Tensor::from_slice(&values).view(image.size().as_slice()).to_device(image.device());
                drop(image.g_add_(&noise).clamp_(0.0, 1.0));
            }
            Self::Erase { left, top, width, height } => {
                let [left, top, width, height] = [left, top, width, height].map(|&pixels| i64::from(pixels));
                drop(image.narrow(1, top, height).narrow(2, left, width).fill_(0.0));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use fivefold_common::spec::Normalization;
    use tch::Kind;

    use super::*;

    fn spec(steps: &[&str]) -> JobSetSpec {
        let augmentations = steps.iter().map(|&step| step.to_owned()).collect();
        JobSetSpec { augmentations, image_size: 16, ..JobSetSpec::default() }
    }

    fn images() -> Tensor {
        Tensor::arange(2 * 4 * 16 * 16, (Kind::Int64, tch::Device::Cpu))
            .remainder(251)
            .to_kind(Kind::Uint8)
            .view([2, 4, 16, 16])
    }

    #[test]
    fn without_a_list_the_augmentation_is_that_of_its_name() {
        let spec = spec(&[]);
        let changes = training_changes(&spec, Fold(1), 2, 3, 4);
        let matrices: Vec<Matrix> = changes.iter().map(|change| change.matrix).collect();
        assert_eq!(matrices, training_matrices(&spec, Fold(1), 2, 3, 4));
        assert!(changes.iter().all(|change| change.pixels.is_empty()));
    }

    #[test]
    fn geometric_steps_become_one_matrix_in_their_order() {
        let changes = |steps: &[&str]| training_changes(&spec(steps), Fold(0), 0, 0, 50);
        // A turn and a shift: the order matters, and both are in the matrix.
        for (steps, expected) in [
            (["shift 0.25..0.25", "rotate 90..90"], Matrix([0.0, -1.0, 11.0, 1.0, 0.0, -4.0])),
            (["rotate 90..90", "shift 0.25..0.25"], Matrix([0.0, -1.0, 19.0, 1.0, 0.0, -4.0])),
        ] {
            let Matrix(found) = changes(&steps)[0].matrix;
            assert!(found.iter().zip(expected.0).all(|(a, b)| (a - b).abs() < 1e-9), "{steps:?}: {found:?}");
        }
        let turned = changes(&["quarter_turn", "flip_left_right p=0.5"]);
        assert!(turned.iter().any(|change| change.matrix == Matrix::IDENTITY));
        assert!(turned.iter().any(|change| change.matrix != Matrix::IDENTITY));
        let rare = changes(&["rotate 10 p=0.1"]).iter().filter(|change| change.matrix != Matrix::IDENTITY).count();
        assert!((1..15).contains(&rare), "{rare}");
    }

    #[test]
    fn pixels_change_in_every_channel_and_stay_within_their_range() {
        let run = |steps: &[&str]| {
            let changes = training_changes(&spec(steps), Fold(0), 0, 0, 2);
            changed(&images(), &changes, Normalization::None)
        };
        let plain = run(&["brightness 0..0"]);
        assert_eq!(plain.size(), [2, 4, 16, 16]);
        let difference = |other: &Tensor| (other - &plain).abs().max().double_value(&[]);
        assert!(
            (run(&["brightness 0.25..0.25"]) - (&plain + 0.25).clamp(0.0, 1.0)).abs().max().double_value(&[]) < 1e-6
        );
        assert!((run(&["contrast 0.5..0.5"]) - &plain * 0.5).abs().max().double_value(&[]) < 1e-6);
        let noisy = run(&["noise 0.1..0.1"]);
        assert!(difference(&noisy) > 0.1 && noisy == run(&["noise 0.1..0.1"]));
        assert!(noisy.min().double_value(&[]) >= 0.0 && noisy.max().double_value(&[]) <= 1.0);
        let erased = run(&["erase 0.5..0.5"]);
        let black = erased.eq(0.0).sum(Kind::Int64).int64_value(&[]) - plain.eq(0.0).sum(Kind::Int64).int64_value(&[]);
        // Eight by eight pixels of each of the four channels of both images, less those that were black already.
        assert!((400..=512).contains(&black), "{black}");
    }
}
