//! Augmentation: random transformations, composed into one matrix per image and applied in one pass on the
//! device; then changes of pixels.

pub mod augmentation;
pub mod steps;
pub mod warp;
