//! What a store (`bowline store`) can be told.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::RoleConfig;
use super::server::{LogConfig, loopback};
use super::tls::{TlsFiles, resolve};
use super::value::deserialize_listen;

/// Port of the store, unless another is configured.
pub const STORE_PORT: u16 = 7120;

/// Configuration of a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreConfig {
    /// Address to listen on.
    #[serde(deserialize_with = "deserialize_listen")]
    pub listen: SocketAddr,
    /// A file with the password that clients must give.
    pub password_file: Option<PathBuf>,
    /// Allows the port to be without TLS off loopback.
    pub insecure_plaintext: bool,
    /// Most connections of clients at once.
    pub clients: usize,
    /// Number of databases.
    pub databases: usize,
    /// Bytes of data above which commands that need memory are refused; 0 for no limit.
    pub memory_bytes: usize,
    /// The store's certificate; with `ca`, clients must have a certificate too.
    pub tls: Option<TlsFiles>,
    /// Logging.
    pub log: LogConfig,
}

impl Default for StoreConfig {
    fn default() -> Self {
        let defaults = bowline_store::Settings::default();
        Self {
            listen: loopback(STORE_PORT),
            password_file: None,
            insecure_plaintext: false,
            clients: defaults.clients_max,
            databases: defaults.databases,
            memory_bytes: defaults.memory_max_bytes,
            tls: None,
            log: LogConfig::default(),
        }
    }
}

impl RoleConfig for StoreConfig {
    const DEFAULT_TEXT: &'static str = include_str!("default/store.toml");

    fn resolve_paths(&mut self, directory: &Path) {
        if let Some(path) = &mut self.password_file {
            resolve(path, directory);
        }
        if let Some(tls) = &mut self.tls {
            tls.resolve_paths(directory);
        }
    }
    fn log(&self) -> &LogConfig {
        &self.log
    }
}
