//! Jitter from a seed: the core owns its random numbers, so that one seed gives one trace.

use std::time::Duration;

/// Weyl increment and multipliers of SplitMix64 (Steele, Lea, Flood 2014). It need not be secret, only spread.
const INCREMENT: u64 = 0x9e37_79b9_7f4a_7c15;
const MULTIPLIER_1: u64 = 0xbf58_476d_1ce4_e5b9;
const MULTIPLIER_2: u64 = 0x94d0_49bb_1331_11eb;

/// A seeded sequence of random durations.
#[derive(Debug, Clone)]
pub(crate) struct Jitter(u64);

impl Jitter {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(INCREMENT);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(MULTIPLIER_1);
        bits = (bits ^ (bits >> 27)).wrapping_mul(MULTIPLIER_2);
        bits ^ (bits >> 31)
    }

    /// Between zero and `bound`: full jitter.
    pub(crate) fn up_to(&mut self, bound: Duration) -> Duration {
        let nanoseconds = (bound.as_nanos() * u128::from(self.bits())) >> 64;
        Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
    }

    /// Between three quarters of `period` and `period`, so that what started together drifts apart and never runs late.
    pub(crate) fn within(&mut self, period: Duration) -> Duration {
        period - self.up_to(period / 4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_in_its_range_and_repeats_with_its_seed() {
        let second = Duration::from_secs(1);
        let (mut one, mut two) = (Jitter::new(7), Jitter::new(7));
        for _ in 0..1_000 {
            let period = one.within(second);
            assert!(period > second * 3 / 4 && period <= second);
            assert_eq!(period, two.within(second));
            assert!(one.up_to(second) < second);
            two.bits();
        }
        assert_eq!(one.up_to(Duration::ZERO), Duration::ZERO);
    }
}
