//! Until when the store is known to keep this gateway's own entry.
//!
//! A store that answers and takes no writes (a full disk, no memory, a replica) forgets everybody when their leases pass, and
//! then says "nobody" for every target. Whether such an answer can be believed is told by the one entry that must be there.

use std::time::Duration;

use bowline_rt::time::{Instant, now, timeout};
use tokio::sync::watch;

/// The lease of this gateway's own entry.
#[derive(Debug)]
pub(crate) struct OwnLease(watch::Sender<Option<Instant>>);

impl Default for OwnLease {
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

impl OwnLease {
    /// A write that was sent at `sent_at` has proved for `validity` that the store keeps what it is told.
    pub(crate) fn renewed(&self, sent_at: Instant, validity: Duration) {
        self.0.send_modify(|until| *until = (*until).max(Some(sent_at + validity)));
    }

    /// Whether that proof is still good. The first one is waited for, for `patience`: a gateway that has just started has
    /// its first write on the way. Cancel safe.
    pub(crate) async fn holds(&self, patience: Duration) -> bool {
        let mut until = self.0.subscribe();
        let first = timeout(patience, until.wait_for(Option::is_some)).await;
        first.is_ok_and(|until| until.is_ok_and(|until| until.is_some_and(|until| now() < until)))
    }
}
