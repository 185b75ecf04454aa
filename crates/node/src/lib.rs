//! Configuration in, running roles out.
//!
//! Read it in this order:
//! - [`config`]: TOML and flags become plain structs; the rules that they must obey.
//! - [`plan`]: a configuration that was found right, with its files read.
//! - [`server`], [`agent`], [`store`]: the roles, each run from its plan until a token says stop.
//! - [`dev`]: all of them in one process, with a demo service.
//! - [`reload`]: reading certificates and tokens again.
//!
//! The binary and the simulator both start roles here. This crate handles no signals, prints nothing and does not know
//! where a configuration came from.

pub mod agent;
pub mod config;
pub mod dev;
pub mod limits;
mod listen;
pub mod plan;
pub mod reload;
pub mod server;
pub mod store;

pub use listen::ListenError;
