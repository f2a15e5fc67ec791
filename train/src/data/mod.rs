//! The rows of an epoch, and batches of their images read ahead.

pub mod first_need;
pub mod image_source;
pub mod loader;
pub mod sampler;
