//! What a port counts: connections that it ended before their clients did, by the reason.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// Counters of one port. A clone counts into the same ones.
#[derive(Debug, Clone, Default)]
pub struct PortCounters {
    cut: Family<CutLabels, Counter>,
}

/// Why a connection was ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// It waited for its peer, and another needed its place.
    MadeRoom,
    /// It waited for its peer, and another needed its file descriptor.
    Descriptors,
    /// Its peer did not take an answer.
    Unread,
    /// It was old enough, or the port was shut down, and its answer was not out when the grace was over.
    Grace,
}

impl Cut {
    const fn label(self) -> &'static str {
        match self {
            Self::MadeRoom => "made_room",
            Self::Descriptors => "descriptors",
            Self::Unread => "unread",
            Self::Grace => "grace",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CutLabels {
    reason: &'static str,
}

impl PortCounters {
    /// Adds them to a registry, as `<prefix>_connections_cut`.
    pub fn register_under(&self, prefix: &str, registry: &mut Registry) {
        let help = "Connections that were ended before their clients ended them, by the reason";
        registry.register(format!("{prefix}_connections_cut"), help, self.cut.clone());
    }

    pub(super) fn cut(&self, reason: Cut) {
        self.cut.get_or_create(&CutLabels { reason: reason.label() }).inc();
    }

    #[cfg(test)]
    pub(super) fn count(&self, reason: Cut) -> u64 {
        self.cut.get_or_create(&CutLabels { reason: reason.label() }).get()
    }
}
