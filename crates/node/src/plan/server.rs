//! What a gateway runs from.

use std::net::SocketAddr;
use std::time::Duration;

use bowline_entry::Destination;
use bowline_entry::http::ConnectPolicy;
use bowline_identity::signature::Keys;
use bowline_identity::tls::{
    ALPN_CONTROL, ALPN_HOP, ALPN_HTTP1, ALPN_HTTP2, ALPN_TUNNEL, Acceptor, ClientAuthentication, Connector,
};
use bowline_identity::token::TokenTable;
use bowline_model::{GatewayId, ZoneName};
use bowline_tunnel::AgentAuthentication;

use super::store_link::StoreLink;
use super::tls::{acceptor, as_client, connector, credential, pem, signing_keys, token_table};
use super::{Edge, Port, name_of_host};
use crate::config::rules::{self, client_port_has_tls, http_tls};
use crate::config::server::{AdminConfig, LimitsConfig, RegistryConfig, TcpConfig};
use crate::config::value::is_loopback;
use crate::config::{Problem, ServerConfig};
use crate::reload::{Part, Reload};

/// Everything that a gateway needs to run. A clone shares what a reload changes.
#[derive(Debug, Clone)]
pub struct ServerPlan {
    /// Name of this gateway.
    pub gateway: GatewayId,
    /// Its zone.
    pub zone: ZoneName,
    /// How long everything is still served after the shutdown began, while readiness is gone already.
    pub drain_delay: Duration,
    /// How long running streams may go on after that.
    pub drain_grace: Duration,
    /// The entry for HTTP.
    pub http: Port,
    /// How that entry serves.
    pub entry: bowline_entry::http::Settings,
    /// The port for agents.
    pub agents: Port,
    /// Which agents are let in.
    pub authentication: AgentAuthentication,
    /// The port for other gateways.
    pub peers: Port,
    /// How other gateways reach that port, if not at its own address.
    pub advertise: Option<String>,
    /// How this gateway dials others.
    pub connector: Connector,
    /// Status and metrics.
    pub admin: Port,
    /// Client tokens that the admin port asks for, if it does.
    pub admin_tokens: Option<TokenTable>,
    /// The session service, if there is one.
    pub sessions: Option<SessionsPlan>,
    /// Entries for raw TCP.
    pub tcp: Vec<TcpPlan>,
    /// How much of everything there may be.
    pub limits: LimitsConfig,
    /// Times of the registry.
    pub registry: RegistryConfig,
    /// Where the registry is kept; `None` embeds the store in this process.
    pub store: Option<StoreLink>,
    /// What should be said at the start.
    pub warnings: Vec<String>,
    /// Reads the memory of this process, for the metrics.
    pub memory: Option<bowline_api::ProcessProbe>,
}

/// The session service.
#[derive(Debug, Clone)]
pub struct SessionsPlan {
    /// Where it listens.
    pub port: Port,
    /// Who may ask.
    pub keys: Keys,
    /// How it serves.
    pub settings: bowline_api::sessions::Settings,
    /// Connections at once.
    pub connections_max: usize,
    /// Memory of the embedded store for sessions.
    pub memory_bytes: usize,
}

/// An entry for raw TCP.
#[derive(Debug, Clone)]
pub struct TcpPlan {
    /// Where it listens.
    pub port: Port,
    /// Where its connections go.
    pub destination: Destination,
}

impl ServerPlan {
    /// Judges `config` and reads the files that it names.
    ///
    /// # Errors
    /// Everything that must be mended.
    pub fn new(config: &ServerConfig, edge: &Edge<'_>) -> Result<Self, Vec<Problem>> {
        let verdict = rules::server(config);
        if !verdict.problems.is_empty() {
            return Err(verdict.problems);
        }
        Self::read(config, edge, verdict.warnings).map_err(|problem| vec![problem])
    }

