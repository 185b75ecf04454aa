//! Keys and owners of sessions: text of users, made fit for keys of the store.
//!
//! A key is any text without control characters, and a path may spell it in several ways. In the store it has exactly one
//! form: what is not a letter, a digit or one of `-._~` is escaped. So it can neither leave its hash tag nor its namespace,
//! and different keys never meet.

use std::fmt;

use bowline_identity::signature::Namespace;

use super::limits::{KEY_BYTES_MAX, OWNER_BYTES_MAX};

/// The key of a session, escaped. Its `Debug` hides it, because whoever knows the key may have the session.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SessionKey(String);

/// Who a session belongs to, escaped. Hidden like the key.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Owner(String);

/// Why a text is no key or no owner. It is not repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum TextError {
    #[error("it is not well escaped: after % come two hexadecimal digits")]
    Escape,
    #[error("it has to have 1 to {0} bytes, without escapes")]
    Length(usize),
    #[error("it has to be UTF-8 without control characters")]
    Characters,
    #[error("clients take . and .. out of a path")]
    Dots,
}

impl SessionKey {
    /// Reads the last segment of a path.
    pub fn from_path(segment: &str) -> Result<Self, TextError> {
        Self::new(&text(segment)?)
    }

    /// Takes a key as it is.
    pub fn new(text: &str) -> Result<Self, TextError> {
        if text == "." || text == ".." {
            return Err(TextError::Dots);
        }
        checked(text, KEY_BYTES_MAX).map(Self)
    }

    /// Takes the name of an entry of an owner, which is the escaped key.
    pub fn from_entry(entry: &str) -> Option<Self> {
        let key = Self::from_path(entry).ok()?;
        (key.0 == entry).then_some(key)
    }

    /// The escaped form, which is also that of a path.
    pub fn escaped(&self) -> &str {
        &self.0
    }

    /// The key itself.
    pub fn plain(&self) -> String {
        plain(&self.0)
    }

    /// What stands in the braces of its key in the store.
    pub fn tag(&self, namespace: &Namespace) -> String {
        format!("session:{namespace}/{}", self.0)
    }
}

impl Owner {
    /// Takes an owner as it is; `None` for the empty text.
    pub fn new(text: &str) -> Result<Option<Self>, TextError> {
        if text.is_empty() {
            return Ok(None);
        }
        checked(text, OWNER_BYTES_MAX).map(Self).map(Some)
    }

    /// Takes what the store holds: the escaped form, empty for none.
    pub fn from_store(escaped: &str) -> Result<Option<Self>, TextError> {
        let owner = Self::new(&text(escaped)?)?;
        if owner.as_ref().is_some_and(|owner| owner.0 != escaped) {
            return Err(TextError::Escape);
        }
        Ok(owner)
    }

    /// The escaped form, which fits a header.
    pub fn escaped(&self) -> &str {
        &self.0
    }

    /// The owner itself.
    pub fn plain(&self) -> String {
        plain(&self.0)
    }

    /// What stands in the braces of the key of its sessions.
    pub fn tag(&self, namespace: &Namespace) -> String {
        format!("session-owner:{namespace}/{}", self.0)
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionKey(hidden)")
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Owner(hidden)")
    }
}

/// The key in the store with this tag.
pub(super) fn store_key(tag: &str) -> String {
    format!("bowline:{{{tag}}}")
}

fn checked(text: &str, bytes_max: usize) -> Result<String, TextError> {
    if text.is_empty() || text.len() > bytes_max {
        return Err(TextError::Length(bytes_max));
    }
    if text.chars().any(char::is_control) {
        return Err(TextError::Characters);
    }
    Ok(escape(text))
}

/// Escapes all but letters, digits and `-._~` (the unreserved characters of RFC 3986).
fn escape(text: &str) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push('%');
            escaped.push(char::from(DIGITS[usize::from(byte >> 4)]));
            escaped.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
    escaped
}

/// Takes the escapes out of a text; a plus is a plus.
pub(super) fn text(escaped: &str) -> Result<String, TextError> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut bytes = Vec::with_capacity(escaped.len());
    let mut rest = escaped.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (high, low) =
            rest.next().and_then(digit).zip(rest.next().and_then(digit)).ok_or(TextError::Escape)?;
        bytes.push(high << 4 | low);
    }
    String::from_utf8(bytes).map_err(|_| TextError::Characters)
}

fn plain(escaped: &str) -> String {
    text(escaped).expect("what was escaped here reads back")
}

#[cfg(test)]
#[path = "key_tests.rs"]
mod tests;
