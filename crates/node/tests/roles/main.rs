//! Roles within this process, over real sockets on loopback.

mod common;
mod dev;
mod secure;
mod store;
mod zone;
