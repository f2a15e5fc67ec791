//! Writes the model of a trained fold as an ONNX file, for programs without PyTorch.
//!
//! The operations follow from the layers in [`fivefold_common::network`]; no network has code of its own.
//!
//! ```text
//! images  float32 [batch, channels, height, width]   such as red, green and blue, from 0 to 1
//! logits  float32 [batch, classes]
//! scores  float32 [batch, classes]            the sigmoid of the logits; their softmax if the task is multiclass
//! ```
//!
//! A normalisation of the pixels is part of the model. Batch, height and width are free.

mod graph;
mod metadata;
pub mod proto;
mod trained_model;

use std::path::{Path, PathBuf};

use fivefold_common::durable_file::{self, WriteError};
use prost::Message as _;

pub use graph::{IMAGES, LOGITS, SCORES};
pub use metadata::About;
pub use trained_model::{CheckpointError, TrainedModel};

use crate::proto::{ModelProto, OperatorSetIdProto};

/// The version of the file format. It goes with [`OPERATOR_SET`].
const IR_VERSION: i64 = 8;
/// The version of ONNX's operators.
const OPERATOR_SET: i64 = 17;
/// The longest message that protobuf allows, in bytes.
const MAX_MESSAGE_BYTES: usize = i32::MAX as usize;

/// A model that cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The names of the classes are not those of the model.
    #[error("the model has {outputs} outputs, and {names} classes are named")]
    ClassCount {
        /// Outputs of the model.
        outputs: u32,
        /// Names of classes.
        names: usize,
    },
    /// The file would be larger than protobuf allows.
    #[error("{}: the model takes {bytes} bytes, and an ONNX file can have at most {MAX_MESSAGE_BYTES}", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The size of the model.
        bytes: usize,
    },
    /// The file cannot be written; nothing incomplete is left.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// The contents of an ONNX file with `model`.
///
/// # Errors
/// If `about` names more or fewer classes than the model has outputs.
pub fn onnx_model(model: &TrainedModel, about: &About) -> Result<ModelProto, ExportError> {
    if about.classes.len() != model.classes as usize {
        return Err(ExportError::ClassCount { outputs: model.classes, names: about.classes.len() });
    }
    Ok(ModelProto {
        ir_version: IR_VERSION,
        producer_name: "fivefold".to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        doc_string: format!("fold {} of {}", model.fold, about.job_set),
        graph: Some(graph::graph_of(model)),
        opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: OPERATOR_SET }],
        metadata_props: metadata::properties(model, about),
    })
}

/// Writes `model` to the ONNX file `path`, replacing the old one, if any.
///
/// # Errors
/// As for [`onnx_model`]; if the model is too large for an ONNX file, or the file cannot be written. Then the old one stays.
pub fn write(model: &TrainedModel, about: &About, path: &Path) -> Result<(), ExportError> {
    let message = onnx_model(model, about)?;
    let bytes = message.encoded_len();
    if bytes > MAX_MESSAGE_BYTES {
        return Err(ExportError::TooLarge { path: path.to_owned(), bytes });
    }
    let encoded = message.encode_to_vec();
    durable_file::write(path, |output| output.write_all(&encoded))?;
    Ok(())
}
