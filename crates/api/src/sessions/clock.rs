//! What time it is for the store, as far as its answers tell.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The newest answer that carried the store's time, and when its question was asked.
#[derive(Debug, Default)]
pub(super) struct StoreClock(Mutex<Option<(Instant, u64)>>);

impl StoreClock {
    /// Takes the time of an answer to a question that was asked at `asked_at`.
    pub fn learn(&self, asked_at: Instant, unix_ms: u64) {
        let mut newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if newest.is_none_or(|(known, _)| known <= asked_at) {
            *newest = Some((asked_at, unix_ms));
        }
    }

    /// The store's time at `at`, or a little later than that: an answer's time is from after its question. `None` before the
    /// first answer.
    pub fn at_most(&self, at: Instant) -> Option<u64> {
        let newest = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        newest.map(|(asked_at, unix_ms)| {
            unix_ms.saturating_add(milliseconds(at.saturating_duration_since(asked_at)))
        })
    }
}

/// Whole milliseconds, as scripts take them.
pub(super) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_estimate_is_never_early() {
        let clock = StoreClock::default();
        let asked_at = bowline_rt::time::now();
        assert_eq!(clock.at_most(asked_at), None);
        clock.learn(asked_at, 5_000);
        assert_eq!(clock.at_most(asked_at + Duration::from_millis(70)), Some(5_070));
        clock.learn(asked_at - Duration::from_millis(1), 9_000);
        assert_eq!(clock.at_most(asked_at), Some(5_000), "an older question does not count");
    }
}
