//! The status of a zone, as `/v1/status` answers it. The field names are stable: programs read them.
//!
//! A gateway that is registered but cannot be asked is listed with `reachable: false` and the error; nothing is left
//! out silently. Agents are listed once for each gateway that they are attached to.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// Everything that is known of a zone at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The gateway that was asked.
    pub asked: String,
    /// Every registered gateway, by name.
    pub gateways: Vec<GatewayStatus>,
    /// Every agent, by name and gateway.
    pub agents: Vec<AgentStatus>,
    /// Every service that an agent offers, by name.
    pub services: Vec<ServiceStatus>,
    /// Tunnels of all agents together.
    pub tunnels: Tunnels,
    /// Why something may be old or missing, if that is so: the store did not say which gateways there are, or a gateway has
    /// more agents than it can list.
    pub incomplete: Option<String>,
}

/// A gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayStatus {
    /// Its name.
    pub name: String,
    /// Its zone.
    pub zone: String,
    /// Where other gateways reach it; empty for the asked gateway if it is not known.
    pub address: String,
    /// Whether it answered. If not, the rest is what the registry knows.
    pub reachable: bool,
    /// Why it did not answer.
    pub error: Option<String>,
    /// `up`, `draining` or `unreachable`.
    pub state: State,
    /// Identity of the running process, 32 hexadecimal digits.
    pub epoch: String,
    /// Its version.
    pub version: String,
    /// How long it has been running, in milliseconds.
    pub uptime_ms: u64,
    /// Streams that run through its entries.
    pub streams: u64,
    /// Agents that are attached to it.
    pub agents: u64,
    /// Whether it reaches the store.
    pub store_up: bool,
    /// Registry entries whose copy in the store is not known to be right at the moment.
    pub registry_pending: u64,
}

/// What a gateway is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Serving.
    Up,
    /// Shutting down.
    Draining,
    /// Registered, but it does not answer.
    Unreachable,
}

impl State {
    /// The word in the JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Draining => "draining",
            Self::Unreachable => "unreachable",
        }
    }
}

/// An agent, as one gateway sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentStatus {
    /// Its name.
    pub name: String,
    /// The gateway that it is attached to.
    pub gateway: String,
    /// Identity of the running process, 32 hexadecimal digits.
    pub epoch: String,
    /// Its version.
    pub version: String,
    /// Where it connects from.
    pub remote: String,
    /// How long it has been attached, in milliseconds.
    pub connected_ms: u64,
    /// What it offers, by name.
    pub services: Vec<String>,
    /// Its tunnels to this gateway.
    pub tunnels: Tunnels,
}

/// Numbers of tunnels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tunnels {
    /// Waiting for a stream.
    pub idle: u64,
    /// Carrying one.
    pub busy: u64,
    /// Asked for and not here yet.
    pub dialling: u64,
}

/// A service and who offers it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// Its name.
    pub name: String,
    /// Agents that offer it, by name.
    pub agents: Vec<String>,
    /// Gateways that those agents are attached to, by name.
    pub gateways: Vec<String>,
}

impl Status {
    /// Puts what the gateways said together: sorts, and derives services and sums.
    #[must_use]
    pub fn new(asked: String, mut gateways: Vec<GatewayStatus>, mut agents: Vec<AgentStatus>) -> Self {
        gateways.sort_by(|a, b| a.name.cmp(&b.name));
        agents.sort_by(|a, b| (&a.name, &a.gateway).cmp(&(&b.name, &b.gateway)));
        let mut offers: BTreeMap<&str, (BTreeSet<&str>, BTreeSet<&str>)> = BTreeMap::new();
        let mut tunnels = Tunnels::default();
        for agent in &agents {
            tunnels.idle += agent.tunnels.idle;
            tunnels.busy += agent.tunnels.busy;
            tunnels.dialling += agent.tunnels.dialling;
            for service in &agent.services {
                let (of_agents, of_gateways) = offers.entry(service).or_default();
                of_agents.insert(&agent.name);
                of_gateways.insert(&agent.gateway);
            }
        }
        let owned = |names: BTreeSet<&str>| names.into_iter().map(str::to_owned).collect();
        let services = offers
            .into_iter()
            .map(|(name, (of_agents, of_gateways))| ServiceStatus {
                name: name.to_owned(),
                agents: owned(of_agents),
                gateways: owned(of_gateways),
            })
            .collect();
        Self { asked, gateways, agents, services, tunnels, incomplete: None }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A gateway that is up.
    pub(crate) fn gateway(name: &str) -> GatewayStatus {
        GatewayStatus {
            name: name.into(),
            zone: "default".into(),
            address: "127.0.0.1:7101".into(),
            reachable: true,
            error: None,
            state: State::Up,
            epoch: "0".repeat(32),
            version: "0.1.0".into(),
            uptime_ms: 1,
            streams: 0,
            agents: 1,
            store_up: true,
            registry_pending: 0,
        }
    }

    /// An agent on a gateway.
    pub(crate) fn agent(name: &str, gateway: &str, services: &[&str]) -> AgentStatus {
        AgentStatus {
            name: name.into(),
            gateway: gateway.into(),
            epoch: "0".repeat(32),
            version: "0.1.0".into(),
            remote: "127.0.0.1:1".into(),
            connected_ms: 1,
            services: services.iter().map(|&service| service.to_owned()).collect(),
            tunnels: Tunnels { idle: 2, busy: 1, dialling: 0 },
        }
    }

    #[test]
    fn services_and_sums_follow_from_the_agents() {
        let agents = vec![
            agent("b", "g2", &["web"]),
            agent("a", "g1", &["db", "web"]),
            agent("a", "g2", &["db", "web"]),
        ];
        let status = Status::new("g1".into(), vec![gateway("g2"), gateway("g1")], agents);
        let names: Vec<_> = status.gateways.iter().map(|gateway| gateway.name.as_str()).collect();
        assert_eq!(names, ["g1", "g2"]);
        let services: Vec<_> = status
            .services
            .iter()
            .map(|s| (s.name.as_str(), s.agents.join(","), s.gateways.join(",")))
            .collect();
        assert_eq!(services, [("db", "a".into(), "g1,g2".into()), ("web", "a,b".into(), "g1,g2".into())]);
        assert_eq!(status.tunnels, Tunnels { idle: 6, busy: 3, dialling: 0 });
    }
}
