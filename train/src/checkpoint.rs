//! Checkpoint files: everything that a resumed run needs to continue bit for bit.
//!
//! A checkpoint is a safetensors file. Its metadata has one key, `fivefold`, with a JSON header: the format, the version of
//! Fivefold, the fold, the spec and the state of the training. The model's tensors have torchvision's names, so that
//! torchvision can load them; those of the optimiser have the prefix `optimizer.`. A checkpoint that only scores has none of
//! these.
//!
//! This module knows the file; what the state consists of is the [engine's](crate::engine::state) business.

use std::path::{Path, PathBuf};

use fivefold_common::checkpoint::{FORMAT, HEADER_KEY, OPTIMIZER_PREFIX};
use fivefold_common::ids::Fold;
use fivefold_common::spec::{JobSetSpec, KeyDifference};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::torch::tensor_file::{TensorFile, TensorFileError};
use crate::torch::tensors::NamedTensor;

#[derive(Serialize)]
struct WrittenHeader<'a, S> {
    format: u32,
    version: &'a str,
    fold: Fold,
    spec: &'a JobSetSpec,
    state: &'a S,
}

#[derive(Deserialize)]
struct ReadHeader<S> {
    fold: Fold,
    spec: JobSetSpec,
    state: S,
}

/// A checkpoint that was read, of the expected fold and spec.
pub struct Checkpoint<S> {
    file: TensorFile,
    /// The state of the training.
    pub state: S,
}

/// Why a checkpoint cannot be written or used. Each message names the file.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file cannot be written or read, is damaged, or does not have the model's tensors.
    #[error(transparent)]
    File(#[from] TensorFileError),
    /// The file is safetensors, but not a checkpoint that this version can read.
    #[error("{}: not a checkpoint that this version of Fivefold can read: {problem}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What is missing or wrong in its metadata.
        problem: String,
    },
    /// The checkpoint is of another fold.
    #[error("{}: the checkpoint is of fold {found}, not of fold {expected}", path.display())]
    OtherFold {
        /// The file.
        path: PathBuf,
        /// Its fold.
        found: Fold,
        /// The fold that is trained.
        expected: Fold,
    },
    /// The checkpoint is of a training with other settings.
    #[error("{}: the checkpoint was trained with {key} = {found}, and the job has {key} = {expected}", path.display())]
    OtherSpec {
        /// The file.
        path: PathBuf,
        /// The first key that differs.
        key: &'static str,
        /// Its value in the checkpoint.
        found: String,
        /// Its value in the job.
        expected: String,
    },
}

/// Writes a checkpoint: the state and the tensors of the model and of the optimiser; without the latter, training cannot
/// resume from it. When this returns it is complete and synced to disk; after an error there is no new file.
///
/// # Errors
/// When the file cannot be written.
pub fn write<S: Serialize>(
    path: &Path,
    spec: &JobSetSpec,
    fold: Fold,
    state: &S,
    model: Vec<NamedTensor>,
    optimizer: Vec<NamedTensor>,
) -> Result<(), CheckpointError> {
    let header = WrittenHeader { format: FORMAT, version: env!("CARGO_PKG_VERSION"), fold, spec, state };
    let header = serde_json::to_string(&header)
        .map_err(|error| CheckpointError::Foreign { path: path.to_owned(), problem: error.to_string() })?;
    let tensors: Vec<NamedTensor> = model.into_iter().chain(optimizer.into_iter().map(with_prefix)).collect();
    Ok(TensorFile::write(path, &tensors, (HEADER_KEY, header))?)
}

/// Reads a checkpoint of `fold` that was trained as `spec` says.
///
/// # Errors
/// When the file is damaged, or of another fold or spec.
pub fn read<S: DeserializeOwned>(path: &Path, spec: &JobSetSpec, fold: Fold) -> Result<Checkpoint<S>, CheckpointError> {
    let file = TensorFile::read(path)?;
    let header: ReadHeader<S> = read_header(path, &file)?;
    if header.fold != fold {
        return Err(CheckpointError::OtherFold { path: path.to_owned(), found: header.fold, expected: fold });
    }
    if let Some(KeyDifference { key, ours, theirs }) = spec.resume_conflict(&header.spec) {
        return Err(CheckpointError::OtherSpec { path: path.to_owned(), key, found: theirs, expected: ours });
    }
    Ok(Checkpoint { file, state: header.state })
}

impl<S> Checkpoint<S> {
    /// Copies the checkpoint's tensors into those of the same names in `model` and, to resume training, in `optimizer`.
    ///
    /// # Errors
    /// When the tensors differ in names, shapes or formats. Then none is copied.
    pub fn copy_into(
        &self,
        mut model: Vec<NamedTensor>,
        optimizer: Option<Vec<NamedTensor>>,
    ) -> Result<(), CheckpointError> {
        let only_model = optimizer.is_none();
        model.extend(optimizer.into_iter().flatten().map(with_prefix));
        let is_ignored = |name: &str| only_model && name.starts_with(OPTIMIZER_PREFIX);
        Ok(self.file.copy_into(&model, is_ignored)?)
    }
}

fn with_prefix(NamedTensor { name, tensor }: NamedTensor) -> NamedTensor {
    NamedTensor { name: format!("{OPTIMIZER_PREFIX}{name}"), tensor }
}

fn read_header<S: DeserializeOwned>(path: &Path, file: &TensorFile) -> Result<ReadHeader<S>, CheckpointError> {
    let foreign = |problem: String| CheckpointError::Foreign { path: path.to_owned(), problem };
    let text = file.metadata(HEADER_KEY).ok_or_else(|| foreign(format!("no {HEADER_KEY:?} in its metadata")))?;
    let value: serde_json::Value = serde_json::from_str(text).map_err(|error| foreign(error.to_string()))?;
    // Checked first: another format may have other fields.
    if value["format"] != FORMAT {
        return Err(foreign(format!("its format is {}, and this version reads {FORMAT}", value["format"])));
    }
    serde_json::from_value(value).map_err(|error| foreign(error.to_string()))
}
