//! The bounds of this crate.

use std::time::Duration;

/// Longest TLS handshake, from the first byte to the last.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Largest PEM or token file that is read, in bytes.
pub const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Most certificates in one file. A system's list of public authorities has about 150.
pub const CERTIFICATES_PER_FILE_MAX: usize = 1024;

/// Sessions of other processes that a server can resume without a ticket, and that a client keeps for resuming.
pub const SESSIONS_MAX: usize = 4096;

/// Plain text that one TLS connection buffers before a write has to wait, in bytes.
pub const TLS_BUFFER_BYTES_MAX: usize = 256 * 1024;

/// Most tokens in one table.
pub const TOKENS_MAX: usize = 100_000;

/// Longest token that is looked at, in bytes. Ours have 68.
pub const TOKEN_TEXT_BYTES_MAX: usize = 256;

/// Longest name of a client of a token table, in bytes.
pub const CLIENT_NAME_BYTES_MAX: usize = 64;

/// Days that a new authority is valid.
pub const AUTHORITY_DAYS_DEFAULT: u32 = 3_650;

/// Longest validity that can be asked for, in days.
pub const VALIDITY_DAYS_MAX: u32 = 36_500;

/// A new certificate is valid from this long ago, for machines whose clocks are a little behind.
pub const CLOCK_SKEW: Duration = Duration::from_secs(300);

/// A certificate that ends sooner than this is warned about when it is loaded.
pub const EXPIRY_WARNING: Duration = Duration::from_secs(14 * 24 * 3600);

/// Longest time from `created` to `expires` of a signature.
pub const SIGNATURE_WINDOW_MAX: Duration = Duration::from_secs(300);

/// A signature may have been created this far in the future, for signers whose clocks are a little ahead.
pub const SIGNATURE_CLOCK_SKEW: Duration = Duration::from_secs(30);

/// Longest `Signature`, `Signature-Input` or `Content-Digest` that is looked at, in bytes. Ours have about 300.
pub const SIGNATURE_HEADER_BYTES_MAX: usize = 4096;

/// Most members of such a header, and most parameters of one of them.
pub const SIGNATURE_MEMBERS_MAX: usize = 16;

/// Most components that one signature covers.
pub const SIGNATURE_COMPONENTS_MAX: usize = 64;

/// Longest text that is signed, in bytes; the values of all covered headers are in it.
pub const SIGNATURE_BASE_BYTES_MAX: usize = 128 * 1024;

/// Fewest characters of a nonce: 16 of base64 are 96 bits.
pub const NONCE_CHARACTERS_MIN: usize = 16;

/// Most characters of a nonce. It is remembered until its signature expires.
pub const NONCE_CHARACTERS_MAX: usize = 64;

/// Most missing components that a refusal names.
pub const MISSING_COMPONENTS_SHOWN_MAX: usize = 8;

/// Most keys in one file of signing keys.
pub const SIGNING_KEYS_MAX: usize = 10_000;

/// Longest id of a signing key, in bytes.
pub const KEY_ID_BYTES_MAX: usize = 64;

/// Longest namespace, in bytes.
pub const NAMESPACE_BYTES_MAX: usize = 64;

/// Shortest secret of HMAC-SHA256, in bytes: as many as its result has.
pub const HMAC_SECRET_BYTES_MIN: usize = 32;

/// Longest secret of HMAC-SHA256, in bytes. More than 64 add nothing.
pub const HMAC_SECRET_BYTES_MAX: usize = 1024;
