//! The loop that accepts connections, the same for every listener: bounded, never held up by a client, and drained.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bowline_identity::tls::{self, Acceptor};
use bowline_rt::net::{self, Listener, TcpStream};
use bowline_rt::{task, time};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::limits::ACCEPT_PAUSE;
use crate::metrics::{Metrics, Open};

/// How a listener ends: first politely, then not.
#[derive(Debug, Clone)]
pub(crate) struct Ending {
    /// Take nothing new, finish what runs.
    pub shutdown: CancellationToken,
    /// The grace time is over: drop everything.
    pub cut: CancellationToken,
    /// Everything that has to end before the listener has.
    pub tasks: TaskTracker,
}

/// A connection that was accepted; it counts against the listener's limit until its `slot` is dropped.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub stream: tls::Stream,
    pub client: SocketAddr,
    pub slot: Slot,
}

/// A place among the connections of a listener.
#[derive(Debug)]
pub(crate) struct Slot {
    _permit: OwnedSemaphorePermit,
    _open: Open,
}

/// Accepts until `ending.shutdown`, then waits for what runs, for at most `grace`, and cuts the rest.
///
/// `serve` runs in a task of its own for each connection and has to end soon after `ending.cut`.
pub(crate) async fn run<F>(
    listener: Listener,
    acceptor: &Acceptor,
    connections_max: usize,
    grace: Duration,
    shutdown: &CancellationToken,
    metrics: &Metrics,
    serve: impl Fn(Accepted, Ending) -> F + Clone + Send + Sync + 'static,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let ending =
        Ending { shutdown: shutdown.clone(), cut: CancellationToken::new(), tasks: TaskTracker::new() };
    let places = Arc::new(Semaphore::new(connections_max));
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (tcp, client) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(permit) = places.clone().try_acquire_owned() else {
            metrics.counters.connections_refused.inc();
            tracing::debug!(%client, connections_max, "reset a connection: the listener is at its limit");
            net::reset_on_close(&tcp);
            continue;
        };
        metrics.counters.connections.inc();
        let slot = Slot { _permit: permit, _open: Open::new(&metrics.counters.connections_open) };
        let connection = shake_hands_and_serve(
            acceptor.clone(),
            tcp,
            client,
            slot,
            ending.clone(),
            metrics.clone(),
            serve.clone(),
        );
        task::spawn("connection", ending.tasks.track_future(connection));
    }
    // The port is free for a successor from here on.
    drop(listener);
    ending.tasks.close();
    if time::timeout(grace, ending.tasks.wait()).await.is_err() {
        tracing::warn!(left = ending.tasks.len(), ?grace, "the grace time is over: cutting what still runs");
        ending.cut.cancel();
        ending.tasks.wait().await;
    }
}

async fn shake_hands_and_serve<F: Future<Output = ()>>(
    acceptor: Acceptor,
    tcp: TcpStream,
    client: SocketAddr,
    slot: Slot,
    ending: Ending,
    metrics: Metrics,
    serve: impl Fn(Accepted, Ending) -> F,
) {
    let handshake = tokio::select! {
        biased;
        () = ending.cut.cancelled() => return,
        handshake = acceptor.accept(tcp) => handshake,
    };
    match handshake {
        Ok(stream) => serve(Accepted { stream, client, slot }, ending).await,
        // Scanners and health probes do this all day: no more than a debug line, but counted.
        Err(error) => {
            metrics.counters.handshakes_failed.inc();
            tracing::debug!(%client, %error, "a client did not get through the TLS handshake");
        }
    }
}
