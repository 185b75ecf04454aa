//! What a gateway (`bowline server`) can be told.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bowline_entry::limits as entry;
use bowline_model::{AgentId, GatewayId, ServiceName, ZoneName};
use bowline_registry::limits as registry;
use bowline_tunnel::limits as tunnel;
use serde::{Deserialize, Serialize};

use super::RoleConfig;
use super::sessions::SessionsConfig;
use super::tls::{TlsFiles, resolve};
use super::value::{HumanDuration, Secret, deserialize_listen};

/// Port of the http entry, unless another is configured.
pub const HTTP_PORT: u16 = 7080;
/// Port for agents, unless another is configured.
pub const AGENTS_PORT: u16 = 7100;
/// Port for other gateways, unless another is configured.
pub const PEERS_PORT: u16 = 7101;
/// Port of status and metrics, unless another is configured.
pub const ADMIN_PORT: u16 = 7090;
/// Port of the session service, unless another is configured.
pub const SESSIONS_PORT: u16 = 7085;
/// Domain under which services have host names, unless another is configured.
pub const DOMAIN: &str = "svc.bowline";

/// Configuration of a gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerConfig {
    /// Name of this gateway; by default the host's name and the agents' port.
    pub name: Option<GatewayId>,
    /// The zone that this gateway belongs to.
    pub zone: ZoneName,
    /// Services are reached as `SERVICE.<domain>`.
    pub domain: String,
    /// How long everything is still served after a signal to stop, while readiness is gone already.
    pub drain_delay: HumanDuration,
    /// How long running streams may go on after that.
    pub drain_grace: HumanDuration,
    /// Allows every port to be without TLS off loopback.
    pub insecure_plaintext: bool,
    /// Hashed tokens of agents and clients.
    pub tokens_file: Option<PathBuf>,
    /// The entry for HTTP.
    pub http: HttpConfig,
    /// The port that agents dial.
    pub agents: AgentsConfig,
    /// The port that other gateways dial.
    pub peers: PeersConfig,
    /// Status, metrics and health.
    pub admin: AdminConfig,
    /// The session service.
    pub sessions: SessionsConfig,
    /// Entries for raw TCP.
    pub tcp: Vec<TcpConfig>,
    /// Where registry and sessions are kept.
    pub store: StoreLinkConfig,
    /// Times of the registry.
    pub registry: RegistryConfig,
    /// How much of everything there may be.
    pub limits: LimitsConfig,
    /// This gateway's certificate and the authority it trusts.
    pub tls: Option<TlsFiles>,
    /// Logging.
    pub log: LogConfig,
}

/// The entry for HTTP: a reverse proxy by host name, and CONNECT.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    /// Address to listen on.
    #[serde(deserialize_with = "deserialize_listen")]
    pub listen: SocketAddr,
    /// Whether this port speaks TLS; by default it does off loopback.
    pub tls: Option<bool>,
    /// Certificate for this port, if not that of `[tls]`.
    pub certificate: Option<PathBuf>,
    /// Private key of `certificate`.
    pub key: Option<PathBuf>,
    /// Allows this port to be without TLS off loopback.
    pub insecure_plaintext: bool,
    /// Whether HTTP CONNECT (`bowline forward`) is served.
    pub connect: bool,
    /// Hosts besides `SERVICE.<domain>`, and their services.
    pub routes: BTreeMap<String, ServiceName>,
    /// Whether `Forwarded` and `X-Forwarded-*` from clients are believed.
    pub trust_forwarded: bool,
    /// Longest wait for the head of a response.
    pub response_timeout: HumanDuration,
}

/// The port that agents dial.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AgentsConfig {
    /// Address to listen on.
    #[serde(deserialize_with = "deserialize_listen")]
    pub listen: SocketAddr,
    /// Allows this port to be without TLS off loopback.
    pub insecure_plaintext: bool,
}

/// The port that other gateways dial.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PeersConfig {
    /// Address to listen on.
    #[serde(deserialize_with = "deserialize_listen")]
    pub listen: SocketAddr,
    /// `HOST:PORT` by which other gateways reach this port; by default `listen`, if it names one address.
    pub advertise: Option<String>,
    /// Allows this port to be without TLS off loopback.
    pub insecure_plaintext: bool,
}

/// Status, metrics and health.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdminConfig {
    /// Address to listen on.
    #[serde(deserialize_with = "deserialize_listen")]
    pub listen: SocketAddr,
    /// Whether this port speaks TLS; by default it does off loopback.
    pub tls: Option<bool>,
    /// Hashed tokens of clients for this port, which then asks for one on loopback too.
    pub tokens_file: Option<PathBuf>,
    /// Allows this port to be without TLS off loopback.
    pub insecure_plaintext: bool,
}

