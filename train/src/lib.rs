//! Trains and scores one cross-validation fold of an image classifier with libtorch.
//!
//! The data flows through the modules in this order: [`data`] reads and batches images, [`transform`] augments them,
//! [`models`] has the networks, [`engine`] trains and scores, [`checkpoint`] writes what training needs to resume.
//! [`torch`] is the binding to libtorch. [`Trainer`] and [`Predictor`] are the way in.
#![warn(missing_docs)]

pub mod checkpoint;
pub mod data;
pub mod engine;
pub mod models;
pub mod torch;
pub mod transform;

pub use data::image_folder::ImageFolder;
pub use engine::events::{Event, EventSink, SavedCheckpoint};
pub use engine::fold::{FoldData, Predictor, Scored, Start, TrainOutcome, Trainer};
pub use engine::stop::{Stop, StopFlag};
pub use engine::trainer::TrainError;
pub use torch::device::{Device, DeviceChoice};

/// The binding whose tensors stand in this crate's signatures.
pub use tch;
