//! Flags of the roles, and how they are laid over the configuration file.

use std::net::SocketAddr;
use std::path::PathBuf;

use bowline_model::{AgentId, GatewayId, ServiceName, ZoneName};
use bowline_node::config::agent::ServiceConfig;
use bowline_node::config::server::TcpConfig;
use bowline_node::config::tls::{ClientTlsFiles, TlsFiles};
use bowline_node::config::value::{HumanDuration, Secret, listen};
use bowline_node::config::{AgentConfig, Loaded, Problem, RoleConfig, ServerConfig, StoreConfig};
use clap::Args;

use super::{LogFlags, LogFormat, Origins, Pair};
use crate::edge;
use crate::exit::Failure;

/// Flags of `bowline dev`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bowline dev
  bowline dev --port-base 9000     http 9000, sessions 9005, admin 9010, agents 9020, peers 9021

For development only: everything listens on loopback, without TLS and without tokens, and the
registry is in memory.")]
pub struct DevFlags {
    /// Move all ports: http at BASE, sessions at BASE+5, admin at BASE+10, agents at BASE+20, peers at BASE+21
    #[arg(long, env = "BOWLINE_DEV_PORT_BASE", value_name = "BASE", default_value_t = 7080,
          value_parser = clap::value_parser!(u16).range(1..=65_000))]
    pub port_base: u16,
    /// Port of the http entry, instead of BASE; 0 takes a free one
    #[arg(long, env = "BOWLINE_DEV_HTTP_PORT", value_name = "PORT")]
    pub http_port: Option<u16>,
    /// Port of status and metrics, instead of BASE+10; 0 takes a free one
    #[arg(long, env = "BOWLINE_DEV_ADMIN_PORT", value_name = "PORT")]
    pub admin_port: Option<u16>,
    /// Port of the session service, instead of BASE+5; 0 takes a free one
    #[arg(long, env = "BOWLINE_DEV_SESSIONS_PORT", value_name = "PORT")]
    pub sessions_port: Option<u16>,
    /// Port for agents, instead of BASE+20; 0 takes a free one
    #[arg(long, env = "BOWLINE_DEV_AGENTS_PORT", value_name = "PORT")]
    pub agents_port: Option<u16>,
    /// Port for other gateways, instead of BASE+21; 0 takes a free one
    #[arg(long, env = "BOWLINE_DEV_PEERS_PORT", value_name = "PORT")]
    pub peers_port: Option<u16>,
}

/// Flags of `bowline server`.
#[derive(Debug, Clone, Default, Args)]
#[command(after_help = "\
Examples:
  bowline server
  bowline server --name gw-1 --store redis://127.0.0.1:7120
  bowline server --config /etc/bowline/server.toml --http-listen 127.0.0.1:8000
  bowline server --store rediss://gw@redis.example.com:6379 --store-password-file store.password \\
      --store-ca ca.crt --store-certificate gw-1.crt --store-key gw-1.key
  bowline config print-default server > server.toml

