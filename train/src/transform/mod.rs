//! Augmentation: random transformations, composed into one matrix per image and applied in one pass on the device.

pub mod augmentation;
pub mod warp;
