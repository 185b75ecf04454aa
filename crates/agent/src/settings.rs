//! What an agent is told: parsed types, so that nothing below has to check again.

use std::collections::BTreeMap;
use std::time::Duration;

use bowline_identity::tls::Connector;
use bowline_identity::token::Token;
use bowline_model::limits::SERVICES_PER_AGENT_MAX;
use bowline_model::{AgentId, ServiceName};

use crate::limits::{ADDRESS_BYTES_MAX, JOIN_MAX};

/// All that an agent is told when it starts.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Who this agent is. The credential must prove it.
    pub agent: AgentId,
    /// Addresses of gateways, `host:port`. Names are resolved anew at each attempt.
    pub join: Vec<String>,
    /// How many of the join list to be attached to at once; more than the list holds counts as all of it.
    pub connections: usize,
    /// What this agent offers at the start; see [`crate::Handle::replace_services`].
    pub services: Services,
    /// Proves the identity where the connector shows no certificate.
    pub credential: Option<Token>,
    /// Dials gateways, with TLS or without.
    pub connector: Connector,
    /// Times and sizes.
    pub limits: Limits,
}

impl Settings {
    /// Settings with one connection, no credential and the default limits.
    #[must_use]
    pub fn new(agent: AgentId, join: Vec<String>, services: Services, connector: Connector) -> Self {
        Self { agent, join, connections: 1, services, credential: None, connector, limits: Limits::default() }
    }

    /// Checks what the types cannot say.
    pub(crate) fn check(&self) -> Result<(), SettingsError> {
        if self.join.is_empty() {
            return Err(SettingsError::JoinEmpty);
        }
        if self.join.len() > JOIN_MAX {
            return Err(SettingsError::JoinTooLong(self.join.len()));
        }
        for (index, address) in self.join.iter().enumerate() {
            check_address(address)?;
            if self.join[..index].contains(address) {
                return Err(SettingsError::JoinTwice(address.clone()));
            }
        }
        if self.connections == 0 {
            return Err(SettingsError::NoConnections);
        }
        if self.limits.tunnels_max == 0 {
            return Err(SettingsError::NoTunnels);
        }
        Ok(())
    }
}

/// Times and sizes that an operator may change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Longest wait for a service to accept a connection.
    pub service_connect_timeout: Duration,
    /// Longest wait for a connection to a gateway: control and tunnels.
    pub dial_timeout: Duration,
    /// Longest wait for a gateway's answer to the login.
    pub login_timeout: Duration,
    /// Bound of the first wait after a failure.
    pub backoff_min: Duration,
    /// Bound that the waits after repeated failures grow to.
    pub backoff_max: Duration,
    /// Bound that the waits grow to after refused logins.
    pub refused_backoff_max: Duration,
    /// Wait after another process logged in with this agent's id.
    pub id_taken_hold: Duration,
    /// A session that lasted this long was good: the next failure counts as the first.
    pub stable_after: Duration,
    /// How long a session that was left, and a process that was told to stop, waits for its running streams.
    pub drain_grace: Duration,
    /// Most tunnels at once: dialling, idle and busy ones.
    pub tunnels_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            service_connect_timeout: Duration::from_secs(5),
            dial_timeout: Duration::from_secs(5),
            login_timeout: Duration::from_secs(5),
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(10),
            refused_backoff_max: Duration::from_secs(30),
            id_taken_hold: Duration::from_secs(30),
            stable_after: Duration::from_secs(25),
            drain_grace: Duration::from_secs(10),
            tunnels_max: 500,
        }
    }
}

/// A service that an agent offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// What requests ask for.
    pub name: ServiceName,
    /// Where it listens, `host:port`, as seen from the agent.
    pub address: String,
}

/// The services of an agent: each name once, each address well-formed, not too many.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Services(BTreeMap<ServiceName, String>);

impl Services {
    /// Checks `services`.
    ///
    /// # Errors
    /// [`SettingsError`]: a name twice, an address that is not `host:port`, too many.
    pub fn new(services: impl IntoIterator<Item = Service>) -> Result<Self, SettingsError> {
        let mut map = BTreeMap::new();
        for Service { name, address } in services {
            check_address(&address)?;
            if map.insert(name.clone(), address).is_some() {
                return Err(SettingsError::ServiceTwice(name));
            }
            if map.len() > SERVICES_PER_AGENT_MAX {
                return Err(SettingsError::TooManyServices);
            }
        }
        Ok(Self(map))
    }

