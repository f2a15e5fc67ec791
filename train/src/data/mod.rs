//! Images: where they are, how they are decoded, which rows an epoch takes, and batches read ahead.

pub mod image_file;
pub mod image_folder;
pub mod loader;
pub mod sampler;
