//! What time it is for the store, as far as its answers tell.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The newest answer that carried the store's time, and when its question was asked.
#[derive(Debug, Default)]
pub(super) struct StoreClock(Mutex<Option<(Instant, u64)>>);

/// Stands for the end of time while nothing is known of the store's clock.
const FAR_UNIX_MS: u64 = u32::MAX as u64 * 1_000;

impl StoreClock {
    /// Takes the time of an answer to a question that was asked at `asked_at`.
    pub fn learn(&self, asked_at: Instant, unix_ms: u64) {
        let mut newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if newest.is_none_or(|(known, _)| known <= asked_at) {
            *newest = Some((asked_at, unix_ms));
        }
    }

    /// The store's time at `at`, or a little later than that: an answer's time is from after its question.
    pub fn at_most(&self, at: Instant) -> u64 {
        let newest = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        newest.map_or(FAR_UNIX_MS, |(asked_at, unix_ms)| {
            unix_ms.saturating_add(milliseconds(at.saturating_duration_since(asked_at)))
        })
    }
}

/// Whole milliseconds, as scripts take them.
pub(super) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
