//! What this gateway counts, for Prometheus.
//!
//! Counters are written where things happen. What is a state (agents, tunnels, streams) is read from its owner at each
//! scrape instead, so that no gauge can drift from the truth.

use std::fmt;
use std::sync::Arc;

use bowline_model::Reason;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::gateway::Inner;
use crate::pool::Counts;

/// How a stream was opened, or why not.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ResultLabel {
    result: &'static str,
}

/// Which way a stream took.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PathLabel {
    path: &'static str,
}

/// State of a tunnel.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StateLabel {
    state: &'static str,
}

/// Counters of one gateway.
#[derive(Debug)]
pub struct Metrics {
    opens: Family<ResultLabel, Counter>,
    hops_served: Family<ResultLabel, Counter>,
    open_seconds: Family<PathLabel, Histogram, fn() -> Histogram>,
    /// Time until another gateway answered whether it has a tunnel.
    pub hop_seconds: Histogram,
    /// Bytes that were written to services.
    pub bytes_to_services: Counter,
    /// Bytes that were read from services.
    pub bytes_from_services: Counter,
    /// Sessions that a newer login of their agent replaced.
    pub superseded: Counter,
    /// Sessions given up because the agent was silent or did not read.
    pub agents_lost: Counter,
    /// Logins that were refused for their credential.
    pub authentication_failures: Counter,
    /// Tunnels with a ticket that is not good.
    pub tickets_refused: Counter,
    /// Connections closed because they did not say who they are, or said nonsense.
    pub strangers_refused: Counter,
}

impl Metrics {
    pub fn new() -> Self {
        Self {
            opens: Family::default(),
            hops_served: Family::default(),
            open_seconds: Family::new_with_constructor(latency),
            hop_seconds: latency(),
            bytes_to_services: Counter::default(),
            bytes_from_services: Counter::default(),
            superseded: Counter::default(),
            agents_lost: Counter::default(),
            authentication_failures: Counter::default(),
            tickets_refused: Counter::default(),
            strangers_refused: Counter::default(),
        }
    }

    /// Counts an attempt of an entry to open a stream.
    pub fn opened(&self, result: Result<(), Reason>) {
        self.opens.get_or_create(&label(result)).inc();
    }

    /// Counts an attempt of another gateway to open a stream here.
    pub fn hop_served(&self, result: Result<(), Reason>) {
        self.hops_served.get_or_create(&label(result)).inc();
    }

    /// Notes how long a successful open took.
    pub fn open_took(&self, local: bool, seconds: f64) {
        let path = if local { "local" } else { "hop" };
        self.open_seconds.get_or_create(&PathLabel { path }).observe(seconds);
    }

    pub fn register(&self, registry: &mut Registry) {
        registry.register("opens", "Streams asked for by entries, by result", self.opens.clone());
        registry.register("hops_served", "Streams asked for by other gateways", self.hops_served.clone());
        let help = "Time from the request to the open stream, by path";
        registry.register_with_unit("open", help, Unit::Seconds, self.open_seconds.clone());
        let help = "Time until another gateway answered whether it has a tunnel";
        registry.register_with_unit("hop", help, Unit::Seconds, self.hop_seconds.clone());
        let counters = [
            ("bytes_to_services", "Bytes written to services", &self.bytes_to_services),
            ("bytes_from_services", "Bytes read from services", &self.bytes_from_services),
            ("agents_superseded", "Sessions replaced by a newer login", &self.superseded),
            ("agents_lost", "Sessions given up on a silent agent", &self.agents_lost),
            ("authentication_failures", "Logins refused for their credential", &self.authentication_failures),
            ("tickets_refused", "Tunnels whose ticket was not good", &self.tickets_refused),
            ("strangers_refused", "Connections that did not say who they are", &self.strangers_refused),
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
    }
}

fn label(result: Result<(), Reason>) -> ResultLabel {
    ResultLabel { result: result.err().map_or("ok", Reason::code) }
}

/// From a tenth of a millisecond to 26 s.
fn latency() -> Histogram {
    Histogram::new(exponential_buckets(0.000_1, 4.0, 10))
}

/// Reads the states at each scrape.
pub struct States(pub Arc<Inner>);

impl fmt::Debug for States {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("States")
    }
}

impl Collector for States {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let sessions = self.0.agents.all();
        let mut sum = Counts::default();
        for counts in sessions.iter().map(|session| session.counts()) {
            sum.idle += counts.idle;
            sum.busy += counts.busy;
            sum.dialling += counts.dialling;
            sum.waiting += counts.waiting;
        }
        let places = &self.0.places;
        let open = usize::try_from(places.open()).unwrap_or(usize::MAX);
        // A stream that opens or ends between the two looks must not become a number below nothing.
        let opening = places.taken().saturating_sub(open);
        let gauges = [
            ("agents", "Agents attached", sessions.len()),
            ("requests_waiting", "Requests that wait for a tunnel", sum.waiting),
            ("streams", "Streams that run through this gateway", open),
            ("streams_opening", "Streams that are being opened", opening),
            ("draining", "Whether the gateway is shutting down", usize::from(self.0.is_draining())),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        let mut tunnels =
            encoder.encode_descriptor("tunnels", "Tunnels by state", None, MetricType::Gauge)?;
        for (state, value) in [("idle", sum.idle), ("busy", sum.busy), ("dialling", sum.dialling)] {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            gauge.encode(tunnels.encode_family(&StateLabel { state })?)?;
        }
        Ok(())
    }
}
