//! Bounds of this crate.

use std::time::Duration;

/// Longest wait for a connection to a gateway, TLS included.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest wait for an answer from the admin port.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// Largest answer that is read, in bytes: a status of tens of thousands of agents.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How much is shown of an answer that was not expected, in characters.
pub const SHOWN_CHARACTERS_MAX: usize = 500;

/// Pause between two looks of `status --watch`.
pub const WATCH_PERIOD: Duration = Duration::from_secs(2);

/// A role that may open fewer files warns at the start: every connection takes one, every relayed stream two.
pub const OPEN_FILES_MIN: u64 = 8_192;

/// How long `forward --stdio` waits for more input when the service has ended.
pub const INPUT_SILENCE_MAX: Duration = Duration::from_millis(500);

/// Largest body that `sign` reads, in bytes.
pub const SIGNED_BODY_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Longest body that `sign` writes into a configuration of curl, in bytes; curl before 8.0 reads lines of 100 KiB. A
/// longer one has to be in a file.
pub const INLINE_BODY_BYTES_MAX: usize = 48 * 1024;
