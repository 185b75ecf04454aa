//! What an agent counts.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::tally::TunnelState;

type Label = [(&'static str, &'static str); 1];

/// Counters and gauges; a clone counts into the same place.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    gateways_attached: Gauge,
    sessions: Family<Label, Counter>,
    tunnels: Family<Label, Gauge>,
    dial_failures: Counter,
    streams: Family<Label, Counter>,
    stream_bytes: Family<Label, Counter>,
}

/// What became of a session.
#[derive(Debug, Clone, Copy)]
pub enum SessionResult {
    Attached,
    Lost,
    Refused,
    IdTaken,
}

impl Metrics {
    /// Adds everything to `registry`, with names that begin with `bowline_agent_`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("bowline_agent");
        let gateways = self.gateways_attached.clone();
        registry.register("gateways_attached", "Gateways that this agent is attached to", gateways);
        let sessions = "Control connections by what became of them: attached, lost, refused, id_taken";
        registry.register("sessions", sessions, self.sessions.clone());
        let tunnels = "Tunnels by state: dialling, idle, busy";
        // A gauge that exists from the start reads zero instead of being absent.
        TunnelState::ALL.iter().for_each(|state| drop(self.tunnels(*state)));
        registry.register("tunnels", tunnels, self.tunnels.clone());
        let failures = "Tunnels that a gateway asked for and that did not come";
        registry.register("dial_failures", failures, self.dial_failures.clone());
        let streams = "Streams by result: opened, or the reason why not";
        registry.register("streams", streams, self.streams.clone());
        let bytes = "Bytes relayed by direction: to_service, from_service";
        registry.register("stream_bytes", bytes, self.stream_bytes.clone());
    }

    pub fn gateways_attached(&self) -> &Gauge {
        &self.gateways_attached
    }

    pub fn session(&self, result: SessionResult) {
        let name = match result {
            SessionResult::Attached => "attached",
            SessionResult::Lost => "lost",
            SessionResult::Refused => "refused",
            SessionResult::IdTaken => "id_taken",
        };
        self.sessions.get_or_create(&[("result", name)]).inc();
    }

    pub fn tunnels(&self, state: TunnelState) -> Gauge {
        self.tunnels.get_or_create_owned(&[("state", state.name())])
    }

    pub fn dial_failures(&self, count: usize) {
        self.dial_failures.inc_by(count as u64);
    }

    pub fn stream(&self, result: &'static str) {
        self.streams.get_or_create(&[("result", result)]).inc();
    }

    /// The counter of `to_service` or `from_service`, to be kept while a stream runs.
    pub fn stream_bytes(&self, direction: &'static str) -> Counter {
        self.stream_bytes.get_or_create_owned(&[("direction", direction)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_stable() {
        let mut registry = Registry::default();
        let metrics = Metrics::default();
        metrics.register(&mut registry);
        metrics.session(SessionResult::Attached);
        metrics.tunnels(TunnelState::Idle).inc();
        metrics.dial_failures(2);
        metrics.stream("opened");
        metrics.stream_bytes("to_service").inc_by(7);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("a String grows");
        for line in [
            "bowline_agent_gateways_attached 0",
            "bowline_agent_sessions_total{result=\"attached\"} 1",
            "bowline_agent_tunnels{state=\"idle\"} 1",
            "bowline_agent_dial_failures_total 2",
            "bowline_agent_streams_total{result=\"opened\"} 1",
            "bowline_agent_stream_bytes_total{direction=\"to_service\"} 7",
        ] {
            assert!(text.lines().any(|known| known == line), "{line} is missing in\n{text}");
        }
    }
}
