//! What a configuration must obey, beyond the form of its values: security first.
//!
//! - A port off loopback has TLS, or somebody wrote `insecure_plaintext = true` and is warned at every start.
//! - The same holds for what is dialled off loopback: gateways by an agent, the store by a gateway.
//! - Off loopback agents authenticate (token or certificate), other gateways authenticate (mutual TLS), `CONNECT` and
//!   the admin port need a client token, and the store needs a password or client certificates.
//!   `insecure_plaintext` waives TLS (and with it the mutual TLS of the peer port), never a token or a password.
//! - Behind another proxy everybody comes from loopback, so that it proves nothing there.
//!
//! The functions are pure: configuration in, verdict out. Whether the files exist and fit is found when they are read.

mod sessions;
mod store_link;

use std::net::SocketAddr;
use std::time::Duration;

use bowline_model::limits::{NAME_BYTES_MAX, SERVICES_PER_AGENT_MAX};

use super::server::{HttpConfig, LimitsConfig, RegistryConfig};
use super::value::{HumanDuration, host_port, is_loopback, is_loopback_host};
use super::{AgentConfig, Problem, ServerConfig, StoreConfig};
use crate::limits::{
    CONFIG_DURATION_MAX, CONNECTIONS_MAX, DATABASES_MAX, DOMAIN_BYTES_MAX, HOST_BYTES_MAX, JOIN_MAX,
    LIMIT_MAX, REGISTRY_LINGER_MAX, REGISTRY_TTL_MAX, REGISTRY_TTL_MIN, RESPONSE_TIMEOUT_MIN, ROUTES_MAX,
    TCP_LISTENERS_MAX,
};

const GIVE_A_CERTIFICATE: &str = "give it a certificate in [tls] (`bowline ca init`, then `bowline ca issue gateway NAME`), \
     listen on 127.0.0.1, or set insecure_plaintext = true if every network on the way is trusted";

/// What the rules say of a configuration.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// What must be mended.
    pub problems: Vec<Problem>,
    /// What works, and should be known at every start.
    pub warnings: Vec<String>,
}

impl Verdict {
    fn problem(&mut self, key: impl Into<String>, text: impl Into<String>, advice: impl Into<String>) {
        self.problems.push(Problem::new(key, text, advice));
    }

    fn check_range(&mut self, key: &str, value: usize, max: usize) {
        if !(1..=max).contains(&value) {
            self.problem(key, format!("{value} is out of range; from 1 to {max} is possible"), "");
        }
    }

    fn check_duration(&mut self, key: &str, value: HumanDuration, min: Duration, max: Duration) {
        if !(min..=max).contains(&value.0) {
            let (min, max) = (HumanDuration(min), HumanDuration(max));
            self.problem(key, format!("{value} is out of range; from {min} to {max} is possible"), "");
        }
    }

    /// A certificate of a section, and its key.
    fn check_pair(&mut self, section: &str, has_certificate: bool, has_key: bool) {
        match (has_certificate, has_key) {
            (true, false) => self.problem(
                format!("{section}.certificate"),
                "a certificate without a key",
                format!("add {section}.key"),
            ),
            (false, true) => self.problem(
                format!("{section}.key"),
                "a key without a certificate",
                format!("add {section}.certificate"),
            ),
            _ => {}
        }
    }

    /// A port that clients of any kind can talk to without TLS.
    fn check_plaintext(&mut self, key: &str, listen: &SocketAddr, has_tls: bool, insecure: bool) {
        if has_tls || is_loopback(listen) {
            return;
        }
        if insecure {
            self.warnings.push(format!(
                "{key} = {listen} is reachable from other machines without TLS (insecure_plaintext = true): \
                 whoever is on the way can read and change what passes"
            ));
        } else {
            let text = format!("{listen} is reachable from other machines, and this port has no TLS");
            self.problem(key, text, GIVE_A_CERTIFICATE);
        }
    }
}

/// Whether a port for clients speaks TLS: as configured, else off loopback unless plaintext is allowed.
#[must_use]
pub fn client_port_has_tls(configured: Option<bool>, listen: &SocketAddr, insecure: bool) -> bool {
    configured.unwrap_or(!is_loopback(listen) && !insecure)
}

