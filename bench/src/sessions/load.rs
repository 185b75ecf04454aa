//! The load: a number of requests, made and signed before the clock runs, over many connections.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use bowline_identity::signature::{RequestParts, SignOptions, SigningKey};
use bowline_rt::task::JoinSet;
use bowline_rt::time::{now, unix_time};
use bowline_torture::wait::wait_within;
use http::HeaderMap;

use super::subject::Subject;
use crate::http::{Connection, Figures};
use crate::limits::{BODY_BYTES, HTTP_CONNECTIONS, READY_MAX, SESSIONS, SIGNED_FOR};

const HOST: &str = "sessions.bench";

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// Reads a session.
    Get,
    /// Writes one over.
    Put,
}

impl Request {
    /// The words in the figure's name.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Get => "GET of 1 KiB",
            Self::Put => "PUT of 1 KiB",
        }
    }

    /// The bytes that ask for session number `number`.
    fn bytes(self, key: Option<&SigningKey>, number: usize) -> Result<Vec<u8>> {
        let (method, body) = match self {
            Self::Get => ("GET", Vec::new()),
            Self::Put => ("PUT", vec![b'x'; BODY_BYTES]),
        };
        let path = format!("/v1/user-sessions/{number}");
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {HOST}\r\n");
        if !body.is_empty() {
            head += &format!("content-length: {}\r\n", body.len());
        }
        if let Some(key) = key {
            let headers = HeaderMap::new();
            let parts = RequestParts { method, authority: HOST, path: &path, query: None, headers: &headers };
            let options = SignOptions { valid_for: SIGNED_FOR, ..SignOptions::at(unix_time()) };
            for (name, value) in key.sign(&parts, Some(&body), &options)? {
                head += &format!("{name}: {}\r\n", value.to_str()?);
            }
        }
        head += "\r\n";
        Ok([head.into_bytes(), body].concat())
    }
}

/// Writes every session once.
///
/// # Errors
/// A request failed.
pub async fn fill(subject: &Subject) -> Result<()> {
    run(subject, Request::Put, SESSIONS).await.map(drop)
}

/// Waits until a request is let in: those that were signed before the store remembered nonces are not.
///
/// # Panics
/// If that takes too long.
pub async fn wait_until_let_in(subject: &Subject) {
    wait_within(READY_MAX, "a signed request is let in", || async {
        let request = Request::Put.bytes(subject.key.as_ref(), 0).ok()?;
        Connection::open(subject.address).await.ok()?.exchange(&request).await.ok()
    })
    .await;
}

/// Asks `count` times, every connection as soon as it was answered.
///
/// # Errors
/// A request failed.
pub async fn run(subject: &Subject, request: Request, count: usize) -> Result<Figures> {
    let requests = (0..count).map(|number| request.bytes(subject.key.as_ref(), number % SESSIONS));
    let requests = requests.collect::<Result<Vec<_>>>()?;
    let mut connections = Vec::new();
    for _ in 0..HTTP_CONNECTIONS {
        connections.push(Connection::open(subject.address).await?);
    }
    let requests = Arc::new(Mutex::new(requests));
    let start = now();
    let mut tasks = JoinSet::new();
    for connection in connections {
        tasks.spawn(ask(connection, requests.clone()));
    }
    let mut latencies = Vec::with_capacity(count);
    while let Some(taken) = tasks.join_next().await {
        latencies.extend(taken.context("a client panicked")??);
    }
    Figures::of(latencies, start.elapsed())
}

/// How long each answer took.
async fn ask(mut connection: Connection, requests: Arc<Mutex<Vec<Vec<u8>>>>) -> Result<Vec<Duration>> {
    let mut latencies = Vec::new();
    loop {
        let Some(request) = requests.lock().unwrap_or_else(PoisonError::into_inner).pop() else {
            return Ok(latencies);
        };
        let asked = now();
        connection.exchange(&request).await?;
        latencies.push(asked.elapsed());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bowline_identity::signature::{Algorithm, Keys};

    #[test]
    fn signed_requests_are_those_that_keys_accept() {
        let key = SigningKey::generate("k".parse().expect("an id"), Algorithm::Ed25519);
        let table = key.table_entry(&"bench".parse().expect("a namespace"));
        let keys = Keys::from_toml("test", &table).expect("keys");
        let bytes = Request::Put.bytes(Some(&key), 7).expect("a request");
        let text = String::from_utf8(bytes).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        let headers: HeaderMap = head
            .lines()
            .skip(1)
            .map(|line| {
                let (name, value) = line.split_once(": ").expect("a header");
                (name.parse::<http::HeaderName>().expect("a name"), value.parse().expect("a value"))
            })
            .collect();
        let path = "/v1/user-sessions/7";
        let parts = RequestParts { method: "PUT", authority: HOST, path, query: None, headers: &headers };
        let verified = keys.verify(&parts, unix_time()).expect("a good signature");
        assert!(verified.check_body(body.as_bytes()).is_ok());
    }
}
