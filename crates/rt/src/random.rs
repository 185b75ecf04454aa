//! Random numbers. The real ones are fit for secrets; the simulated ones come from the seed of the run.

use std::time::Duration;

use bowline_model::{Epoch, RequestId};
use rand::Rng;

/// Fills `bytes` with random bits, fit for secrets.
pub fn fill(bytes: &mut [u8]) {
    imp::with(|generator| generator.fill_bytes(bytes));
}

/// 64 random bits.
#[must_use]
pub fn bits64() -> u64 {
    imp::with(|generator| generator.next_u64())
}

/// 128 random bits.
#[must_use]
pub fn bits128() -> u128 {
    (u128::from(bits64()) << 64) | u128::from(bits64())
}

/// A fresh identity of an incarnation.
#[must_use]
pub fn epoch() -> Epoch {
    Epoch::from_bits(bits128())
}

/// A fresh request id.
#[must_use]
pub fn request_id() -> RequestId {
    RequestId::from_bits(bits128())
}

/// A number below `bound`, every one equally likely to within 2^-64 × `bound`; 0 if `bound` is 0.
#[must_use]
pub fn below(bound: u64) -> u64 {
    // The high half of a 64 × 64 bit product maps the 64-bit range onto 0..bound.
    let product = u128::from(bits64()) * u128::from(bound);
    u64::try_from(product >> 64).expect("the high half of a 128-bit product has 64 bits")
}

/// A duration between zero and `bound`: the "full jitter" of a back-off.
#[must_use]
pub fn jitter(bound: Duration) -> Duration {
    Duration::from_nanos(below(u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX)))
}

#[cfg(not(feature = "sim"))]
mod imp {
    pub fn with<T>(use_generator: impl FnOnce(&mut rand::rngs::ThreadRng) -> T) -> T {
        use_generator(&mut rand::rng())
    }
}

/// Starts the sequence of random numbers of this thread anew. The simulator calls it first in every run.
#[cfg(feature = "sim")]
pub fn seed(seed: u64) {
    imp::seed(seed);
}

#[cfg(feature = "sim")]
mod imp {
    use std::cell::RefCell;

    use rand::SeedableRng;
    use rand::rngs::StdRng;

    thread_local! {
        static GENERATOR: RefCell<StdRng> = RefCell::new(StdRng::seed_from_u64(0));
    }

    pub fn seed(seed: u64) {
        GENERATOR.with_borrow_mut(|generator| *generator = StdRng::seed_from_u64(seed));
    }

    pub fn with<T>(use_generator: impl FnOnce(&mut StdRng) -> T) -> T {
        GENERATOR.with_borrow_mut(use_generator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn below_stays_below() {
        assert_eq!(below(0), 0);
        assert_eq!(below(1), 0);
        assert!((0..1_000).all(|_| below(7) < 7));
        assert!(jitter(Duration::from_millis(3)) < Duration::from_millis(3));
    }
}
