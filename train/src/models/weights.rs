//! Pretrained weights: a safetensors file with torchvision's names, which are also timm's.

use std::path::Path;

use fivefold_common::network::is_of_head;
use tch::{Kind, TchError, Tensor};

use crate::models::Model;
use crate::torch::tensor_file::{Formats, TensorFile, TensorFileError};
use crate::torch::tensors::NamedTensor;

/// The weights of the first convolution, `[outputs, channels, side, side]`.
const FIRST_LAYER: &str = "conv1.weight";
/// The channels of published weights: red, green and blue.
const FILE_CHANNELS: i64 = 3;

/// The tensors of a weights file, loaded and dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// How many tensors were copied into the model.
    pub tensors: usize,
    /// Names of the tensors that were not used: a head with other outputs, an optimiser's state.
    pub dropped: Vec<String>,
}

/// Copies the weights and running statistics of a safetensors file into `model`, in place.
///
/// A head of another shape, such as ImageNet's with its 1000 outputs, is dropped; the model keeps its own initial head. A
/// first layer for RGB is converted by [`first_layer_for`] if the model has other channels. Any float format becomes fp32.
/// `num_batches_tracked` may be absent.
///
/// # Errors
/// When the file cannot be read, or another tensor is missing, unexpected or of another shape. The error names all of
/// them; the model is unchanged.
pub fn load(path: &Path, model: &Model) -> Result<Loaded, TensorFileError> {
    let file = TensorFile::read(path)?;
    let head_fits = fits(&file, model.parameters().iter().filter(|parameter| is_of_head(&parameter.name)));
    let mut targets = model.tensors();
    targets.retain(|target| head_fits || !is_of_head(&target.name));
    targets.retain(|target| !target.name.ends_with("num_batches_tracked") || file.shape(&target.name).is_some());
    let is_dropped = |name: &str| (!head_fits && is_of_head(name)) || name.starts_with("optimizer.");
    let first_layer = targets.iter().position(|target| needs_conversion(&file, target)).map(|at| targets.remove(at));
    file.copy_into(&targets, Formats::AnyFloat, |name| is_dropped(name) || is_converted(name, first_layer.as_ref()))?;
    if let Some(NamedTensor { name, tensor }) = &first_layer {
        file.copy_converted(name, tensor, |weight| first_layer_for(weight, tensor.size()[1]))?;
    }
    Ok(Loaded {
        tensors: targets.len() + usize::from(first_layer.is_some()),
        dropped: file.names().filter(|name| is_dropped(name)).map(str::to_owned).collect(),
    })
}

/// The weights of a first convolution, `[outputs, 3, side, side]` for RGB, for images of `channels` channels: one channel gets
/// the sum over RGB; others get red, green, blue, red and so on, scaled by 3 / channels.
///
/// This is timm's rule (`adapt_input_conv`).
///
/// # Errors
/// When libtorch fails.
pub fn first_layer_for(weight: &Tensor, channels: i64) -> Result<Tensor, TchError> {
    let weight = weight.f_to_kind(Kind::Float)?;
    if channels == 1 {
        return weight.f_sum_dim_intlist([1].as_slice(), true, Kind::Float);
    }
    let repeats = (channels + FILE_CHANNELS - 1) / FILE_CHANNELS;
    let repeated = weight.f_repeat([1, repeats, 1, 1])?.f_narrow(1, 0, channels)?;
    repeated.f_mul_scalar(FILE_CHANNELS as f64 / channels as f64)
}

/// Whether `target` is a first layer for other channels than the RGB one in the file, and equal to it otherwise.
fn needs_conversion(file: &TensorFile, target: &NamedTensor) -> bool {
    let shape = target.tensor.size();
    let (Some(&[outputs, FILE_CHANNELS, height, width]), &[of_model, channels, side, _]) =
        (file.shape(&target.name), shape.as_slice())
    else {
        return false;
    };
    target.name == FIRST_LAYER && channels != FILE_CHANNELS && [outputs, height, width] == [of_model, side, side]
}

fn is_converted(name: &str, first_layer: Option<&NamedTensor>) -> bool {
    first_layer.is_some_and(|layer| layer.name == name)
}

fn fits<'a>(file: &TensorFile, mut tensors: impl Iterator<Item = &'a NamedTensor>) -> bool {
    tensors.all(|target| file.shape(&target.name) == Some(target.tensor.size().as_slice()))
}