SIGTERM or SIGINT drains; a second one ends at once. SIGHUP reads tokens, certificates, signing
keys and the store's password again. BOWLINE_STORE_PASSWORD may hold the password of the store.")]
pub struct ServerFlags {
    /// Configuration file; see `bowline config print-default server`
    #[arg(short, long, env = "BOWLINE_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Name of this gateway, unique in its zone [default: the host's name and the agents' port]
    #[arg(long, env = "BOWLINE_NAME")]
    pub name: Option<GatewayId>,
    /// Zone of this gateway
    #[arg(long, env = "BOWLINE_ZONE")]
    pub zone: Option<ZoneName>,
    /// Domain under which services have host names
    #[arg(long, env = "BOWLINE_DOMAIN")]
    pub domain: Option<String>,
    /// Address of the entry for HTTP
    #[arg(long, env = "BOWLINE_HTTP_LISTEN", value_name = "IP:PORT", value_parser = listen)]
    pub http_listen: Option<SocketAddr>,
    /// Whether the entry for HTTP speaks TLS [default: off loopback]
    #[arg(long, env = "BOWLINE_HTTP_TLS", num_args = 0..=1, default_missing_value = "true")]
    pub http_tls: Option<bool>,
    /// Address for agents
    #[arg(long, env = "BOWLINE_AGENTS_LISTEN", value_name = "IP:PORT", value_parser = listen)]
    pub agents_listen: Option<SocketAddr>,
    /// Address for other gateways
    #[arg(long, env = "BOWLINE_PEERS_LISTEN", value_name = "IP:PORT", value_parser = listen)]
    pub peers_listen: Option<SocketAddr>,
    /// How other gateways reach this one [default: the address for other gateways]
    #[arg(long, env = "BOWLINE_ADVERTISE", value_name = "HOST:PORT")]
    pub advertise: Option<String>,
    /// Address of status and metrics
    #[arg(long, env = "BOWLINE_ADMIN_LISTEN", value_name = "IP:PORT", value_parser = listen)]
    pub admin_listen: Option<SocketAddr>,
    /// Address of the session service
    #[arg(long, env = "BOWLINE_SESSIONS_LISTEN", value_name = "IP:PORT", value_parser = listen)]
    pub sessions_listen: Option<SocketAddr>,
    /// File with the keys of those who may use the session service [default: there is no such service]
    #[arg(long, env = "BOWLINE_SESSIONS_KEYS_FILE", value_name = "FILE")]
    pub sessions_keys_file: Option<PathBuf>,
    /// Entry for raw TCP; may be repeated
    #[arg(long, env = "BOWLINE_TCP", value_name = "IP:PORT=SERVICE[.AGENT]", value_delimiter = ',', value_parser = parse_tcp)]
    pub tcp: Vec<TcpConfig>,
    /// Store: redis://HOST:PORT, redis-sentinel://HOST:PORT,HOST:PORT/SERVICE,
    /// redis-cluster://HOST:PORT,HOST:PORT, these with rediss for TLS, or unix:///PATH; valkey means
    /// the same as redis, and USER@ in front of the hosts names a user. A password on the command
    /// line is visible to other users: use a file or BOWLINE_STORE_PASSWORD. That of sentinels
    /// (?sentinel_user=USER&sentinel_password=PASSWORD) stands in the URL: use BOWLINE_STORE or the
    /// configuration file [default: embedded in this process]
    #[arg(long, env = "BOWLINE_STORE", value_name = "URL", hide_env_values = true, value_parser = secret)]
    pub store: Option<Secret>,
    /// File with the password of the store; read again when it changes and on SIGHUP
    #[arg(long, env = "BOWLINE_STORE_PASSWORD_FILE", value_name = "FILE")]
    pub store_password_file: Option<PathBuf>,
    /// Authority that signed the store's certificate
    #[arg(long, env = "BOWLINE_STORE_CA", value_name = "FILE")]
    pub store_ca: Option<PathBuf>,
    /// Certificate to show to a store that asks for one [default: that of --tls-certificate, if
    /// --tls-ca is --store-ca]
    #[arg(long, env = "BOWLINE_STORE_CERTIFICATE", value_name = "FILE")]
    pub store_certificate: Option<PathBuf>,
    /// Private key of that certificate
    #[arg(long, env = "BOWLINE_STORE_KEY", value_name = "FILE")]
    pub store_key: Option<PathBuf>,
    /// How long an entry of this gateway in the store outlives its last renewal, such as 30s
    #[arg(long, env = "BOWLINE_REGISTRY_TTL", value_name = "DURATION")]
    pub registry_ttl: Option<HumanDuration>,
    /// File with the hashed tokens of agents and clients
    #[arg(long, env = "BOWLINE_TOKENS_FILE", value_name = "FILE")]
    pub tokens_file: Option<PathBuf>,
    #[command(flatten)]
    pub tls: TlsFlags,
    /// Allow ports without TLS off loopback
    #[arg(long, env = "BOWLINE_INSECURE_PLAINTEXT", num_args = 0..=1, default_missing_value = "true")]
    pub insecure_plaintext: Option<bool>,
    /// How long to serve as before after a signal to stop, while /readyz says 503 already, such as 5s
    #[arg(long, env = "BOWLINE_DRAIN_DELAY", value_name = "DURATION")]
    pub drain_delay: Option<HumanDuration>,
    /// How long running streams may go on after that, such as 30s
    #[arg(long, env = "BOWLINE_DRAIN_GRACE", value_name = "DURATION")]
    pub drain_grace: Option<HumanDuration>,
}

