//! Signs requests and sends them, over connections that it keeps, and holds every answer to its time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bowline_identity::signature::{RequestParts, SignOptions, SigningKey};
use bowline_rt::time::{self, now};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use hyper::{HeaderMap, Request};
use serde_json::Value;

use super::ledger::{Ending, Ledger};
use super::register::Fate;
use super::service::{GATEWAYS, Service};
use crate::http::{self, Connection};
use crate::limits::{LINE_IDLE_MAX, LINE_REQUESTS_MAX, SOON};

/// The name of the service, which signatures cover.
pub const AUTHORITY: &str = "sessions.example.com";

/// A signed request.
pub type Signed = Request<Full<Bytes>>;

/// An answer, read to its end.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// The stable code of an error, or nothing.
    #[must_use]
    pub fn code(&self) -> String {
        let json: Option<Value> = serde_json::from_slice(&self.body).ok();
        json.and_then(|json| Some(json.get("code")?.as_str()?.to_owned())).unwrap_or_default()
    }

    /// Whether a read was not carried out, and is to be signed again.
    #[must_use]
    pub fn is_not_executed(&self) -> bool {
        matches!((self.status, self.code().as_str()), (503, "not_executed") | (401, "unremembered"))
    }

    /// Whether it did what was asked.
    #[must_use]
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// What became of a write. That there was nothing to erase is for the caller to judge.
    ///
    /// # Errors
    /// No answer to a write is like that.
    pub fn fate(&self) -> Result<Fate> {
        Ok(match (self.status, self.code().as_str()) {
            (201 | 204, _) => Fate::Done,
            // A store that begins to remember nonces refuses what was signed in an earlier second: sign again.
            (401, "unremembered")
            | (503, "not_executed")
            | (409, "conflict")
            | (412, "precondition_failed") => Fate::NotExecuted,
            (503, "outcome_unknown") => Fate::Unknown,
            _ => bail!("a write was answered {} {}", self.status, String::from_utf8_lossy(&self.body)),
        })
    }

    /// How it counts.
    #[must_use]
    pub fn ending(&self) -> Ending {
        match (self.status, self.code().as_str()) {
            (401, _) => Ending::Refused,
            (503, "outcome_unknown") => Ending::Unknown,
            (503, _) => Ending::NotExecuted,
            _ => Ending::Served,
        }
    }
}

/// What is asked.
#[derive(Debug, Clone, Default)]
pub struct Question {
    /// The method.
    pub method: &'static str,
    /// Path and query.
    pub target: String,
    /// The body.
    pub body: Bytes,
    /// Headers beyond those of the signature.
    pub headers: Vec<(HeaderName, String)>,
}

impl Question {
    /// Without a body.
    #[must_use]
    pub fn new(method: &'static str, target: impl Into<String>) -> Self {
        Self { method, target: target.into(), ..Self::default() }
    }

    /// With a body.
    #[must_use]
    pub fn body(mut self, content_type: &str, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self.header(CONTENT_TYPE, content_type)
    }

    /// With a header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Signed with `key`.
    ///
    /// # Errors
    /// It cannot be signed.
    pub fn sign(&self, key: &SigningKey, options: &SignOptions) -> Result<Signed> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            headers.insert(name, HeaderValue::from_str(value).context("not a header")?);
        }
        let (path, query) = match self.target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (&*self.target, None),
        };
        let parts =
            RequestParts { method: self.method, authority: AUTHORITY, path, query, headers: &headers };
        let added = key.sign(&parts, Some(&self.body), options).context("cannot sign")?;
        headers.extend(added);
        let request = Request::builder().method(self.method).uri(&self.target).header(HOST, AUTHORITY);
        let mut request = request.body(Full::new(self.body.clone())).context("not a request")?;
        request.headers_mut().extend(headers);
        Ok(request)
    }
}

/// A connection to a gateway that is kept.
#[derive(Debug)]
struct Line {
    connection: Connection,
    /// Requests that went over it.
    asked: u32,
    idle_since: Instant,
}

/// See the module.
#[derive(Debug)]
pub struct Asker {
    /// Whom it asks.
    pub service: Arc<Service>,
    /// Whom it tells.
    pub ledger: Arc<Ledger>,
    lines: [Option<Line>; GATEWAYS],
}

impl Asker {
    /// One who has no connection yet.
    #[must_use]
    pub fn new(service: &Arc<Service>, ledger: &Arc<Ledger>) -> Self {
        Self { service: service.clone(), ledger: ledger.clone(), lines: [None, None] }
    }

    /// Signs with the key of a namespace, now.
    ///
    /// # Errors
    /// It cannot be signed.
    pub fn sign(&self, namespace: usize, question: &Question) -> Result<Signed> {
        question.sign(&self.service.keys[namespace], &SignOptions::at(time::unix_time()))
    }

    /// Signs and sends.
    ///
    /// # Errors
    /// As [`Asker::send`].
    pub async fn ask(&mut self, gateway: usize, namespace: usize, question: &Question) -> Result<Answer> {
        let request = self.sign(namespace, question)?;
        self.send(gateway, request).await
    }

    /// Sends a request. How it ended and how long it took is told to the ledger.
    ///
    /// # Errors
    /// There was no answer, for which there is no reason: nothing is wrong between here and the gateways.
    pub async fn send(&mut self, gateway: usize, request: Signed) -> Result<Answer> {
        let (method, path) = (request.method().clone(), request.uri().clone());
        let line = &mut self.lines[gateway];
        let answer = time::timeout(SOON, exchange(line, self.service.addresses[gateway], request)).await;
        let (answer, took) = answer
            .context("it hangs")
            .flatten()
            .with_context(|| format!("{method} {path} of gateway {} was not answered", gateway + 1))?;
        self.ledger.took(took);
        self.ledger.ended(answer.ending());
        Ok(answer)
    }
}

/// The answer and how long it took.
async fn exchange(
    line: &mut Option<Line>,
    address: SocketAddr,
    request: Signed,
) -> Result<(Answer, Duration)> {
    // A gateway ends connections that are idle or old, perhaps at this moment.
    let is_fresh = |line: &Line| {
        let Line { connection, asked, idle_since } = line;
        !connection.is_closed() && *asked < LINE_REQUESTS_MAX && idle_since.elapsed() < LINE_IDLE_MAX
    };
    let (mut connection, asked) = match line.take().filter(is_fresh) {
        Some(Line { connection, asked, .. }) => (connection, asked),
        None => (http::connect(address).await?, 0),
    };
    connection.ready().await.context("the connection is gone")?;
    let began = now();
    let (head, body) = connection.send_request(request).await.context("no answer")?.into_parts();
    let body = body.collect().await.context("the answer broke off")?.to_bytes();
    let took = began.elapsed();
    *line = Some(Line { connection, asked: asked + 1, idle_since: now() });
    Ok((Answer { status: head.status.as_u16(), headers: head.headers, body }, took))
}
