//! Where streams come in: HTTP by host name, HTTP CONNECT, TCP listeners, and the client's side of `bowline forward`.
//!
//! An entry turns a connection of a client into streams to a service. Which agent serves it, and over which gateway,
//! is behind one door, [`Opener`]; this crate knows neither agents nor stores. Idea 5 of the design rules here:
//! every client may be slow, silent, rude or many, and costs a bounded amount each time.

mod accept;
mod destination;
pub mod forward;
pub mod http;
pub mod limits;
pub mod metrics;
mod opener;
pub mod tcp;
#[cfg(test)]
mod testing;

pub use destination::Destination;
pub use metrics::Metrics;
pub use opener::{OpenError, OpenRequest, Opener, Stream};
