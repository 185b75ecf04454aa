//! Keeps one connection alive, for ever: connect, introduce, publish, serve until death, pause, and again.
//!
//! One task does it all, one connection after the other, so no handshake can delay another connection. A connection is
//! published only after the server has been introduced, and each has an identity of its own, so that nothing that is said of a
//! dead one can be taken for the living.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bowline_model::Epoch;
use bowline_rt::random;
use bowline_rt::time::{now, sleep};
use tokio::sync::watch;

use crate::connect::{Connect, Dial, Established};
use crate::handshake::{Predecessor, ServerInfo, Tracking};
use crate::intake::Intake;
use crate::limits::{CREDENTIALS_PAUSE, RECONNECT_PAUSE_MIN, STABLE_AFTER};
use crate::metrics::Held;
use crate::renewal::{changed, renew};

/// Whether there is a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Connection {
    /// There is none.
    Down {
        /// What ended the last one, or what the newest attempt met.
        error: Option<String>,
    },
    /// There is one.
    Up {
        /// Identity of the connection.
        epoch: Epoch,
        /// Who is at the other end.
        server: ServerInfo,
    },
}

/// The task. Dropping the receivers does not stop it; aborting it does.
pub(crate) struct Reconnect<D> {
    pub connect: Connect<D>,
    /// The intake of the living connection, for every call to look at.
    pub live: Arc<ArcSwapOption<Intake>>,
    /// The same, for those who wait for one.
    pub intake: watch::Sender<Option<Arc<Intake>>>,
    pub connection: watch::Sender<Connection>,
}

impl<D: Dial> Reconnect<D> {
    /// Runs until it is aborted.
    pub async fn run(self) {
        let mut pause = Pause::new(self.connect.config.settings.reconnect_pause_max);
        // A server that refuses the credentials is not asked again soon, unless there are others.
        let mut login_pause = Pause::new(CREDENTIALS_PAUSE);
        let mut version = self.connect.config.credentials.version();
        let mut predecessor = None;
        loop {
            version.iter_mut().for_each(|version| drop(version.borrow_and_update()));
            match self.connect.establish(predecessor.clone()).await {
                Ok(established) => {
                    let since = now();
                    login_pause.reset();
                    predecessor = Some(established.server.connection_name());
                    self.serve(established).await;
                    if now().saturating_duration_since(since) >= STABLE_AFTER {
                        pause.reset();
                    }
                }
                Err(error) => {
                    self.connect.metrics.connect_failures.inc();
                    self.down(&error.to_string());
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

    /// Publishes a connection, serves it until its death, and buries it.
    async fn serve(&self, established: Established<D::Stream>) {
        let Established { mut link, intake, server, address, version } = established;
        let metrics = &self.connect.metrics;
        let epoch = intake.epoch();
        tracing::info!(%epoch, %address, version = server.version, "connected to the store");
        if let Predecessor::Unfenced { reason } = &server.predecessor {
            tracing::warn!(%epoch, %address, reason, "the store cannot end the former connection: commands of it may still run");
            metrics.unfenced.inc();
        }
        if let Tracking::Refused { reason } = &server.tracking {
            tracing::warn!(%epoch, %address, reason, "the store does not help a client-side cache: every cached call asks it");
        }
        metrics.connected.inc();
        let up = Held::new(&metrics.up);
        self.live.store(Some(intake.clone()));
        self.intake.send_replace(Some(intake.clone()));
        self.connection.send_replace(Connection::Up { epoch, server });
        let death = tokio::select! {
            biased;
            death = link.serve() => death,
            death = self.connect.target.left(&address) => {
                link.core().die(death);
                death
            }
            never = renew(&self.connect.config, version, &intake, metrics) => match never {},
        };
        // Its callers are told before anybody else.
        drop(link);
        self.live.store(None);
        self.intake.send_replace(None);
        drop(up);
        metrics.count_death(death);
        tracing::warn!(%epoch, %address, error = %death, "lost the connection to the store");
        self.connection.send_replace(Connection::Down { error: Some(death.to_string()) });
    }

    /// Tells of a failed attempt, if it failed otherwise than the last one.
    fn down(&self, error: &str) {
        self.connection.send_if_modified(|connection| {
            let news = Connection::Down { error: Some(error.to_owned()) };
            let is_new = *connection != news;
            if is_new {
                tracing::warn!(error, "no connection to the store");
                *connection = news;
            }
            is_new
        });
    }
}

/// The pauses between attempts: none before the first, then a random share of a bound that doubles ("full jitter"), so that
/// clients that lost their server together do not come back together.
#[derive(Debug)]
pub(crate) struct Pause {
    /// Upper bound of the next pause.
    bound: Duration,
    bound_max: Duration,
}

impl Pause {
    pub const fn new(bound_max: Duration) -> Self {
        Self { bound: Duration::ZERO, bound_max }
    }

    /// A connection was good: the next attempt comes at once.
    pub const fn reset(&mut self) {
        self.bound = Duration::ZERO;
    }

    pub fn next(&mut self) -> Duration {
        let pause = random::jitter(self.bound);
        self.bound = (self.bound * 2).max(RECONNECT_PAUSE_MIN).min(self.bound_max);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_begin_at_nothing_and_stay_below_a_bound_that_doubles() {
        let mut pause = Pause::new(Duration::from_millis(300));
        for bound_ms in [0, 10, 20, 40, 80, 160, 300, 300] {
            assert_eq!(pause.bound, Duration::from_millis(bound_ms));
            assert!(pause.next() <= Duration::from_millis(bound_ms));
        }
        pause.reset();
        assert_eq!(pause.next(), Duration::ZERO);
    }
}
