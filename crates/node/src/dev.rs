//! Everything in one process, for development: an embedded store, a gateway, an agent and a demo service, on loopback.
//!
//! It is made of the same plans and roles as the real thing, only with defaults that need no files: no TLS, no tokens,
//! nothing that outlives the process.

pub mod demo;

use std::net::{Ipv4Addr, SocketAddr};

use bowline_api::ProcessProbe;
use bowline_identity::signature::{Algorithm, Keys, SigningKey};
use bowline_identity::tls::Connector;
use bowline_model::{AgentId, ServiceName};
use bowline_rt::task::{JoinHandle, spawn};
use bowline_rt::time::{Elapsed, sleep, timeout};
use bowline_tunnel::Gateway;
use tokio_util::sync::CancellationToken;

use self::demo::{Demo, probe};
use crate::agent::AgentRunError;
use crate::config::agent::ServiceConfig;
use crate::config::server::DOMAIN;
use crate::config::sessions::SessionsConfig;
use crate::config::value::HumanDuration;
use crate::config::{AgentConfig, Problem, ServerConfig};
use crate::limits::{DEV_GRACE, DEV_PROBE_PERIOD, DEV_READY_MAX};
use crate::listen::ListenError;
use crate::plan::{AgentPlan, Edge, Port, ServerPlan, SessionsPlan};
use crate::server::{Addresses, Server, ServerError};

/// Name of the gateway (and of the signing key and its namespace), of the agent, and of the demo service.
const NAMES: (&str, &str, &str) = ("dev", "dev-agent", "demo");

/// Ports on loopback; 0 takes a free one.
#[derive(Debug, Clone, Copy)]
pub struct DevPlan {
    /// The entry for HTTP.
    pub http: u16,
    /// The port for agents.
    pub agents: u16,
    /// The port for other gateways.
    pub peers: u16,
    /// Status and metrics.
    pub admin: u16,
    /// The session service.
    pub sessions: u16,
    /// Reads the memory of this process, for the metrics.
    pub memory: Option<ProcessProbe>,
}

