//! Names of keys and of namespaces: words that are safe in a header, in a log and in a key of the store.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::limits::{KEY_ID_BYTES_MAX, NAMESPACE_BYTES_MAX};

/// The id of a signing key, the parameter `keyid` of its signatures: letters, digits, `-`, `_` and `.`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(Arc<str>);

/// What a key may touch: letters, digits, `-`, `_` and `.`. It has no braces, colons or slashes, so that it cannot
/// reach beyond its place in a key of the store.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Namespace(Arc<str>);

/// A text is no id or no namespace. It is not repeated: it may be a secret in the wrong place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} is 1 to {bytes_max} letters, digits, '-', '_' or '.'")]
pub struct WordError {
    what: &'static str,
    bytes_max: usize,
}

impl KeyId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn shared(&self) -> Arc<str> {
        self.0.clone()
    }
}

impl Namespace {
    /// The namespace as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for KeyId {
    type Err = WordError;
    fn from_str(text: &str) -> Result<Self, WordError> {
        word("the id of a key", text, KEY_ID_BYTES_MAX).map(Self)
    }
}

impl FromStr for Namespace {
    type Err = WordError;
    fn from_str(text: &str) -> Result<Self, WordError> {
        word("a namespace", text, NAMESPACE_BYTES_MAX).map(Self)
    }
}

fn word(what: &'static str, text: &str, bytes_max: usize) -> Result<Arc<str>, WordError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let fits = (1..=bytes_max).contains(&text.len()) && text.bytes().all(plain);
    fits.then(|| text.into()).ok_or(WordError { what, bytes_max })
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_safe_in_a_key_of_the_store() {
        for good in ["orders", "Orders-2026_11.b", &"a".repeat(64)] {
            assert_eq!(good.parse::<Namespace>().unwrap().as_str(), good);
            assert_eq!(good.parse::<KeyId>().unwrap().to_string(), good);
        }
        for bad in ["", "a b", "{a}", "a:b", "a/b", "a\n", "é", "*", &"a".repeat(65)] {
            assert!(bad.parse::<Namespace>().is_err(), "{bad:?}");
            assert!(bad.parse::<KeyId>().is_err(), "{bad:?}");
        }
        let error = "no secret".parse::<Namespace>().unwrap_err().to_string();
        assert_eq!(error, "a namespace is 1 to 64 letters, digits, '-', '_' or '.'");
    }
}
