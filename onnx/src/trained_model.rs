//! The model of a trained fold, as its checkpoint has it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use fivefold_common::checkpoint::{FORMAT, HEADER_KEY, OPTIMIZER_PREFIX};
use fivefold_common::ids::Fold;
use fivefold_common::image_files::ImageFiles;
use fivefold_common::network::{Network, TensorKind, TensorShape};
use fivefold_common::spec::JobSetSpec;
use safetensors::tensor::{Dtype, Metadata, SafeTensors, TensorInfo};
use serde::Deserialize;

/// A network with its weights.
#[derive(Debug, Clone)]
pub struct TrainedModel {
    /// The fold.
    pub fold: Fold,
    /// How it was trained.
    pub spec: JobSetSpec,
    /// Its layers.
    pub network: Network,
    /// The number of its outputs.
    pub classes: u32,
    /// Its fp32 tensors by name.
    pub(crate) weights: BTreeMap<String, Weights>,
}

/// The values of a tensor.
#[derive(Debug, Clone)]
pub(crate) struct Weights {
    pub(crate) shape: Vec<u32>,
    /// fp32, little-endian and in row-major order.
    pub(crate) bytes: Bytes,
}

/// A checkpoint that cannot be used. Each message names the file.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file is not a complete safetensors file.
    #[error("{}: not a complete safetensors file: {problem}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The file is safetensors, but not a checkpoint that this version can read.
    #[error("{}: not a checkpoint that this version of Fivefold can read: {problem}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What is missing or wrong in its metadata.
        problem: String,
    },
    /// The tensors are not those of the network.
    #[error("{}: the tensors are not those of the network that its header names: {problem}", path.display())]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// The first difference.
        problem: String,
    },
}

#[derive(Deserialize)]
struct Header {
    fold: Fold,
    spec: JobSetSpec,
}

impl TrainedModel {
    /// Reads the checkpoint of a trained fold. The state of the optimiser, if it has any, is ignored.
    ///
    /// # Errors
    /// When the file cannot be read, is damaged, or has other tensors than the network that its header names.
    pub fn read(path: &Path) -> Result<Self, CheckpointError> {
        let bytes = std::fs::read(path).map_err(|source| CheckpointError::Read { path: path.to_owned(), source })?;
        Self::parse(Bytes::from(bytes)).map_err(|problem| problem.at(path))
    }

    /// The channels of its images in a sentence, such as `red, green and blue`.
    pub(crate) fn channels(&self) -> String {
        let names = ImageFiles::of(&self.spec).map(|files| files.content.channel_names()).unwrap_or_default();
        match names.split_last() {
            Some((last, names)) if !names.is_empty() => format!("{} and {last}", names.join(", ")),
            _ => names.concat(),
        }
    }

    fn parse(bytes: Bytes) -> Result<Self, Problem> {
        let (header_bytes, metadata) =
            SafeTensors::read_metadata(&bytes).map_err(|error| Problem::Malformed(error.to_string()))?;
        let Header { fold, spec } = read_header(&metadata).map_err(Problem::Foreign)?;
        let mut tensors = metadata.tensors();
        tensors.retain(|name, _| !name.starts_with(OPTIMIZER_PREFIX));
        let values = |info: &TensorInfo| {
            let start = 8 + header_bytes;
            bytes.slice(start + info.data_offsets.0..start + info.data_offsets.1)
        };
        let found = tensors.into_iter().map(|(name, info)| (name, Found { info, bytes: values(info) })).collect();
        let classes = class_count(&spec, &found).map_err(Problem::Mismatch)?;
        let network = Network::new(&spec, spec.channel_count() as u32, classes);
        let weights = weights_of(&network, found).map_err(Problem::Mismatch)?;
        Ok(Self { fold, spec, network, classes, weights })
    }
}

/// A tensor of the file.
struct Found<'a> {
    info: &'a TensorInfo,
    bytes: Bytes,
}

fn read_header(metadata: &Metadata) -> Result<Header, String> {
    let text = metadata.metadata().as_ref().and_then(|entries| entries.get(HEADER_KEY));
    let text = text.ok_or_else(|| format!("no {HEADER_KEY:?} in its metadata"))?;
    let value: serde_json::Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    // Checked first: another format may have other fields.
    if value["format"] != FORMAT {
        return Err(format!("its format is {}, and this version reads {FORMAT}", value["format"]));
    }
    serde_json::from_value(value).map_err(|error| error.to_string())
}

/// The number of outputs: the length of the last bias.
fn class_count(spec: &JobSetSpec, found: &BTreeMap<String, Found<'_>>) -> Result<u32, String> {
    let bias = Network::new(spec, spec.channel_count() as u32, 1).head.output().name.clone() + ".bias";
    let info = found.get(&bias).ok_or_else(|| format!("{bias} is missing"))?.info;
    match info.shape.as_slice() {
        &[classes] if classes > 0 => u32::try_from(classes).map_err(|_| format!("{bias} has {classes} values")),
        shape => Err(format!("{bias} has the shape {shape:?} instead of one dimension")),
    }
}

/// The fp32 tensors of `network` among those of the file, which may not have others.
fn weights_of(network: &Network, mut found: BTreeMap<String, Found<'_>>) -> Result<BTreeMap<String, Weights>, String> {
    let mut weights = BTreeMap::new();
    for TensorShape { name, shape, kind } in network.tensors() {
        let Some(Found { info, bytes }) = found.remove(&name) else {
            if kind == TensorKind::BatchCount {
                continue;
            }
            return Err(format!("{name} is missing"));
        };
        if kind == TensorKind::BatchCount {
            continue;
        }
        if info.dtype != Dtype::F32 || !info.shape.iter().copied().eq(shape.iter().map(|&length| length as usize)) {
            let (dtype, found) = (info.dtype, &info.shape);
            return Err(format!("{name} is {dtype} {found:?} instead of F32 {shape:?}"));
        }
        weights.insert(name, Weights { shape, bytes });
    }
    match found.keys().next() {
        Some(name) => Err(format!("{name} is not a tensor of the network")),
        None => Ok(weights),
    }
}

/// What is wrong with a file, without its name.
enum Problem {
    Malformed(String),
    Foreign(String),
    Mismatch(String),
}

impl Problem {
    fn at(self, path: &Path) -> CheckpointError {
        let path = path.to_owned();
        match self {
            Self::Malformed(problem) => CheckpointError::Malformed { path, problem },
            Self::Foreign(problem) => CheckpointError::Foreign { path, problem },
            Self::Mismatch(problem) => CheckpointError::Mismatch { path, problem },
        }
    }
}
