//! Base64 in its one spelling: the standard alphabet, padded, no spare bits, no line breaks.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Writes bytes as base64.
pub(super) fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Reads base64.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}
