//! The rows of an epoch, and batches of their images read ahead.

pub mod loader;
pub mod sampler;
