//! What the entries count. One [`Metrics`] is shared by all listeners of a gateway.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bowline_model::Reason;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Upper bounds of the buckets of the time to a response, in seconds.
const RESPONSE_SECONDS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClassLabel {
    class: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DirectionLabel {
    direction: &'static str,
}

/// Counters of all entries of a gateway. A clone counts into the same ones.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// Shared as one, because every request clones it.
    pub(crate) counters: Arc<Counters>,
}

/// The classes of a request's outcome.
const CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "client_gone"];

#[derive(Debug)]
pub(crate) struct Counters {
    requests: Family<ClassLabel, Counter>,
    /// The members of `requests`, in the order of [`CLASSES`].
    classes: [Counter; CLASSES.len()],
    failures: Family<ReasonLabel, Counter>,
    requests_in_flight: Gauge,
    response_seconds: Histogram,
    bytes: Family<DirectionLabel, Counter<u64, AtomicU64>>,
    /// Bytes from clients to services.
    pub(crate) bytes_up: Counter<u64, AtomicU64>,
    /// Bytes from services to clients.
    pub(crate) bytes_down: Counter<u64, AtomicU64>,
    /// HTTP upgrades, CONNECT and TCP streams that were opened.
    pub(crate) streams: Counter,
    /// Those of them that are open.
    pub(crate) streams_open: Gauge,
    /// Connections of clients that were accepted.
    pub(crate) connections: Counter,
    /// Those of them that are open.
    pub(crate) connections_open: Gauge,
    /// Connections that were reset because the listener was at its limit.
    pub(crate) connections_refused: Counter,
    /// TLS handshakes with clients that failed.
    pub(crate) handshakes_failed: Counter,
    /// Connections to services that were opened for HTTP.
    pub(crate) upstreams_opened: Counter,
    /// Requests that went over a connection that had served another before.
    pub(crate) upstreams_reused: Counter,
    /// Requests that were sent once more because an old connection turned out to be closed.
    pub(crate) retries: Counter,
}

impl Default for Counters {
    fn default() -> Self {
        let bytes: Family<DirectionLabel, Counter<u64, AtomicU64>> = Family::default();
        let direction = |direction| bytes.get_or_create(&DirectionLabel { direction }).clone();
        let (bytes_up, bytes_down) = (direction("up"), direction("down"));
        let requests: Family<ClassLabel, Counter> = Family::default();
        let classes = CLASSES.map(|class| requests.get_or_create(&ClassLabel { class }).clone());
        Self {
            requests,
            classes,
            failures: Family::default(),
            requests_in_flight: Gauge::default(),
            response_seconds: Histogram::new(RESPONSE_SECONDS),
            bytes,
            bytes_up,
            bytes_down,
            streams: Counter::default(),
            streams_open: Gauge::default(),
            connections: Counter::default(),
            connections_open: Gauge::default(),
            connections_refused: Counter::default(),
            handshakes_failed: Counter::default(),
            upstreams_opened: Counter::default(),
            upstreams_reused: Counter::default(),
            retries: Counter::default(),
        }
    }
}

impl Metrics {
    /// Makes the counters visible in `registry`, under `bowline_entry_`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("bowline_entry");
        let counters = &*self.counters;
        let mut counter = |name: &str, help: &str, counter: &Counter| {
            registry.register(name, help, counter.clone());
        };
        counter("streams", "Upgrades, CONNECT and TCP streams that were opened", &counters.streams);
        counter("connections", "Connections of clients that were accepted", &counters.connections);
        counter(
            "connections_refused",
            "Connections reset because the listener was at its limit",
            &counters.connections_refused,
        );
        counter("handshakes_failed", "TLS handshakes with clients that failed", &counters.handshakes_failed);
        counter("upstreams_opened", "Connections to services opened for HTTP", &counters.upstreams_opened);
        counter(
            "upstreams_reused",
            "Requests over a connection that had served another before",
            &counters.upstreams_reused,
        );
        counter("retries", "Requests sent once more because an old connection was closed", &counters.retries);
        registry.register("requests", "HTTP requests by class of their status", counters.requests.clone());
        registry.register(
            "failures",
            "Requests and streams that failed, by reason",
            counters.failures.clone(),
        );
        registry.register(
            "requests_in_flight",
            "HTTP requests being served",
            counters.requests_in_flight.clone(),
        );
        registry.register("streams_open", "Streams that are open", counters.streams_open.clone());
        registry.register(
            "connections_open",
            "Connections of clients that are open",
            counters.connections_open.clone(),
        );
        registry.register("transferred", "Bytes of bodies and streams", counters.bytes.clone());
        registry.register_with_unit(
            "response",
            "Time from a request to the head of its response",
            Unit::Seconds,
            counters.response_seconds.clone(),
        );
    }

    /// A request came in.
    pub(crate) fn request_began(&self) {
        self.counters.requests_in_flight.inc();
    }

    /// The head of a response is known, after `elapsed`.
    pub(crate) fn responded(&self, status: u16, elapsed: std::time::Duration) {
        let class = usize::from(status / 100).clamp(1, 5) - 1;
        self.counters.classes[class].inc();
        self.counters.response_seconds.observe(elapsed.as_secs_f64());
    }

    /// A request is over; `responded` says whether its client stayed to see a response.
    pub(crate) fn request_ended(&self, responded: bool) {
        self.counters.requests_in_flight.dec();
        if !responded {
            self.counters.classes[CLASSES.len() - 1].inc();
        }
    }

    /// A request or stream failed.
    pub(crate) fn failed(&self, reason: Reason) {
        self.counters.failures.get_or_create(&ReasonLabel { reason: reason.code() }).inc();
    }
}

/// Counts a value up while it lives.
#[derive(Debug)]
pub(crate) struct Open(Gauge);

impl Open {
    pub(crate) fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}