/// An entry for raw TCP: whatever connects to `listen` reaches `service`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TcpConfig {
    /// Address to listen on.
    #[serde(deserialize_with = "deserialize_listen")]
    pub listen: SocketAddr,
    /// The service that connections go to.
    pub service: ServiceName,
    /// The one agent whose service is meant; by default any that offers it.
    #[serde(default)]
    pub agent: Option<AgentId>,
    /// Whether this port speaks TLS; by default it does off loopback.
    #[serde(default)]
    pub tls: Option<bool>,
    /// Allows this port to be without TLS off loopback.
    #[serde(default)]
    pub insecure_plaintext: bool,
}

/// Where the registry is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreLinkConfig {
    /// `redis://` or `rediss://`; without it the store is embedded in this process.
    pub url: Option<Secret>,
    /// A file with the password, which then need not stand in the URL.
    pub password_file: Option<PathBuf>,
    /// Authority that signed the store's certificate (`rediss://`).
    pub ca: Option<PathBuf>,
    /// Certificate to show to a store that asks for one (`rediss://`), if not that of `[tls]`.
    pub certificate: Option<PathBuf>,
    /// Private key of `certificate`.
    pub key: Option<PathBuf>,
    /// Allows a store off loopback to be reached without TLS.
    pub insecure_plaintext: bool,
}

/// Times of the registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RegistryConfig {
    /// How long an entry outlives its last renewal.
    pub ttl: HumanDuration,
    /// How long an agent that went away stays published.
    pub linger: HumanDuration,
}

/// How much of everything there may be at a time. What passes a limit gets an error, not memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// Agents that are attached.
    pub agents: usize,
    /// Tunnels of one agent, whatever their state: each stream to it takes one.
    pub tunnels_per_agent: usize,
    /// Streams, those passed on for other gateways included.
    pub streams: usize,
    /// Connections of clients, for each entry.
    pub connections: usize,
    /// HTTP requests.
    pub requests: usize,
}

/// Logging, on standard error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// A level or a filter, such as `info` or `info,bowline_tunnel=debug`.
    pub level: String,
    /// For people or for programs.
    pub format: LogFormat,
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One line of text, coloured on a terminal.
    Human,
    /// One JSON object a line.
    Json,
}

/// An address on loopback.
pub(super) fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            name: None,
            zone: "default".parse().expect("a valid name"),
            domain: DOMAIN.to_owned(),
            drain_delay: HumanDuration(Duration::ZERO),
            drain_grace: HumanDuration(Duration::from_secs(30)),
            insecure_plaintext: false,
            tokens_file: None,
            http: HttpConfig::default(),
            agents: AgentsConfig::default(),
            peers: PeersConfig::default(),
            admin: AdminConfig::default(),
            sessions: SessionsConfig::default(),
            tcp: Vec::new(),
            store: StoreLinkConfig::default(),
            registry: RegistryConfig::default(),
            limits: LimitsConfig::default(),
            tls: None,
            log: LogConfig::default(),
        }
    }
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            listen: loopback(HTTP_PORT),
            tls: None,
            certificate: None,
            key: None,
            insecure_plaintext: false,
            connect: true,
            routes: BTreeMap::new(),
            trust_forwarded: false,
            response_timeout: HumanDuration(entry::RESPONSE_TIMEOUT),
        }
    }
}

impl Default for RegistryConfig {
    fn default() -> Self {
        Self { ttl: HumanDuration(registry::TTL), linger: HumanDuration(registry::LINGER) }
    }
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            agents: tunnel::AGENTS_MAX,
            tunnels_per_agent: tunnel::TUNNELS_PER_AGENT_MAX,
            streams: tunnel::STREAMS_MAX,
            connections: entry::CONNECTIONS_MAX,
            requests: entry::REQUESTS_MAX,
        }
    }
}

impl Default for AgentsConfig {
    fn default() -> Self {
        Self { listen: loopback(AGENTS_PORT), insecure_plaintext: false }
    }
}

impl Default for PeersConfig {
    fn default() -> Self {
        Self { listen: loopback(PEERS_PORT), advertise: None, insecure_plaintext: false }
    }
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self { listen: loopback(ADMIN_PORT), tls: None, tokens_file: None, insecure_plaintext: false }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::Human }
    }
}

impl RoleConfig for ServerConfig {
    const DEFAULT_TEXT: &'static str = include_str!("default/server.toml");

    fn resolve_paths(&mut self, directory: &Path) {
        let single = [
            &mut self.tokens_file,
            &mut self.http.certificate,
            &mut self.http.key,
            &mut self.admin.tokens_file,
            &mut self.sessions.keys_file,
            &mut self.store.password_file,
            &mut self.store.ca,
            &mut self.store.certificate,
            &mut self.store.key,
        ];
        single.into_iter().flatten().for_each(|path| resolve(path, directory));
        if let Some(tls) = &mut self.tls {
            tls.resolve_paths(directory);
        }
    }
    fn log(&self) -> &LogConfig {
        &self.log
    }
}
