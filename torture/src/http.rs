//! A client that sends one request and reads the whole answer.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use bowline_rt::{net, task, time};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::limits::{ANSWER_MAX, SOON};
use crate::wait::wait_within;

/// An answer, read to its end.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The header that says why a request was not served.
    pub reason: Option<String>,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// GET of `path` from `address`, with `host` in the header.
///
/// # Errors
/// No connection, no answer in time, or a broken one. A status of failure is an answer.
pub async fn get(address: SocketAddr, host: &str, path: &str) -> Result<Answer> {
    send(address, host, "GET", path, Bytes::new()).await
}

/// A request with a body.
///
/// # Errors
/// As [`get`].
pub async fn send(address: SocketAddr, host: &str, method: &str, path: &str, body: Bytes) -> Result<Answer> {
    send_within(ANSWER_MAX, address, host, method, path, body).await
}

/// [`get`] with more patience.
///
/// # Errors
/// As [`get`].
pub async fn get_within(limit: Duration, address: SocketAddr, host: &str, path: &str) -> Result<Answer> {
    send_within(limit, address, host, "GET", path, Bytes::new()).await
}

async fn send_within(
    limit: Duration,
    address: SocketAddr,
    host: &str,
    method: &str,
    path: &str,
    body: Bytes,
) -> Result<Answer> {
    let exchange = async {
        let mut connection = connect(address).await?;
        exchange(&mut connection, host, method, path, body).await
    };
    time::timeout(limit, exchange).await.context("no answer")?
}

/// Waits until GET is answered with 200, and returns the answer.
///
/// # Panics
/// If it takes too long.
pub async fn wait_for_ok(address: SocketAddr, host: &str, path: &str) -> Answer {
    let what = format!("GET {path} of {host} from {address} answers 200");
    wait_within(SOON, &what, || async {
        get(address, host, path).await.ok().filter(|answer| answer.status == 200)
    })
    .await
}

/// A connection over which requests go one after the other.
pub type Connection = SendRequest<Full<Bytes>>;

/// Opens a connection.
///
/// # Errors
/// The operating system's.
pub async fn connect(address: SocketAddr) -> Result<Connection> {
    let stream = net::connect(address, ANSWER_MAX).await.context("no connection")?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.context("no handshake")?;
    // Its end shows at the sender.
    task::spawn("connection", async move { drop(connection.await) });
    Ok(sender)
}

/// Sends a request over a connection and reads the answer to its end. The caller bounds the time.
///
/// # Errors
/// The connection broke.
pub async fn exchange(
    connection: &mut Connection,
    host: &str,
    method: &str,
    path: &str,
    body: Bytes,
) -> Result<Answer> {
    let request = Request::builder().method(method).uri(path).header("host", host);
    let request = request.body(Full::new(body)).context("not a request")?;
    connection.ready().await.context("the connection is gone")?;
    let response: Response<_> = connection.send_request(request).await.context("no answer")?;
    let status = response.status().as_u16();
    let reason =
        response.headers().get(REASON_HEADER).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let body = response.into_body().collect().await.context("the answer broke off")?.to_bytes();
    Ok(Answer { status, reason, body })
}

/// The header in which a gateway says why it could not serve a request.
const REASON_HEADER: &str = "bowline-reason";

/// Sends raw bytes and returns what comes back until the peer closes or `ANSWER_MAX` has passed, and whether it closed.
///
/// # Errors
/// No connection.
pub async fn raw(address: SocketAddr, bytes: &[u8]) -> Result<(Vec<u8>, bool)> {
    let mut stream = net::connect(address, ANSWER_MAX).await.context("no connection")?;
    // The peer may refuse in the middle of what we send; what it says still counts.
    drop(stream.write_all(bytes).await);
    let mut answer = Vec::new();
    let read = time::timeout(ANSWER_MAX, stream.read_to_end(&mut answer)).await;
    Ok((answer, read.is_ok()))
}
