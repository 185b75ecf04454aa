//! The gateway as a role: binds every port first, then wires store, registry, tunnels, entries and the admin port.
//!
//! **Start.** A port that cannot be had is an error before anything else has begun. The store need not answer: the
//! gateway serves its own agents meanwhile, and is ready once the store has been reached.
//!
//! **Stop.** Readiness goes first, and for a configured time nothing else does: load balancers have to notice. Then, at
//! the same time and within one grace: agents are asked to move, entries accept no more and finish what runs. Then the
//! registry withdraws what is left, and the admin port ends, so that whoever watches could see it all. Last come the
//! embedded stores, which nobody uses any more.
//!
//! No signals and no printing here: a token stops it, and its addresses can be asked for.

mod eviction;
mod sessions;
mod status;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bowline_api::{Admin, BuildInfo};
use bowline_redis::{Client, Connection};
use bowline_registry::Registry;
use bowline_rt::task::{JoinSet, spawn};
use bowline_tunnel::Gateway;
use prometheus_client::registry::Registry as Metrics;
use tokio_util::sync::CancellationToken;

use self::sessions::Service;
use self::status::Shown;
use crate::VERSION;
use crate::expiry;
use crate::limits::{DRAIN_SLACK, GATEWAYS_PERIOD, GATEWAYS_RETRY};
use crate::listen::{Bound, ListenError, bind};
use crate::plan::{ServerPlan, TcpPlan};
use crate::store::{Embedded, StoreRunError};

/// Why a gateway does not run.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// A port cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The registry cannot work so.
    #[error("the registry cannot publish this gateway")]
    Registry(#[from] bowline_registry::SettingsError),
    /// The embedded store failed.
    #[error("the embedded store does not run")]
    Store(#[from] StoreRunError),
}

/// Where a gateway really listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// The entry for HTTP.
    pub http: SocketAddr,
    /// The port for agents.
    pub agents: SocketAddr,
    /// The port for other gateways.
    pub peers: SocketAddr,
    /// Status and metrics.
    pub admin: SocketAddr,
    /// The session service, if there is one.
    pub sessions: Option<SocketAddr>,
    /// The entries for raw TCP, in the order of the configuration.
    pub tcp: Vec<SocketAddr>,
}

/// A gateway whose ports are listened on and whose parts are wired.
#[derive(Debug)]
pub struct Server {
    ports: Ports,
    plan: ServerPlan,
    addresses: Addresses,
    parts: Parts,
}

#[derive(Debug)]
struct Ports {
    http: Bound,
    agents: Bound,
    peers: Bound,
    admin: Bound,
    sessions: Option<Bound>,
    tcp: Vec<Bound>,
}

struct Parts {
    embedded: Option<Embedded>,
    sessions: Option<Service>,
    gateway: Gateway,
    registry: Registry,
    entry_metrics: bowline_entry::Metrics,
    admin: Admin,
    store_seen: Arc<AtomicBool>,
    serving: Arc<AtomicBool>,
    leaving: Arc<AtomicBool>,
    client: Client,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").field("gateway", &self.gateway).finish_non_exhaustive()
    }
}

/// Runs a gateway until `shutdown`.
///
/// # Errors
/// [`ServerError`].
pub async fn run(plan: ServerPlan, shutdown: CancellationToken) -> Result<(), ServerError> {
    Server::start(plan).await?.run(shutdown).await
}

impl Server {
    /// Listens on every port and wires everything. Nothing is served yet.
    ///
    /// # Errors
    /// [`ServerError`].
    pub async fn start(plan: ServerPlan) -> Result<Self, ServerError> {
        let ports = Ports::bind(&plan).await?;
        let addresses = ports.addresses();
        let parts = Parts::wire(&plan, &addresses).await?;
        Ok(Self { ports, plan, addresses, parts })
    }

    /// Where it listens.
    #[must_use]
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// The data plane, for whoever looks inside: the simulator and tests.
    #[must_use]
    pub fn gateway(&self) -> &Gateway {
        &self.parts.gateway
    }

    /// Serves until `shutdown`, then drains.
    ///
    /// # Errors
    /// [`ServerError::Store`] if the embedded store fails.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), ServerError> {
        let Self { ports, plan, addresses, mut parts } = self;
        let admin_stop = CancellationToken::new();
        let admin_router = bowline_api::router(parts.admin.clone());
        let Bound { listener, acceptor, .. } = ports.admin;
        let admin = spawn("admin", bowline_api::serve(listener, acceptor, admin_router, admin_stop.clone()));
        let watch = watch_store(parts.client.clone(), parts.registry.clone(), parts.store_seen.clone());
        let watch = spawn("store watch", watch);
        let successor =
            spawn("successor watch", watch_successor(parts.registry.clone(), parts.gateway.clone()));
        let expiry = spawn("certificates", expiry::warn_daily(plan.reload()));

