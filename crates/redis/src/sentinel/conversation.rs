//! A connection to one sentinel.
//!
//! It speaks RESP2, which every sentinel knows, and asks one thing at a time; who gives up waiting drops the connection, so that
//! no answer can come to the wrong question. It is not an epoch of the driver: it carries nothing of callers.

use std::io;
use std::pin::Pin;
use std::time::Duration;

use bowline_resp::{DecodeLimits, Decoder, Frame, encode_command};
use bowline_rt::time::timeout;
use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::answer::{self, Answer, AskError};
use crate::credentials::{Credentials, Login};
use crate::handshake::without_secret;
use crate::limits::{SENTINEL_ANSWER_BYTES_MAX, SENTINEL_ANSWER_VALUES_MAX, SENTINEL_TIMEOUT};

/// Bytes there and back.
pub(crate) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// What [`DialSentinel::dial`] returns.
pub(crate) type Dialled<'a> = Pin<Box<dyn Future<Output = io::Result<Box<dyn Wire>>> + Send + 'a>>;

/// How a stream to a sentinel is made.
pub(crate) trait DialSentinel: Send + Sync {
    /// Makes one, within `limit`.
    fn dial<'a>(&'a self, address: &'a str, limit: Duration) -> Dialled<'a>;
}

/// See the module.
pub(crate) struct Conversation {
    wire: Box<dyn Wire>,
    decoder: Decoder,
    incoming: BytesMut,
}

impl Conversation {
    /// Connects to a sentinel and logs in.
    pub async fn open(
        dial: &dyn DialSentinel,
        sentinel: &str,
        credentials: &Credentials,
    ) -> Result<Self, AskError> {
        let credentials =
            credentials.ask().await.map_err(|error| AskError::Credentials(error.to_string()))?;
        let wire = dial.dial(sentinel, SENTINEL_TIMEOUT).await;
        let limits = DecodeLimits {
            line_bytes_max: SENTINEL_ANSWER_BYTES_MAX,
            frame_bytes_max: SENTINEL_ANSWER_BYTES_MAX,
            elements_max: SENTINEL_ANSWER_VALUES_MAX,
            ..DecodeLimits::default()
        };
        let mut conversation = Self {
            wire: wire.map_err(|error| AskError::Connect(error.to_string()))?,
            decoder: Decoder::new(limits),
            incoming: BytesMut::new(),
        };
        if let Credentials::Fixed(login) = &credentials {
            in_time(conversation.log_in(login)).await?;
        }
        Ok(conversation)
    }

    /// Asks for all that is to be known about `service`; for its replicas only if they are wanted. Nothing can be asked afterwards
    /// if these are not told.
    pub async fn ask_about(&mut self, service: &str, wants_replicas: bool) -> Result<Answer, AskError> {
        let ask = async {
            let primary =
                answer::primary(self.ask(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", service]).await?)?;
            let config_epoch = answer::config_epoch(self.ask(&["SENTINEL", "MASTER", service]).await?);
            let others = answer::others(self.ask(&["SENTINEL", "SENTINELS", service]).await?);
            Ok(Answer { primary, config_epoch, others, replicas: None })
        };
        let answer = in_time(ask).await?;
        // Whatever comes of it, the primary is known.
        let replicas = if wants_replicas { Some(in_time(self.ask_replicas(service)).await) } else { None };
        Ok(Answer { replicas, ..answer })
    }

    /// Before Redis 5 the question had another name.
    async fn ask_replicas(&mut self, service: &str) -> Result<Vec<String>, AskError> {
        match self.ask(&["SENTINEL", "REPLICAS", service]).await? {
            Frame::Error(_) => answer::replicas(self.ask(&["SENTINEL", "SLAVES", service]).await?),
            frame => answer::replicas(frame),
        }
    }

    /// Turns to being told of changed primaries; from then on only [`Conversation::next`] and [`Conversation::show_life`]
    /// make sense.
    pub async fn subscribe(&mut self) -> Result<(), AskError> {
        match in_time(self.ask(&["SUBSCRIBE", "+switch-master"])).await? {
            Frame::Error(text) => Err(answer::refused(&text)),
            Frame::Array(elements) if elements.first().and_then(Frame::as_text) == Some("subscribe") => {
                Ok(())
            }
            _ => Err(AskError::Nonsense("it did not confirm a subscription")),
        }
    }

    /// Demands a sign of life of a sentinel that is listened to. Word of a failover that comes meanwhile is lost: look again.
    pub async fn show_life(&mut self) -> Result<(), AskError> {
        let life = async {
            self.say(&["PING"]).await?;
            self.next().await
        };
        in_time(life).await.map(drop)
    }

    /// The next frame. Cancel safe.
    pub async fn next(&mut self) -> Result<Frame, AskError> {
        loop {
            match self.decoder.decode(&mut self.incoming) {
                Ok(Some(frame)) => return Ok(frame),
                Ok(None) => {}
                Err(_) => {
                    return Err(AskError::Nonsense("it sent something else than RESP, or too much of it"));
                }
            }
            match self.wire.read_buf(&mut self.incoming).await {
                Ok(0) => return Err(AskError::Closed),
                Ok(_) => {}
                Err(error) => return Err(AskError::Connect(error.to_string())),
            }
        }
    }

    async fn log_in(&mut self, login: &Login) -> Result<(), AskError> {
        let secret = login.password.reveal();
        let frame = match &login.user {
            Some(user) => self.ask(&["AUTH", user, secret]).await?,
            None => self.ask(&["AUTH", secret]).await?,
        };
        match frame {
            Frame::Error(text) => Err(AskError::Login(without_secret(&text, Some(login)))),
            Frame::Simple(_) => Ok(()),
            _ => Err(AskError::Nonsense("it did not answer the login")),
        }
    }

    async fn ask(&mut self, request: &[&str]) -> Result<Frame, AskError> {
        self.say(request).await?;
        self.next().await
    }

    async fn say(&mut self, request: &[&str]) -> Result<(), AskError> {
        let mut bytes = BytesMut::new();
        encode_command(request.iter().map(|text| text.as_bytes()), &mut bytes);
        let said = async {
            self.wire.write_all_buf(&mut bytes).await?;
            self.wire.flush().await
        };
        said.await.map_err(|error: io::Error| AskError::Connect(error.to_string()))
    }
}

async fn in_time<T>(future: impl Future<Output = Result<T, AskError>>) -> Result<T, AskError> {
    timeout(SENTINEL_TIMEOUT, future).await.unwrap_or(Err(AskError::Late))
}
