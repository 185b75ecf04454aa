//! The driver's test gate, as far as it needs no real server: what broke other drivers, faults at every byte, hostile servers.
//! The gate against a real redis-server is in `torture/tests/driver*.rs`.
//!
//! Everything goes through the public interface, so that the inside can be rebuilt under it.
//!
//! - [`pair`]: a core, a server in the test, and a checker between them. [`peer`]: a scripted server at a real socket.
//! - [`every_byte`]: each fault at each byte of a conversation, in both directions.
//! - [`history`]: one test for each known fault of a driver, by its reference.
//! - [`batches`]: pipelines, transactions and dedicated connections. [`pushes`]: pushes at every place.
//! - [`hostile`]: servers that send what no server may.
#![expect(clippy::unwrap_used, reason = "a test; the lint sees tests only where they are marked as such")]

mod batches;
mod every_byte;
mod history;
mod history_clients;
mod hostile;
mod pair;
mod peer;
mod pushes;
