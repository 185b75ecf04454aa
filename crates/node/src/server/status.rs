//! What the admin port shows of a gateway: readiness, and the status of the zone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bowline_api::status::{AgentStatus, GatewayStatus, State, Status, Tunnels};
use bowline_api::{Answer, Plane, Readiness};
use bowline_model::{GatewayId, ZoneName};
use bowline_registry::Registry;
use bowline_tunnel::{Gateway, GatewayReport, ZoneReport};

/// A gateway as its admin port sees it.
pub(super) struct Shown {
    pub name: GatewayId,
    pub zone: ZoneName,
    /// How other gateways reach this one.
    pub address: String,
    pub gateway: Gateway,
    pub registry: Registry,
    /// Whether the store has been reached once since the start. From then on known routes are served without it.
    pub store_seen: Arc<AtomicBool>,
    /// Whether every port is served.
    pub serving: Arc<AtomicBool>,
    /// Whether the gateway was told to stop.
    pub leaving: Arc<AtomicBool>,
}

impl Plane for Shown {
    fn readiness(&self) -> Readiness {
        let because = |condition: bool, reason: &str| condition.then(|| reason.to_owned());
        let reasons = [
            because(!self.serving.load(Ordering::Acquire), "the ports are not served"),
            because(!self.store_seen.load(Ordering::Acquire), "the store has not been reached yet"),
            because(self.leaving.load(Ordering::Acquire), "the gateway is shutting down"),
            because(self.registry.superseded(), "another process has taken this gateway's name"),
        ];
        Readiness::from_reasons(reasons.into_iter().flatten().collect())
    }

    fn status(&self) -> Option<Answer<'_, Status>> {
        Some(Box::pin(async {
            let report = self.gateway.zone_report().await;
            status_of(&self.name, &self.zone, &self.address, report)
        }))
    }
}

/// Puts the reports of all gateways together. `own_address`: how others reach the gateway that asked them.
fn status_of(asked: &GatewayId, zone: &ZoneName, own_address: &str, report: ZoneReport) -> Status {
    let mut gateways = Vec::new();
    let mut agents = Vec::new();
    let mut left_out = Vec::new();
    for GatewayReport { gateway, address, status } in report.gateways {
        let address = if gateway == *asked { own_address.to_owned() } else { address };
        match status {
            Ok(mut status) => {
                // A store that has just not answered this gateway is not up, whatever the state of the connection.
                status.store_up &= gateway != *asked || report.incomplete.is_none();
                gateways.push(reachable(&gateway, address, &status));
                let listed = status.agents.len() as u64;
                if listed < status.agents_attached {
                    left_out.push(format!(
                        "gateway {gateway} lists {listed} of its {} agents",
                        status.agents_attached
                    ));
                }
                agents.extend(status.agents.into_iter().map(|agent| attached(&gateway, agent)));
            }
            Err(error) => gateways.push(unreachable(&gateway, zone, address, error)),
        }
    }
    let mut status = Status::new(asked.to_string(), gateways, agents);
    left_out.splice(0..0, report.incomplete);
    status.incomplete = (!left_out.is_empty()).then(|| left_out.join("; "));
    status
}

fn reachable(name: &GatewayId, address: String, status: &bowline_proto::v1::GatewayStatus) -> GatewayStatus {
    GatewayStatus {
        name: name.to_string(),
        zone: status.zone.clone(),
        address,
        reachable: true,
        error: None,
        state: if status.draining { State::Draining } else { State::Up },
        epoch: hex(&status.epoch),
        version: status.version.clone(),
        uptime_ms: status.uptime_ms,
        streams: status.streams,
        agents: status.agents_attached.max(status.agents.len() as u64),
        store_up: status.store_up,
        registry_pending: status.registry_pending,
    }
}

/// A zone's gateways all belong to it, whether they answer or not.
fn unreachable(name: &GatewayId, zone: &ZoneName, address: String, error: String) -> GatewayStatus {
    GatewayStatus {
        name: name.to_string(),
        zone: zone.to_string(),
        address,
        reachable: false,
        error: Some(error),
        state: State::Unreachable,
        epoch: String::new(),
        version: String::new(),
        uptime_ms: 0,
        streams: 0,
        agents: 0,
        store_up: false,
        registry_pending: 0,
    }
}

fn attached(gateway: &GatewayId, agent: bowline_proto::v1::AgentStatus) -> AgentStatus {
    AgentStatus {
        name: agent.agent,
        gateway: gateway.to_string(),
        epoch: hex(&agent.epoch),
        version: agent.version,
        remote: agent.remote,
        connected_ms: agent.connected_ms,
        services: agent.services,
        tunnels: Tunnels {
            idle: agent.tunnels_idle.into(),
            busy: agent.tunnels_busy.into(),
            dialling: agent.tunnels_dialling.into(),
        },
    }
}

/// An epoch from another process; empty if it is not one.
fn hex(epoch: &[u8]) -> String {
    bowline_proto::convert::epoch(epoch).map(|epoch| epoch.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gateways_that_do_not_answer_are_listed_with_the_reason() {
        let name = |text: &str| text.parse::<GatewayId>().expect("a name");
        let agent = bowline_proto::v1::AgentStatus {
            agent: "edge-1".into(),
            epoch: vec![7; 16],
            services: vec!["web".into()],
            tunnels_idle: 2,
            ..Default::default()
        };
        let own = bowline_proto::v1::GatewayStatus {
            gateway: "g1".into(),
            epoch: vec![1; 16],
            agents: vec![agent],
            agents_attached: 3,
            draining: true,
            store_up: true,
            ..Default::default()
        };
        let gateways = vec![
            GatewayReport { gateway: name("g1"), address: String::new(), status: Ok(own) },
            GatewayReport { gateway: name("g2"), address: "h:2".into(), status: Err("refused".into()) },
        ];
        let zone: ZoneName = "z".parse().expect("a name");
        let silent = ZoneReport { gateways: gateways.clone(), incomplete: Some("no answer".into()) };
        let status = status_of(&name("g1"), &zone, "h:1", silent);
        assert!(!status.gateways[0].store_up);
        assert_eq!(status.incomplete.as_deref(), Some("no answer; gateway g1 lists 1 of its 3 agents"));
        let report = ZoneReport { gateways, incomplete: None };
        let status = status_of(&name("g1"), &zone, "h:1", report);
        assert!(status.gateways[0].store_up);
        assert_eq!(status.gateways[0].state, State::Draining);
        assert_eq!((status.gateways[0].address.as_str(), status.gateways[0].agents), ("h:1", 3));
        assert_eq!(status.gateways[1].error.as_deref(), Some("refused"));
        assert!(!status.gateways[1].reachable);
        assert_eq!(status.agents[0].epoch, "07".repeat(16));
        assert_eq!(status.services[0].gateways, ["g1"]);
    }
}
