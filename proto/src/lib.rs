//! Fivefold's wire format: the generated gRPC code (`v1`), and the one place where wire types become domain types
//! (`convert`) and domain errors become gRPC statuses (`status`).

pub mod client;
pub mod convert;
pub mod status;

pub use prost_types::Timestamp;

/// The generated messages, clients and servers of package `fivefold.v1`.
pub mod v1 {
    #![expect(missing_docs, clippy::all, clippy::allow_attributes, reason = "generated code")]
    tonic::include_proto!("fivefold.v1");
}

/// What coordinator and workers speak. It grows with every change that an older worker would misunderstand.
pub const PROTOCOL: u32 = 1;

/// The encoded `FileDescriptorSet` of every `.proto` file, for server reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