        let entries_stop = CancellationToken::new();
        let mut entries = serve_entries((ports.http, ports.tcp), &plan, &parts, &entries_stop);
        if let (Some(bound), Some(sessions), Some(service)) =
            (ports.sessions, &plan.sessions, &parts.sessions)
        {
            service.serve(bound, &plan, sessions, &mut entries, &entries_stop);
        }
        let tunnels = serve_tunnels(ports.agents, ports.peers, &parts.gateway);
        parts.serving.store(true, Ordering::Release);
        tracing::info!(gateway = %plan.gateway, zone = %plan.zone, http = %addresses.http, agents = %addresses.agents,
            peers = %addresses.peers, admin = %addresses.admin, "the gateway serves");

        let outcome = tokio::select! {
            biased;
            () = shutdown.cancelled() => Ok(()),
            error = store_failure(&mut parts.embedded, &mut parts.sessions) => Err(error.into()),
        };
        if outcome.is_ok() {
            parts.leaving.store(true, Ordering::Release);
            bowline_rt::time::sleep(plan.drain_delay).await;
            entries_stop.cancel();
            drain(&parts.gateway, &mut entries, plan.drain_grace).await;
            tracing::info!("drained");
        }
        drop((entries, tunnels));
        watch.abort();
        successor.abort();
        expiry.abort();
        admin_stop.cancel();
        if let Err(error) = admin.await {
            tracing::error!(%error, "the admin port failed");
        }
        // Whoever uses the embedded store goes before it does.
        if let Some(sessions) = parts.sessions.take().filter(|_| outcome.is_ok()) {
            sessions.stop().await;
        }
        let embedded = parts.embedded.take().filter(|_| outcome.is_ok());
        let connection = parts.client.connection();
        drop(parts);
        if let Some(embedded) = embedded {
            embedded.stop(connection).await;
        }
        outcome
    }
}

/// Agents move and what runs comes to its end, both within `grace` and a little for the registry.
async fn drain(gateway: &Gateway, entries: &mut JoinSet<()>, grace: Duration) {
    let ended = async {
        gateway.drain(grace).await;
        while entries.join_next().await.is_some() {}
    };
    if bowline_rt::time::timeout(grace + DRAIN_SLACK, ended).await.is_err() {
        tracing::warn!("the grace is over: what still runs is cut");
    }
}

