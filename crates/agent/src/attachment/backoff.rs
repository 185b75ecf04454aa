//! How long to leave a target alone after it failed.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;

/// A bound that doubles with each failure up to a cap, and a random part of it.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    first: Duration,
    cap: Duration,
    /// At least half of the bound is waited.
    half: bool,
}

impl Backoff {
    /// Full jitter, anything from nothing to the bound: spreads a herd best.
    pub fn full(first: Duration, cap: Duration) -> Self {
        Self { first, cap, half: false }
    }

    /// Half to all of the bound: for what is not to be repeated soon.
    pub fn half(first: Duration, cap: Duration) -> Self {
        Self { first, cap, half: true }
    }

    /// The wait after a failure that `failures_before` others preceded.
    pub fn draw(self, failures_before: u32, random: &mut StdRng) -> Duration {
        let factor = 1_u32.checked_shl(failures_before).unwrap_or(u32::MAX);
        let bound = self.first.saturating_mul(factor).min(self.cap);
        if self.half { bound / 2 + below(bound / 2, random) } else { below(bound, random) }
    }
}

/// A random duration up to `bound`.
pub fn below(bound: Duration, random: &mut StdRng) -> Duration {
    bound.mul_f64(random.random_range(0.0..=1.0))
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn the_bound_doubles_up_to_the_cap() {
        let mut random = StdRng::seed_from_u64(1);
        let (first, cap) = (Duration::from_millis(100), Duration::from_secs(10));
        for (failures, bound_ms) in
            [(0, 100), (1, 200), (6, 6_400), (7, 10_000), (31, 10_000), (u32::MAX, 10_000)]
        {
            let bound = Duration::from_millis(bound_ms);
            let mut longest = Duration::ZERO;
            for _ in 0..100 {
                let full = Backoff::full(first, cap).draw(failures, &mut random);
                assert!(full <= bound);
                longest = longest.max(full);
                let half = Backoff::half(first, cap).draw(failures, &mut random);
                assert!(half >= bound / 2 && half <= bound);
            }
            assert!(longest > bound * 3 / 4, "the jitter uses its whole range");
        }
    }
}
