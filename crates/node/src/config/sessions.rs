//! What the session service of a gateway can be told.

use std::net::SocketAddr;
use std::path::PathBuf;

use bowline_api::sessions::limits as sessions;
use serde::{Deserialize, Serialize};

use super::server::{SESSIONS_PORT, loopback};
use super::value::{HumanDuration, deserialize_listen};
use crate::limits::SESSIONS_MEMORY_BYTES;

/// The session service: user sessions for other services, which sign their requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SessionsConfig {
    /// Keys of those who may ask; without them there is no service.
    pub keys_file: Option<PathBuf>,
    /// Address to listen on.
    #[serde(deserialize_with = "deserialize_listen")]
    pub listen: SocketAddr,
    /// Whether this port speaks TLS; by default it does off loopback.
    pub tls: Option<bool>,
    /// Allows this port to be without TLS off loopback.
    pub insecure_plaintext: bool,
    /// Largest value of a session.
    pub value_bytes: usize,
    /// Idle time after which a session is over, unless a request says otherwise; see [`SessionsConfig::ttl`].
    pub ttl: Option<HumanDuration>,
    /// Longest life of a session.
    pub lifetime: HumanDuration,
    /// Connections at once.
    pub connections: usize,
    /// Memory of the embedded store for sessions.
    pub memory_bytes: usize,
}

impl Default for SessionsConfig {
    fn default() -> Self {
        Self {
            keys_file: None,
            listen: loopback(SESSIONS_PORT),
            tls: None,
            insecure_plaintext: false,
            value_bytes: sessions::VALUE_BYTES,
            ttl: None,
            lifetime: HumanDuration(sessions::LIFETIME),
            connections: sessions::CONNECTIONS,
            memory_bytes: SESSIONS_MEMORY_BYTES,
        }
    }
}

impl SessionsConfig {
    /// Idle time after which a session is over: by default 30 minutes, or its whole life if that is shorter.
    #[must_use]
    pub fn ttl(&self) -> HumanDuration {
        self.ttl.unwrap_or(HumanDuration(sessions::TTL).min(self.lifetime))
    }
}
