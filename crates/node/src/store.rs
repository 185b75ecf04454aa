//! The store as a role of its own, and embedded in a gateway. Either way it has a thread to itself.

use std::net::{Ipv4Addr, SocketAddr};

use bowline_redis::Connection;
use bowline_rt::time::timeout;
use bowline_store::{Password, Settings, StoreError};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::expiry;
use crate::limits::{STORE_CLIENT_MAX, STORE_STOP_MAX};
use crate::listen::ListenError;
use crate::plan::StorePlan;
use crate::reload::Reload;

/// Why a store does not run.
#[derive(Debug, thiserror::Error)]
pub enum StoreRunError {
    /// Its port cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// It failed.
    #[error("the store failed")]
    Failed(#[source] StoreError),
    /// It ended, and nobody had asked it to.
    #[error("the store ended by itself")]
    Ended,
}

impl StoreRunError {
    /// `name`: what the port is for.
    fn new(name: &str, error: StoreError) -> Self {
        match error {
            StoreError::Bind { address, source } => {
                Self::Listen(ListenError { name: name.to_owned(), address, source })
            }
            error => Self::Failed(error),
        }
    }
}

/// A store that serves.
#[derive(Debug)]
pub struct Store {
    store: bowline_store::Store,
    name: String,
    files: Reload,
}

impl Store {
    /// Starts it; when this returns, it listens.
    ///
    /// # Errors
    /// [`StoreRunError`].
    pub async fn start(plan: &StorePlan) -> Result<Self, StoreRunError> {
        let name = plan.port.name.clone();
        let store = bowline_store::Store::start(plan.port.listen, plan.settings.clone()).await;
        let store = store.map_err(|error| StoreRunError::new(&name, error))?;
        Ok(Self { store, name, files: plan.reload() })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.store.address()
    }

    /// Waits for `shutdown`, or until a client sends SHUTDOWN, and ends it.
    ///
    /// # Errors
    /// What went wrong while it ran.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), StoreRunError> {
        let ended = tokio::select! {
            biased;
            () = shutdown.cancelled() => self.store.stop().await,
            ended = self.store.ended() => ended,
            never = expiry::warn_daily(self.files) => match never {},
        };
        ended.map_err(|error| StoreRunError::new(&self.name, error))
    }
}

/// Runs a store until `shutdown`.
///
/// # Errors
/// [`StoreRunError`].
pub async fn run(plan: StorePlan, shutdown: CancellationToken) -> Result<(), StoreRunError> {
    Store::start(&plan).await?.run(shutdown).await
}

/// A store in this process, which only this process can use: on loopback, with a password that nobody knows.
#[derive(Debug)]
pub(crate) struct Embedded {
    /// How to reach it.
    pub config: bowline_redis::Config,
    store: bowline_store::Store,
}

impl Embedded {
    /// `memory_max_bytes`: of its data; 0 for no bound.
    pub(crate) async fn start(memory_max_bytes: usize) -> Result<Self, StoreRunError> {
        let password = format!("{:032x}", bowline_rt::random::bits128());
        let settings = Settings {
            password: Some(Password::new(password.as_bytes())),
            shutdown_allowed: false,
            memory_max_bytes,
            ..Settings::default()
        };
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let store = bowline_store::Store::start(address, settings).await;
        let store = store.map_err(|error| StoreRunError::new("embedded store", error))?;
        let url = format!("redis://:{password}@{}", store.address());
        let config = bowline_redis::Config::from_url(&url).expect("a URL of our own making");
        Ok(Self { config, store })
    }

    /// Resolves when the store has ended by itself, which it must not.
    pub(crate) async fn failed(&mut self) -> StoreRunError {
        match self.store.ended().await {
            Ok(()) => StoreRunError::Ended,
            Err(error) => StoreRunError::Failed(error),
        }
    }

    /// Ends it once its client is gone, whose `connection` this is. Whoever still holds the gateway is not waited for.
    pub(crate) async fn stop(self, mut connection: watch::Receiver<Connection>) {
        let client_gone = async { while connection.changed().await.is_ok() {} };
        if timeout(STORE_CLIENT_MAX, client_gone).await.is_err() {
            tracing::debug!("the embedded store ends before its client");
        }
        match timeout(STORE_STOP_MAX, self.store.stop()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the embedded store failed"),
            Err(elapsed) => tracing::warn!(%elapsed, "the embedded store does not end"),
        }
    }
}
