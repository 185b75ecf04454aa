//! The embedded store: a server that speaks the Redis protocol.
//!
//! To everything above it this store and an external Redis or Valkey are the same. It serves RESP2 and RESP3: strings,
//! hashes, expiry, transactions and Lua scripts, with the behaviour of Redis 7.0; a command that it does not have is
//! refused by name. The data is that of [`bowline_keyspace`]; this crate adds connections, scripts and what operators
//! ask for. It knows nothing of gateways.
//!
//! One thread does everything: each connection is a task on it, and a request runs to its end before the next. So
//! commands, transactions and scripts are atomic by construction, and nothing needs a lock.
//!
//! Invariants: every buffer, queue and wait has its bound in [`limits`]; no input makes the server panic; secrets
//! reach neither logs nor replies.
//!
//! Read in this order: `listen` (accepting), `connection` (bytes), `dispatch` (the checks before a command),
//! `commands` (the server's own), `script` (Lua).

mod client;
mod commands;
mod connection;
mod dispatch;
pub mod error;
pub mod limits;
mod listen;
mod output;
mod script;
mod server;
pub mod settings;
mod start;
mod statistics;

pub use error::StoreError;
pub use listen::serve;
pub use settings::{Password, Settings};
pub use start::Store;
