//! What an agent (`bowline agent`) can be told.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bowline_model::{AgentId, ServiceName};
use serde::{Deserialize, Serialize};

use super::RoleConfig;
use super::server::{AGENTS_PORT, LogConfig};
use super::tls::{ClientTlsFiles, resolve};
use super::value::{HumanDuration, deserialize_listen_option};

/// Configuration of an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AgentConfig {
    /// Identity of this agent; by default the host's name.
    pub name: Option<AgentId>,
    /// `HOST:PORT` of the gateways' ports for agents.
    pub join: Vec<String>,
    /// How many gateways to be attached to at once.
    pub connections: usize,
    /// How long running streams may go on after a signal to stop.
    pub drain_grace: HumanDuration,
    /// A file with this agent's token.
    pub token_file: Option<PathBuf>,
    /// Allows gateways off loopback to be joined without TLS.
    pub insecure_plaintext: bool,
    /// Health, readiness and metrics.
    pub admin: AgentAdminConfig,
    /// What this agent offers.
    pub service: Vec<ServiceConfig>,
    /// How much of everything there may be.
    pub limits: AgentLimitsConfig,
    /// How gateways are verified, and this agent's certificate.
    pub tls: Option<ClientTlsFiles>,
    /// Logging.
    pub log: LogConfig,
}

/// Health, readiness and metrics of an agent, which listens nowhere unless it is told to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AgentAdminConfig {
    /// Address to listen on; without one there is no such port.
    #[serde(deserialize_with = "deserialize_listen_option")]
    pub listen: Option<SocketAddr>,
    /// Certificate of this port, which makes it speak TLS.
    pub certificate: Option<PathBuf>,
    /// Private key of `certificate`.
    pub key: Option<PathBuf>,
    /// Hashed tokens of clients. With it a token is asked for on loopback too.
    pub tokens_file: Option<PathBuf>,
    /// Allows this port to be without TLS off loopback.
    pub insecure_plaintext: bool,
}

/// How much of everything there may be at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AgentLimitsConfig {
    /// Tunnels to all gateways together, whatever their state: each stream takes one.
    pub tunnels: usize,
}

impl Default for AgentLimitsConfig {
    fn default() -> Self {
        Self { tunnels: bowline_agent::Limits::default().tunnels_max }
    }
}

/// A service that the agent offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceConfig {
    /// The name by which it is asked for.
    pub name: ServiceName,
    /// `HOST:PORT` where the agent connects to it.
    pub address: String,
}

impl Default for AgentConfig {
    fn default() -> Self {
        Self {
            name: None,
            join: vec![format!("127.0.0.1:{AGENTS_PORT}")],
            connections: 1,
            drain_grace: HumanDuration(Duration::from_secs(30)),
            token_file: None,
            insecure_plaintext: false,
            admin: AgentAdminConfig::default(),
            service: Vec::new(),
            limits: AgentLimitsConfig::default(),
            tls: None,
            log: LogConfig::default(),
        }
    }
}

impl RoleConfig for AgentConfig {
    const DEFAULT_TEXT: &'static str = include_str!("default/agent.toml");

    fn resolve_paths(&mut self, directory: &Path) {
        let admin = &mut self.admin;
        let single = [&mut self.token_file, &mut admin.certificate, &mut admin.key, &mut admin.tokens_file];
        single.into_iter().flatten().for_each(|path| resolve(path, directory));
        if let Some(tls) = &mut self.tls {
            tls.resolve_paths(directory);
        }
    }
    fn log(&self) -> &LogConfig {
        &self.log
    }
}
