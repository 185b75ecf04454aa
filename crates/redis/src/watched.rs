//! A primary that sentinels watch, and its replicas for those who may read from them.

use std::sync::Arc;
use std::time::Instant;

use bowline_resp::Frame;

use crate::cluster::{Kind, ReadFrom, Routed, Way, patience_with_replica};
use crate::error::NotSent;
use crate::metrics::Metrics;
use crate::node::{Node, Sent};
use crate::sentinel::Sentinels;

/// See the module.
pub(crate) struct Watched {
    primary: Node,
    sentinels: Arc<Sentinels>,
    read_from: ReadFrom,
}

impl Watched {
    pub const fn new(primary: Node, sentinels: Arc<Sentinels>, read_from: ReadFrom) -> Self {
        Self { primary, sentinels, read_from }
    }

    /// Takes everything.
    pub const fn primary(&self) -> &Node {
        &self.primary
    }

    /// Whether nobody but the primary will do.
    pub fn is_for_primary(&self, request: &impl Routed) -> bool {
        request.reads_from(self.read_from) == ReadFrom::Primary
    }

    /// Puts a request, which was checked, into a connection. As [`Node::send`] otherwise: nobody waits for a replica.
    pub async fn send(
        &self,
        request: &impl Routed,
        started: Instant,
        deadline: Instant,
        way: &mut Way,
    ) -> Result<Sent, NotSent> {
        let read_from =
            if way.is_for_primary() { ReadFrom::Primary } else { request.reads_from(self.read_from) };
        let replica = match read_from {
            ReadFrom::Primary => None,
            other => self.sentinels.replica(other),
        };
        if let Some(place) = replica {
            let sent = place.node(Kind::Replica).try_send(request, patience_with_replica(deadline)).await;
            if let Some(sent) = sent {
                way.leads_to(Some(place));
                return Ok(sent);
            }
        }
        way.leads_to(None);
        self.primary.send(request, started, deadline).await
    }
}

/// Looks at an answer. `None` if a replica has refused the request and it goes on to the primary.
pub(crate) fn judge(request: &impl Routed, answer: Frame, way: &mut Way, metrics: &Metrics) -> Option<Frame> {
    let Some(replica) = way.replica() else { return Some(answer) };
    let Some(refusal) = request.refusal(&answer, replica.address()) else { return Some(answer) };
    metrics.count_refusal(refusal.label());
    way.lost();
    None
}
