//! The binding to libtorch: devices, named tensors and their files, and the calls that tch lacks.

pub mod device;
pub(crate) mod extension;
pub mod tensor_file;
pub mod tensors;
