//! The networks, and first weights from a file.

pub mod resnet50;
pub mod weights;
