//! The client's side: a local port, or one stream, that leads to a service through the HTTP entry of a gateway.
//!
//! Each connection becomes one CONNECT request; nothing is shared between connections and nothing is retried, because
//! only the program that connected knows whether a second attempt is safe.

use std::fmt;
use std::io;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bowline_identity::tls::{self, Acceptor, Connector};
use bowline_identity::token::Token;
use bowline_rt::net::{self, Listener};
use bowline_rt::relay::{Leg, relay};
use bowline_rt::rewind::Rewound;
use bowline_rt::{task, time};
use bytes::Bytes;
use http::header::{HOST, HeaderValue, PROXY_AUTHORIZATION};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio_util::sync::CancellationToken;

use crate::accept::{self, Accepted};
pub use crate::destination::Destination;
use crate::http::AGENT;
use crate::limits::{CLOSE_LIMIT, CONNECTIONS_MAX, FORWARD_ERROR_BYTES_MAX, FORWARD_TIMEOUT, HEAD_BYTES_MAX};
use crate::metrics::Metrics;
use crate::opener::Stream;

/// The address of a gateway's HTTP entry: `http://host[:port]` or `https://host[:port]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayUrl {
    /// Whether to speak TLS.
    pub is_tls: bool,
    /// `host:port`.
    pub host_port: String,
}

/// A text is not the address of a gateway.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected http://host[:port] or https://host[:port] and nothing more")]
pub struct GatewayUrlError;

impl FromStr for GatewayUrl {
    type Err = GatewayUrlError;
    fn from_str(text: &str) -> Result<Self, GatewayUrlError> {
        let uri: Uri = text.parse().map_err(|_| GatewayUrlError)?;
        let is_tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(GatewayUrlError),
        };
        let authority = uri.authority().ok_or(GatewayUrlError)?;
        let is_bare = uri.query().is_none() && uri.path() == "/" && !authority.as_str().contains('@');
        if !is_bare || authority.host().is_empty() {
            return Err(GatewayUrlError);
        }
        let port = authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        Ok(Self { is_tls, host_port: format!("{}:{port}", authority.host()) })
    }
}

impl fmt::Display for GatewayUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.is_tls { "https" } else { "http" }, self.host_port)
    }
}

/// Where to forward to.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `host:port` of the HTTP entry of a gateway.
    pub gateway: String,
    /// How to dial it: with TLS for an entry with TLS.
    pub connector: Connector,
    /// The service to reach, of any agent or of one.
    pub destination: Destination,
    /// The token of a client, if the gateway requires one. Do not send one without TLS off loopback.
    pub token: Option<Token>,
}

/// No stream through the gateway.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// The gateway cannot be reached.
    #[error("cannot connect to the gateway at {gateway}")]
    Connect {
        /// `host:port`.
        gateway: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What answers there is not the entry of a gateway.
    #[error("{gateway} does not answer as a gateway; is it the address of its HTTP entry, and TLS or not?")]
    Protocol {
        /// `host:port`.
        gateway: String,
        /// Why.
        #[source]
        source: hyper::Error,
    },
    /// The gateway refused to open a stream.
    #[error("the gateway at {gateway} refused: {message} (status {status}, reason {reason})")]
    Refused {
        /// `host:port`.
        gateway: String,
        /// Status of HTTP.
        status: u16,
        /// The reason's code, or `-` if there is none: then it is not one of our gateways that answered.
        reason: String,
        /// What the gateway says.
        message: String,
    },
    /// The gateway did not answer.
    #[error("the gateway at {gateway} did not answer within {FORWARD_TIMEOUT:?}")]
    TimedOut {
        /// `host:port`.
        gateway: String,
    },
}

/// Opens one stream to the service, for a local port or for standard input and output (`ssh -o ProxyCommand`).
///
/// # Errors
/// [`ForwardError`], within [`FORWARD_TIMEOUT`].
pub async fn connect(settings: &Settings) -> Result<Box<dyn Stream>, ForwardError> {
    let gateway = settings.gateway.clone();
    match time::timeout(FORWARD_TIMEOUT, attempt(settings)).await {
        Ok(result) => result,
        Err(_) => Err(ForwardError::TimedOut { gateway }),
    }
}