/// A server's certificate.
#[derive(Debug, Clone, Default, Args)]
pub struct TlsFlags {
    /// Certificate, PEM
    #[arg(long, env = "BOWLINE_TLS_CERTIFICATE", value_name = "FILE")]
    pub tls_certificate: Option<PathBuf>,
    /// Private key of the certificate, PEM
    #[arg(long, env = "BOWLINE_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// Authority that signs the certificates of those who connect, PEM
    #[arg(long, env = "BOWLINE_TLS_CA", value_name = "FILE")]
    pub tls_ca: Option<PathBuf>,
}

/// Flags of `bowline agent`.
#[derive(Debug, Clone, Default, Args)]
#[command(after_help = "\
Examples:
  bowline agent --name edge-1 --join 127.0.0.1:7100 --service web=127.0.0.1:8080
  bowline agent --name edge-1 --join gw-1.example.com:7100,gw-2.example.com:7100 --ca ca.crt \\
      --token-file edge-1.token --service web=127.0.0.1:8080 --service db=127.0.0.1:5432
  bowline config print-default agent > agent.toml

SIGTERM or SIGINT drains; a second one ends at once. SIGHUP reads services and certificates again.
BOWLINE_TOKEN may hold the token.")]
pub struct AgentFlags {
    /// Configuration file; see `bowline config print-default agent`
    #[arg(short, long, env = "BOWLINE_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Identity of this agent [default: the host's name]
    #[arg(long, env = "BOWLINE_NAME")]
    pub name: Option<AgentId>,
    /// Gateways' addresses for agents; may be repeated or separated by commas
    #[arg(long, env = "BOWLINE_JOIN", value_name = "HOST:PORT", value_delimiter = ',')]
    pub join: Vec<String>,
    /// How many of the gateways to be attached to at once
    #[arg(long, env = "BOWLINE_CONNECTIONS", value_name = "N")]
    pub connections: Option<usize>,
    /// A service to offer; may be repeated or separated by commas
    #[arg(long, env = "BOWLINE_SERVICE", value_name = "NAME=HOST:PORT", value_delimiter = ',',
          value_parser = parse_service)]
    pub service: Vec<ServiceConfig>,
    /// Address of metrics and readiness [default: none]
    #[arg(long, env = "BOWLINE_ADMIN_LISTEN", value_name = "IP:PORT", value_parser = listen)]
    pub admin_listen: Option<SocketAddr>,
    /// File with this agent's token
    #[arg(long, env = "BOWLINE_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Authority that signed the gateways' certificates, PEM
    #[arg(long, env = "BOWLINE_CA", value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// This agent's certificate, PEM
    #[arg(long, env = "BOWLINE_TLS_CERTIFICATE", value_name = "FILE")]
    pub tls_certificate: Option<PathBuf>,
    /// Private key of the certificate, PEM
    #[arg(long, env = "BOWLINE_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// Allow gateways off loopback to be joined without TLS
    #[arg(long, env = "BOWLINE_INSECURE_PLAINTEXT", num_args = 0..=1, default_missing_value = "true")]
    pub insecure_plaintext: Option<bool>,
    /// How long running streams may go on after a signal to stop, such as 30s
    #[arg(long, env = "BOWLINE_DRAIN_GRACE", value_name = "DURATION")]
    pub drain_grace: Option<HumanDuration>,
}

