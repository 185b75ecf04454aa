//! What all sessions and tunnels of one agent share.

use std::sync::Arc;

use bowline_identity::tls::{ALPN_TUNNEL, Connector};
use bowline_model::{AgentId, Epoch};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::control::Dialler;
use crate::metrics::Metrics;
use crate::settings::{Limits, Services, Settings};
use crate::tally::Tally;

/// See the module.
#[derive(Debug)]
pub struct Shared {
    pub agent: AgentId,
    pub epoch: Epoch,
    pub limits: Limits,
    pub services: watch::Sender<Services>,
    pub dialler: Dialler,
    /// Dials tunnels.
    pub connector: Connector,
    /// A permit for each tunnel that may yet be made.
    pub places: Arc<Semaphore>,
    pub tally: Tally,
    pub metrics: Metrics,
    /// The tasks of all tunnels, so that a shutdown can wait for them.
    pub tasks: TaskTracker,
    /// The grace is over: running streams are cut.
    pub cut: CancellationToken,
}

impl Shared {
    pub fn new(settings: &Settings, epoch: Epoch, services: watch::Sender<Services>) -> Self {
        let limits = settings.limits.clone();
        Self {
            agent: settings.agent.clone(),
            epoch,
            services,
            dialler: Dialler::new(&settings.connector, settings.credential.clone(), limits.clone()),
            connector: settings.connector.with_alpn(&[ALPN_TUNNEL]),
            places: Arc::new(Semaphore::new(limits.tunnels_max)),
            tally: Tally::default(),
            metrics: Metrics::default(),
            tasks: TaskTracker::new(),
            cut: CancellationToken::new(),
            limits,
        }
    }
}
