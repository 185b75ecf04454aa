//! The gateway: what its parts share, and the ports it serves.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bowline_identity::tls::Acceptor;
use bowline_model::GatewayId;
use bowline_rt::net::Listener;
use bowline_rt::ration::Ration;
use bowline_rt::time::{now, sleep, timeout};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::agents::Agents;
use crate::directory::Directory;
use crate::limits;
use crate::listener::{self, Warnings};
use crate::lobby::Lobby;
use crate::metrics::{Metrics, States};
use crate::session::lock;
use crate::settings::Settings;
use crate::stream::Places;

/// The gateway's side of the data plane. Clones are the same gateway.
#[derive(Clone)]
pub struct Gateway {
    pub(crate) inner: Arc<Inner>,
}

/// What all tasks of a gateway share.
pub(crate) struct Inner {
    pub settings: Settings,
    pub agents: Agents,
    pub directory: Arc<dyn Directory>,
    pub metrics: Arc<Metrics>,
    pub places: Arc<Places>,
    /// Places for control connections: those of attached agents, and those of agents that are leaving and have streams
    /// that run.
    pub conversations: Arc<Semaphore>,
    pub agent_port: Arc<Warnings>,
    /// Lines of the log about refused agents; one that tries for ever must not fill it.
    pub refusals: Ration,
    pub peer_port: Arc<Warnings>,
    pub draining: watch::Sender<bool>,
    /// Cancelled at the end of a drain: everything that still runs stops.
    pub stop: CancellationToken,
    pub started_at: Instant,
    suspects: Mutex<BTreeMap<GatewayId, Instant>>,
}

impl Inner {
    pub fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }

    /// Notes that a gateway could not be reached, so that it is asked last for a while.
    pub fn suspect(&self, gateway: &GatewayId) {
        let now = now();
        let mut suspects = lock(&self.suspects);
        suspects.retain(|_, until| now < *until);
        if suspects.len() < limits::SUSPECTS_MAX {
            suspects.insert(gateway.clone(), now + limits::SUSPECT_FOR);
        }
    }

    /// A gateway has answered.
    pub fn trust(&self, gateway: &GatewayId) {
        lock(&self.suspects).remove(gateway);
    }

    pub fn is_suspected(&self, gateway: &GatewayId) -> bool {
        lock(&self.suspects).get(gateway).is_some_and(|until| now() < *until)
    }
}

impl Gateway {
    /// A gateway that serves nothing yet. `directory` is the registry, or what stands for it in a test.
    #[must_use]
    pub fn new(settings: Settings, directory: impl Directory) -> Self {
        let directory: Arc<dyn Directory> = Arc::new(directory);
        let metrics = Arc::new(Metrics::new());
        let inner = Inner {
            agents: Agents::new(directory.clone(), &settings),
            places: Places::new(settings.streams_max),
            conversations: Arc::new(Semaphore::new(settings.agents_max * limits::CONVERSATIONS_PER_AGENT)),
            refusals: Ration::new(limits::WARNINGS_MAX, limits::WARNING_PERIOD),
            agent_port: Warnings::new("agent", metrics.strangers_refused.clone()),
            peer_port: Warnings::new("peer", metrics.strangers_refused.clone()),
            draining: watch::Sender::new(false),
            stop: CancellationToken::new(),
            started_at: now(),
            suspects: Mutex::default(),
            settings,
            directory,
            metrics,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Serves control connections and tunnels of agents until the end of a drain.
    pub async fn serve_agents(&self, listener: Listener, acceptor: Acceptor) {
        let inner = self.inner.clone();
        let serve = move |stranger| crate::control::serve(inner.clone(), stranger);
        let (warnings, stop) = (self.inner.agent_port.clone(), self.inner.stop.clone());
        let inner = self.inner.clone();
        let doors = (Lobby::of_port(), move |address| inner.agents.any_from(address));
        listener::accept(listener, doors, acceptor, warnings, stop, serve).await;
    }

    /// Serves other gateways until the end of a drain.
    pub async fn serve_peers(&self, listener: Listener, acceptor: Acceptor) {
        let inner = self.inner.clone();
        let serve = move |stranger| crate::hop::server::serve(inner.clone(), stranger);
        let (warnings, stop) = (self.inner.peer_port.clone(), self.inner.stop.clone());
        listener::accept(listener, (Lobby::of_port(), |_| false), acceptor, warnings, stop, serve).await;
    }

    /// Shuts down: refuses new logins and asks every agent to move, goes on serving whom it still can (a draining path is
    /// better than none), and stops when all agents and streams are gone, or after `grace`.
    ///
    /// An agent stays published until it leaves, so that others find it all the time.
    pub async fn drain(&self, grace: Duration) {
        let inner = &self.inner;
        self.hand_over();
        tracing::info!(agents = inner.agents.len(), streams = inner.places.taken(), "draining");
        // An agent that has nowhere else to go is served while there is something to serve, and not waited for.
        let stay = inner.settings.drain_jitter + inner.settings.move_time;
        let done = async {
            tokio::select! {
                biased;
                () = self.until(|agents, streams| agents == 0 && streams == 0) => {}
                () = async {
                    sleep(stay).await;
                    self.until(|_, streams| streams == 0).await;
                } => {}
            }
        };
        if timeout(grace, done).await.is_err() {
            let (agents, streams) = (inner.agents.len(), inner.places.taken());
            tracing::warn!(agents, streams, "the grace time is over; what is left is cut");
        }
        inner.directory.shut_down(limits::WITHDRAW_TIMEOUT).await;
        inner.stop.cancel();
    }

    /// Hands the agents over to other gateways: refuses new logins and asks those attached to move. Whoever asks for a
    /// stream is served as before. For a gateway that nobody finds any more.
    pub fn hand_over(&self) {
        self.inner.draining.send_replace(true);
    }

    /// Waits until the numbers of agents and of streams are as wanted.
    async fn until(&self, wanted: impl Fn(usize, usize) -> bool) {
        loop {
            // Registered before the look, so that what changes in between is not missed.
            let gone = self.inner.agents.gone.notified();
            let freed = self.inner.places.freed.notified();
            tokio::pin!(gone, freed);
            gone.as_mut().enable();
            freed.as_mut().enable();
            if wanted(self.inner.agents.len(), self.inner.places.taken()) {
                return;
            }
            tokio::select! {
                biased;
                () = gone => {}
                () = freed => {}
            }
        }
    }

    /// Whether [`Gateway::drain`] has begun.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.inner.is_draining()
    }

    /// Adds this gateway's metrics. The caller chooses the prefix.
    pub fn register_metrics(&self, registry: &mut prometheus_client::registry::Registry) {
        self.inner.metrics.register(registry);
        registry.register_collector(Box::new(States(self.inner.clone())));
    }
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway").field("gateway", &self.inner.settings.gateway).finish_non_exhaustive()
    }
}
