//! Pretrained weights: a safetensors file with torchvision's names, which are also timm's.

use std::path::Path;

use crate::models::Model;
use crate::torch::tensor_file::{Formats, TensorFile, TensorFileError};
use crate::torch::tensors::NamedTensor;

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
/// A head of another shape, such as ImageNet's with its 1000 outputs, is dropped; the model keeps its own initial head. Any
/// float format becomes fp32. `num_batches_tracked` may be absent.
///
/// # Errors
/// When the file cannot be read, or another tensor is missing, unexpected or of another shape. The error names all of
/// them; the model is unchanged.
pub fn load(path: &Path, model: &Model) -> Result<Loaded, TensorFileError> {
    let file = TensorFile::read(path)?;
    let head_fits = fits(&file, model.parameters().iter().filter(|parameter| is_head(&parameter.name)));
    let mut targets = model.tensors();
    targets.retain(|target| head_fits || !is_head(&target.name));
    targets.retain(|target| !target.name.ends_with("num_batches_tracked") || file.shape(&target.name).is_some());
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
