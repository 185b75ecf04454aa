//! Gateways on loopback with scripted agents and a registry in memory: what passes over real sockets.
//!
//! Nothing sleeps to wait for something: a test waits on a predicate, with a bound.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

mod agent;
mod drain;
mod hops;
mod sessions;
mod strangers;
mod streams;
mod tls;
mod zone;
