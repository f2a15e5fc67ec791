//! Trains and scores one cross-validation fold of an image classifier with libtorch, on a CPU or a CUDA device.
//!
//! The data flows through the modules in this order: [`data`] chooses and batches images, [`transform`] augments them,
//! [`models`] has the networks, [`engine`] trains and scores, [`checkpoint`] holds what training needs to resume. [`torch`] is
//! the binding to libtorch.
//!
//! A [`Trainer`] trains a fold and scores its validation rows; a [`Predictor`] scores other images with the checkpoint of a
//! trained fold. Both report to an [`EventSink`] and stop when a [`StopFlag`] is set. A training that was stopped, or
//! killed, resumes from its last checkpoint and ends with the same bits on the CPU.
//!
//! `examples/local.rs` is a complete program:
//!
//! ```no_run
#![doc = include_str!("../examples/local.rs")]
//! ```
#![warn(missing_docs)]

pub mod checkpoint;
pub mod data;
pub mod engine;
pub mod models;
pub mod torch;
pub mod transform;

pub use fivefold_images::ImageFolder;

/// The binding to libtorch. Tensors in this crate's signatures are of this version.
pub use tch;

#[doc(inline)]
pub use crate::{
    checkpoint::CheckpointError,
    data::first_need::rows_by_first_need,
    data::image_source::ImageSource,
    engine::error::TrainError,
    engine::events::{Event, EventSink, SavedCheckpoint},
    engine::predictor::Predictor,
    engine::scoring::Scored,
    engine::state::check_checkpoint,
    engine::stop::{Stop, StopFlag},
    engine::trainer::{FoldData, Start, TrainOutcome, Trainer},
    torch::device::{Device, DeviceChoice},
};
