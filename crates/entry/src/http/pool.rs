//! Connections to services, kept for the next request.
//!
//! A pool of our own rather than hyper-util's client, because three things have to be exact here: a new connection is
//! opened in the name of the request that caused it (its id, its client), a request is repeated only where the module
//! above says so, and a connection serves one request at a time, HTTP/2 too, so that one tunnel carries one stream.
//!
//! The connection that was used last is used first, so that the others grow old and are closed.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bowline_model::Reason;
use bowline_rt::{task, time};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::CancellationToken;

use super::body::{Progress, Upload};
use super::reply::Failure;
use crate::destination::Destination;
use crate::limits::{
    CLOSE_LIMIT, HEAD_BYTES_MAX, HEADERS_MAX, HTTP1_BUFFER_BYTES_MAX, HTTP2_CONNECTION_WINDOW_BYTES,
    HTTP2_PING, HTTP2_SEND_BUFFER_BYTES, HTTP2_STREAM_WINDOW_BYTES, UPSTREAM_AGE_MAX, UPSTREAM_IDLE_MAX,
    UPSTREAM_IDLE_PER_SERVICE_MAX, UPSTREAM_SETTLE_LIMIT,
};
use crate::metrics::Metrics;
use crate::opener::{OpenRequest, Opener, Stream};

/// Why a [`Lease`] has its connection.
const HELD: &str = "the connection is given back only with the whole";

/// What is spoken to a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Protocol {
    /// For all but gRPC.
    Http1,
    /// Without TLS and without asking first ("prior knowledge"): what gRPC servers speak.
    Http2,
}

type Key = (Destination, Protocol);

/// Connections to services. See the module.
pub(super) struct Pool<O> {
    opener: Arc<O>,
    shelf: Arc<Shelf>,
    metrics: Metrics,
}

/// The unused connections.
struct Shelf {
    idle_timeout: Duration,
    idle: Mutex<Idle>,
}

#[derive(Default)]
struct Idle {
    /// By destination; the one used last stands last.
    connections: BTreeMap<Key, VecDeque<(Instant, Kept)>>,
    count: usize,
}

enum Sender {
    Http1(http1::SendRequest<Upload>),
    Http2(http2::SendRequest<Upload>),
}

/// A connection as this end holds it.
struct Kept {
    sender: Sender,
    /// Whether a byte came since the last request was sent.
    heard: Arc<AtomicBool>,
    /// It takes no request after this time: its gateway or agent may be waiting for it to end.
    retires_at: Instant,
    /// Ends the connection whatever it is doing. Without it, one that has no sender any more still sends what it has to.
    cut: CancellationToken,
}

/// A connection in use. Dropping it closes the connection; [`Lease::give_back`] keeps it.
pub(super) struct Lease {
    /// Absent only after [`Lease::give_back`].
    connection: Option<Kept>,
    key: Key,
    shelf: Arc<Shelf>,
    /// Whether it has served a request before.
    pub is_reused: bool,
    /// How the last request is coming along.
    progress: Option<Arc<Progress>>,
}

impl<O> fmt::Debug for Pool<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("idle", &self.shelf.with(|idle| idle.count)).finish_non_exhaustive()
    }
}

impl<O: Opener> Pool<O> {
    pub fn new(opener: Arc<O>, idle_timeout: Duration, metrics: Metrics) -> Self {
        let shelf = Arc::new(Shelf { idle_timeout, idle: Mutex::default() });
        Self { opener, shelf, metrics }
    }

    /// Opens streams that are not for HTTP.
    pub fn opener(&self) -> &O {
        &self.opener
    }

    /// An unused connection, if there is one that is still open as far as is known.
    pub fn take(&self, destination: &Destination, protocol: Protocol) -> Option<Lease> {
        let key = (destination.clone(), protocol);
        let connection = Some(self.shelf.take(&key)?);
        self.metrics.counters.upstreams_reused.inc();
        Some(Lease { connection, key, shelf: self.shelf.clone(), is_reused: true, progress: None })
    }

