//! Signed requests: HTTP Message Signatures (RFC 9421) with `Content-Digest` (RFC 9530), the part that Bowline needs.
//!
//! [`Keys`] are what a server checks requests against, [`SigningKey`] is what a client signs with; both sign the same
//! text, so that what this module signs any implementation of the RFC verifies, and the other way round.
//!
//! **What is asked of a signature**, beyond the RFC:
//! - Exactly one signature, with any label. Its `tag` may be absent or `bowline`.
//! - It covers `@method`, `@authority`, `@path`; `@query` if there is one; `content-digest` if there is a body, if the
//!   method is PUT, POST or PATCH, or if the header is there; and each of `content-type`, `content-encoding`, `if-match`,
//!   `if-none-match` and `bowline-*` that is there, none of which may come twice.
//! - It has `created`, `expires`, `nonce` and `keyid`; `alg`, if it is there, is that of the key; nothing else.
//! - It was not created in the future, but for a little [clock skew](Policy::clock_skew); it has not expired, by the
//!   server's clock and without any skew; and it is not valid for longer than [`Policy::window_max`].
//!
//! **What the caller has to do**: remember the nonce of each key until [`Verified::remember_until`] and refuse it the
//! second time, compare the body with [`Verified::check_body`] before it believes a byte of it, and look at
//! [`Verified::expires`] again if it waited for the body.
//!
//! Not here: signatures of responses, `@query-param` and the other derived components, parameters of components, keys
//! with RSA or ECDSA.

mod base;
mod components;
mod digest;
mod encoding;
mod key_file;
mod keys;
mod refusal;
mod sign;
mod structured;
mod verify;
mod words;

pub use components::{RequestParts, without_default_port};
pub use digest::ContentDigest;
pub use key_file::KeysError;
pub use keys::{Algorithm, Keys};
pub use refusal::Refusal;
pub use sign::{SignOptions, SigningKey};
pub use verify::{Policy, Verified};
pub use words::{KeyId, Namespace, WordError};

#[cfg(test)]
#[path = "property_tests.rs"]
mod property_tests;
#[cfg(test)]
#[path = "rfc_tests.rs"]
mod rfc_tests;
#[cfg(test)]
#[path = "verify_tests.rs"]
mod verify_tests;
