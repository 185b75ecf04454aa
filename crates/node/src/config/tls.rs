//! The files that TLS needs.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// A server's certificate, and the authority whose certificates it accepts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// Certificate chain, PEM.
    pub certificate: PathBuf,
    /// Private key of the certificate, PEM.
    pub key: PathBuf,
    /// Authority that signs the certificates of agents and gateways, PEM.
    #[serde(default)]
    pub ca: Option<PathBuf>,
}

/// How a client verifies servers, and its own certificate if it has one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientTlsFiles {
    /// Authority that signed the servers' certificates, PEM.
    pub ca: PathBuf,
    /// Certificate chain, PEM.
    #[serde(default)]
    pub certificate: Option<PathBuf>,
    /// Private key of the certificate, PEM.
    #[serde(default)]
    pub key: Option<PathBuf>,
}

/// Makes `path` relative to `directory`, unless it is absolute.
pub(super) fn resolve(path: &mut PathBuf, directory: &Path) {
    *path = directory.join(&*path);
}

impl TlsFiles {
    pub(super) fn resolve_paths(&mut self, directory: &Path) {
        let paths = [Some(&mut self.certificate), Some(&mut self.key), self.ca.as_mut()];
        paths.into_iter().flatten().for_each(|path| resolve(path, directory));
    }
}

impl ClientTlsFiles {
    pub(super) fn resolve_paths(&mut self, directory: &Path) {
        let paths = [Some(&mut self.ca), self.certificate.as_mut(), self.key.as_mut()];
        paths.into_iter().flatten().for_each(|path| resolve(path, directory));
    }
}