    /// A new connection in the name of `request`.
    pub async fn open(&self, request: OpenRequest, protocol: Protocol) -> Result<Lease, Failure> {
        let destination = Destination { service: request.service.clone(), agent: request.agent.clone() };
        let stream = self.opener.open(request).await?;
        let heard = Arc::new(AtomicBool::new(false));
        let stream = TokioIo::new(Upstream { stream, heard: heard.clone() });
        self.metrics.counters.upstreams_opened.inc();
        let broken = |error: hyper::Error| Failure::new(Reason::ServiceBroken, error.to_string());
        let cut = CancellationToken::new();
        let tasks = CutTasks(cut.clone());
        let sender = match protocol {
            Protocol::Http1 => {
                let (sender, connection) = http1::Builder::new()
                    .max_headers(HEADERS_MAX)
                    .max_header_size(HEAD_BYTES_MAX)
                    .max_buf_size(HTTP1_BUFFER_BYTES_MAX)
                    .handshake(stream)
                    .await
                    .map_err(broken)?;
                tasks.spawn("upstream", async move { log_end(connection.with_upgrades().await) });
                Sender::Http1(sender)
            }
            Protocol::Http2 => {
                let (sender, connection) = http2::Builder::new(tasks.clone())
                    .timer(TokioTimer::new())
                    .initial_stream_window_size(HTTP2_STREAM_WINDOW_BYTES)
                    .initial_connection_window_size(HTTP2_CONNECTION_WINDOW_BYTES)
                    .max_send_buf_size(HTTP2_SEND_BUFFER_BYTES)
                    .max_header_list_size(HEAD_BYTES_MAX as u32)
                    .keep_alive_interval(HTTP2_PING)
                    .keep_alive_timeout(HTTP2_PING)
                    .handshake(stream)
                    .await
                    .map_err(broken)?;
                tasks.spawn("upstream", async move { log_end(connection.await) });
                Sender::Http2(sender)
            }
        };
        let retires_at = time::now() + UPSTREAM_AGE_MAX - bowline_rt::random::jitter(UPSTREAM_AGE_MAX / 4);
        let connection = Some(Kept { sender, heard, retires_at, cut });
        let (key, shelf) = ((destination, protocol), self.shelf.clone());
        Ok(Lease { connection, key, shelf, is_reused: false, progress: None })
    }

    /// Closes connections that have been unused for too long, for ever. Run it beside the listener.
    pub async fn sweep(&self) {
        loop {
            time::sleep(self.shelf.idle_timeout / 2).await;
            self.shelf.drop_old();
        }
    }

    /// Closes all unused connections.
    pub fn clear(&self) {
        self.shelf.with(|idle| *idle = Idle::default());
    }
}

fn log_end(result: Result<(), hyper::Error>) {
    if let Err(error) = result {
        tracing::debug!(%error, "a connection to a service failed");
    }
}

impl Lease {
    /// Sends a request. An error holds the request if nothing of it was sent.
    pub async fn send(
        &mut self,
        request: Request<Upload>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Upload>>> {
        self.progress = Some(request.body().progress().clone());
        let connection = self.connection.as_mut().expect(HELD);
        connection.heard.store(false, Ordering::Relaxed);
        match &mut connection.sender {
            Sender::Http1(sender) => sender.try_send_request(request).await,
            Sender::Http2(sender) => sender.try_send_request(request).await,
        }
    }

    /// Whether any byte of a response to the last request came.
    pub fn has_heard(&self) -> bool {
        self.connection.as_ref().expect(HELD).heard.load(Ordering::Relaxed)
    }

    /// Keeps the connection for another request as soon as it is ready: after the response, a part of the request may
    /// still be on its way. That goes on as long as it moves.
    pub fn give_back(mut self) {
        let mut connection = self.connection.take().expect(HELD);
        let (key, shelf) = (self.key.clone(), self.shelf.clone());
        let progress = self.progress.take().expect("a request was sent before its response came");
        if connection.is_ready() && progress.is_over() {
            return shelf.put(key, connection);
        }
        progress.extend();
        task::spawn("upstream-settle", async move {
            let settled = async {
                progress.over().await;
                connection.ready().await
            };
            match progress.watch(UPSTREAM_SETTLE_LIMIT, settled).await {
                Ok(Ok(())) => shelf.put(key, connection),
                Ok(Err(_)) => {}
                Err(_) => connection.cut.cancel(),
            }
        });
    }
}

impl Drop for Lease {
    /// Without a sender a connection ends by itself, but for what it is still to send: the rest of the request, which is of
    /// no use any more. A client that takes it back has a moment to say so, which the service sees as such.
    fn drop(&mut self) {
        let (Some(connection), Some(progress)) = (self.connection.take(), self.progress.take()) else {
            return;
        };
        if progress.is_over() {
            return;
        }
        let cut = connection.cut;
        task::spawn("upstream-end", async move {
            if time::timeout(CLOSE_LIMIT, progress.over()).await.is_err() {
                cut.cancel();
            }
        });
    }
}

impl Kept {
    /// Whether the connection can serve, as far as is known: the other end may be gone already.
    fn is_ready(&self) -> bool {
        match &self.sender {
            Sender::Http1(sender) => sender.is_ready(),
            Sender::Http2(sender) => sender.is_ready(),
        }
    }

