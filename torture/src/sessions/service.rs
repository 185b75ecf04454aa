//! Two gateways with the session service over one store.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result};
use bowline_identity::signature::{Algorithm, SigningKey};

use super::ledger::NAMESPACES;
use crate::ports::free_address;
use crate::zone::Gateway;

/// Gateways.
pub const GATEWAYS: usize = 2;

/// See the module.
#[derive(Debug)]
pub struct Service {
    /// Where each gateway serves sessions.
    pub addresses: [SocketAddr; GATEWAYS],
    /// The key of each namespace.
    pub keys: [SigningKey; NAMESPACES.len()],
    gateways: Vec<Gateway>,
}

impl Service {
    /// Starts gateways over the store with this URL; their files are in `folder`.
    ///
    /// # Errors
    /// They cannot be started.
    ///
    /// # Panics
    /// They do not become ready.
    pub async fn start(folder: &Path, store_url: &str) -> Result<Self> {
        let key = |id: &str, algorithm| Ok::<_, anyhow::Error>(SigningKey::generate(id.parse()?, algorithm));
        let keys = [key("orders-1", Algorithm::HmacSha256)?, key("billing-1", Algorithm::Ed25519)?];
        let mut table = String::new();
        for (key, namespace) in keys.iter().zip(NAMESPACES) {
            table.push_str(&key.table_entry(&namespace.parse()?));
        }
        fs::write(folder.join("keys.toml"), table).context("cannot write the keys")?;
        let addresses = [(); GATEWAYS].map(|()| free_address());
        let mut gateways = Vec::new();
        for (number, address) in addresses.iter().enumerate() {
            let sessions = format!("[sessions]\nkeys_file = \"keys.toml\"\nlisten = \"{address}\"\n");
            gateways
                .push(Gateway::start_over(folder, &format!("g{}", number + 1), store_url, &sessions).await?);
        }
        Ok(Self { addresses, keys, gateways })
    }

    /// The log of all gateways.
    #[must_use]
    pub fn log(&self) -> String {
        self.gateways.iter().map(|gateway| gateway.process.log()).collect()
    }
}
