//! The keys that a server checks signatures with, and that can be read again while it runs.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use aws_lc_rs::hmac;
use aws_lc_rs::signature::ParsedPublicKey;

use super::key_file::{self, KeysError};
use super::verify::Policy;
use super::words::{KeyId, Namespace};

/// How a key signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// One secret on both sides.
    HmacSha256,
    /// A private key that signs, and a public one that verifies.
    Ed25519,
}

impl Algorithm {
    /// Its name in signatures and in files (RFC 9421, 6.2.2).
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HmacSha256 => "hmac-sha256",
            Self::Ed25519 => "ed25519",
        }
    }
}

impl FromStr for Algorithm {
    /// What an algorithm can be. The text is not repeated: it may be a secret in the wrong place.
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = [Self::HmacSha256, Self::Ed25519].into_iter().find(|known| known.as_str() == text);
        known.ok_or("an algorithm is \"hmac-sha256\" or \"ed25519\"")
    }
}

/// Who may sign requests. A clone shares what a reload changes.
#[derive(Debug, Clone)]
pub struct Keys {
    file: Option<Arc<PathBuf>>,
    policy: Policy,
    table: Arc<ArcSwap<Table>>,
}

/// By id. The hash map's order is never looked at.
pub(super) type Table = HashMap<Arc<str>, Arc<Key>>;

/// One key.
#[derive(Debug, Clone)]
pub(super) struct Key {
    pub id: KeyId,
    pub namespace: Namespace,
    pub material: Material,
    /// First instant at which the key is valid, as time since 1970.
    pub not_before: Option<Duration>,
    /// First instant at which it is not valid any more.
    pub not_after: Option<Duration>,
}

/// What verifies. It prints as its algorithm.
#[derive(Clone)]
pub(super) enum Material {
    /// Boxed because it is so much larger than the other.
    Hmac(Box<hmac::Key>),
    Ed25519(ParsedPublicKey),
}

impl Material {
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Self::Hmac(_) => Algorithm::HmacSha256,
            Self::Ed25519(_) => Algorithm::Ed25519,
        }
    }

    /// Whether `signature` is this key's of `text`. HMACs are compared in constant time.
    pub fn verifies(&self, text: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Hmac(key) => hmac::verify(key, text, signature).is_ok(),
            Self::Ed25519(key) => key.verify_sig(text, signature).is_ok(),
        }
    }
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.algorithm().as_str())
    }
}

impl Key {
    pub fn is_valid_at(&self, unix_now: Duration) -> bool {
        self.not_before.is_none_or(|start| start <= unix_now)
            && self.not_after.is_none_or(|end| unix_now < end)
    }
}

impl Keys {
    /// Reads keys from TOML; errors call it `origin`.
    ///
    /// # Errors
    /// [`KeysError::Entry`] with the line, or [`KeysError::TooMany`].
    pub fn from_toml(origin: &str, text: &str) -> Result<Self, KeysError> {
        Ok(Self::new(None, key_file::parse(origin, text)?))
    }

    /// Reads keys from a file, which [`Keys::reload`] reads again.
    ///
    /// # Errors
    /// All of [`KeysError`].
    pub fn from_file(file: &Path) -> Result<Self, KeysError> {
        Ok(Self::new(Some(Arc::new(file.to_owned())), key_file::parse_file(file)?))
    }

    fn new(file: Option<Arc<PathBuf>>, table: Table) -> Self {
        Self { file, policy: Policy::default(), table: Arc::new(ArcSwap::from_pointee(table)) }
    }

    /// The same keys, with other bounds on time.
    #[must_use]
    pub fn with_policy(self, policy: Policy) -> Self {
        Self { policy, ..self }
    }

    /// The bounds on time.
    #[must_use]
    pub fn policy(&self) -> Policy {
        self.policy
    }

    /// Reads the file again, if the keys came from one. On an error they stay as they were. A file without keys is an
    /// error unless there were none before: more likely than not it is just being written. So is a key that has another namespace
    /// than before: what was signed with it for the one would be good for the other.
    ///
    /// # Errors
    /// All of [`KeysError`].
    pub fn reload(&self) -> Result<(), KeysError> {
        let Some(file) = &self.file else { return Ok(()) };
        let table = key_file::parse_file(file)?;
        if table.is_empty() && !self.is_empty() {
            return Err(KeysError::Emptied { file: file.to_path_buf() });
        }
        let before = self.table.load();
        let is_moved = |key: &&Arc<Key>| {
            before.get(key.id.as_str()).is_some_and(|before| before.namespace != key.namespace)
        };
        if let Some(moved) = table.values().filter(is_moved).min_by_key(|key| key.id.as_str()) {
            return Err(KeysError::Moved { file: file.to_path_buf(), id: moved.id.clone() });
        }
        self.table.store(Arc::new(table));
        Ok(())
    }

    /// Whether nobody can sign.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.load().len()
    }

    /// The key with this id.
    pub(super) fn key(&self, id: &KeyId) -> Option<Arc<Key>> {
        self.table.load().get(id.as_str()).cloned()
    }
}
