//! The parts of the worker: the model and its training on libtorch, the data, and the daemon that leases folds.

pub mod augmentation;
pub mod checkpoint;
pub mod dataset;
pub mod device;
pub mod events;
pub mod image_file;
mod libtorch;
pub mod loader;
pub mod loss;
pub mod model;
pub mod optimizer;
pub mod precision;
mod progress_meter;
pub mod sampler;
pub mod schedule;
pub mod scoring;
pub mod stop;
pub mod tensor_file;
pub mod trainer;
pub mod warp;
pub mod weights;
