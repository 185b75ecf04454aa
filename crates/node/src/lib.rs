//! Configuration in, running roles out.
//!
//! Read it in this order:
//! - [`config`]: TOML and flags become plain structs; the rules that they must obey.
//! - [`plan`]: a configuration that was found right, with its files read.
//! - [`server`], [`agent`], [`store`]: the roles, each run from its plan until a token says stop.
//! - [`dev`]: all of them in one process, with a demo service.
//! - [`reload`]: reading certificates and tokens again.
//!
//! - [`forward`], [`status`]: what a client of a gateway needs, handed through so that the binary knows this crate alone.
//!
//! The binary and the simulator both start roles here. This crate handles no signals, prints nothing and does not know
//! where a configuration came from.

pub mod agent;
pub mod config;
pub mod dev;
mod expiry;
pub mod limits;
mod listen;
pub mod plan;
pub mod reload;
pub mod server;
pub mod store;

/// Version of the program.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The client's side of a gateway's http entry.
pub use bowline_entry::forward;
pub use listen::ListenError;

/// The status of a zone, as the admin port answers it.
pub use bowline_api::status;
