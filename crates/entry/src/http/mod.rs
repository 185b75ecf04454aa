//! HTTP: a reverse proxy by host name, and CONNECT for everything that is not HTTP.
//!
//! A request for `<service>.<domain>`, or for a configured host, goes to that service, and one for
//! `<service>.<agent>.<domain>` to that of one agent; HTTP/1.1 and HTTP/2 come in, over
//! TLS or not. Bodies are streamed both ways and never collected. Services are spoken to in HTTP/1.1, gRPC in HTTP/2.
//!
//! - `connection` serves one client: protocol, time-outs, drain; `stall` bounds each of its responses over HTTP/2.
//! - `route` and `headers` decide where a request goes and what it looks like there.
//! - `proxy` sends it, over a connection from the `pool`.
//! - `stream` takes over where HTTP ends: upgrades and CONNECT.
//!
//! **Errors** that this entry makes itself carry the header `bowline-reason` and a JSON body; what a service answers
//! never has that header. **Retries**: a request is sent a second time only if the first, over a connection that had
//! served before, was not sent at all, or if it is a GET, HEAD or OPTIONS without a body and no byte of a response had come.
//! **No `Via`** is added: nginx would switch off compression for it, and Bowline's own request id tells more.

mod body;
mod client;
mod connection;
mod credential;
mod headers;
mod pool;
mod proxy;
mod reply;
mod route;
mod stall;
mod stream;
#[cfg(test)]
mod tests;

pub(crate) use headers::AGENT;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bowline_identity::tls::Acceptor;
use bowline_identity::token::TokenTable;
use bowline_model::ServiceName;
use bowline_rt::net::Listener;
use bowline_rt::ration::Ration;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::limits;
use crate::metrics::Metrics;
use crate::opener::Opener;
use crate::{accept, http::pool::Pool};

/// Who may use CONNECT.
#[derive(Debug, Clone)]
pub enum ConnectPolicy {
    /// Nobody.
    Refuse,
    /// Everyone who can reach the port.
    Open,
    /// Who presents a token of a client of this table: `Proxy-Authorization: Bearer <token>`, or `Basic` with the
    /// token as the password.
    Tokens(TokenTable),
}

/// How an HTTP entry serves.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `<service>.<domain>` leads to the service, `<service>.<agent>.<domain>` to that of one agent. In any case, dots around it do not matter.
    pub domain: String,
    /// Hosts besides those, in lower case and without a port.
    pub routes: BTreeMap<String, ServiceName>,
    /// Who may use CONNECT.
    pub connect: ConnectPolicy,
    /// Whether `X-Forwarded-*` and `Forwarded` from clients are believed and added to, as behind another proxy. Otherwise
    /// they are replaced: a client could write anything there.
    pub trust_forwarded: bool,
    /// Connections at once, for each listener.
    pub connections_max: usize,
    /// Requests at once.
    pub requests_max: usize,
    /// See [`limits::RESPONSE_TIMEOUT`].
    pub response_timeout: Duration,
    /// See [`limits::IDLE_TIMEOUT`].
    pub idle_timeout: Duration,
    /// See [`limits::UPSTREAM_IDLE_TIMEOUT`].
    pub upstream_idle_timeout: Duration,
    /// How long running requests and streams are served after a shutdown was asked for.
    pub grace: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            domain: "svc.bowline".to_owned(),
            routes: BTreeMap::new(),
            connect: ConnectPolicy::Refuse,
            trust_forwarded: false,
            connections_max: limits::CONNECTIONS_MAX,
            requests_max: limits::REQUESTS_MAX,
            response_timeout: limits::RESPONSE_TIMEOUT,
            idle_timeout: limits::IDLE_TIMEOUT,
            upstream_idle_timeout: limits::UPSTREAM_IDLE_TIMEOUT,
            grace: limits::GRACE_DEFAULT,
        }
    }
}

/// An HTTP entry. Several listeners (plain and TLS, say) may share one, and with it the connections to services.
#[derive(Debug)]
pub struct Entry<O>(Arc<Shared<O>>);

impl<O> Clone for Entry<O> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

#[derive(Debug)]
struct Shared<O> {
    settings: Settings,
    metrics: Metrics,
    pool: Pool<O>,
    /// One permit for each request being served.
    places: Arc<Semaphore>,
    /// Lines of the log about requests that could not be served.
    warnings: Ration,
}

impl<O: Opener> Entry<O> {
    /// An entry that reaches services through `opener`.
    #[must_use]
    pub fn new(opener: Arc<O>, mut settings: Settings, metrics: Metrics) -> Self {
        settings.domain = settings.domain.trim_matches('.').to_ascii_lowercase();
        let pool = Pool::new(opener, settings.upstream_idle_timeout, metrics.clone());
        let places = Arc::new(Semaphore::new(settings.requests_max));
        let warnings = Ration::new(limits::WARNINGS_MAX, limits::WARNING_PERIOD);
        Self(Arc::new(Shared { settings, metrics, pool, places, warnings }))
    }

    /// Serves `listener` until `shutdown`, then lets what runs end for [`Settings::grace`]: HTTP/1.1 clients are told
    /// `connection: close`, HTTP/2 clients GOAWAY. An acceptor with TLS should offer
    /// [`ALPN_HTTP2`](bowline_identity::tls::ALPN_HTTP2) and [`ALPN_HTTP1`](bowline_identity::tls::ALPN_HTTP1).
    pub async fn serve(&self, listener: Listener, acceptor: Acceptor, shutdown: CancellationToken) {
        let shared = &self.0;
        let each = {
            let shared = shared.clone();
            move |accepted, ending| connection::serve(shared.clone(), accepted, ending)
        };
        let (connections_max, grace) = (shared.settings.connections_max, shared.settings.grace);
        let accepting =
            accept::run(listener, &acceptor, connections_max, grace, &shutdown, &shared.metrics, each);
        tokio::select! {
            biased;
            () = accepting => {}
            () = shared.pool.sweep() => {}
        }
        shared.pool.clear();
    }
}

/// As [`Entry::serve`], for an entry with one listener.
pub async fn serve<O: Opener>(
    listener: Listener,
    acceptor: Acceptor,
    opener: Arc<O>,
    settings: Settings,
    metrics: Metrics,
    shutdown: CancellationToken,
) {
    Entry::new(opener, settings, metrics).serve(listener, acceptor, shutdown).await;
}
