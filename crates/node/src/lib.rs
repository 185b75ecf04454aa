//! Configuration in, running roles out.
//!
//! The binary and the simulator both start roles here. This crate handles no signals, prints nothing and does not know
//! where a configuration came from.

pub mod config;
pub mod limits;
