//! How a connection comes about: find the server, connect, introduce.

use std::pin::Pin;
use std::sync::Arc;

use bowline_rt::random;
use bowline_rt::time::{now, timeout};
use tokio::sync::watch;

use crate::config::Config;
use crate::epoch::EpochCore;
use crate::error::{ConnectError, Death};
use crate::handshake::{ConnectionName, HandshakeError, Introduction, Role, ServerInfo};
use crate::intake::Intake;
use crate::link::{Link, Pushes};
use crate::metrics::Metrics;
use crate::topology::Address;

pub(crate) use crate::dial::Dial;
pub(crate) use crate::target::Target;

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
    pub address: Address,
    /// Changes when other credentials hold than those that it was made with.
    pub version: Option<watch::Receiver<u64>>,
}

impl<D: Dial> Connect<D> {
    /// The same for connections that have nothing to do with the client-side cache.
    pub fn without_cache(self) -> Self {
        Self { config: Config { cache: None, ..self.config }, pushes: None, ..self }
    }

    /// Makes a connection and introduces itself. Cancel safe: what was begun is dropped whole.
    pub async fn establish(
        &self,
        predecessor: Option<ConnectionName>,
    ) -> Result<Established<D::Stream>, ConnectError> {
        let address = self.target.address().await?;
        let made = tokio::select! {
            biased;
            made = self.introduce(&address, predecessor) => made,
            death = self.target.left(&address) => Err(ConnectError::died(&address, &self.config.connector, death)),
        };
        if made.is_err() {
            self.target.failed(&address);
        }
        made
    }

    async fn introduce(
        &self,
        address: &Address,
        predecessor: Option<ConnectionName>,
    ) -> Result<Established<D::Stream>, ConnectError> {
        // Seen before they are asked for, so that no change is missed in between.
        let mut version = self.config.credentials.version();
        version.iter_mut().for_each(|version| drop(version.borrow_and_update()));
        let config = self.config.with_current_credentials().await?;
        let settings = &config.settings;
        let stream = self.dial.dial(address, settings.connect_timeout).await;
        let name = || address.to_string();
        let stream = stream.map_err(|source| ConnectError::Connect { address: name(), source })?;
        let epoch = random::epoch();
        let intake = Arc::new(Intake::new(epoch, settings));
        let introduction = Introduction { role: self.role, predecessor };
        let core = EpochCore::introduced(epoch, &config, introduction, now());
        let mut link = Link::new(stream, core, intake.clone(), self.metrics.clone(), self.pushes.clone());
        let limit = settings.handshake_timeout;
        match timeout(limit, link.handshake()).await {
            Err(_) => Err(ConnectError::Timeout { address: name(), limit }),
            Ok(Ok(server)) => Ok(Established { link, intake, server, address: address.clone(), version }),
            Ok(Err(death)) => Err(match link.core().take_handshake_error() {
                Some(HandshakeError { reason, is_about_login: true, .. }) => {
                    self.metrics.logins_refused.inc();
                    ConnectError::Login { address: name(), reason }
                }
                Some(HandshakeError { step, reason, .. }) => {
                    ConnectError::Refused { address: name(), step, reason }
                }
                None => ConnectError::died(address, &config.connector, death),
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