/// Flags of `bowline store`.
#[derive(Debug, Clone, Default, Args)]
#[command(after_help = "\
Examples:
  bowline store
  bowline store --listen 127.0.0.1:6379
  bowline store --listen 0.0.0.0:7120 --password-file store.password \\
      --tls-certificate store.crt --tls-key store.key

SIGTERM or SIGINT ends it. SIGHUP reads the certificate again. BOWLINE_STORE_PASSWORD may hold the
password.")]
pub struct StoreFlags {
    /// Configuration file; see `bowline config print-default store`
    #[arg(short, long, env = "BOWLINE_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Address to listen on
    #[arg(long, env = "BOWLINE_STORE_LISTEN", value_name = "IP:PORT", value_parser = listen)]
    pub listen: Option<SocketAddr>,
    /// File with the password that clients must give
    #[arg(long, env = "BOWLINE_STORE_PASSWORD_FILE", value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    #[command(flatten)]
    pub tls: TlsFlags,
    /// Allow the port to be without TLS off loopback
    #[arg(long, env = "BOWLINE_INSECURE_PLAINTEXT", num_args = 0..=1, default_missing_value = "true")]
    pub insecure_plaintext: Option<bool>,
}

fn secret(text: &str) -> Result<Secret, std::convert::Infallible> {
    Ok(Secret::new(text.to_owned()))
}

fn parse_tcp(text: &str) -> Result<TcpConfig, String> {
    let pair: Pair =
        text.parse().map_err(|error| format!("{error}; write IP:PORT=SERVICE or IP:PORT=SERVICE.AGENT"))?;
    let (service, agent) = match pair.right.split_once('.') {
        None => (pair.right.as_str(), None),
        Some((service, agent)) => (service, Some(agent)),
    };
    let service: ServiceName = service.parse().map_err(|error| format!("{error}"))?;
    let agent: Option<AgentId> = agent.map(str::parse).transpose().map_err(|error| format!("{error}"))?;
    let listen = listen(&pair.left).map_err(|error| error.to_string())?;
    Ok(TcpConfig { listen, service, agent, tls: None, insecure_plaintext: false })
}

fn parse_service(text: &str) -> Result<ServiceConfig, String> {
    let pair: Pair = text.parse().map_err(|error| format!("{error}; write NAME=HOST:PORT"))?;
    let name = pair.left.parse().map_err(|error| format!("{error}"))?;
    Ok(ServiceConfig { name, address: pair.right })
}

fn some_if_any<T: Clone>(list: &[T]) -> Option<Vec<T>> {
    (!list.is_empty()).then(|| list.to_vec())
}

/// The file, if one is named, or the defaults.
fn start<T: RoleConfig>(file: Option<&PathBuf>) -> Result<Loaded<T>, Failure> {
    match file {
        None => Ok(Loaded::defaults()),
        Some(path) => Ok(Loaded::parse(path, &edge::read_text(path)?)?),
    }
}