/// Why the development set-up does not run.
#[derive(Debug, thiserror::Error)]
pub enum DevError {
    /// The demo service has no port.
    #[error(transparent)]
    Demo(#[from] ListenError),
    /// The gateway does not run.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The agent does not run.
    #[error(transparent)]
    Agent(#[from] AgentRunError),
    /// The demo did not answer through the gateway.
    #[error("the demo service does not answer through the gateway")]
    NotReady(#[source] Elapsed),
}

/// A running development set-up.
#[derive(Debug)]
pub struct Dev {
    addresses: Addresses,
    signing_key: SigningKey,
    gateway: Gateway,
    stop: CancellationToken,
    server: JoinHandle<Result<(), ServerError>>,
    agent: JoinHandle<()>,
    demo: JoinHandle<()>,
}

impl Dev {
    /// Starts everything. Every port is listened on when this returns; the agent attaches meanwhile.
    ///
    /// # Errors
    /// [`DevError`], most often a port in use.
    pub async fn start(plan: &DevPlan) -> Result<Self, DevError> {
        let (agent_id, service) = names();
        let demo = Demo::start(agent_id.clone()).await?;
        let signing_key = SigningKey::generate(NAMES.0.parse().expect("a valid id"), Algorithm::Ed25519);
        let server = Server::start(server_plan(plan, &signing_key)).await?;
        let (addresses, gateway) = (server.addresses().clone(), server.gateway().clone());
        let agent_plan = agent_plan(agent_id, service, demo.address(), addresses.agents);
        let (agent, _) = crate::agent::start(agent_plan).await?;

        let stop = CancellationToken::new();
        Ok(Self {
            server: spawn("server", server.run(stop.child_token())),
            agent: spawn("agent", agent.run(stop.child_token())),
            demo: spawn("demo", demo.run(stop.child_token())),
            addresses,
            signing_key,
            gateway,
            stop,
        })
    }

    /// Where the gateway listens.
    #[must_use]
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// The one key that the session service lets in.
    #[must_use]
    pub fn signing_key(&self) -> &SigningKey {
        &self.signing_key
    }

    /// Host name of the demo service.
    #[must_use]
    pub fn host() -> String {
        format!("{}.{DOMAIN}", NAMES.2)
    }

    /// Waits until a request through the gateway has been answered by the demo service.
    ///
    /// # Errors
    /// [`DevError::NotReady`] after [`DEV_READY_MAX`].
    pub async fn ready(&self) -> Result<(), DevError> {
        let host = Self::host();
        let answered = async {
            // A request before the agent is there would only leave a failure in log and metrics.
            while self.gateway.status().agents.is_empty() || !probe(self.addresses.http, &host).await {
                sleep(DEV_PROBE_PERIOD).await;
            }
        };
        timeout(DEV_READY_MAX, answered).await.map_err(DevError::NotReady)
    }

    /// Runs until `shutdown`, then stops everything.
    ///
    /// # Errors
    /// [`DevError::Server`] if the embedded store fails.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), DevError> {
        let Self { addresses: _, signing_key: _, gateway, stop, mut server, agent, demo } = self;
        let outcome = tokio::select! {
            biased;
            () = shutdown.cancelled() => None,
            ended = &mut server => Some(ended),
        };
        // The server's is then the last handle, so that what uses the store ends before the store does.
        drop(gateway);
        stop.cancel();
        let served = match outcome {
            Some(ended) => ended,
            None => server.await,
        };
        for task in [agent, demo] {
            if let Err(error) = task.await {
                tracing::error!(%error, "a part of the development set-up failed");
            }
        }
        match served {
            Ok(served) => Ok(served?),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}

/// Runs the development set-up until `shutdown`.
///
/// # Errors
/// [`DevError`].
pub async fn run(plan: &DevPlan, shutdown: CancellationToken) -> Result<(), DevError> {
    Dev::start(plan).await?.run(shutdown).await
}

fn names() -> (AgentId, ServiceName) {
    (NAMES.1.parse().expect("a valid name"), NAMES.2.parse().expect("a valid name"))
}

fn server_plan(plan: &DevPlan, signing_key: &SigningKey) -> ServerPlan {
    let address = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut config = ServerConfig {
        name: Some(NAMES.0.parse().expect("a valid name")),
        drain_grace: HumanDuration(DEV_GRACE),
        ..ServerConfig::default()
    };
    config.http.listen = address(plan.http);
    config.agents.listen = address(plan.agents);
    config.peers.listen = address(plan.peers);
    config.admin.listen = address(plan.admin);
    let plan_of = |edge: &Edge<'_>| ServerPlan::new(&config, edge);
    let mut made = plan_of(&no_files()).expect(LOOPBACK_NEEDS_NOTHING);
    made.memory = plan.memory;
    made.sessions = Some(sessions_plan(address(plan.sessions), signing_key));
    made
}

/// The service as its defaults make it, but for the key, which is in no file.
fn sessions_plan(listen: SocketAddr, signing_key: &SigningKey) -> SessionsPlan {
    let SessionsConfig { connections, memory_bytes, .. } = SessionsConfig::default();
    let entry = signing_key.table_entry(&NAMES.0.parse().expect("a valid namespace"));
    SessionsPlan {
        port: Port::plain("sessions", listen),
        keys: Keys::from_toml("the key of dev", &entry).expect("a key of our own making"),
        settings: bowline_api::sessions::Settings::default(),
        connections_max: connections,
        memory_bytes,
    }
}

fn agent_plan(agent: AgentId, service: ServiceName, demo: SocketAddr, gateway: SocketAddr) -> AgentPlan {
    let config = AgentConfig {
        name: Some(agent),
        join: vec![gateway.to_string()],
        drain_grace: HumanDuration(DEV_GRACE),
        service: vec![ServiceConfig { name: service, address: demo.to_string() }],
        ..AgentConfig::default()
    };
    let plan: Result<AgentPlan, Vec<Problem>> = AgentPlan::new(&config, &no_files());
    let plan = plan.expect(LOOPBACK_NEEDS_NOTHING);
    debug_assert!(matches!(plan.settings.connector, Connector::Plain), "loopback is not encrypted");
    plan
}

/// Why plans on loopback cannot fail.
const LOOPBACK_NEEDS_NOTHING: &str = "the defaults on loopback need no files and break no rule";

fn no_files() -> Edge<'static> {
    Edge { read: &|_| Err(std::io::ErrorKind::NotFound.into()), host_name: "", secret: None }
}
