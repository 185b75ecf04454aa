//! Until when the store is known to keep this gateway's own entry.
//!
//! A store that answers and takes no writes (a full disk, no memory, a replica) forgets everybody when their leases pass, and
//! then says "nobody" for every target. Whether such an answer can be believed is told by the one entry that must be there.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The lease of this gateway's own entry.
#[derive(Debug, Default)]
pub(crate) struct OwnLease(Mutex<Option<Instant>>);

impl OwnLease {
    /// A write that was sent at `sent_at` has renewed it for `ttl`.
    pub(crate) fn renewed(&self, sent_at: Instant, ttl: Duration) {
        let mut until = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *until = (*until).max(Some(sent_at + ttl));
    }

    /// Whether the store still keeps the entry, if it does what it promised.
    pub(crate) fn holds(&self, now: Instant) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|until| now < until)
    }
}
