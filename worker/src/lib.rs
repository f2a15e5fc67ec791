//! The parts of the worker: the model and its training on libtorch, the data, and the daemon that leases folds.

pub mod augmentation;
pub mod checkpoint;
pub mod checkpoint_upload;
pub mod coordinator_client;
pub mod daemon;
pub mod dataset;
pub mod device;
pub mod events;
pub mod image_file;
pub mod lease;
mod libtorch;
pub mod loader;
pub mod loss;
pub mod model;
pub mod optimizer;
pub mod precision;
mod progress_meter;
pub mod report_stream;
pub mod sampler;
pub mod schedule;
pub mod scoring;
pub mod stop;
pub mod tensor_file;
pub mod trainer;
pub mod transfer;
pub mod warp;
pub mod weights;
