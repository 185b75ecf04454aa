//! Connections of the admin port and of the session service: HTTP/1.1, bounded in number, headers and time.
//!
//! Nobody who only connects keeps others out (`places`), nor who lets a body come slowly (`inward`); and nobody who does not read
//! keeps an answer in memory for long (`outward`).

mod inward;
mod outward;
mod places;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::Response;
use bowline_identity::tls::Acceptor;
use bowline_rt::net::{Listener, TcpStream};
use bowline_rt::task::JoinSet;
use bowline_rt::time::{sleep, timeout};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use self::inward::Inward;
use self::outward::Outward;
use self::places::{Place, Places};
use crate::limits::{
    ACCEPT_PAUSE, CONNECTION_LIFETIME_MAX, CONNECTIONS_MAX, HEADER_BYTES_MAX, HEADERS_MAX, HEADERS_TIMEOUT,
    SHUTDOWN_GRACE,
};

/// How a port is served.
#[derive(Debug, Clone, Copy)]
pub struct ServeSettings {
    /// What it is for, in the log.
    pub name: &'static str,
    /// Most connections at once. For one more, one that waits for its peer has to go; where none does, it waits in the
    /// kernel's queue.
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
    let places = Places::new(connections_max);
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let (tcp, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, port = name, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let place = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            place = places.take(peer.ip()) => place,
        };
        let (acceptor, router, shutdown) = (acceptor.clone(), router.clone(), shutdown.clone());
        connections.spawn(async move {
            tokio::select! {
                biased;
                () = connection(settings, tcp, &acceptor, router, &place, &shutdown) => {}
                () = place.gone() => tracing::debug!(port = name, "a connection that did nothing made room for another"),
            }
        });
    }
    drop(listener);
    // Whatever is left after the grace is dropped with the set.
    let _ = timeout(grace, async { while connections.join_next().await.is_some() {} }).await;
}

async fn connection(
    settings: ServeSettings,
    tcp: TcpStream,
    acceptor: &Acceptor,
    router: Router,
    place: &Arc<Place>,
    shutdown: &CancellationToken,
) {
    match acceptor.accept(tcp).await {
        Ok(stream) => converse(settings, stream, router, place, shutdown).await,
        Err(error) => tracing::debug!(%error, port = settings.name, "no TLS"),
    }
}

/// Answers the requests of one connection.
async fn converse<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    settings: ServeSettings,
    stream: S,
    router: Router,
    place: &Arc<Place>,
    shutdown: &CancellationToken,
) {
    let ServeSettings { name, grace, .. } = settings;
    let router = TowerToHyperService::new(router);
    let service = service_fn(|request| answer(router.clone(), place.clone(), request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_TIMEOUT)
        .max_buf_size(HEADER_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(Outward::new(stream, place.clone())), service);
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

/// A request came just when its connection had to make room. Nothing of it is done.
#[derive(Debug, thiserror::Error)]
#[error("the connection has to make room for another")]
struct Evicted;

async fn answer(
    router: TowerToHyperService<Router>,
    place: Arc<Place>,
    request: http::Request<Incoming>,
) -> Result<Response, Evicted> {
    let work = place.work().ok_or(Evicted)?;
    let request = request.map(|body| Inward::new(body, work.clone()));
    match router.call(request).await {
        Ok(response) => Ok(response),
        Err(never) => match never {},
    }
}

/// The port is shut down, or the connection is old enough: a client that is between two requests opens another.
async fn ended(shutdown: &CancellationToken) {
    let _ = timeout(CONNECTION_LIFETIME_MAX, shutdown.cancelled()).await;
}

#[cfg(test)]
#[path = "serve_tests.rs"]
mod tests;