impl ServerFlags {
    /// The configuration: defaults, file, variables, flags.
    pub fn load(&self, log: &LogFlags, origins: &Origins) -> Result<Loaded<ServerConfig>, Failure> {
        let mut loaded: Loaded<ServerConfig> = start(self.config.as_ref())?;
        let l = &mut loaded;
        l.set("name", origins.of("--name"), self.name.clone().map(Some), |c| &mut c.name);
        l.set("zone", origins.of("--zone"), self.zone.clone(), |c| &mut c.zone);
        l.set("domain", origins.of("--domain"), self.domain.clone(), |c| &mut c.domain);
        l.set("drain_delay", origins.of("--drain-delay"), self.drain_delay, |c| &mut c.drain_delay);
        l.set("drain_grace", origins.of("--drain-grace"), self.drain_grace, |c| &mut c.drain_grace);
        l.set("insecure_plaintext", origins.of("--insecure-plaintext"), self.insecure_plaintext, |c| {
            &mut c.insecure_plaintext
        });
        l.set("tokens_file", origins.of("--tokens-file"), self.tokens_file.clone().map(Some), |c| {
            &mut c.tokens_file
        });
        l.set("http.listen", origins.of("--http-listen"), self.http_listen, |c| &mut c.http.listen);
        l.set("http.tls", origins.of("--http-tls"), self.http_tls.map(Some), |c| &mut c.http.tls);
        l.set("agents.listen", origins.of("--agents-listen"), self.agents_listen, |c| &mut c.agents.listen);
        l.set("peers.listen", origins.of("--peers-listen"), self.peers_listen, |c| &mut c.peers.listen);
        l.set("peers.advertise", origins.of("--advertise"), self.advertise.clone().map(Some), |c| {
            &mut c.peers.advertise
        });
        l.set("admin.listen", origins.of("--admin-listen"), self.admin_listen, |c| &mut c.admin.listen);
        let sessions_listen = self.sessions_listen;
        l.set("sessions.listen", origins.of("--sessions-listen"), sessions_listen, |c| {
            &mut c.sessions.listen
        });
        let keys_file = self.sessions_keys_file.clone().map(Some);
        l.set("sessions.keys_file", origins.of("--sessions-keys-file"), keys_file, |c| {
            &mut c.sessions.keys_file
        });
        l.set("tcp", origins.of("--tcp"), some_if_any(&self.tcp), |c| &mut c.tcp);
        l.set("store.url", origins.of("--store"), self.store.clone().map(Some), |c| &mut c.store.url);
        let password_file = self.store_password_file.clone().map(Some);
        l.set("store.password_file", origins.of("--store-password-file"), password_file, |c| {
            &mut c.store.password_file
        });
        l.set("registry.ttl", origins.of("--registry-ttl"), self.registry_ttl, |c| &mut c.registry.ttl);
        l.set("store.ca", origins.of("--store-ca"), self.store_ca.clone().map(Some), |c| &mut c.store.ca);
        let certificate = self.store_certificate.clone().map(Some);
        l.set("store.certificate", origins.of("--store-certificate"), certificate, |c| {
            &mut c.store.certificate
        });
        let key = self.store_key.clone().map(Some);
        l.set("store.key", origins.of("--store-key"), key, |c| &mut c.store.key);
        overlay_tls(&self.tls, l, |c| &mut c.tls)?;
        overlay_log(log, l, |c| &mut c.log);
        Ok(loaded)
    }
}

impl AgentFlags {
    /// The configuration: defaults, file, variables, flags.
    pub fn load(&self, log: &LogFlags, origins: &Origins) -> Result<Loaded<AgentConfig>, Failure> {
        let mut loaded: Loaded<AgentConfig> = start(self.config.as_ref())?;
        let l = &mut loaded;
        l.set("name", origins.of("--name"), self.name.clone().map(Some), |c| &mut c.name);
        l.set("join", origins.of("--join"), some_if_any(&self.join), |c| &mut c.join);
        l.set("connections", origins.of("--connections"), self.connections, |c| &mut c.connections);
        l.set("drain_grace", origins.of("--drain-grace"), self.drain_grace, |c| &mut c.drain_grace);
        l.set("token_file", origins.of("--token-file"), self.token_file.clone().map(Some), |c| {
            &mut c.token_file
        });
        l.set("insecure_plaintext", origins.of("--insecure-plaintext"), self.insecure_plaintext, |c| {
            &mut c.insecure_plaintext
        });
        l.set("service", origins.of("--service"), some_if_any(&self.service), |c| &mut c.service);
        l.set("admin.listen", origins.of("--admin-listen"), self.admin_listen.map(Some), |c| {
            &mut c.admin.listen
        });
        self.overlay_tls(l)?;
        overlay_log(log, l, |c| &mut c.log);
        Ok(loaded)
    }

