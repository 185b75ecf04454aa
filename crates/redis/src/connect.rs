//! How a connection comes about: find the server, connect, introduce.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bowline_identity::tls::{Connector, Stream};
use bowline_rt::random;
use bowline_rt::time::{now, timeout};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::config::Config;
use crate::epoch::EpochCore;
use crate::error::{ConnectError, Death};
use crate::handshake::{ConnectionName, Introduction, Role, ServerInfo};
use crate::intake::Intake;
use crate::link::{Link, Pushes};
use crate::metrics::Metrics;

/// How a fresh stream to the server is made.
pub(crate) trait Dial: Clone + Send + Sync + 'static {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Makes one, within `limit`.
    fn dial(&self, address: &str, limit: Duration) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl Dial for Connector {
    type Stream = Stream;

    async fn dial(&self, address: &str, limit: Duration) -> io::Result<Stream> {
        self.connect(address, limit).await
    }
}

/// Where the server is. It is asked before each connection.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    /// Always at the same address, `host:port`.
    Fixed(String),
}

impl Target {
    /// The address to connect to now.
    async fn address(&self) -> Result<String, ConnectError> {
        match self {
            Self::Fixed(address) => Ok(address.clone()),
        }
    }

    /// Ends when the server at `address` is not the one to be connected to any more, with the reason for which a connection
    /// to it dies. Cancel safe.
    pub async fn left(&self, _address: &str) -> Death {
        match self {
            Self::Fixed(_) => std::future::pending().await,
        }
    }

    /// For messages.
    pub fn name(&self) -> &str {
        match self {
            Self::Fixed(address) => address,
        }
    }
}

/// Everything that is needed to make connections to one server.
#[derive(Clone)]
pub(crate) struct Connect<D> {
    pub config: Config,
    pub dial: D,
    pub target: Target,
    pub role: Role,
    pub metrics: Metrics,
    pub pushes: Option<Arc<dyn Pushes>>,
}

/// A connection whose server has been introduced.
pub(crate) struct Established<S> {
    pub link: Link<S>,
    pub intake: Arc<Intake>,
    pub server: ServerInfo,
    /// Where it leads.
    pub address: String,
}

impl<D: Dial> Connect<D> {
    /// Makes a connection and introduces itself. Cancel safe: what was begun is dropped whole.
    pub async fn establish(
        &self,
        predecessor: Option<ConnectionName>,
    ) -> Result<Established<D::Stream>, ConnectError> {
        let settings = &self.config.settings;
        let address = self.target.address().await?;
        let stream = self.dial.dial(&address, settings.connect_timeout).await;
        let stream = stream.map_err(|source| ConnectError::Connect { address: address.clone(), source })?;
        let epoch = random::epoch();
        let intake = Arc::new(Intake::new(epoch, settings));
        let introduction = Introduction { role: self.role, predecessor };
        let core = EpochCore::introduced(epoch, &self.config, introduction, now());
        let mut link = Link::new(stream, core, intake.clone(), self.metrics.clone(), self.pushes.clone());
        let limit = settings.handshake_timeout;
        match timeout(limit, link.handshake()).await {
            Err(_) => Err(ConnectError::Timeout { address, limit }),
            Ok(Ok(server)) => Ok(Established { link, intake, server, address }),
            Ok(Err(death)) => Err(match link.core().take_handshake_error() {
                Some(refusal) => {
                    ConnectError::Refused { address, step: refusal.step, reason: refusal.reason }
                }
                None => ConnectError::Died { address, death },
            }),
        }
    }
}

/// A dedicated connection, and the future that keeps it alive. It ends with the connection.
pub(crate) type Dedication = (Arc<Intake>, Pin<Box<dyn Future<Output = Death> + Send>>);

/// [`Connect`] without its type of stream: makes connections that one caller has to itself.
pub(crate) trait Dedicate: Send + Sync {
    fn dedicate(&self) -> Pin<Box<dyn Future<Output = Result<Dedication, ConnectError>> + Send + '_>>;
}

impl<D: Dial> Dedicate for Connect<D> {
    fn dedicate(&self) -> Pin<Box<dyn Future<Output = Result<Dedication, ConnectError>> + Send + '_>> {
        Box::pin(async {
            let Established { mut link, intake, address, .. } = self.establish(None).await?;
            let target = self.target.clone();
            let life: Pin<Box<dyn Future<Output = Death> + Send>> = Box::pin(async move {
                tokio::select! {
                    biased;
                    death = link.serve() => death,
                    death = target.left(&address) => {
                        link.core().die(death);
                        death
                    }
                }
            });
            Ok((intake, life))
        })
    }
}