async fn attempt(settings: &Settings) -> Result<Box<dyn Stream>, ForwardError> {
    let gateway = &settings.gateway;
    let dialled = settings.connector.connect(gateway, FORWARD_TIMEOUT).await;
    let stream = dialled.map_err(|source| ForwardError::Connect { gateway: gateway.clone(), source })?;
    let protocol = |source| ForwardError::Protocol { gateway: gateway.clone(), source };
    let (mut sender, connection) = http1::Builder::new()
        .max_header_size(HEAD_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(protocol)?;
    // Its error is the request's as well, which has the context.
    task::spawn("forward", async move { drop(connection.with_upgrades().await) });
    let mut response = sender.send_request(request(settings)).await.map_err(protocol)?;
    if response.status() != StatusCode::OK {
        return Err(refusal(gateway, response).await);
    }
    let upgraded = hyper::upgrade::on(&mut response).await.map_err(protocol)?;
    Ok(match upgraded.downcast::<TokioIo<tls::Stream>>() {
        Ok(parts) => Box::new(Rewound::new(parts.io.into_inner(), parts.read_buf)),
        Err(upgraded) => Box::new(TokioIo::new(upgraded)),
    })
}

fn request(settings: &Settings) -> Request<Empty<Bytes>> {
    // A target of CONNECT has a port; the agent knows the real one.
    let target = format!("{}:1", settings.destination.service);
    let mut request = Request::new(Empty::new());
    *request.method_mut() = Method::CONNECT;
    *request.uri_mut() = target.parse().expect("a service's name and a port are an authority");
    let host = HeaderValue::from_str(&target).expect("a service's name is visible ASCII");
    request.headers_mut().insert(HOST, host);
    if let Some(agent) = &settings.destination.agent {
        let agent = HeaderValue::from_str(agent.as_str()).expect("an agent's id is visible ASCII");
        request.headers_mut().insert(AGENT, agent);
    }
    if let Some(token) = &settings.token {
        let mut credential =
            HeaderValue::from_str(&format!("Bearer {}", token.reveal())).expect("a token is visible ASCII");
        credential.set_sensitive(true);
        request.headers_mut().insert(PROXY_AUTHORIZATION, credential);
    }
    request
}

/// What the gateway says, as far as it can be read.
async fn refusal(gateway: &str, response: Response<Incoming>) -> ForwardError {
    let status = response.status();
    let reason = response.headers().get("bowline-reason").and_then(|reason| reason.to_str().ok());
    let reason = reason.unwrap_or("-").to_owned();
    let body = Limited::new(response.into_body(), FORWARD_ERROR_BYTES_MAX).collect().await;
    let said = body.ok().and_then(|body| {
        let error: serde_json::Value = serde_json::from_slice(&body.to_bytes()).ok()?;
        Some(error.get("error")?.get("message")?.as_str()?.to_owned())
    });
    let message = said.unwrap_or_else(|| status.canonical_reason().unwrap_or("no message").to_owned());
    ForwardError::Refused { gateway: gateway.to_owned(), status: status.as_u16(), reason, message }
}

/// Forwards every connection to `listener` until `shutdown`. A connection that cannot be forwarded is reset and the log
/// says why.
pub async fn serve(listener: Listener, settings: Settings, shutdown: CancellationToken) {
    let settings = Arc::new(settings);
    let each = move |accepted: Accepted, ending: accept::Ending| {
        let settings = settings.clone();
        async move {
            let Accepted { stream: mut local, slot, .. } = accepted;
            let is_cut = tokio::select! {
                biased;
                () = ending.cut.cancelled() => true,
                is_cut = forward(&mut local, &settings) => is_cut,
            };
            if is_cut {
                net::reset_on_close(local.tcp());
            }
            drop(slot);
        }
    };
    // Whoever ends a forward by hand does not want to wait for what runs through it.
    let grace: Duration = CLOSE_LIMIT;
    let metrics = Metrics::default();
    accept::run(listener, &Acceptor::Plain, CONNECTIONS_MAX, grace, &shutdown, &metrics, each).await;
}

/// Relays one connection; says whether what the local side got broke off.
async fn forward(local: &mut tls::Stream, settings: &Settings) -> bool {
    let mut stream = match connect(settings).await {
        Ok(stream) => stream,
        Err(error) => {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            tracing::error!(destination = %settings.destination, %error, cause, "cannot forward a connection");
            return true;
        }
    };
    let ended = relay(local, &mut stream).await;
    if let Err(error) = &ended.result {
        tracing::debug!(destination = %settings.destination, %error, "a forwarded connection broke off");
    }
    ended.is_cut(Leg::A)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_is_named_by_scheme_host_and_port() {
        let check = |text: &str, expected: Option<&str>| {
            let url = text.parse::<GatewayUrl>().ok().map(|url| url.to_string());
            assert_eq!(url.as_deref(), expected, "{text}");
        };
        check("http://g1:8080", Some("http://g1:8080"));
        check("https://g1.example", Some("https://g1.example:443"));
        check("http://[::1]:80/", Some("http://[::1]:80"));
        check("http://g1", Some("http://g1:80"));
        check("g1:8080", None);
        check("ftp://g1", None);
        check("http://user@g1", None);
        check("http://g1/path", None);
        check("http://g1/?q", None);
        check("", None);
    }

    use crate::http::{ConnectPolicy, Settings as EntrySettings};
    use crate::testing::{self, LIMIT, World, read_all};
    use bowline_identity::token::{Holder, TokenTable};
    use bowline_model::Reason;
    use tokio::io::AsyncWriteExt;

    fn settings(gateway: String, token: Option<Token>) -> Settings {
        Settings {
            gateway,
            connector: Connector::Plain,
            destination: Destination::parse("db").unwrap(),
            token,
        }
    }

    async fn world() -> (World, Token) {
        let token = Token::generate();
        let entry = token.table_entry(&Holder::client("ops").unwrap());
        let connect = ConnectPolicy::Tokens(TokenTable::from_toml("test", &entry).unwrap());
        let settings = EntrySettings { connect, ..EntrySettings::default() };
        (World::start(testing::echo().await, settings).await, token)
    }

    #[tokio::test]
    async fn a_local_port_leads_to_the_service() {
        let (world, token) = world().await;
        let listener = testing::listener().await;
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let settings = settings(world.address.to_string(), Some(token));
        let running = task::spawn("forward", serve(listener, settings, shutdown.clone()));
        for text in ["one", "two"] {
            let mut stream = net::connect(address, LIMIT).await.unwrap();
            stream.write_all(text.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
            assert_eq!(read_all(&mut stream).await, text);
        }
        shutdown.cancel();
        time::timeout(LIMIT, running).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn one_agent_can_be_asked_for() {
        let (world, token) = world().await;
        let destination = Destination::parse("db.edge-1").unwrap();
        let settings = Settings { destination, ..settings(world.address.to_string(), Some(token)) };
        connect(&settings).await.unwrap();
        let asked = world.opener.requests.lock().unwrap()[0].clone();
        assert_eq!((asked.service.as_str(), asked.agent.unwrap().as_str()), ("db", "edge-1"));
    }

    async fn check_error(settings: &Settings, expected: &str) {
        let Err(error) = connect(settings).await else { panic!("expected {expected:?}") };
        let text = error.to_string();
        assert!(text.contains(expected), "{text:?} does not say {expected:?}");
    }

    #[tokio::test]
    async fn each_way_to_fail_is_told_apart() {
        let (world, token) = world().await;
        let gateway = world.address.to_string();
        check_error(&settings(gateway.clone(), None), "reason unauthorized").await;
        check_error(&settings(gateway.clone(), Some(Token::generate())), "the token is not known here").await;
        world.opener.fail(Reason::ServiceUnknown);
        check_error(&settings(gateway, Some(token)), "no connected agent offers this service").await;
        let echo = testing::echo().await.to_string();
        check_error(&settings(echo, None), "does not answer as a gateway").await;
        let free = testing::listener().await.local_addr().unwrap().to_string();
        check_error(&settings(free, None), "cannot connect to the gateway").await;
    }
}