    fn read(config: &ServerConfig, edge: &Edge<'_>, warnings: Vec<String>) -> Result<Self, Problem> {
        let tokens = tokens(config)?;
        let has_authority = config.tls.as_ref().is_some_and(|tls| tls.ca.is_some());
        Ok(Self {
            gateway: gateway_name(config, edge)?,
            zone: config.zone.clone(),
            drain_delay: config.drain_delay.0,
            drain_grace: config.drain_grace.0,
            entry: entry_settings(config, tokens.as_ref()),
            http: http_port(config)?,
            agents: agents_port(config)?,
            authentication: AgentAuthentication {
                anyone: tokens.is_none() && !has_authority,
                tokens: tokens.clone().unwrap_or_default(),
            },
            peers: peers_port(config)?,
            advertise: config.peers.advertise.clone(),
            connector: match config.tls.as_ref().and_then(as_client) {
                Some(files) => connector("tls", &files)?,
                None => Connector::Plain,
            },
            admin_tokens: admin_tokens(config, tokens.as_ref())?,
            admin: admin_port(config)?,
            sessions: sessions(config)?,
            tcp: tcp_ports(config)?,
            limits: config.limits.clone(),
            registry: config.registry.clone(),
            store: StoreLink::new(config, edge)?,
            warnings,
            memory: None,
        })
    }

    /// What SIGHUP reads again.
    #[must_use]
    pub fn reload(&self) -> Reload {
        let mut parts = vec![
            ("http", Part::Acceptor(self.http.acceptor.clone())),
            ("agents", Part::Acceptor(self.agents.acceptor.clone())),
            ("peers", Part::Acceptor(self.peers.acceptor.clone())),
            ("admin", Part::Acceptor(self.admin.acceptor.clone())),
            ("peers", Part::Connector(self.connector.clone())),
            ("tokens_file", Part::Tokens(self.authentication.tokens.clone())),
        ];
        // The port's own table, unless it asks that of the whole gateway.
        let own =
            self.admin_tokens.iter().filter(|tokens| !tokens.is_shared_with(&self.authentication.tokens));
        parts.extend(own.map(|tokens| ("admin.tokens_file", Part::Tokens(tokens.clone()))));
        if let Some(sessions) = &self.sessions {
            parts.push(("sessions", Part::Acceptor(sessions.port.acceptor.clone())));
            parts.push(("sessions.keys_file", Part::Keys(sessions.keys.clone())));
        }
        parts.extend(self.tcp.iter().map(|tcp| ("tcp", Part::Acceptor(tcp.port.acceptor.clone()))));
        parts.extend(self.store.iter().flat_map(StoreLink::parts));
        Reload::new(parts)
    }
}

fn gateway_name(config: &ServerConfig, edge: &Edge<'_>) -> Result<GatewayId, Problem> {
    if let Some(name) = &config.name {
        return Ok(name.clone());
    }
    let port = config.agents.listen.port();
    let host = name_of_host(edge.host_name, "-65535".len());
    format!("{host}-{port}").parse().map_err(|_| {
        Problem::new("name", "no name is given, and this machine has none either", "set it (--name)")
    })
}

fn tokens(config: &ServerConfig) -> Result<Option<TokenTable>, Problem> {
    config.tokens_file.as_ref().map(|file| token_table("tokens_file", file)).transpose()
}

/// The tokens that the admin port asks for: those of its own file, else off loopback those of the gateway.
fn admin_tokens(config: &ServerConfig, tokens: Option<&TokenTable>) -> Result<Option<TokenTable>, Problem> {
    match &config.admin.tokens_file {
        Some(file) => token_table("admin.tokens_file", file).map(Some),
        None if is_loopback(&config.admin.listen) => Ok(None),
        None => Ok(Some(tokens.cloned().unwrap_or_default())),
    }
}

fn entry_settings(config: &ServerConfig, tokens: Option<&TokenTable>) -> bowline_entry::http::Settings {
    bowline_entry::http::Settings {
        domain: config.domain.clone(),
        routes: config.http.routes.clone(),
        connect: match (config.http.connect, rules::connect_needs_token(&config.http)) {
            (false, _) => ConnectPolicy::Refuse,
            (true, false) => ConnectPolicy::Open,
            (true, true) => ConnectPolicy::Tokens(tokens.cloned().unwrap_or_default()),
        },
        trust_forwarded: config.http.trust_forwarded,
        connections_max: config.limits.connections,
        requests_max: config.limits.requests,
        response_timeout: config.http.response_timeout.0,
        grace: config.drain_grace.0,
        ..bowline_entry::http::Settings::default()
    }
}

