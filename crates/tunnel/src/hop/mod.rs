//! From gateway to gateway: one connection per stream.
//!
//! The asker sends a request, the holder reserves a tunnel and says so, and only the asker's commit makes the holder
//! open the stream. An asker that has found another winner closes before its commit, and the tunnel goes back into its
//! pool unused. A holder answers from its own agents only: a hop never leads to another hop, so there are no loops.
//!
//! Under TLS both ends have to be gateways by their certificates.

pub(crate) mod client;
pub(crate) mod server;
