//! One control connection: dialled, authenticated, logged in. It carries messages and decides nothing.

use std::net::SocketAddr;

use bowline_identity::tls::{ALPN_CONTROL, Connector, Stream};
use bowline_identity::token::Token;
use bowline_proto::v1;
use bowline_proto::v1::control_client::ControlClient;
use bowline_proto::v1::{FromAgent, FromGateway, Login, Welcome, from_agent, from_gateway};
use bowline_rt::time::{Elapsed, timeout};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::metadata::MetadataValue;
use tonic::{Code, Request, Status, Streaming};

use crate::limits::{
    CONNECTION_WINDOW_BYTES, CONTROL_MESSAGE_BYTES_MAX, FINISH_TIMEOUT, HTTP2_PING_INTERVAL,
    HTTP2_PING_TIMEOUT, OUTBOUND_MESSAGES_MAX, STREAM_WINDOW_BYTES,
};
use crate::settings::Limits;
use crate::text;

/// Why there is no control connection, or not any more.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    #[error("cannot connect")]
    Connect(#[source] std::io::Error),
    #[error("cannot begin HTTP/2")]
    Handshake(#[source] hyper::Error),
    #[error("{}", describe(.0))]
    Refused(Status),
    #[error("{}", describe(.0))]
    Broken(Status),
    #[error("the gateway did not answer the login")]
    LoginTimeout(#[source] Elapsed),
    #[error("the gateway did not begin with a welcome")]
    NoWelcome,
    #[error("the gateway ended the connection")]
    Ended,
    #[error("the gateway does not read what it is sent")]
    NotRead,
}

impl From<Status> for ControlError {
    fn from(status: Status) -> Self {
        match status.code() {
            Code::Unauthenticated | Code::PermissionDenied | Code::InvalidArgument => Self::Refused(status),
            _ => Self::Broken(status),
        }
    }
}

/// A status in words; its own `Display` prints metadata too.
fn describe(status: &Status) -> String {
    let words = if status.message().is_empty() { status.code().description() } else { status.message() };
    text::with_causes(words.to_owned(), std::error::Error::source(status))
}

/// What it takes to dial a gateway.
#[derive(Debug)]
pub struct Dialler {
    connector: Connector,
    credential: Option<Token>,
    limits: Limits,
}

impl Dialler {
    pub fn new(connector: &Connector, credential: Option<Token>, limits: Limits) -> Self {
        Self { connector: connector.with_alpn(&[ALPN_CONTROL]), credential, limits }
    }

    /// Dials `address` and logs in.
    pub async fn attach(&self, address: &str, login: Login) -> Result<(Control, Welcome), ControlError> {
        let connected = self.connector.connect(address, self.limits.dial_timeout).await;
        let stream = connected.map_err(ControlError::Connect)?;
        timeout(self.limits.login_timeout, self.log_in(stream, address, login))
            .await
            .map_err(ControlError::LoginTimeout)?
    }

    async fn log_in(
        &self,
        stream: Stream,
        address: &str,
        login: Login,
    ) -> Result<(Control, Welcome), ControlError> {
        let peer = stream.peer_addr().map_err(ControlError::Connect)?;
        let (requests, connection) = http2::Builder::new(Executor)
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .keep_alive_interval(HTTP2_PING_INTERVAL)
            .keep_alive_timeout(HTTP2_PING_TIMEOUT)
            .keep_alive_while_idle(true)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(ControlError::Handshake)?;
        let connection = bowline_rt::task::spawn("control connection", async move {
            // Whoever waits for a message learns of the end; why it came is a detail of this level.
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a control connection ended");
            }
        });
        let service = tower::service_fn(move |request| {
            let mut requests = requests.clone();
            async move { requests.send_request(request).await }
        });
        let origin = http::Uri::builder().scheme("http").authority(address).path_and_query("/").build();
        let origin = origin.unwrap_or_else(|_| http::Uri::from_static("http://gateway"));
        let mut client =
            ControlClient::with_origin(service, origin).max_decoding_message_size(CONTROL_MESSAGE_BYTES_MAX);

        let (outbound, messages) = mpsc::channel(OUTBOUND_MESSAGES_MAX);
        let mut outbound = Outbound(outbound);
        outbound.send(from_agent::Message::Login(login))?;
        let mut request = Request::new(ReceiverStream::new(messages));
        if let Some(token) = &self.credential {
            let header = MetadataValue::try_from(format!("Bearer {}", token.reveal()));
            let mut header = header.expect("a token is made of letters and digits");
            header.set_sensitive(true);
            request.metadata_mut().insert("authorization", header);
        }
        let mut inbound = Inbound(client.attach(request).await?.into_inner());
        let from_gateway::Message::Welcome(welcome) = inbound.next().await? else {
            return Err(ControlError::NoWelcome);
        };
        let _connection = AbortOnDropHandle::new(connection);
        Ok((Control { inbound, outbound, peer, _connection }, welcome))
    }
}

/// An attached control connection. Dropping it closes it.
#[derive(Debug)]
pub struct Control {
    pub inbound: Inbound,
    pub outbound: Outbound,
    /// The address that answered: tunnels have to reach the same process, whatever the name resolves to next.
    pub peer: SocketAddr,
    _connection: AbortOnDropHandle<()>,
}

impl Control {
    /// Ends the connection in order: all that was sent arrives, unless the gateway does not read.
    pub async fn finish(self) {
        let Self { mut inbound, outbound, _connection, .. } = self;
        drop(outbound);
        let ended = async { while inbound.next().await.is_ok() {} };
        // A gateway that does not answer the end is left all the same.
        let _ = timeout(FINISH_TIMEOUT, ended).await;
    }
}

/// Messages from the gateway.
#[derive(Debug)]
pub struct Inbound(Streaming<FromGateway>);

impl Inbound {
    /// The next message. One of a kind that this version does not know is passed over. Cancel safe.
    pub async fn next(&mut self) -> Result<from_gateway::Message, ControlError> {
        loop {
            match self.0.message().await? {
                Some(FromGateway { message: Some(message) }) => return Ok(message),
                Some(FromGateway { message: None }) => {}
                None => return Err(ControlError::Ended),
            }
        }
    }
}

/// Messages to the gateway.
#[derive(Debug)]
pub struct Outbound(mpsc::Sender<FromAgent>);

impl Outbound {
    /// Queues `message`; never waits.
    pub fn send(&mut self, message: from_agent::Message) -> Result<(), ControlError> {
        self.0.try_send(FromAgent { message: Some(message) }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => ControlError::NotRead,
            mpsc::error::TrySendError::Closed(_) => ControlError::Ended,
        })
    }

    pub fn heartbeat(&mut self) -> Result<(), ControlError> {
        self.send(from_agent::Message::Heartbeat(v1::Heartbeat {}))
    }
}

/// Runs hyper's tasks through the seam.
#[derive(Debug, Clone)]
struct Executor;

impl<F: Future<Output: Send + 'static> + Send + 'static> hyper::rt::Executor<F> for Executor {
    fn execute(&self, future: F) {
        bowline_rt::task::spawn("http2", future);
    }
}
