//! Fivefold's wire format: the code generated from the .proto files ([`v1`]), the conversions between messages and the
//! types of `fivefold-common` ([`convert`]), and the reasons that gRPC errors carry ([`status`]).
#![warn(missing_docs)]

pub mod convert;
pub mod status;
mod submit_request;

pub use prost_types::Timestamp;
pub use submit_request::SubmitJobSetRequest;

/// The generated messages, clients and servers of package `fivefold.v1`.
pub mod v1 {
    #![expect(missing_docs, clippy::all, clippy::allow_attributes, clippy::too_many_lines, reason = "generated code")]
    tonic::include_proto!("fivefold.v1");
}

/// The version of the protocol between coordinator and workers. It rises with every change that an older worker would
/// misunderstand.
pub const PROTOCOL: u32 = 4;

/// The encoded `FileDescriptorSet` of all .proto files, for server reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
