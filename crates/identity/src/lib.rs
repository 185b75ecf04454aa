//! Who is who: TLS, the certificate authority, bearer tokens, and signed requests.
//!
//! A certificate names its holder in one URI, `bowline://agent/<id>` or `bowline://gateway/<id>`; a token is bound to
//! one agent or one named client. Everything above this crate sees an [`Identity`] or none; it never sees a
//! certificate, and a secret only by an explicit `reveal`. A [signature] names a key and the namespace that it may touch.
//!
//! Not here: what an identity may do. That a hop comes from a gateway and not from an agent is for the caller to check.

pub mod ca;
mod certificate;
mod identity;
pub mod limits;
pub mod signature;
pub mod tls;
pub mod token;

pub use identity::Identity;
