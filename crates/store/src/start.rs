//! A store on a thread of its own, for a process that is mainly something else.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;

use bowline_rt::net::Listener;
use bowline_rt::task::{ThreadDied, run_local};
use tokio::sync::oneshot;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::error::StoreError;
use crate::listen::serve;
use crate::settings::Settings;

type End = Pin<Box<dyn Future<Output = Result<Result<(), StoreError>, ThreadDied>> + Send>>;

/// A running store. Dropping it ends the store in the background; [`Store::stop`] also waits for the end.
#[must_use = "a store ends when its handle is dropped"]
pub struct Store {
    address: SocketAddr,
    shutdown: DropGuard,
    end: End,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Store {
    /// Starts a store on `address` and waits until it listens. Port 0 picks a free port.
    ///
    /// # Errors
    /// The address cannot be listened on, or the store cannot start.
    pub async fn start(address: SocketAddr, settings: Settings) -> Result<Self, StoreError> {
        let token = CancellationToken::new();
        let shutdown = token.clone().drop_guard();
        let (bound, listening) = oneshot::channel();
        let end: End = Box::pin(run_local("store", move || async move {
            // The socket belongs to the runtime of this thread, so it is made here.
            let listener =
                Listener::bind(address).await.map_err(|source| StoreError::Bind { address, source })?;
            let local = listener.local_addr().map_err(StoreError::Address)?;
            // Without a waiter the store ends at once, by the guard that was dropped.
            let _ = bound.send(local);
            serve(listener, settings, token).await
        }));
        match listening.await {
            Ok(address) => Ok(Self { address, shutdown, end }),
            Err(_) => match end.await.map_err(StoreError::Thread)? {
                Err(error) => Err(error),
                Ok(()) => Err(StoreError::Thread(ThreadDied("store"))),
            },
        }
    }

    /// The address that it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until the store ends by itself: a client sent SHUTDOWN, or its thread died. Cancel safe.
    ///
    /// # Errors
    /// What ended it, if it was not a client.
    pub async fn ended(&mut self) -> Result<(), StoreError> {
        (&mut self.end).await.map_err(StoreError::Thread)?
    }

    /// Ends the store and waits for its end.
    ///
    /// # Errors
    /// What went wrong while it ran.
    pub async fn stop(self) -> Result<(), StoreError> {
        drop(self.shutdown);
        self.end.await.map_err(StoreError::Thread)?
    }
}
