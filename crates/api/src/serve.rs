//! Connections of the admin port and of the session service: HTTP/1.1, bounded in number, headers and time.
//!
//! Nobody who only connects keeps others out (`places`), nor who lets a body come slowly (`inward`); and nobody who does not read
//! keeps an answer in memory for long, be it the kernel's (`outward`).

mod counters;
mod inward;
mod outward;
mod places;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::Response;
use bowline_identity::tls::Acceptor;
use bowline_rt::net::{Listener, TcpStream, bound_buffers, end_on_close, lacks_descriptors, reset_on_close};
use bowline_rt::ration::Ration;
use bowline_rt::task::JoinSet;
use bowline_rt::time::timeout;
use http::header::CONNECTION;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio_util::sync::CancellationToken;

use self::counters::Cut;
pub use self::counters::PortCounters;
use self::inward::Inward;
use self::outward::{Outward, Socket};
use self::places::{Place, Places};
use crate::limits::{
    ACCEPT_PAUSE, CONNECTION_LIFETIME_MAX, CONNECTIONS_MAX, HEADER_BYTES_MAX, HEADERS_MAX, HEADERS_TIMEOUT,
    LOG_LINES, LOG_PERIOD, SHUTDOWN_GRACE, SOCKET_BUFFER_BYTES,
};

/// How a port is served.
#[derive(Debug, Clone)]
pub struct ServeSettings {
    /// What it is for, in the log.
    pub name: &'static str,
    /// Most connections at once. For one more, one that waits for its peer has to go; where none does, it waits in the
    /// kernel's queue.
    pub connections_max: usize,
    /// How long answers in flight may go on when the port is shut down.
    pub grace: Duration,
    /// Where it counts the connections that it cuts.
    pub counters: PortCounters,
}

impl Default for ServeSettings {
    /// Those of the admin port.
    fn default() -> Self {
        let counters = PortCounters::default();
        Self { name: "admin", connections_max: CONNECTIONS_MAX, grace: SHUTDOWN_GRACE, counters }
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
    let ServeSettings { name, connections_max, grace, counters } = settings;
    let places = Places::new(connections_max, counters);
    let ration = Ration::new(LOG_LINES, LOG_PERIOD);
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
                if let Some(left_out) = ration.admit() {
                    tracing::warn!(%error, left_out, port = name, "cannot accept a connection");
                }
                if lacks_descriptors(&error) {
                    places.free_descriptor();
                }
                // A connection that ends frees what the next one needs.
                pause(&mut connections).await;
                continue;
            }
        };
        bound_buffers(&tcp, SOCKET_BUFFER_BYTES);
        let place = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            place = places.take(peer.ip()) => place,
        };
        let (acceptor, router, shutdown) = (acceptor.clone(), router.clone(), shutdown.clone());
        let serving = Serving { name, grace, place };
        connections.spawn(async move { serving.connection(tcp, &acceptor, router, &shutdown).await });
    }
    drop(listener);
    // Whatever is left after the grace is dropped with the set.
    let _ = timeout(grace, async { while connections.join_next().await.is_some() {} }).await;
}

/// Waits a moment, or until a connection has ended.
async fn pause(connections: &mut JoinSet<()>) {
    let ended = async {
        if connections.join_next().await.is_none() {
            std::future::pending::<()>().await;
        }
    };
    let _ = timeout(ACCEPT_PAUSE, ended).await;
}

/// One connection.
#[derive(Debug)]
struct Serving {
    /// Of the port.
    name: &'static str,
    grace: Duration,
    place: Arc<Place>,
}

impl Serving {
    async fn connection(
        &self,
        tcp: TcpStream,
        acceptor: &Acceptor,
        router: Router,
        shutdown: &CancellationToken,
    ) {
        let port = self.name;
        // A peer that takes nothing of a handshake must leave nothing in the kernel either.
        reset_on_close(&tcp);
        let stream = tokio::select! {
            biased;
            stream = acceptor.accept(tcp) => stream,
            () = self.place.gone() => return tracing::debug!(port, "a connection made room before its handshake"),
            () = shutdown.cancelled() => return,
        };
        match stream {
            Ok(stream) => {
                end_on_close(stream.tcp());
                self.converse(stream, router, shutdown).await;
            }
            Err(error) => tracing::debug!(%error, port, "no TLS"),
        }
    }

    /// Answers the requests of one connection.
    async fn converse<S: Socket + Send + 'static>(
        &self,
        stream: S,
        router: Router,
        shutdown: &CancellationToken,
    ) {
        let (port, place) = (self.name, &self.place);
        let router = TowerToHyperService::new(router);
        let service = service_fn(|request| answer(router.clone(), place.clone(), request));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADERS_TIMEOUT)
            .max_buf_size(HEADER_BYTES_MAX)
            .max_headers(HEADERS_MAX)
            // Who has asked, and says that it asks no more, waits for the answer.
            .half_close(true)
            .serve_connection(TokioIo::new(Outward::new(stream, place.clone())), service);
        let mut connection = std::pin::pin!(connection);
        let served = tokio::select! {
            biased;
            served = connection.as_mut() => Some(served),
            () = place.gone() => None,
            // A client that is between two requests opens another.
            _ = timeout(CONNECTION_LIFETIME_MAX, shutdown.cancelled()) => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    biased;
                    served = connection => Some(served),
                    () = place.gone() => None,
                    () = self.cut_short(shutdown) => return,
                }
            }
        };
        match served {
            _ if place.is_gone() => tracing::debug!(port, "a connection that waited for its peer made room"),
            Some(Err(error)) => tracing::debug!(%error, port, "a connection broke off"),
            Some(Ok(())) | None => {}
        }
    }

    /// The end of the time in which a connection can end by itself: at once when the port is shut down and nothing is under
    /// way but perhaps a part of a head, after the grace otherwise.
    async fn cut_short(&self, shutdown: &CancellationToken) {
        let nothing_is_under_way = async {
            shutdown.cancelled().await;
            if !self.place.is_idle() {
                std::future::pending::<()>().await;
            }
        };
        if timeout(self.grace, nothing_is_under_way).await.is_err()
            && !self.place.is_idle()
            && !self.place.is_over()
        {
            self.place.counters().cut(Cut::Grace);
            tracing::debug!(port = self.name, "a connection was cut in the middle of an answer");
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
        Ok(response) => {
            // The routes end connections of whoever did not show who it is: it gets no time to take the answer.
            place.answers(!response.headers().contains_key(CONNECTION));
            Ok(response)
        }
        Err(never) => match never {},
    }
}

#[cfg(test)]
#[path = "serve_tests.rs"]
mod tests;
