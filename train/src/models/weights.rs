//! First weights from a file: a ResNet50 trained elsewhere, with torchvision's names, which are timm's too.

use std::path::Path;

use crate::models::resnet50::ResNet50;
use crate::torch::tensor_file::{Formats, TensorFile, TensorFileError};
use crate::torch::tensors::NamedTensor;

/// What was taken from a file of weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// Tensors that were copied into the model.
    pub tensors: usize,
    /// Tensors of the file that were left: a head with other outputs, an optimiser's state.
    pub dropped: Vec<String>,
}

/// Copies the weights and running statistics of a safetensors file into `model`, in place.
///
/// A head that does not fit, ImageNet's with its 1000 outputs for instance, is dropped, and the model keeps its own first
/// weights there. Floats of any format become fp32. `num_batches_tracked` may be absent. Any other tensor that is
/// missing, extra or of another shape is an error that names all of them, and leaves the model as it was.
pub fn load(path: &Path, model: &ResNet50) -> Result<Loaded, TensorFileError> {
    let file = TensorFile::read(path)?;
    let head_fits = fits(&file, model.parameters().iter().filter(|parameter| is_head(&parameter.name)));
    let targets: Vec<NamedTensor> = model
        .parameters()
        .iter()
        .chain(model.buffers())
        .filter(|target| head_fits || !is_head(&target.name))
        .filter(|target| !target.name.ends_with("num_batches_tracked") || file.shape(&target.name).is_some())
        .map(NamedTensor::shallow_clone)
        .collect();
    let is_dropped = |name: &str| (!head_fits && is_head(name)) || name.starts_with("optimizer.");
    file.copy_into(&targets, Formats::AnyFloat, is_dropped)?;
    Ok(Loaded {
        tensors: targets.len(),
        dropped: file.names().filter(|name| is_dropped(name)).map(str::to_owned).collect(),
    })
}

fn is_head(name: &str) -> bool {
    name.starts_with("fc.") || name.starts_with("head.")
}

fn fits<'a>(file: &TensorFile, mut tensors: impl Iterator<Item = &'a NamedTensor>) -> bool {
    tensors.all(|target| file.shape(&target.name) == Some(target.tensor.size().as_slice()))
}
