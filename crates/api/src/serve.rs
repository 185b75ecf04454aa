//! Connections of the admin port and of the session service: HTTP/1.1, bounded in number, headers and time.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use bowline_identity::tls::Acceptor;
use bowline_rt::net::{Listener, TcpStream};
use bowline_rt::task::JoinSet;
use bowline_rt::time::{sleep, timeout};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::limits::{
    ACCEPT_PAUSE, CONNECTION_LIFETIME_MAX, CONNECTIONS_MAX, HEADER_BYTES_MAX, HEADERS_MAX, HEADERS_TIMEOUT,
    SHUTDOWN_GRACE,
};

/// How a port is served.
#[derive(Debug, Clone, Copy)]
pub struct ServeSettings {
    /// What it is for, in the log.
    pub name: &'static str,
    /// Most connections at once; more wait in the kernel's queue.
    pub connections_max: usize,
    /// How long answers in flight may go on when the port is shut down.
    pub grace: Duration,
}

impl Default for ServeSettings {
    /// Those of the admin port.
    fn default() -> Self {
        Self { name: "admin", connections_max: CONNECTIONS_MAX, grace: SHUTDOWN_GRACE }
    }
}

/// Serves the admin port until `shutdown`; answers in flight are then given a moment.
pub async fn serve(listener: Listener, acceptor: Acceptor, router: Router, shutdown: CancellationToken) {
    serve_with(ServeSettings::default(), listener, acceptor, router, shutdown).await;
}

/// Serves `router` until `shutdown`; answers in flight are then given a grace.
pub async fn serve_with(
    settings: ServeSettings,
    listener: Listener,
    acceptor: Acceptor,
    router: Router,
    shutdown: CancellationToken,
) {
    let ServeSettings { name, connections_max, grace } = settings;
    let places = Arc::new(Semaphore::new(connections_max));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = next(&listener, &places) => accepted,
        };
        match accepted {
            Ok((tcp, place)) => {
                let (acceptor, router, shutdown) = (acceptor.clone(), router.clone(), shutdown.clone());
                connections.spawn(async move {
                    connection(settings, tcp, &acceptor, router, &shutdown).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, port = name, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    // Whatever is left after the grace is dropped with the set.
    let _ = timeout(grace, async { while connections.join_next().await.is_some() {} }).await;
}

async fn next(listener: &Listener, places: &Arc<Semaphore>) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.expect("the semaphore is never closed");
    let (tcp, _) = listener.accept().await?;
    Ok((tcp, place))
}

async fn connection(
    settings: ServeSettings,
    tcp: TcpStream,
    acceptor: &Acceptor,
    router: Router,
    shutdown: &CancellationToken,
) {
    let ServeSettings { name, grace, .. } = settings;
    let stream = match acceptor.accept(tcp).await {
        Ok(stream) => stream,
        Err(error) => return tracing::debug!(%error, port = name, "no TLS"),
    };
    let service = TowerToHyperService::new(router);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_TIMEOUT)
        .max_buf_size(HEADER_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let served = tokio::select! {
        biased;
        served = connection.as_mut() => Ok(served),
        () = ended(shutdown) => {
            connection.as_mut().graceful_shutdown();
            timeout(grace, connection).await
        }
    };
    match served {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, port = name, "a connection broke off"),
        Err(elapsed) => {
            tracing::debug!(%elapsed, port = name, "a connection was cut in the middle of an answer")
        }
    }
}

/// The port is shut down, or the connection is old enough: a client that is between two requests opens another.
async fn ended(shutdown: &CancellationToken) {
    let _ = timeout(CONNECTION_LIFETIME_MAX, shutdown.cancelled()).await;
}
