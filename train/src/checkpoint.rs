//! A fold's training as a file: all that a resumed run needs to go on to the same bits.
//!
//! The file is safetensors. The model's tensors have torchvision's names, so that its model part loads there; the
//! optimiser's stand under `optimizer.`; spec, fold and training state are JSON under the metadata's one key, `fivefold`.

use std::path::{Path, PathBuf};

use fivefold_common::ids::Fold;
use fivefold_common::progress::EpochMetrics;
use fivefold_common::spec::{JobSetSpec, KeyDifference};
use serde::{Deserialize, Serialize};

use crate::engine::optimizer::Optimizer;
use crate::engine::precision::LossScale;
use crate::engine::schedule::{EarlyStop, Plateau};
use crate::models::resnet50::ResNet50;
use crate::torch::tensor_file::{Formats, TensorFile, TensorFileError};
use crate::torch::tensors::NamedTensor;

/// Where in its training a fold is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainingState {
    /// The epoch that is being trained, from 0; with `finished`, one more than the last.
    pub epoch: u32,
    /// Batches of that epoch that are done.
    pub step: u32,
    /// The sum of their losses.
    pub loss_sum: f64,
    /// The learning rate's schedule.
    pub plateau: Plateau,
    /// The early stop.
    pub early_stop: EarlyStop,
    /// The factor on fp16 losses.
    pub loss_scale: LossScale,
    /// The best validation macro F1 of the epochs so far.
    pub best_macro_f1: Option<f64>,
    /// Whether training has ended.
    pub finished: bool,
    /// What the epochs so far came to.
    pub epochs: Vec<EpochMetrics>,
}

impl TrainingState {
    /// The state before the first batch.
    pub fn new(spec: &JobSetSpec) -> Self {
        Self {
            epoch: 0,
            step: 0,
            loss_sum: 0.0,
            plateau: Plateau::new(spec),
            early_stop: EarlyStop::new(spec),
            loss_scale: LossScale::new(spec.precision),
            best_macro_f1: None,
            finished: false,
            epochs: Vec::new(),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Header {
    format: u32,
    version: String,
    fold: Fold,
    spec: JobSetSpec,
    state: TrainingState,
}

const FORMAT: u32 = 1;
const METADATA_KEY: &str = "fivefold";
const OPTIMIZER_PREFIX: &str = "optimizer.";

/// Why a checkpoint could not be written or used. Each message names the file.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file could not be written or read, is damaged, or its tensors are not the model's.
    #[error(transparent)]
    File(#[from] TensorFileError),
    /// A safetensors file, and no checkpoint of this version of Fivefold.
    #[error("{}: it is no checkpoint that can be read here: {problem}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What is missing or wrong in its metadata.
        problem: String,
    },
    /// A checkpoint of another fold.
    #[error("{}: it is a checkpoint of fold {found}, not of fold {expected}", path.display())]
    OtherFold {
        /// The file.
        path: PathBuf,
        /// The fold it is of.
        found: Fold,
        /// The fold that is trained.
        expected: Fold,
    },
    /// A checkpoint of a job set that trains otherwise.
    #[error("{}: it was trained with {key} = {found}, and the job has {key} = {expected}", path.display())]
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

/// Writes a checkpoint that is either whole, and on the disk when this returns, or not there.
pub fn save(
    path: &Path,
    spec: &JobSetSpec,
    fold: Fold,
    model: &ResNet50,
    optimizer: &Optimizer,
    state: &TrainingState,
) -> Result<(), CheckpointError> {
    let header = Header {
        format: FORMAT,
        version: env!("CARGO_PKG_VERSION").into(),
        fold,
        spec: spec.clone(),
        state: state.clone(),
    };
    let header = serde_json::to_string(&header)
        .map_err(|error| CheckpointError::Foreign { path: path.to_owned(), problem: error.to_string() })?;
    let mut tensors = model_tensors(model);
    tensors.extend(optimizer_tensors(optimizer));
    Ok(TensorFile::write(path, &tensors, (METADATA_KEY, header))?)
}

/// Reads a checkpoint into `model`, and into `optimizer` where training goes on, and returns where it is. After an error the
/// model is as it was.
pub fn load(
    path: &Path,
    spec: &JobSetSpec,
    fold: Fold,
    model: &ResNet50,
    optimizer: Option<&Optimizer>,
) -> Result<TrainingState, CheckpointError> {
    let (file, header) = open(path, spec, fold)?;
    let mut targets = model_tensors(model);
    targets.extend(optimizer.into_iter().flat_map(optimizer_tensors));
    let only_scores = optimizer.is_none();
    file.copy_into(&targets, Formats::Exact, |name| only_scores && name.starts_with(OPTIMIZER_PREFIX))?;
    Ok(header.state)
}

/// Refuses a file that is no whole checkpoint of this fold and spec.
pub fn check(path: &Path, spec: &JobSetSpec, fold: Fold) -> Result<(), CheckpointError> {
    open(path, spec, fold).map(|_| ())
}

fn open(path: &Path, spec: &JobSetSpec, fold: Fold) -> Result<(TensorFile, Header), CheckpointError> {
    let file = TensorFile::read(path)?;
    let header = read_header(path, &file)?;
    if header.fold != fold {
        return Err(CheckpointError::OtherFold { path: path.to_owned(), found: header.fold, expected: fold });
    }
    if let Some(KeyDifference { key, ours, theirs }) = spec.resume_conflict(&header.spec) {
        return Err(CheckpointError::OtherSpec { path: path.to_owned(), key, found: theirs, expected: ours });
    }
    Ok((file, header))
}

fn read_header(path: &Path, file: &TensorFile) -> Result<Header, CheckpointError> {
    let foreign = |problem: String| CheckpointError::Foreign { path: path.to_owned(), problem };
    let text = file.metadata(METADATA_KEY).ok_or_else(|| foreign(format!("no {METADATA_KEY:?} in its metadata")))?;
    let value: serde_json::Value = serde_json::from_str(text).map_err(|error| foreign(error.to_string()))?;
    // Looked at before the rest, whose fields another format may name otherwise.
    if value["format"] != FORMAT {
        return Err(foreign(format!("its format is {}, and this version reads {FORMAT}", value["format"])));
    }
    serde_json::from_value(value).map_err(|error| foreign(error.to_string()))
}

fn model_tensors(model: &ResNet50) -> Vec<NamedTensor> {
    model.parameters().iter().chain(model.buffers()).map(NamedTensor::shallow_clone).collect()
}

fn optimizer_tensors(optimizer: &Optimizer) -> Vec<NamedTensor> {
    let prefixed = |NamedTensor { name, tensor }| NamedTensor { name: format!("{OPTIMIZER_PREFIX}{name}"), tensor };
    optimizer.state().into_iter().map(prefixed).collect()
}
