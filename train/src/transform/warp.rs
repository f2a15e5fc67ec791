//! Images on their device: 8 bits to floats, each through its own matrix, one pass over the whole batch.

use fivefold_common::spec::Normalization;
use tch::{Kind, Tensor};

use crate::torch::tensors::channels_last;
use crate::transform::augmentation::Matrix;

/// The pixels of `images` (u8, `[N, 3, S, S]`, on any device) as a model sees them: fp32 in 0 to 1, normalised, the same
/// shape, channels-last, on the same device.
pub fn pixels(images: &Tensor, normalization: Normalization) -> Tensor {
    normalized(unit_floats(images), normalization)
}

/// `images` (u8, `[N, 3, S, S]`, on any device), each through its own of the N `matrices`: bilinear, the border reflected
/// about the outermost pixels (OpenCV's BORDER_REFLECT_101). The result is as [`pixels`] has it.
///
/// Whole flips and quarter turns move pixels and change none.
pub fn warp(images: &Tensor, matrices: &[Matrix], normalization: Normalization) -> Tensor {
    let size = images.size()[3];
    let exact: Vec<Option<Rearrangement>> = matrices.iter().map(|matrix| rearrangement(matrix, size)).collect();
    let plain = Some(Rearrangement { transpose: false, flip_sides: false, flip_ends: false });
    if exact.iter().all(|exact| *exact == plain) {
        return pixels(images, normalization);
    }
    let floats = unit_floats(images);
    let warped = floats.grid_sampler_2d(&sampling_grid(matrices, size, images.device()), BILINEAR, REFLECTION, true);
    // Interpolation would leave rounding errors in these.
    for (place, exact) in exact.iter().enumerate() {
        if let Some(exact) = exact {
            warped.get(place as i64).copy_(&rearranged(&floats.get(place as i64), *exact));
        }
    }
    normalized(warped, normalization)
}

fn unit_floats(images: &Tensor) -> Tensor {
    images.to_kind(Kind::Float).g_div_scalar_(255.0)
}

// grid_sample's numbers for its modes.
const BILINEAR: i64 = 0;
const REFLECTION: i64 = 2;

/// Where each output pixel is read, `[N, S, S, 2]` (x, y) with -1 and 1 at the centres of the outermost pixels.
///
/// The same as `affine_grid` with align_corners; but that is a matrix product, which a GPU may do in TF32, with errors of
/// half a pixel.
fn sampling_grid(matrices: &[Matrix], size: i64, device: tch::Device) -> Tensor {
    let count = matrices.len() as i64;
    let half = (size - 1) as f64 / 2.0;
    // From pixels to -1..1 on both sides: the linear part stays, the shift is taken at the centre.
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

/// A map of whole pixels onto whole pixels: first the transposition, then the flips.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rearrangement {
    transpose: bool,
    flip_sides: bool,
    flip_ends: bool,
}

/// What `matrix` does when it only turns and flips an image of `size` pixels.
fn rearrangement(matrix: &Matrix, size: i64) -> Option<Rearrangement> {
    let last = (size - 1) as f64;
    let Matrix([a, b, c, d, e, f]) = *matrix;
    // A coordinate that runs with a pixel index from 0, or against it from the last.
    let direction = |slope: f64, shift: f64| match (slope, shift) {
        (1.0, 0.0) => Some(false),
        (-1.0, shift) if shift == last => Some(true),
        _ => None,
    };
    if b == 0.0 && d == 0.0 {
        return Some(Rearrangement { transpose: false, flip_sides: direction(a, c)?, flip_ends: direction(e, f)? });
    }
    if a == 0.0 && e == 0.0 {
        // x follows v and y follows u: after the transposition rows are read by x.
        return Some(Rearrangement { transpose: true, flip_sides: direction(d, f)?, flip_ends: direction(b, c)? });
    }
    None
}

fn rearranged(image: &Tensor, how: Rearrangement) -> Tensor {
    let mut image = if how.transpose { image.transpose(1, 2) } else { image.shallow_clone() };
    if how.flip_sides {
        image = image.flip([2]);
    }
    if how.flip_ends {
        image = image.flip([1]);
    }
    image
}

/// ImageNet's statistics per channel, as torchvision gives them.
const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const IMAGENET_DEVIATION: [f32; 3] = [0.229, 0.224, 0.225];

fn normalized(images: Tensor, normalization: Normalization) -> Tensor {
    match normalization {
        Normalization::None => channels_last(&images),
        Normalization::Imagenet => {
            let per_channel = |values: &[f32]| Tensor::from_slice(values).view([1, 3, 1, 1]).to_device(images.device());
            channels_last(&((&images - per_channel(&IMAGENET_MEAN)) / per_channel(&IMAGENET_DEVIATION)))
        }
    }
}