    async fn ready(&mut self) -> hyper::Result<()> {
        match &mut self.sender {
            Sender::Http1(sender) => sender.ready().await,
            Sender::Http2(sender) => sender.ready().await,
        }
    }
}

impl Shelf {
    fn with<T>(&self, look: impl FnOnce(&mut Idle) -> T) -> T {
        // Every change is a whole one; a panic between two leaves nothing wrong.
        look(&mut self.idle.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn take(&self, key: &Key) -> Option<Kept> {
        let now = time::now();
        self.with(|idle| {
            let connections = idle.connections.get_mut(key)?;
            while let Some((since, connection)) = connections.pop_back() {
                idle.count -= 1;
                if self.is_fit(now, since, &connection) {
                    return Some(connection);
                }
            }
            None
        })
    }

    /// Whether a connection that has been unused since `since` may serve again.
    fn is_fit(&self, now: Instant, since: Instant, connection: &Kept) -> bool {
        now.saturating_duration_since(since) < self.idle_timeout
            && now < connection.retires_at
            && connection.is_ready()
    }

    fn put(&self, key: Key, connection: Kept) {
        if !connection.is_ready() || time::now() >= connection.retires_at {
            return;
        }
        self.with(|idle| {
            if idle.count >= UPSTREAM_IDLE_MAX {
                return;
            }
            let connections = idle.connections.entry(key).or_default();
            if connections.len() < UPSTREAM_IDLE_PER_SERVICE_MAX {
                connections.push_back((time::now(), connection));
                idle.count += 1;
            }
        });
    }

    fn drop_old(&self) {
        let now = time::now();
        self.with(|idle| {
            for connections in idle.connections.values_mut() {
                let before = connections.len();
                connections.retain(|(since, connection)| self.is_fit(now, *since, connection));
                idle.count -= before - connections.len();
            }
            idle.connections.retain(|_, connections| !connections.is_empty());
        });
    }
}

/// A stream to a service that notes whether anything came.
pub(super) struct Upstream {
    stream: Box<dyn Stream>,
    heard: Arc<AtomicBool>,
}

impl Upstream {
    /// The stream itself.
    pub fn into_inner(self) -> Box<dyn Stream> {
        self.stream
    }
}

impl AsyncRead for Upstream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let polled = Pin::new(&mut this.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            this.heard.store(true, Ordering::Relaxed);
        }
        polled
    }
}

impl AsyncWrite for Upstream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

/// Runs hyper's own tasks for one connection through the seam; they end with the token at the latest.
#[derive(Debug, Clone)]
struct CutTasks(CancellationToken);

impl CutTasks {
    fn spawn(&self, name: &'static str, future: impl Future + Send + 'static) {
        let cut = self.0.clone();
        task::spawn(name, async move { drop(cut.run_until_cancelled(future).await) });
    }
}

impl<F> hyper::rt::Executor<F> for CutTasks
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    fn execute(&self, future: F) {
        self.spawn("http2", future);
    }
}
