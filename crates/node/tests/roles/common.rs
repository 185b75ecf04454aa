//! A small HTTP client, and waiting with a bound.

use std::net::SocketAddr;
use std::time::Duration;

use bowline_identity::signature::{RequestParts, SignOptions, SigningKey};
use bowline_rt::net::connect;
use bowline_rt::time::{sleep, timeout};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;

/// Longest wait for anything in a test.
pub const BOUND: Duration = Duration::from_secs(20);

/// Sends one request over a fresh connection and reads the whole answer.
pub async fn send(address: SocketAddr, request: Request<Full<Bytes>>) -> Response<Bytes> {
    let exchange = async {
        let tcp = connect(address, BOUND).await.expect("connected");
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(tcp)).await.expect("a connection");
        bowline_rt::task::spawn("test client", connection.with_upgrades());
        let (head, body) = sender.send_request(request).await.expect("an answer").into_parts();
        Response::from_parts(head, body.collect().await.expect("a whole body").to_bytes())
    };
    timeout(BOUND, exchange).await.expect("an answer in time")
}

/// GETs `path` of `host`.
pub async fn get(address: SocketAddr, host: &str, path: &str) -> Response<Bytes> {
    let request = Request::get(path).header("host", host).body(Full::default()).expect("a request");
    send(address, request).await
}

/// A request to the session service at the host `sessions`, signed with `key`.
pub fn signed(key: &SigningKey, method: &str, path: &str, body: &str) -> Request<Full<Bytes>> {
    let mut headers = hyper::HeaderMap::new();
    let (path_only, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    let parts = RequestParts { method, authority: "sessions", path: path_only, query, headers: &headers };
    let options = SignOptions::at(bowline_rt::time::unix_time());
    headers.extend(key.sign(&parts, Some(body.as_bytes()), &options).expect("it can be signed"));
    let request = Request::builder().method(method).uri(path).header("host", "sessions");
    let mut request = request.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).expect("a request");
    request.headers_mut().extend(headers);
    request
}

/// The body as text.
pub fn text(response: &Response<Bytes>) -> &str {
    std::str::from_utf8(response.body()).expect("text")
}

/// Waits until `look` finds something.
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let found = timeout(BOUND, async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            sleep(Duration::from_millis(20)).await;
        }
    });
    found.await.unwrap_or_else(|_| panic!("not in time: {what}"))
}
