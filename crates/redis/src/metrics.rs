//! What the driver counts.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::error::{CallError, Death};
pub use crate::spread::Spread;

/// A counter of calls: all threads of a program count up the same one at the same time.
pub type CallCounter = Counter<u64, Spread>;

/// One label.
type Label = [(&'static str, &'static str); 1];

/// What a client-side cache counts. All of it stays zero where there is none.
#[derive(Debug, Clone, Default)]
pub struct CacheMetrics {
    /// Cached calls that were answered from the cache.
    pub hits: Counter,
    /// Cached calls that asked the server.
    pub misses: Counter,
    /// Of those, calls whose answer could not be kept because the server did not track the key.
    pub untracked: Counter,
    /// Answers that were dropped because their key had changed or their connection was lost.
    pub invalidated: Counter,
    /// Answers that were dropped to make room.
    pub evicted: Counter,
    /// Answers that are kept.
    pub entries: Gauge,
}

impl CacheMetrics {
    fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("cache");
        registry.register("hits", "Cached calls answered from the cache", self.hits.clone());
        registry.register("misses", "Cached calls that asked the store", self.misses.clone());
        registry.register("untracked", "Answers that the store did not track", self.untracked.clone());
        registry.register("invalidated", "Answers dropped because they may be old", self.invalidated.clone());
        registry.register("evicted", "Answers dropped to make room", self.evicted.clone());
        registry.register("entries", "Answers that are kept", self.entries.clone());
    }
}

/// Counters of one client. Clones count into the same ones.
#[derive(Debug, Clone)]
pub struct Metrics {
    calls: Family<Label, CallCounter>,
    /// Calls that brought a value.
    pub answered: CallCounter,
    /// Calls that the server answered with an error.
    pub server_errors: CallCounter,
    /// Calls whose command was not sent.
    pub not_sent: CallCounter,
    /// Calls whose fate is not known.
    pub unknown: CallCounter,
    /// Commands that were sent again after a connection was lost.
    pub resent: Counter,
    /// Connections that came up.
    pub connected: Counter,
    /// Attempts to connect that failed.
    pub connect_failures: Counter,
    /// Logins that a server refused: of connections that were made, and of living ones whose credentials changed.
    pub logins_refused: Counter,
    deaths: Family<Label, Counter>,
    refusals: Family<Label, Counter>,
    refreshes: Family<Label, Counter>,
    /// Connections whose predecessor the server could not end, so that commands of it may have run after it.
    pub unfenced: Counter,
    /// Of the client-side cache.
    pub cache: CacheMetrics,
    /// Connections that are up.
    pub up: Gauge,
    /// Answers that the server owes.
    pub in_flight: Gauge,
    /// Bytes read.
    pub read_bytes: Counter,
    /// Bytes written.
    pub written_bytes: Counter,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let calls = Family::<Label, CallCounter>::default();
        let outcome = |outcome| calls.get_or_create(&[("outcome", outcome)]).clone();
        Self {
            answered: outcome("answer"),
            server_errors: outcome("error"),
            not_sent: outcome("not_sent"),
            unknown: outcome("unknown"),
            calls,
            resent: Counter::default(),
            connected: Counter::default(),
            connect_failures: Counter::default(),
            logins_refused: Counter::default(),
            deaths: Family::default(),
            refusals: Family::default(),
            refreshes: Family::default(),
            unfenced: Counter::default(),
            cache: CacheMetrics::default(),
            up: Gauge::default(),
            in_flight: Gauge::default(),
            read_bytes: Counter::default(),
            written_bytes: Counter::default(),
        }
    }

    /// Times that a connection which had been up ended for the reason `label`.
    #[must_use]
    pub fn deaths(&self, label: &'static str) -> u64 {
        self.deaths.get(&[("reason", label)]).map_or(0, |counter| counter.get())
    }

    pub(crate) fn count_call<T>(&self, outcome: &Result<T, CallError>) {
        let counter = match outcome {
            Ok(_) => &self.answered,
            Err(CallError::Server(_)) => &self.server_errors,
            Err(CallError::NotSent(_)) => &self.not_sent,
            Err(CallError::Unknown(_)) => &self.unknown,
        };
        counter.inc();
    }

    /// Times that a node of a cluster answered `label` (`moved`, `ask`, `not_now`, `demoted`) instead of running a command.
    #[must_use]
    pub fn refusals(&self, label: &'static str) -> u64 {
        self.refusals.get(&[("kind", label)]).map_or(0, |counter| counter.get())
    }

    /// Times that the layout of a cluster was asked for with the outcome `label` (`changed`, `same`, `stale`, `failed`).
    #[must_use]
    pub fn refreshes(&self, label: &'static str) -> u64 {
        self.refreshes.get(&[("outcome", label)]).map_or(0, |counter| counter.get())
    }

    pub(crate) fn count_refusal(&self, label: &'static str) {
        self.refusals.get_or_create(&[("kind", label)]).inc();
    }

    pub(crate) fn count_refresh(&self, label: &'static str) {
        self.refreshes.get_or_create(&[("outcome", label)]).inc();
    }

    pub(crate) fn count_death(&self, death: Death) {
        self.deaths.get_or_create(&[("reason", death.label())]).inc();
    }

    /// Adds the counters to a registry, under names that begin with `bowline_redis_`.
    pub fn register(&self, registry: &mut Registry) {
        self.register_under("bowline_redis", registry);
    }

    /// Adds the counters to a registry, under names that begin with `prefix` and `_`: where a process has several clients, each
    /// needs names of its own.
    pub fn register_under(&self, prefix: &str, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix(prefix);
        registry.register("calls", "Calls to the store by outcome", self.calls.clone());
        registry.register("resent", "Commands sent again after a connection was lost", self.resent.clone());
        registry.register("connected", "Connections to the store that came up", self.connected.clone());
        registry.register(
            "connect_failures",
            "Failed attempts to connect to the store",
            self.connect_failures.clone(),
        );
        registry.register("logins_refused", "Logins that the store refused", self.logins_refused.clone());
        registry.register("deaths", "Connections to the store that ended, by reason", self.deaths.clone());
        registry.register(
            "refusals",
            "Commands that a node of a cluster sent elsewhere or put off",
            self.refusals.clone(),
        );
        registry.register("refreshes", "Questions for the layout of a cluster", self.refreshes.clone());
        self.cache.register(registry);
        registry.register(
            "unfenced",
            "Connections to the store whose predecessor it could not end",
            self.unfenced.clone(),
        );
        registry.register("up", "Connections to the store that are up", self.up.clone());
        registry.register("in_flight", "Answers that the store owes", self.in_flight.clone());
        registry.register_with_unit(
            "read",
            "Bytes read from the store",
            Unit::Bytes,
            self.read_bytes.clone(),
        );
        registry.register_with_unit(
            "written",
            "Bytes written to the store",
            Unit::Bytes,
            self.written_bytes.clone(),
        );
    }
}

/// One more in a gauge, for as long as it lives: who holds it may be dropped at any time.
#[derive(Debug)]
pub(crate) struct Held(Gauge);

impl Held {
    pub fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.dec();
    }
}
