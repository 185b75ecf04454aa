//! Which server a connection is made to.

use std::sync::Arc;

use crate::credentials::Credentials;
use crate::error::{ConnectError, Death};
use crate::sentinel::{DialSentinel, Sentinels};
use crate::topology::Address;

/// Where the server is. It is asked before each connection.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    /// Always at the same address.
    Fixed(Address),
    /// Where the sentinels say.
    Sentinel(Arc<Sentinels>),
}

impl Target {
    /// The primary of `service`, which these sentinels watch.
    ///
    /// # Panics
    /// Outside a runtime.
    pub fn watched(
        service: String,
        sentinels: &[String],
        credentials: Credentials,
        dial: Arc<dyn DialSentinel>,
    ) -> Self {
        Self::Sentinel(Arc::new(Sentinels::start(service, sentinels, credentials, dial, None)))
    }

    /// The address to connect to now.
    ///
    /// # Errors
    /// Nobody knows.
    pub async fn address(&self) -> Result<Address, ConnectError> {
        match self {
            Self::Fixed(address) => Ok(address.clone()),
            Self::Sentinel(sentinels) => Ok(Address::Host(sentinels.primary().await?)),
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
        }
    }

    /// No connection could be made to `address`.
    pub fn failed(&self, address: &Address) {
        if let (Self::Sentinel(sentinels), Address::Host(host)) = (self, address) {
            sentinels.failed(host);
        }
    }
}
