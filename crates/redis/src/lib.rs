//! The driver: a client of any server that speaks RESP (the embedded store, Redis ≥ 5, Valkey), built so that an answer cannot
//! reach the wrong caller.
//!
//! From the inside out:
//! - [`epoch`]: the life of one connection as a state machine without I/O. It keeps INV-DRV-OWN, INV-DRV-CANCEL, INV-DRV-ONCE.
//! - `handshake`: how it introduces itself. `table`: what is known about commands.
//! - `intake`: where callers put requests in; keeps INV-DRV-BOUND. `link`: moves the bytes.
//! - `topology`, `url`, `credentials`: where to and as whom. `sentinel`: who the primary is.
//! - `connect`: how one comes about. `reconnect`: one connection after the other, for ever. `node`: one server.
//! - `keys`: which arguments of a command are keys. `cluster`: many servers that share the keys.
//! - [`Client`]: what callers hold. [`Dedicated`]: a connection that one caller has to itself.
//!
//! Every call ends in time, and its error says whether the command may have been executed ([`CallError`]). Commands that
//! would change the connection for everybody else (`SELECT`, `SUBSCRIBE`, `MULTI`, `BLPOP`, …) are refused on the shared one.
//!
//! This crate does not know what is stored.

pub mod limits;

mod batch;
mod cache;
mod client;
mod cluster;
mod command;
mod config;
mod connect;
mod credential_files;
mod credentials;
mod dedicated;
mod dial;
pub mod epoch;
mod error;
mod handshake;
mod intake;
mod keys;
mod link;
mod metrics;
mod node;
mod reconnect;
mod renewal;
mod request;
mod script;
mod sentinel;
mod table;
mod target;
mod topology;
mod url;

pub use bowline_resp::{Frame, Protocol};

pub use batch::{Answers, Batch, Transaction};
pub use cache::CacheSettings;
pub use client::Client;
pub use cluster::{ReadFrom, RouteError, SLOTS, Slot};
pub use command::Command;
pub use config::{Config, Settings};
pub use credential_files::CredentialFiles;
pub use credentials::{CredentialError, CredentialProvider, Credentials, Login, LoginFuture, Secret};
pub use dedicated::Dedicated;
pub use error::{CallError, Death, NotSent, ServerError, Unknown};
pub use handshake::{Predecessor, ServerInfo, Tracking};
pub use metrics::{CacheMetrics, Metrics};
pub use reconnect::Connection;
pub use script::Script;
pub use topology::{Address, Topology};
pub use url::ConfigError;
