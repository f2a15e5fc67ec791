//! Converts a batch of 8-bit images to floats on its device, each image warped by its own matrix, in one pass.

use fivefold_common::spec::Normalization;
use tch::{Kind, Tensor};

use crate::torch::tensors::channels_last;
use crate::transform::augmentation::Matrix;

/// `images` (u8 `[N, C, S, S]`, on any device) as a model's input: fp32, x / 255, normalised, channels-last, of the same shape
/// on the same device.
pub fn pixels(images: &Tensor, normalization: Normalization) -> Tensor {
    normalized(unit_floats(images), normalization)
}

/// Warps each of `images` (u8 `[N, C, S, S]`, on any device) by its own of the N `matrices`. Sampling is bilinear; the border is
/// reflected about the outermost pixels (OpenCV's BORDER_REFLECT_101). The result is as that of [`pixels`].
///
/// Flips and quarter turns are exact: they move pixels and change none.
pub fn warp(images: &Tensor, matrices: &[Matrix], normalization: Normalization) -> Tensor {
    normalized(warped(images, matrices), normalization)
}

/// The same as fp32 from 0 to 1, before a normalisation.
pub(super) fn warped(images: &Tensor, matrices: &[Matrix]) -> Tensor {
    let size = images.size()[3];
    let exact: Vec<Option<Rearrangement>> = matrices.iter().map(|matrix| rearrangement(matrix, size)).collect();
    let plain = Some(Rearrangement { transpose: false, flip_left_right: false, flip_top_bottom: false });
    if exact.iter().all(|exact| *exact == plain) {
        return unit_floats(images);
    }
    let floats = unit_floats(images);
    let warped = floats.grid_sampler_2d(&sampling_grid(matrices, size, images.device()), BILINEAR, REFLECTION, true);
    // Interpolation would leave rounding errors in flips and quarter turns.
    for (place, exact) in exact.iter().enumerate() {
        if let Some(exact) = exact {
            warped.get(place as i64).copy_(&rearranged(&floats.get(place as i64), *exact));
        }
    }
    warped
}

fn unit_floats(images: &Tensor) -> Tensor {
    images.to_kind(Kind::Float).g_div_scalar_(255.0)
}

// The modes of grid_sample.
const BILINEAR: i64 = 0;
const REFLECTION: i64 = 2;

/// The point of the input that each output pixel is sampled from: `[N, S, S, 2]` (x, y), with -1 and 1 at the centres of the
/// outermost pixels.
///
/// The same as `affine_grid` with align_corners. That is a matrix product, which a GPU may compute in TF32 with errors of half
/// a pixel.
fn sampling_grid(matrices: &[Matrix], size: i64, device: tch::Device) -> Tensor {
    let count = matrices.len() as i64;
    let half = (size - 1) as f64 / 2.0;
    // From pixels to -1..=1 in input and output: the linear part stays, the shift is that of the centre.
    let entries: Vec<f32> = matrices
        .iter()
        .flat_map(|Matrix([a, b, c, d, e, f])| [*a, *b, (c / half + a + b - 1.0), *d, *e, (f / half + d + e - 1.0)])
        .map(|entry| entry as f32)
        .collect();
    let entries = Tensor::from_slice(&entries).view([count, 6]).to_device(device);
    let entry = |column| entries.select(1, column).view([count, 1, 1]);
    let side = Tensor::linspace(-1.0, 1.0, size, (Kind::Float, device));
    let (u, v) = (side.view([1, 1, size]), side.view([1, size, 1]));
    let coordinate = |first: i64| entry(first) * &u + (entry(first + 1) * &v + entry(first + 2));
    Tensor::stack(&[coordinate(0), coordinate(3)], -1)
}

/// A map of pixels onto pixels: a transposition, then flips.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rearrangement {
    transpose: bool,
    flip_left_right: bool,
    flip_top_bottom: bool,
}

/// `matrix` as a rearrangement of the pixels of an image, where it only turns and flips.
fn rearrangement(matrix: &Matrix, size: i64) -> Option<Rearrangement> {
    let last = (size - 1) as f64;
    let Matrix([a, b, c, d, e, f]) = *matrix;
    // Whether a coordinate runs with the pixel index from 0, or against it from the last pixel.
    let direction = |slope: f64, shift: f64| match (slope, shift) {
        (1.0, 0.0) => Some(false),
        (-1.0, shift) if shift == last => Some(true),
        _ => None,
    };
    if b == 0.0 && d == 0.0 {
        return Some(Rearrangement {
            transpose: false,
            flip_left_right: direction(a, c)?,
            flip_top_bottom: direction(e, f)?,
        });
    }
    if a == 0.0 && e == 0.0 {
        // x depends on v and y on u: after the transposition, rows are indexed by x.
        return Some(Rearrangement {
            transpose: true,
            flip_left_right: direction(d, f)?,
            flip_top_bottom: direction(b, c)?,
        });
    }
    None
}

fn rearranged(image: &Tensor, rearrangement: Rearrangement) -> Tensor {
    let mut image = if rearrangement.transpose { image.transpose(1, 2) } else { image.shallow_clone() };
    if rearrangement.flip_left_right {
        image = image.flip([2]);
    }
    if rearrangement.flip_top_bottom {
        image = image.flip([1]);
    }
    image
}

/// Images of 0 to 1 as a model's input.
pub(super) fn normalized(images: Tensor, normalization: Normalization) -> Tensor {
    let Some((mean, deviation)) = normalization.mean_and_deviation() else { return channels_last(&images) };
    let per_channel = |values: [f32; 3]| Tensor::from_slice(&values).view([1, 3, 1, 1]).to_device(images.device());
    channels_last(&((&images - per_channel(mean)) / per_channel(deviation)))
}
