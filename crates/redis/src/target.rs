//! Which server a connection is made to.

use std::sync::Arc;

use crate::config::Config;
use crate::error::{ConnectError, Death};
use crate::sentinel::{DialSentinel, Sentinels};
use crate::topology::{Address, Topology};

/// Where the server is. It is asked before each connection.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    /// Always at the same address.
    Fixed(Address),
    /// Where the sentinels say.
    Sentinel(Arc<Sentinels>),
    /// In a cluster, of which this kind of client knows nothing.
    Cluster,
}

impl Target {
    /// What `config` names.
    ///
    /// # Panics
    /// Outside a runtime.
    pub fn of(config: &Config, dial: Arc<dyn DialSentinel>) -> Self {
        match config.topology() {
            Topology::Single(address) => Self::Fixed(address.clone()),
            Topology::Sentinel { sentinels, service } => {
                let credentials = config.sentinel_credentials.clone();
                Self::Sentinel(Arc::new(Sentinels::start(service.clone(), sentinels, credentials, dial)))
            }
            Topology::Cluster { .. } => Self::Cluster,
        }
    }

    /// The address to connect to now.
    ///
    /// # Errors
    /// Nobody knows.
    pub async fn address(&self) -> Result<Address, ConnectError> {
        match self {
            Self::Fixed(address) => Ok(address.clone()),
            Self::Sentinel(sentinels) => Ok(Address::Host(sentinels.primary().await?)),
            Self::Cluster => Err(ConnectError::Cluster),
        }
    }

    /// Ends when the server at `address` is not the one to be connected to any more, with the reason for which a connection
    /// to it dies. Cancel safe.
    pub async fn left(&self, address: &Address) -> Death {
        match (self, address) {
            (Self::Sentinel(sentinels), Address::Host(host)) => sentinels.left(host).await,
            _ => std::future::pending().await,
        }
    }

    /// For messages.
    pub fn name(&self) -> String {
        match self {
            Self::Fixed(address) => address.to_string(),
            Self::Sentinel(sentinels) => sentinels.service().to_owned(),
            Self::Cluster => "a cluster".to_owned(),
        }
    }

    /// No connection could be made to `address`.
    pub fn failed(&self, address: &Address) {
        if let (Self::Sentinel(sentinels), Address::Host(host)) = (self, address) {
            sentinels.failed(host);
        }
    }
}
