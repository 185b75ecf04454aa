//! A whole agent against scripted gateways over loopback sockets.

mod attaching;
mod fake;
mod streams;
