//! Random transformations of images: drawn as one matrix per image, applied in one pass on the device.

pub mod augmentation;
pub mod warp;
