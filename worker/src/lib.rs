//! The parts of the worker: the model and its training on libtorch, the data, and the daemon that leases folds.

pub mod checkpoint;
pub mod device;
mod libtorch;
pub mod loss;
pub mod model;
pub mod optimizer;
pub mod precision;
pub mod schedule;
pub mod tensor_file;
pub mod weights;
