//! The driver: a client of any server that speaks RESP (the embedded store, Redis ≥ 5, Valkey), built so that an answer cannot
//! reach the wrong caller.
//!
//! From the inside out:
//! - [`epoch`]: the life of one connection as a state machine without I/O. It keeps INV-DRV-OWN, INV-DRV-CANCEL, INV-DRV-ONCE.
//! - `handshake`: how it introduces itself. `table`: what is known about commands.
//! - `intake`: where callers put requests in; keeps INV-DRV-BOUND. `link`: moves the bytes.
//! - `reconnect`: one connection after the other, for ever.
//! - [`Client`]: what callers hold.
//!
//! Every call ends in time, and its error says whether the command may have been executed ([`CallError`]). Commands that
//! would change the connection for everybody else (`SELECT`, `SUBSCRIBE`, `MULTI`, `BLPOP`, …) are refused.
//!
//! This crate does not know what is stored.

pub mod limits;

mod client;
mod command;
mod config;
pub mod epoch;
mod error;
mod handshake;
mod intake;
mod link;
mod metrics;
mod reconnect;
mod script;
mod table;

pub use bowline_resp::{Frame, Protocol};

pub use client::Client;
pub use command::Command;
pub use config::{Config, ConfigError, Settings};
pub use error::{CallError, Death, NotSent, ServerError, Unknown};
pub use handshake::ServerInfo;
pub use metrics::Metrics;
pub use reconnect::Connection;
pub use script::Script;