async fn store_failure(embedded: &mut Option<Embedded>, sessions: &mut Option<Service>) -> StoreRunError {
    let registry = async {
        match embedded {
            Some(embedded) => embedded.failed().await,
            None => std::future::pending().await,
        }
    };
    let sessions = async {
        match sessions {
            Some(sessions) => sessions.failed().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        error = registry => error,
        error = sessions => error,
    }
}

/// Notes when the store has been reached for the first time. From then on it keeps the list of the other gateways young,
/// so that a status can name them while the store is silent.
async fn watch_store(client: Client, registry: Registry, seen: Arc<AtomicBool>) {
    let mut connection = client.connection();
    let mut up = async || {
        let up = connection.wait_for(|connection| matches!(connection, Connection::Up { .. }));
        // An error means that the client is gone, and with it the gateway.
        up.await.is_ok()
    };
    while up().await {
        seen.store(true, Ordering::Release);
        let pause = match registry.gateways().await {
            Ok(_) => GATEWAYS_PERIOD,
            Err(error) => {
                tracing::debug!(%error, "the list of gateways is not renewed");
                GATEWAYS_RETRY
            }
        };
        bowline_rt::time::sleep(pause).await;
    }
}

/// A gateway whose name another process has taken is found by nobody: its agents are better off elsewhere.
async fn watch_successor(registry: Registry, gateway: Gateway) {
    registry.until_superseded().await;
    gateway.hand_over();
}

fn serve_entries(
    (http, tcp): (Bound, Vec<Bound>),
    plan: &ServerPlan,
    parts: &Parts,
    stop: &CancellationToken,
) -> JoinSet<()> {
    let door = Arc::new(parts.gateway.clone());
    let metrics = &parts.entry_metrics;
    let mut entries = JoinSet::new();
    let Bound { listener, acceptor, .. } = http;
    let settings = plan.entry.clone();
    let serving =
        bowline_entry::http::serve(listener, acceptor, door.clone(), settings, metrics.clone(), stop.clone());
    entries.spawn(serving);
    for (TcpPlan { destination, .. }, Bound { listener, acceptor, .. }) in plan.tcp.iter().zip(tcp) {
        let mut settings = bowline_entry::tcp::Settings::new(destination.clone());
        settings.connections_max = plan.limits.connections;
        settings.grace = plan.drain_grace;
        let (door, metrics) = (door.clone(), metrics.clone());
        entries.spawn(bowline_entry::tcp::serve(listener, acceptor, door, settings, metrics, stop.clone()));
    }
    entries
}

/// The ports for agents and gateways; they end with the drain.
fn serve_tunnels(agents: Bound, peers: Bound, gateway: &Gateway) -> JoinSet<()> {
    let mut tunnels = JoinSet::new();
    let serving = gateway.clone();
    tunnels.spawn(async move { serving.serve_agents(agents.listener, agents.acceptor).await });
    let serving = gateway.clone();
    tunnels.spawn(async move { serving.serve_peers(peers.listener, peers.acceptor).await });
    tunnels
}

impl Ports {
    async fn bind(plan: &ServerPlan) -> Result<Self, ListenError> {
        let mut tcp = Vec::with_capacity(plan.tcp.len());
        for entry in &plan.tcp {
            tcp.push(bind(&entry.port).await?);
        }
        let sessions = match &plan.sessions {
            Some(sessions) => Some(bind(&sessions.port).await?),
            None => None,
        };
        Ok(Self {
            sessions,
            http: bind(&plan.http).await?,
            agents: bind(&plan.agents).await?,
            peers: bind(&plan.peers).await?,
            admin: bind(&plan.admin).await?,
            tcp,
        })
    }

    fn addresses(&self) -> Addresses {
        Addresses {
            http: self.http.address,
            agents: self.agents.address,
            peers: self.peers.address,
            admin: self.admin.address,
            sessions: self.sessions.as_ref().map(|bound| bound.address),
            tcp: self.tcp.iter().map(|bound| bound.address).collect(),
        }
    }
}

impl Parts {
    async fn wire(plan: &ServerPlan, addresses: &Addresses) -> Result<Self, ServerError> {
        let peer_address = plan.advertise.clone().unwrap_or_else(|| addresses.peers.to_string());
        let registry_settings = registry_settings(plan, &peer_address)?;
        let (store, embedded) = match &plan.store {
            Some(link) => (link.config.clone(), None),
            None => {
                let embedded = Embedded::start(0).await?;
                (embedded.config.clone(), Some(embedded))
            }
        };
        let client = Client::start(store.name(&format!("bowline-{}", plan.gateway)));
        let epoch = registry_settings.epoch;
        let registry = Registry::start(registry_settings, client.clone());

        let mut settings = bowline_tunnel::Settings::new(plan.gateway.clone(), epoch, plan.zone.clone());
        settings.agents = plan.authentication.clone();
        settings.connector = plan.connector.clone();
        settings.agents_max = plan.limits.agents;
        settings.streams_max = plan.limits.streams;
        settings.pool.tunnels_max = plan.limits.tunnels_per_agent;
        let gateway = Gateway::new(settings, registry.clone());

        let sessions = match &plan.sessions {
            Some(sessions) => Some(Service::start(plan, sessions).await?),
            None => None,
        };
        let entry_metrics = bowline_entry::Metrics::default();
        let mut metrics = metrics(plan, &client, &registry, &gateway, &entry_metrics);
        if let Some(sessions) = &sessions {
            sessions.register_metrics(&mut metrics);
        }
        let [store_seen, serving, leaving] = std::array::from_fn(|_| Arc::<AtomicBool>::default());
        let shown = Shown {
            name: plan.gateway.clone(),
            zone: plan.zone.clone(),
            address: peer_address,
            gateway: gateway.clone(),
            registry: registry.clone(),
            store_seen: store_seen.clone(),
            serving: serving.clone(),
            leaving: leaving.clone(),
        };
        let admin =
            Admin { plane: Arc::new(shown), metrics: Arc::new(metrics), tokens: plan.admin_tokens.clone() };
        Ok(Self {
            embedded,
            sessions,
            gateway,
            registry,
            entry_metrics,
            admin,
            store_seen,
            serving,
            leaving,
            client,
        })
    }
}

fn registry_settings(
    plan: &ServerPlan,
    peer_address: &str,
) -> Result<bowline_registry::Settings, bowline_registry::SettingsError> {
    let mut settings =
        bowline_registry::Settings::new(plan.gateway.clone(), plan.zone.clone(), peer_address)?;
    settings.ttl = plan.registry.ttl.0;
    settings.linger = plan.registry.linger.0;
    settings.check()?;
    Ok(settings)
}

fn metrics(
    plan: &ServerPlan,
    client: &Client,
    registry: &Registry,
    gateway: &Gateway,
    entries: &bowline_entry::Metrics,
) -> Metrics {
    let mut metrics = Metrics::default();
    let build = BuildInfo { version: VERSION, role: "server" };
    bowline_api::register_process(&mut metrics, &build, bowline_rt::time::unix_time(), plan.memory);
    registry.register_metrics(&mut metrics);
    gateway.register_metrics(metrics.sub_registry_with_prefix("bowline_tunnel"));
    entries.register(&mut metrics);
    client.register_metrics(&mut metrics);
    expiry::register(&mut metrics, plan.reload());
    metrics
}
