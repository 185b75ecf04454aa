//! Keeps a log readable while something fails ten thousand times a second: so many lines in a period, and with the next
//! one how many were left out.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::time::now;

/// Hands out at most so many lines of a log per period.
#[derive(Debug)]
pub struct Ration {
    lines: u32,
    period: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    period_began: Option<Instant>,
    written: u32,
    left_out: u64,
}

impl Ration {
    /// At most `lines` in each `period`.
    #[must_use]
    pub fn new(lines: u32, period: Duration) -> Self {
        Self { lines, period, state: Mutex::default() }
    }

    /// Whether one more line may be written now; if so, how many were left out since the last one.
    pub fn admit(&self) -> Option<u64> {
        self.admit_at(now())
    }

    fn admit_at(&self, now: Instant) -> Option<u64> {
        // Three numbers that are always fit for use.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = |began: Instant| now.saturating_duration_since(began) >= self.period;
        if state.period_began.is_none_or(is_over) {
            state.period_began = Some(now);
            state.written = 0;
        }
        if state.written >= self.lines {
            state.left_out += 1;
            return None;
        }
        state.written += 1;
        Some(std::mem::take(&mut state.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_becomes_a_few_lines_and_a_number() {
        let (start, period) = (now(), Duration::from_secs(10));
        let ration = Ration::new(10, period);
        assert_eq!((0..1_000).filter(|_| ration.admit_at(start).is_some()).count(), 10);
        assert_eq!(ration.admit_at(start + period), Some(990));
        assert_eq!(ration.admit_at(start + period), Some(0));
    }
}
