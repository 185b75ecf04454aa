//! The messages between agents and gateways, and how they are framed on tunnels and hops.
//!
//! The only crate that knows prost. It knows no sockets: [`frame`] reads and writes any byte stream.

pub mod convert;
pub mod frame;
pub mod limits;

/// Generated from `proto/bowline/v1/tunnel.proto`, which documents the messages.
#[expect(
    missing_docs,
    unused_qualifications,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    reason = "generated; the .proto file documents it"
)]
pub mod v1 {
    tonic::include_proto!("bowline.v1");
}
