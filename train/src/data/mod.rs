//! Images and rows: the image folder, decoding, the rows of an epoch, and batches read ahead.

pub mod image_file;
pub mod image_folder;
pub mod loader;
pub mod sampler;
