//! The binding to libtorch: devices, autocast, named tensors and their files, and the functions that tch lacks.

pub mod autocast;
pub mod device;
pub(crate) mod extension;
pub mod tensor_file;
pub mod tensors;
