//! What a subscriber counts.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::error::Death;

/// One label.
type Label = [(&'static str, &'static str); 1];

/// Counters of one subscriber. Clones count into the same ones.
#[derive(Debug, Clone, Default)]
pub struct SubscriberMetrics {
    /// Subscriptions that are held.
    pub subscriptions: Gauge,
    /// Messages that came, once for each subscription that they were for.
    pub messages: Counter,
    /// Messages that were thrown away because too many waited to be read.
    pub lagged: Counter,
    /// Topics that were subscribed to and were not any more.
    pub gaps: Counter,
    /// Refusals of a subscription.
    pub refused: Counter,
    /// Connections that came up.
    pub connected: Counter,
    /// Attempts to connect that failed.
    pub connect_failures: Counter,
    deaths: Family<Label, Counter>,
}

impl SubscriberMetrics {
    /// Times that a connection which had been up ended for the reason `label`.
    #[must_use]
    pub fn deaths(&self, label: &'static str) -> u64 {
        self.deaths.get(&[("reason", label)]).map_or(0, |counter| counter.get())
    }

    pub(crate) fn count_death(&self, death: Death) {
        self.deaths.get_or_create(&[("reason", death.label())]).inc();
    }

    /// Adds the counters to a registry, under names that begin with `bowline_redis_subscriber_`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("bowline_redis_subscriber");
        registry.register("subscriptions", "Subscriptions that are held", self.subscriptions.clone());
        registry.register("messages", "Messages that came for subscriptions", self.messages.clone());
        registry.register(
            "lagged",
            "Messages that were thrown away because too many waited to be read",
            self.lagged.clone(),
        );
        registry.register("gaps", "Subscriptions that were interrupted", self.gaps.clone());
        registry.register("refused", "Refusals of a subscription", self.refused.clone());
        registry.register("connected", "Connections for subscriptions that came up", self.connected.clone());
        registry.register(
            "connect_failures",
            "Failed attempts to connect for subscriptions",
            self.connect_failures.clone(),
        );
        registry.register(
            "deaths",
            "Connections for subscriptions that ended, by reason",
            self.deaths.clone(),
        );
    }
}
