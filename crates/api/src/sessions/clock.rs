//! Times of a store: what time it is there, as far as its answers tell, and when it was born, if it was born empty.

use std::sync::atomic::{AtomicU64, Ordering};
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

/// When a store was born empty, by the gateway's clock.
#[derive(Debug)]
pub(super) struct Birth {
    unix_s: AtomicU64,
}

impl Birth {
    /// `at` as time since 1970.
    pub fn new(at: Duration) -> Self {
        Self { unix_s: AtomicU64::new(at.as_secs()) }
    }

    /// The second of it, as time since 1970. If it lies further ahead than by `skew`, the clock was wrong then: it counts as now, or
    /// nobody could be let in until the clock is there again.
    pub fn second(&self, unix_now: Duration, skew: Duration) -> u64 {
        let known = self.unix_s.load(Ordering::Relaxed);
        if known <= (unix_now + skew).as_secs() {
            return known;
        }
        let now = unix_now.as_secs();
        self.unix_s.fetch_min(now, Ordering::Relaxed).min(now)
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
    fn a_birth_by_a_clock_that_was_ahead_counts_as_now() {
        let seconds = Duration::from_secs;
        let birth = Birth::new(seconds(1_000));
        for now in [970, 1_000, 5_000] {
            assert_eq!(birth.second(seconds(now), seconds(30)), 1_000, "{now}");
        }
        for now in [969, 970, 5_000] {
            assert_eq!(birth.second(seconds(now), seconds(30)), 969, "{now}");
        }
    }

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
