//! TLS on top of TCP, or TCP alone where everything stays on one host: one type for both, so that nothing above asks.
//!
//! - [`Stream`] is a connection; [`Stream::peer`] says who is at the other end, if that was proven by a certificate.
//! - [`Acceptor`] and [`Connector`] make streams. Both bound the handshake in time, both can read their files again.
//! - TLS 1.3 is preferred and 1.2 allowed; sessions are resumed, so a new tunnel to a known gateway costs no signature.
//!
//! The agent port carries two protocols. Which one comes is told by the application protocol that the client offers
//! ([`ALPN_CONTROL`] or [`ALPN_TUNNEL`]) and, with TLS off, by the first bytes; a server that reads the first bytes in
//! both cases needs no ALPN and works with clients that offer none.
//!
//! Errors are [`std::io::Error`]s whose text says which peer, what is wrong and what to do about it.

mod acceptor;
mod connector;
mod explain;
mod pem;
mod provider;
mod stream;
#[cfg(test)]
mod tests;
mod validity;

pub use acceptor::{Acceptor, ClientAuthentication, ServerSettings, TlsAcceptor};
pub use connector::{ClientSettings, Connector, TlsConnector};
pub use explain::HandshakeError;
pub use pem::{Credential, Pem, TlsError};
pub use stream::{Encrypted, Stream};
pub use validity::Validity;

/// Application protocol of a control connection: gRPC.
pub const ALPN_CONTROL: &[u8] = b"h2";
/// Application protocol of a tunnel.
pub const ALPN_TUNNEL: &[u8] = b"bowline-tunnel/1";
/// Application protocol of a hop between gateways.
pub const ALPN_HOP: &[u8] = b"bowline-hop/1";
/// HTTP/2, for the HTTP entry.
pub const ALPN_HTTP2: &[u8] = b"h2";
/// HTTP/1.1, for the HTTP entry.
pub const ALPN_HTTP1: &[u8] = b"http/1.1";
