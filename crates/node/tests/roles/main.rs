//! Roles within this process, over real sockets on loopback.

mod common;
mod dev;
mod secure;
mod sessions;
mod store;
mod zone;