fn http_port(config: &ServerConfig) -> Result<Port, Problem> {
    let http = &config.http;
    let protocols: [&[u8]; 2] = [ALPN_HTTP2, ALPN_HTTP1];
    let insecure = http.insecure_plaintext || config.insecure_plaintext;
    let has_tls = client_port_has_tls(http_tls(http), &http.listen, insecure);
    match http.certificate.as_ref().zip(http.key.as_ref()) {
        Some((certificate, key)) if has_tls => {
            let none = ClientAuthentication::None;
            let acceptor = acceptor("http.certificate", credential(certificate, key), none, &protocols)?;
            Ok(Port { name: "http".to_owned(), listen: http.listen, acceptor })
        }
        _ => client_port(config, "http".to_owned(), http.listen, has_tls, &protocols),
    }
}

/// A port for clients, which show no certificate.
fn client_port(
    config: &ServerConfig,
    name: String,
    listen: SocketAddr,
    has_tls: bool,
    protocols: &[&[u8]],
) -> Result<Port, Problem> {
    let acceptor = match &config.tls {
        Some(files) if has_tls => {
            let credential = credential(&files.certificate, &files.key);
            acceptor("tls", credential, ClientAuthentication::None, protocols)?
        }
        _ => Acceptor::Plain,
    };
    Ok(Port { name, listen, acceptor })
}

fn admin_port(config: &ServerConfig) -> Result<Port, Problem> {
    let AdminConfig { listen, tls, insecure_plaintext, .. } = config.admin;
    let has_tls = client_port_has_tls(tls, &listen, insecure_plaintext || config.insecure_plaintext);
    client_port(config, "admin".to_owned(), listen, has_tls, &[ALPN_HTTP1])
}

fn sessions(config: &ServerConfig) -> Result<Option<SessionsPlan>, Problem> {
    let sessions = &config.sessions;
    let Some(file) = &sessions.keys_file else { return Ok(None) };
    let insecure = sessions.insecure_plaintext || config.insecure_plaintext;
    let has_tls = client_port_has_tls(sessions.tls, &sessions.listen, insecure);
    let port = client_port(config, "sessions".to_owned(), sessions.listen, has_tls, &[ALPN_HTTP1])?;
    let settings = bowline_api::sessions::Settings {
        ttl: sessions.ttl().0,
        lifetime_max: sessions.lifetime.0,
        tls: port.acceptor.is_tls(),
        ..bowline_api::sessions::Settings::for_values(sessions.value_bytes)
    };
    Ok(Some(SessionsPlan {
        port,
        keys: signing_keys("sessions.keys_file", file)?,
        settings,
        connections_max: sessions.connections,
        memory_bytes: sessions.memory_bytes,
    }))
}

fn agents_port(config: &ServerConfig) -> Result<Port, Problem> {
    let acceptor = match &config.tls {
        None => Acceptor::Plain,
        Some(files) => {
            let authentication = match (&files.ca, &config.tokens_file) {
                (None, _) => ClientAuthentication::None,
                (Some(ca), None) => ClientAuthentication::Required(pem(ca)),
                (Some(ca), Some(_)) => ClientAuthentication::Optional(pem(ca)),
            };
            let credential = credential(&files.certificate, &files.key);
            acceptor("tls", credential, authentication, &[ALPN_CONTROL, ALPN_TUNNEL])?
        }
    };
    Ok(Port { name: "agents".to_owned(), listen: config.agents.listen, acceptor })
}

/// Mutual TLS, or none: a gateway that cannot verify others does not pretend to.
fn peers_port(config: &ServerConfig) -> Result<Port, Problem> {
    let acceptor = match config.tls.as_ref().and_then(|files| Some((files, files.ca.as_ref()?))) {
        None => Acceptor::Plain,
        Some((files, ca)) => {
            let authentication = ClientAuthentication::Required(pem(ca));
            acceptor("tls", credential(&files.certificate, &files.key), authentication, &[ALPN_HOP])?
        }
    };
    Ok(Port { name: "peers".to_owned(), listen: config.peers.listen, acceptor })
}

fn tcp_ports(config: &ServerConfig) -> Result<Vec<TcpPlan>, Problem> {
    let plan = |tcp: &TcpConfig| {
        let insecure = tcp.insecure_plaintext || config.insecure_plaintext;
        let has_tls = client_port_has_tls(tcp.tls, &tcp.listen, insecure);
        let destination = Destination { service: tcp.service.clone(), agent: tcp.agent.clone() };
        let port = client_port(config, format!("tcp {destination}"), tcp.listen, has_tls, &[])?;
        Ok(TcpPlan { port, destination })
    };
    config.tcp.iter().map(plan).collect()
}

#[cfg(test)]
#[path = "server_tests.rs"]
pub(super) mod tests;
