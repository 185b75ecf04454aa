//! What the session service counts: operations and outcomes, never keys, owners or namespaces.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Upper bounds of the buckets of the time to an answer, in seconds.
const ANSWER_SECONDS: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    operation: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabel {
    operation: &'static str,
}

/// Counters of one service. A clone counts into the same ones.
#[derive(Debug, Clone)]
pub(super) struct Metrics {
    requests: Family<RequestLabels, Counter>,
    seconds: Family<OperationLabel, Histogram, fn() -> Histogram>,
    entries_removed: Counter,
    entries_restored: Counter,
}

impl Metrics {
    pub fn new() -> Self {
        Self {
            requests: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(ANSWER_SECONDS)),
            entries_removed: Counter::default(),
            entries_restored: Counter::default(),
        }
    }

    pub fn register(&self, registry: &mut Registry) {
        let help = "Requests to the session service by how they ended";
        registry.register("bowline_session_requests", help, self.requests.clone());
        let help = "Time to the answer of a session request, its body included";
        registry.register_with_unit("bowline_session_answer", help, Unit::Seconds, self.seconds.clone());
        let help = "Entries of owners without a session that a listing found and removed";
        registry.register("bowline_session_owner_entries_removed", help, self.entries_removed.clone());
        let help = "Sessions that were missing in the list of their owner, and were entered again with a write or a read";
        registry.register("bowline_session_owner_entries_restored", help, self.entries_restored.clone());
    }

    pub fn answered(&self, operation: &'static str, outcome: &'static str, took: Duration) {
        self.requests.get_or_create(&RequestLabels { operation, outcome }).inc();
        self.seconds.get_or_create(&OperationLabel { operation }).observe(took.as_secs_f64());
    }

    pub fn entry_restored(&self) {
        self.entries_restored.inc();
    }

    pub fn entry_removed(&self) {
        self.entries_removed.inc();
    }
}