    fn overlay_tls(&self, loaded: &mut Loaded<AgentConfig>) -> Result<(), Failure> {
        let (ca, certificate, key) = (self.ca.clone(), self.tls_certificate.clone(), self.tls_key.clone());
        if ca.is_none() && certificate.is_none() && key.is_none() {
            return Ok(());
        }
        let before = loaded.config.tls.clone();
        let Some(ca) = ca.or_else(|| before.as_ref().map(|tls| tls.ca.clone())) else {
            let text =
                "a certificate of this agent is of no use without the authority that signed the gateways'";
            return Err(loaded.locate(vec![Problem::new("tls", text, "add --ca FILE")]).into());
        };
        let tls = ClientTlsFiles {
            ca,
            certificate: certificate.or_else(|| before.as_ref().and_then(|tls| tls.certificate.clone())),
            key: key.or_else(|| before.as_ref().and_then(|tls| tls.key.clone())),
        };
        loaded.set("tls", "--ca, --tls-certificate, --tls-key", Some(Some(tls)), |c| &mut c.tls);
        Ok(())
    }
}

impl StoreFlags {
    /// The configuration: defaults, file, variables, flags.
    pub fn load(&self, log: &LogFlags, origins: &Origins) -> Result<Loaded<StoreConfig>, Failure> {
        let mut loaded: Loaded<StoreConfig> = start(self.config.as_ref())?;
        let l = &mut loaded;
        l.set("listen", origins.of("--listen"), self.listen, |c| &mut c.listen);
        l.set("password_file", origins.of("--password-file"), self.password_file.clone().map(Some), |c| {
            &mut c.password_file
        });
        l.set("insecure_plaintext", origins.of("--insecure-plaintext"), self.insecure_plaintext, |c| {
            &mut c.insecure_plaintext
        });
        overlay_tls(&self.tls, l, |c| &mut c.tls)?;
        overlay_log(log, l, |c| &mut c.log);
        Ok(loaded)
    }
}

fn overlay_tls<T: RoleConfig>(
    flags: &TlsFlags,
    loaded: &mut Loaded<T>,
    slot: impl Fn(&mut T) -> &mut Option<TlsFiles>,
) -> Result<(), Failure> {
    let TlsFlags { tls_certificate, tls_key, tls_ca } = flags.clone();
    if tls_certificate.is_none() && tls_key.is_none() && tls_ca.is_none() {
        return Ok(());
    }
    let before = slot(&mut loaded.config).clone();
    let certificate = tls_certificate.or_else(|| before.as_ref().map(|tls| tls.certificate.clone()));
    let key = tls_key.or_else(|| before.as_ref().map(|tls| tls.key.clone()));
    let (Some(certificate), Some(key)) = (certificate, key) else {
        let text = "TLS needs a certificate and its key";
        let problem = Problem::new("tls", text, "give both --tls-certificate FILE and --tls-key FILE");
        return Err(loaded.locate(vec![problem]).into());
    };
    let tls = TlsFiles { certificate, key, ca: tls_ca.or_else(|| before.and_then(|tls| tls.ca)) };
    loaded.set("tls", "--tls-certificate, --tls-key, --tls-ca", Some(Some(tls)), |config| slot(config));
    Ok(())
}

fn overlay_log<T: RoleConfig>(
    flags: &LogFlags,
    loaded: &mut Loaded<T>,
    slot: impl Fn(&mut T) -> &mut bowline_node::config::server::LogConfig,
) {
    use bowline_node::config::server::LogFormat as Format;
    loaded.set("log.level", "--log-level", flags.log_level.clone(), |config| &mut slot(config).level);
    let format = flags.log_format.map(|format| match format {
        LogFormat::Human => Format::Human,
        LogFormat::Json => Format::Json,
    });
    loaded.set("log.format", "--log-format", format, |config| &mut slot(config).format);
}