/// Whether the http entry is to speak TLS, as far as that is said: who gives it a certificate of its own wants it, on
/// loopback too.
#[must_use]
pub fn http_tls(http: &HttpConfig) -> Option<bool> {
    http.tls.or_else(|| http.certificate.is_some().then_some(true))
}

/// Whether `CONNECT` asks for a client token: loopback stands for trust only where clients connect themselves.
#[must_use]
pub fn connect_needs_token(http: &HttpConfig) -> bool {
    !is_loopback(&http.listen) || http.trust_forwarded
}

/// Judges a gateway's configuration.
#[must_use]
pub fn server(config: &ServerConfig) -> Verdict {
    let mut verdict = Verdict::default();
    check_domain(&config.domain, &mut verdict);
    check_http(config, &mut verdict);
    check_agents_port(config, &mut verdict);
    check_peers_port(config, &mut verdict);
    check_admin_port(config, &mut verdict);
    sessions::check(config, &mut verdict);
    check_tcp(config, &mut verdict);
    store_link::check(config, &mut verdict);
    check_ports_differ(config, &mut verdict);
    check_registry(&config.registry, &mut verdict);
    check_limits(&config.limits, &mut verdict);
    verdict
}

fn check_registry(registry: &RegistryConfig, verdict: &mut Verdict) {
    let RegistryConfig { ttl, linger } = *registry;
    verdict.check_duration("registry.ttl", ttl, REGISTRY_TTL_MIN, REGISTRY_TTL_MAX);
    verdict.check_duration("registry.linger", linger, Duration::ZERO, REGISTRY_LINGER_MAX);
}

fn check_limits(limits: &LimitsConfig, verdict: &mut Verdict) {
    let LimitsConfig { agents, tunnels_per_agent, streams, connections, requests } = *limits;
    verdict.check_range("limits.agents", agents, LIMIT_MAX);
    verdict.check_range("limits.tunnels_per_agent", tunnels_per_agent, LIMIT_MAX);
    verdict.check_range("limits.streams", streams, LIMIT_MAX);
    verdict.check_range("limits.connections", connections, LIMIT_MAX);
    verdict.check_range("limits.requests", requests, LIMIT_MAX);
}

