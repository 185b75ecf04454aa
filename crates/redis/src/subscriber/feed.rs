//! The connections of a subscriber: one for ever, and one to each node of a cluster on which shard channels are.

use std::future::poll_fn;
use std::panic::resume_unwind;
use std::sync::Arc;

use bowline_rt::random;
use bowline_rt::task::JoinSet;
use bowline_rt::time::{now, sleep, timeout};
use tokio::sync::watch;

use super::core::SubscriberCore;
use super::line::{End, Line};
use super::metrics::SubscriberMetrics;
use super::nodes::Targets;
use super::roster::{Place, Roster};
use crate::config::Config;
use crate::connect::{Dial, Target};
use crate::error::{ConnectError, Death};
use crate::handshake::{HandshakeError, ServerInfo};
use crate::limits::{CREDENTIALS_PAUSE, STABLE_AFTER};
use crate::reconnect::{Connection, Pause};
use crate::renewal::changed;
use crate::topology::Address;

/// Everything that is needed to connect.
#[derive(Clone)]
pub(crate) struct Feed<D> {
    pub config: Config,
    pub dial: D,
    pub targets: Targets,
    pub roster: Arc<Roster>,
    pub metrics: SubscriberMetrics,
}

impl<D: Dial> Feed<D> {
    /// Keeps all connections, until it is dropped.
    pub async fn run(self, connection: watch::Sender<Connection>) {
        let mut others = JoinSet::new();
        let first = self.keep(connection);
        tokio::pin!(first);
        loop {
            tokio::select! {
                () = &mut first => return,
                address = poll_fn(|context| self.roster.poll_new_place(context)) => {
                    let targets = Targets::One(Target::Fixed(Address::Host(address.to_string())));
                    let other = Self { targets, ..self.clone() };
                    others.spawn(other.visit(Some(address)));
                }
                Some(ended) = others.join_next() => {
                    // The topics of a task that is gone would be wanted of nobody.
                    if let Err(error) = ended && let Ok(panic) = error.try_into_panic() {
                        resume_unwind(panic);
                    }
                }
            }
        }
    }

    /// One connection after the other, for ever.
    async fn keep(&self, connection: watch::Sender<Connection>) {
        let mut pause = Pause::new(self.config.settings.reconnect_pause_max);
        // A server that refuses the credentials is not asked again soon, unless there are others.
        let mut login_pause = Pause::new(CREDENTIALS_PAUSE);
        let mut version = self.config.credentials.version();
        loop {
            let target = self.targets.next();
            version.iter_mut().for_each(|version| drop(version.borrow_and_update()));
            match self.establish(&target, &None).await {
                Ok((mut line, server)) => {
                    let since = now();
                    login_pause.reset();
                    connection.send_replace(Connection::Up { epoch: line.core().id(), server });
                    let address = line.address().clone();
                    let end = tokio::select! {
                        biased;
                        end = self.serve(&target, line, &None) => end,
                        never = self.targets.learn_from(&address) => match never {},
                    };
                    if let End::Died(death) = end {
                        connection.send_replace(Connection::Down { error: Some(death.to_string()) });
                    }
                    if now().saturating_duration_since(since) >= STABLE_AFTER {
                        pause.reset();
                    }
                }
                Err(error) => {
                    self.metrics.connect_failures.inc();
                    down(&connection, &error.to_string());
                    if error.is_about_login() {
                        let refused_for = login_pause.next();
                        tokio::select! {
                            () = sleep(refused_for) => {}
                            () = changed(&mut version) => {}
                        }
                    }
                }
            }
            sleep(pause.next()).await;
        }
    }

    /// One connection to another node of a cluster, until it is lost or needed no more.
    async fn visit(self, place: Place) {
        let target = self.targets.next();
        match self.establish(&target, &place).await {
            Ok((line, _)) => {
                self.serve(&target, line, &place).await;
            }
            Err(error) => {
                self.metrics.connect_failures.inc();
                tracing::warn!(%error, "no connection to the node of a shard channel");
                // The first node may name this one again at once.
                sleep(random::jitter(self.config.settings.reconnect_pause_max)).await;
                self.roster.lost(&place, Death::Closed);
            }
        }
    }

    async fn establish(
        &self,
        target: &Target,
        place: &Place,
    ) -> Result<(Line<D::Stream>, ServerInfo), ConnectError> {
        let address = target.address().await?;
        let made = tokio::select! {
            biased;
            made = self.introduce(&address, place) => made,
            death = target.left(&address) => Err(ConnectError::died(&address, &self.config.connector, death)),
        };
        if made.is_err() {
            target.failed(&address);
        }
        made
    }

    async fn introduce(
        &self,
        address: &Address,
        place: &Place,
    ) -> Result<(Line<D::Stream>, ServerInfo), ConnectError> {
        let config = self.config.with_current_credentials().await?;
        let settings = &config.settings;
        let name = || address.to_string();
        let stream = self.dial.dial(address, settings.connect_timeout).await;
        let stream = stream.map_err(|source| ConnectError::Connect { address: name(), source })?;
        let core = SubscriberCore::new(random::epoch(), &config, now());
        let mut line = Line::new(stream, core, self.roster.clone(), place.clone(), address.clone());
        let limit = settings.handshake_timeout;
        match timeout(limit, line.handshake()).await {
            Err(_) => Err(ConnectError::Timeout { address: name(), limit }),
            Ok(Ok(server)) => Ok((line, server)),
            Ok(Err(death)) => Err(match line.core().take_handshake_error() {
                Some(HandshakeError { reason, is_about_login: true, .. }) => {
                    ConnectError::Login { address: name(), reason }
                }
                Some(HandshakeError { step, reason, .. }) => {
                    ConnectError::Refused { address: name(), step, reason }
                }
                None => ConnectError::died(address, &config.connector, death),
            }),
        }
    }

    /// Serves a connection until its end, and tells subscribers of it.
    async fn serve(&self, target: &Target, mut line: Line<D::Stream>, place: &Place) -> End {
        let (epoch, address) = (line.core().id(), line.address().clone());
        tracing::info!(%epoch, %address, "connected to the store for subscriptions");
        self.metrics.connected.inc();
        let end = tokio::select! {
            biased;
            end = line.serve() => end,
            death = target.left(&address) => End::Died(death),
        };
        drop(line);
        if let End::Died(death) = end {
            self.metrics.count_death(death);
            tracing::warn!(%epoch, %address, error = %death, "lost the connection to the store for subscriptions");
            self.roster.lost(place, death);
        }
        end
    }
}

/// Tells of a failed attempt, if it failed otherwise than the last one.
fn down(connection: &watch::Sender<Connection>, error: &str) {
    connection.send_if_modified(|connection| {
        let news = Connection::Down { error: Some(error.to_owned()) };
        let is_new = *connection != news;
        if is_new {
            tracing::warn!(error, "no connection to the store for subscriptions");
            *connection = news;
        }
        is_new
    });
}
