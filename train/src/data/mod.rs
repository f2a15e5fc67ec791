//! Images and rows: the image folder, checks of its files, decoding, the rows of an epoch, and batches read ahead.

pub mod image_check;
pub mod image_file;
pub mod image_folder;
pub mod image_header;
pub mod known_images;
pub mod loader;
pub mod sampler;