fn check_domain(domain: &str, verdict: &mut Verdict) {
    let of_a_label = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let label = |label: &str| {
        (1..=NAME_BYTES_MAX).contains(&label.len())
            && label.bytes().all(of_a_label)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if domain.len() > DOMAIN_BYTES_MAX || !domain.split('.').all(label) {
        let text = format!("`{domain}` is not a domain");
        verdict.problem("domain", text, "write lower-case labels joined by dots, such as svc.bowline");
    }
}

/// A port for clients: `tls` as configured, and whether it comes out right.
fn check_client_port(
    section: &str,
    port: (&SocketAddr, Option<bool>, bool),
    has_certificate: bool,
    verdict: &mut Verdict,
) {
    let (listen, configured, insecure) = port;
    if configured == Some(true) && !has_certificate {
        let advice = "give one in [tls] (`bowline ca init`, then `bowline ca issue gateway NAME`)";
        verdict.problem(format!("{section}.tls"), "TLS needs a certificate, and there is none", advice);
        return;
    }
    let has_tls = client_port_has_tls(configured, listen, insecure) && has_certificate;
    verdict.check_plaintext(&format!("{section}.listen"), listen, has_tls, insecure);
}

fn check_http(config: &ServerConfig, verdict: &mut Verdict) {
    let http = &config.http;
    verdict.check_pair("http", http.certificate.is_some(), http.key.is_some());
    let insecure = http.insecure_plaintext || config.insecure_plaintext;
    let has_certificate = http.certificate.is_some() || config.tls.is_some();
    check_client_port("http", (&http.listen, http_tls(http), insecure), has_certificate, verdict);
    let timeout = http.response_timeout;
    verdict.check_duration("http.response_timeout", timeout, RESPONSE_TIMEOUT_MIN, CONFIG_DURATION_MAX);
    check_connect(config, verdict);
    check_routes(http, verdict);
}

fn check_routes(http: &HttpConfig, verdict: &mut Verdict) {
    if http.routes.len() > ROUTES_MAX {
        let text = format!("{} hosts; at most {ROUTES_MAX} are possible", http.routes.len());
        verdict.problem("http.routes", text, "use host names of the domain for the rest");
    }
    let of_a_label = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
    let label = |label: &str| (1..=NAME_BYTES_MAX).contains(&label.len()) && label.bytes().all(of_a_label);
    let is_host = |host: &str| host.len() <= HOST_BYTES_MAX && host.split('.').all(label);
    if let Some(host) = http.routes.keys().find(|host| !is_host(host)) {
        let text = format!("`{host}` is not a host name");
        verdict.problem("http.routes", text, "write it in lower case, without a port and without wildcards");
    }
}

fn check_connect(config: &ServerConfig, verdict: &mut Verdict) {
    let http = &config.http;
    if !http.connect || !connect_needs_token(http) || config.tokens_file.is_some() {
        return;
    }
    let text = match is_loopback(&http.listen) {
        true => "CONNECT behind another proxy (trust_forwarded) would let anybody open raw TCP connections",
        false => "CONNECT off loopback would let anybody open raw TCP connections",
    };
    verdict.problem(
        "http.connect",
        text,
        "name a tokens_file with a client token (`bowline token new --client NAME`), or set http.connect = false",
    );
}

fn check_agents_port(config: &ServerConfig, verdict: &mut Verdict) {
    let agents = &config.agents;
    let insecure = agents.insecure_plaintext || config.insecure_plaintext;
    verdict.check_plaintext("agents.listen", &agents.listen, config.tls.is_some(), insecure);
    let has_authority = config.tls.as_ref().is_some_and(|tls| tls.ca.is_some());
    if !is_loopback(&agents.listen) && config.tokens_file.is_none() && !has_authority {
        verdict.problem(
            "agents.listen",
            format!("anybody who reaches {} could pose as an agent", agents.listen),
            "name a tokens_file (`bowline token new --agent NAME`), or an authority for client certificates in tls.ca",
        );
    }
}

fn check_peers_port(config: &ServerConfig, verdict: &mut Verdict) {
    let peers = &config.peers;
    let has_mutual_tls = config.tls.as_ref().is_some_and(|tls| tls.ca.is_some());
    let insecure = peers.insecure_plaintext || config.insecure_plaintext;
    if config.tls.is_some() && !has_mutual_tls && !is_loopback(&peers.listen) && !insecure {
        verdict.problem(
            "peers.listen",
            format!(
                "{} is reachable from other machines, and gateways cannot authenticate each other",
                peers.listen
            ),
            "name in tls.ca the authority that signs the certificates of gateways",
        );
    } else {
        verdict.check_plaintext("peers.listen", &peers.listen, has_mutual_tls, insecure);
    }
    if insecure && !has_mutual_tls && !is_loopback(&peers.listen) {
        verdict.warnings.push(format!(
            "peers.listen = {} asks nobody who they are (insecure_plaintext = true): whoever reaches it can open a \
             stream to every service of every agent, as by CONNECT without a token, and see the state of the system",
            peers.listen
        ));
    }
    match &peers.advertise {
        Some(advertise) => {
            if let Err(error) = host_port(advertise) {
                verdict.problem("peers.advertise", error.to_string(), "");
            }
        }
        None if peers.listen.ip().is_unspecified() => verdict.problem(
            "peers.advertise",
            format!("other gateways cannot dial the wildcard {}", peers.listen),
            "set peers.advertise (--advertise) to the HOST:PORT by which they reach this gateway",
        ),
        None if is_loopback(&peers.listen) && store_link::is_elsewhere(config) => {
            verdict.warnings.push(format!(
                "the store is on another machine, but other gateways are told to reach this one at {}: set \
             peers.listen and peers.advertise if there are any",
                peers.listen
            ))
        }
        None => {}
    }
}

fn check_admin_port(config: &ServerConfig, verdict: &mut Verdict) {
    let admin = &config.admin;
    let insecure = admin.insecure_plaintext || config.insecure_plaintext;
    check_client_port("admin", (&admin.listen, admin.tls, insecure), config.tls.is_some(), verdict);
    let has_tokens = admin.tokens_file.is_some() || config.tokens_file.is_some();
    if !is_loopback(&admin.listen) && !has_tokens {
        verdict.problem(
            "admin.listen",
            format!("{} would show the state of the system to anybody", admin.listen),
            "name a tokens_file with a client token (`bowline token new --client NAME`), or listen on 127.0.0.1",
        );
    }
}

fn check_tcp(config: &ServerConfig, verdict: &mut Verdict) {
    if config.tcp.len() > TCP_LISTENERS_MAX {
        let text = format!("{} listeners; at most {TCP_LISTENERS_MAX} are served", config.tcp.len());
        verdict.problem("tcp", text, "use HTTP CONNECT (`bowline forward`) for the rest");
    }
    for (index, tcp) in config.tcp.iter().enumerate() {
        let insecure = tcp.insecure_plaintext || config.insecure_plaintext;
        let section = format!("tcp[{index}]");
        check_client_port(&section, (&tcp.listen, tcp.tls, insecure), config.tls.is_some(), verdict);
    }
}

/// As a gateway's admin port: off loopback it has TLS and asks for a client token.
fn check_agent_admin(config: &AgentConfig, verdict: &mut Verdict) {
    let admin = &config.admin;
    verdict.check_pair("admin", admin.certificate.is_some(), admin.key.is_some());
    let Some(listen) = &admin.listen else { return };
    if is_loopback(listen) {
        return;
    }
    if admin.certificate.is_none() {
        if admin.insecure_plaintext {
            verdict.check_plaintext("admin.listen", listen, false, true);
        } else {
            let text = format!("{listen} is reachable from other machines, and this port has no TLS");
            let advice = "give it admin.certificate and admin.key, or listen on 127.0.0.1";
            verdict.problem("admin.listen", text, advice);
        }
    }
    if admin.tokens_file.is_none() {
        verdict.problem(
            "admin.listen",
            format!("{listen} would show the state of the agent to anybody"),
            "name admin.tokens_file with a client token (`bowline token new --client NAME`), or listen on 127.0.0.1",
        );
    }
}

/// Two ports of one configuration at one address would look as if another process had it.
fn check_ports_differ(config: &ServerConfig, verdict: &mut Verdict) {
    let mut ports = vec![
        ("http.listen".to_owned(), config.http.listen),
        ("agents.listen".to_owned(), config.agents.listen),
        ("peers.listen".to_owned(), config.peers.listen),
        ("admin.listen".to_owned(), config.admin.listen),
    ];
    if config.sessions.keys_file.is_some() {
        ports.push(("sessions.listen".to_owned(), config.sessions.listen));
    }
    ports.extend(
        config.tcp.iter().enumerate().map(|(index, tcp)| (format!("tcp[{index}].listen"), tcp.listen)),
    );
    // The wildcard takes the port of every address.
    let clash = |one: &SocketAddr, other: &SocketAddr| {
        let wildcard = one.ip().is_unspecified() || other.ip().is_unspecified();
        one.port() == other.port()
            && one.port() != 0
            && (one.ip() == other.ip() || wildcard && one.is_ipv4() == other.is_ipv4())
    };
    for (index, (key, listen)) in ports.iter().enumerate() {
        if let Some((earlier, at)) = ports[..index].iter().find(|(_, earlier)| clash(earlier, listen)) {
            let text = format!("{listen} is taken by {earlier} = {at}");
            verdict.problem(key.clone(), text, "give each its own port");
        }
    }
}

/// Judges an agent's configuration. `has_token`: a token is there, from a file or the environment.
#[must_use]
pub fn agent(config: &AgentConfig, has_token: bool) -> Verdict {
    let mut verdict = Verdict::default();
    check_join(config, has_token, &mut verdict);
    if !(1..=CONNECTIONS_MAX).contains(&config.connections) {
        let text =
            format!("{} gateways at once; from 1 to {CONNECTIONS_MAX} are possible", config.connections);
        verdict.problem("connections", text, "");
    }
    verdict.check_range("limits.tunnels", config.limits.tunnels, LIMIT_MAX);
    if let Some(tls) = &config.tls
        && tls.certificate.is_some() != tls.key.is_some()
    {
        verdict.problem(
            "tls",
            "a certificate and its key come together",
            "give both, or neither and a token",
        );
    }
    check_agent_admin(config, &mut verdict);
    check_services(config, &mut verdict);
    verdict
}

fn check_join(config: &AgentConfig, has_token: bool, verdict: &mut Verdict) {
    if config.join.is_empty() || config.join.len() > JOIN_MAX {
        let text = format!("{} gateways are listed; from 1 to {JOIN_MAX} are possible", config.join.len());
        verdict.problem("join", text, "list the HOST:PORT of the gateways' ports for agents");
    }
    for (index, gateway) in config.join.iter().enumerate() {
        if let Err(error) = host_port(gateway) {
            verdict.problem(format!("join[{index}]"), error.to_string(), "");
        }
        if config.join[..index].contains(gateway) {
            let text = format!("{gateway} is listed twice");
            verdict.problem(format!("join[{index}]"), text, "remove one");
        }
    }
    let mut well_formed = config.join.iter().filter(|gateway| host_port(gateway).is_ok());
    let Some(remote) = well_formed.find(|gateway| !is_loopback_host(gateway)) else { return };
    if config.tls.is_none() {
        if config.insecure_plaintext {
            verdict.warnings.push(format!(
                "{remote} is joined without TLS (insecure_plaintext = true): whoever is on the way can read the token \
                 and what passes"
            ));
        } else {
            verdict.problem(
                "join",
                format!("{remote} is on another machine, and there is no [tls] to verify it"),
                "name in tls.ca (--ca) the authority that signed the gateways' certificates, or set \
                 insecure_plaintext = true if every network on the way is trusted",
            );
        }
    }
    let has_certificate = config.tls.as_ref().is_some_and(|tls| tls.certificate.is_some());
    if !has_token && !has_certificate {
        verdict.problem(
            "join",
            format!("{remote} lets no agent in that cannot prove who it is"),
            "give a token_file (`bowline token new --agent NAME`), or tls.certificate and tls.key",
        );
    }
}

fn check_services(config: &AgentConfig, verdict: &mut Verdict) {
    if config.service.is_empty() {
        verdict
            .warnings
            .push("this agent offers no service: add [[service]] or --service NAME=HOST:PORT".into());
    }
    if config.service.len() > SERVICES_PER_AGENT_MAX {
        let text =
            format!("{} services; at most {SERVICES_PER_AGENT_MAX} are possible", config.service.len());
        verdict.problem("service", text, "run a second agent for the rest");
    }
    for (index, service) in config.service.iter().enumerate() {
        if let Err(error) = host_port(&service.address) {
            verdict.problem(format!("service[{index}].address"), error.to_string(), "");
        }
        if config.service[..index].iter().any(|earlier| earlier.name == service.name) {
            let text = format!("the service `{}` is listed twice", service.name);
            verdict.problem(format!("service[{index}].name"), text, "remove or rename one");
        }
    }
}

/// Judges a store's configuration. `has_password`: a password is there, from a file or the environment.
#[must_use]
pub fn store(config: &StoreConfig, has_password: bool) -> Verdict {
    let mut verdict = Verdict::default();
    verdict.check_plaintext("listen", &config.listen, config.tls.is_some(), config.insecure_plaintext);
    verdict.check_range("clients", config.clients, LIMIT_MAX);
    verdict.check_range("databases", config.databases, DATABASES_MAX);
    let has_authority = config.tls.as_ref().is_some_and(|tls| tls.ca.is_some());
    if !is_loopback(&config.listen) && !has_password && !has_authority {
        verdict.problem(
            "listen",
            format!("anybody who reaches {} could read and change the registry", config.listen),
            "give a password_file, or an authority for client certificates in tls.ca",
        );
    }
    verdict
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
