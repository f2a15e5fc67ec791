//! Pretrained weights: a safetensors file with torchvision's names, which are also timm's.

use std::path::Path;

use fivefold_common::checkpoint::OPTIMIZER_PREFIX;
use fivefold_common::network::{TensorKind, TensorShape, WeightsMatch, WeightsMismatch, match_weights};
use tch::{Kind, TchError, Tensor};

use crate::models::Model;
use crate::torch::tensor_file::{TensorFile, TensorFileError};
use crate::torch::tensors::NamedTensor;

/// The channels of published weights: red, green and blue.
const FILE_CHANNELS: i64 = 3;

/// Why weights cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] TensorFileError),
    /// The tensors are not those of the model.
    #[error("the tensors are not those of the model: {0}")]
    Mismatch(WeightsMismatch),
}

/// Copies the weights and running statistics of a safetensors file into `model`, in place; [`match_weights`] says which. A first
/// layer for RGB is converted by [`first_layer_for`] if the model has other channels. Any float format becomes fp32.
///
/// # Errors
/// When the file cannot be read, or its tensors are not those of the model, which then is unchanged.
pub fn load(path: &Path, model: &Model) -> Result<WeightsMatch, WeightsError> {
    let file = TensorFile::read(path)?;
    let targets = model.tensors();
    let shapes: Vec<TensorShape> = targets.iter().map(tensor_shape).collect();
    let matched = match_weights(&shapes, &file.tensors()).map_err(WeightsError::Mismatch)?;
    let target = |name: &str| targets.iter().find(|target| target.name == name);
    for NamedTensor { name, tensor } in matched.taken.iter().filter_map(|name| target(name)) {
        file.copy_converted(name, tensor, |values| Ok(values.shallow_clone()))?;
    }
    if let Some(NamedTensor { name, tensor }) = matched.converted.as_deref().and_then(target) {
        file.copy_converted(name, tensor, |weight| first_layer_for(weight, tensor.size()[1]))?;
    }
    Ok(matched)
}

fn tensor_shape(NamedTensor { name, tensor }: &NamedTensor) -> TensorShape {
    let kind = if tensor.kind() == Kind::Int64 { TensorKind::BatchCount } else { TensorKind::Parameter };
    let shape = tensor.size().into_iter().map(|side| u32::try_from(side).unwrap_or(u32::MAX)).collect();
    TensorShape { name: name.clone(), shape, kind }
}

/// Copies a trained model of the same network into `model`, in place: every tensor of the network, head and running statistics
/// included. An optimiser's state in the file is left out.
///
/// # Errors
/// When the file cannot be read, or a tensor is missing, unexpected, of another shape or format. The error names all of them; the
/// model is unchanged.
pub fn load_model(path: &Path, model: &Model) -> Result<(), TensorFileError> {
    let file = TensorFile::read(path)?;
    file.copy_into(&model.tensors(), |name| name.starts_with(OPTIMIZER_PREFIX))
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
