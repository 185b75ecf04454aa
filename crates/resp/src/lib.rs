//! RESP2 and RESP3, the wire format of Redis: bytes in, values out, and back.
//!
//! The format is that of <https://redis.io/docs/latest/develop/reference/protocol-spec/>. Both decoders are resumable:
//! they take what is complete out of a buffer and keep their place on an explicit stack, so that a reply of a million
//! elements that arrives in a thousand reads is parsed once, and no input makes them recurse.
//!
//! Invariants:
//! - How the bytes were cut into reads never shows in the values (tested at every byte).
//! - Nothing is allocated by an announced length: memory grows with the bytes that came, and every length, depth and count
//!   has a limit ([`limits`]).
//! - After an error a decoder repeats that error for ever. There is no resynchronising: the only cure of a broken stream
//!   is a new connection with a new decoder.
//!
//! This crate knows neither sockets nor commands.

pub mod limits;

mod decode;
mod double;
mod encode;
mod error;
mod frame;
mod inline;
mod line;
mod request;

pub use decode::Decoder;
pub use double::write_double;
pub use encode::{encode, encode_array_header, encode_bulk, encode_command};
pub use error::ProtocolError;
pub use frame::{Frame, Protocol};
pub use limits::{DecodeLimits, RequestLimits};
pub use request::RequestDecoder;