    /// The address of the service `name`.
    #[must_use]
    pub fn address(&self, name: &ServiceName) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The names, in order.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &ServiceName> {
        self.0.keys()
    }

    /// The names as the wire carries them.
    pub(crate) fn wire(&self) -> Vec<String> {
        self.names().map(ToString::to_string).collect()
    }
}

/// Why settings were refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// There is nobody to dial.
    #[error("the join list is empty: name at least one gateway as host:port")]
    JoinEmpty,
    /// More gateways than an agent keeps track of.
    #[error("the join list has {0} entries, at most {JOIN_MAX} are possible")]
    JoinTooLong(usize),
    /// A gateway stands in the join list twice.
    #[error("{0} stands in the join list twice")]
    JoinTwice(String),
    /// An agent without a connection is of no use.
    #[error("the number of connections must be at least 1")]
    NoConnections,
    /// An agent without tunnels is of no use.
    #[error("the number of tunnels must be at least 1")]
    NoTunnels,
    /// A text is not `host:port`.
    #[error("{0:?} is not an address: expected host:port, for example 127.0.0.1:8080 or [::1]:8080")]
    Address(String),
    /// A service has two addresses.
    #[error("the service {0} is given twice")]
    ServiceTwice(ServiceName),
    /// More services than an agent may offer.
    #[error("an agent offers at most {SERVICES_PER_AGENT_MAX} services")]
    TooManyServices,
}

/// Checks that `text` is a host and a port, without resolving the host.
fn check_address(text: &str) -> Result<(), SettingsError> {
    let refused = || SettingsError::Address(crate::text::cut(text, ADDRESS_BYTES_MAX));
    let (host, port) = text.rsplit_once(':').ok_or_else(refused)?;
    let bracketed = host.starts_with('[') && host.ends_with(']');
    let host_fits = match bracketed {
        true => host[1..host.len() - 1].parse::<std::net::Ipv6Addr>().is_ok(),
        false => {
            !host.is_empty()
                && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
        }
    };
    let port_fits =
        port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0);
    if host_fits && port_fits && text.len() <= ADDRESS_BYTES_MAX { Ok(()) } else { Err(refused()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        let check = |text: &str, expected: bool| assert_eq!(check_address(text).is_ok(), expected, "{text}");
        check("localhost:80", true);
        check("10.0.0.1:65535", true);
        check("[::1]:8080", true);
        check("my_host.example:1", true);
        check("localhost", false);
        check(":80", false);
        check("host:", false);
        check("host:0", false);
        check("host:+80", false);
        check("host:65536", false);
        check("::1:80", false);
        check("[::1:80", false);
        check("[host]:80", false);
        check("a b:80", false);
        check("http://host:80", false);
        check(&format!("{}:80", "h".repeat(300)), false);
    }

    #[test]
    fn a_service_has_one_address() {
        let service = |name: &str, address: &str| Service {
            name: name.parse().expect("a name"),
            address: address.to_owned(),
        };
        let services = Services::new([service("web", "a:1"), service("db", "b:2")]).expect("two services");
        assert_eq!(services.wire(), ["db", "web"]);
        assert_eq!(services.address(&"web".parse().expect("a name")), Some("a:1"));
        let twice = Services::new([service("web", "a:1"), service("web", "b:2")]);
        assert_eq!(twice, Err(SettingsError::ServiceTwice("web".parse().expect("a name"))));
        let many = (0..=SERVICES_PER_AGENT_MAX).map(|index| service(&format!("s{index}"), "a:1"));
        assert_eq!(Services::new(many), Err(SettingsError::TooManyServices));
    }

    #[test]
    fn a_join_list_names_each_gateway_once() {
        let check = |join: &[&str], expected: Result<(), SettingsError>| {
            let join = join.iter().map(ToString::to_string).collect();
            let agent = "edge".parse().expect("a name");
            assert_eq!(Settings::new(agent, join, Services::default(), Connector::Plain).check(), expected);
        };
        check(&["a:1", "b:1"], Ok(()));
        check(&[], Err(SettingsError::JoinEmpty));
        check(&["a:1", "a:1"], Err(SettingsError::JoinTwice("a:1".into())));
        check(&["a"], Err(SettingsError::Address("a".into())));
        check(&["a:1"; JOIN_MAX + 1], Err(SettingsError::JoinTooLong(JOIN_MAX + 1)));
    }
}
