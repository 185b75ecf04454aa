//! How a store is set up. Everything here was checked at the edge.

use std::fmt;
use std::time::Duration;

use aws_lc_rs::{constant_time, digest};
use bowline_identity::tls::Acceptor;

use crate::limits::{CLIENTS_MAX_DEFAULT, SCRIPT_TIMEOUT_DEFAULT, SLOWLOG_LENGTH_DEFAULT};

/// The password of the user `default`. Only its digest is kept.
#[derive(Clone)]
pub struct Password([u8; 32]);

impl Password {
    /// Takes the digest of `text`.
    #[must_use]
    pub fn new(text: &[u8]) -> Self {
        Self(hash(text))
    }

    /// Compares in constant time.
    #[must_use]
    pub fn verify(&self, presented: &[u8]) -> bool {
        constant_time::verify_slices_are_equal(&self.0, &hash(presented)).is_ok()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(hidden)")
    }
}

fn hash(text: &[u8]) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest::digest(&digest::SHA256, text).as_ref());
    bytes
}

/// How a store is set up.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What clients must present; `None` lets everybody in, which is for loopback only.
    pub password: Option<Password>,
    /// Number of databases.
    pub databases: usize,
    /// Connections at once.
    pub clients_max: usize,
    /// Bytes of data above which commands that need memory are refused; 0 for no limit.
    pub memory_max_bytes: usize,
    /// A connection that asks for nothing for so long is closed.
    pub idle_timeout: Option<Duration>,
    /// Longest run of a script. A script that runs longer is stopped; what it wrote before stays.
    pub script_timeout: Duration,
    /// Commands that take at least so long are noted in the slow log.
    pub slowlog_threshold: Option<Duration>,
    /// Entries of the slow log.
    pub slowlog_length: usize,
    /// Whether SHUTDOWN ends the store.
    pub shutdown_allowed: bool,
    /// Plain or TLS.
    pub acceptor: Acceptor,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            password: None,
            databases: bowline_keyspace::limits::DATABASES_DEFAULT,
            clients_max: CLIENTS_MAX_DEFAULT,
            memory_max_bytes: 0,
            idle_timeout: None,
            script_timeout: SCRIPT_TIMEOUT_DEFAULT,
            slowlog_threshold: Some(Duration::from_millis(10)),
            slowlog_length: SLOWLOG_LENGTH_DEFAULT,
            shutdown_allowed: true,
            acceptor: Acceptor::Plain,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_compared_and_never_shown() {
        let password = Password::new(b"secret");
        assert!(password.verify(b"secret"));
        assert!(!password.verify(b"Secret") && !password.verify(b""));
        assert_eq!(format!("{password:?}"), "Password(hidden)");
    }
}
