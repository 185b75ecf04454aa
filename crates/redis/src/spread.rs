//! A counter that is counted up everywhere at once: each thread has a part of it, and reading it adds them up.

use std::array;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use prometheus_client::metrics::counter::Atomic;

use crate::limits::COUNTER_PARTS;

/// See the module. Threads beyond [`COUNTER_PARTS`] share parts.
#[derive(Debug)]
pub struct Spread([Part; COUNTER_PARTS]);

/// A part with a cache line of its own, and the neighbour that processors fetch along with it.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Part(AtomicU64);

impl Spread {
    fn own(&self) -> &AtomicU64 {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static PART: usize = THREADS.fetch_add(1, Ordering::Relaxed) % COUNTER_PARTS;
        }
        &self.0[PART.with(|part| *part)].0
    }
}

impl Default for Spread {
    fn default() -> Self {
        Self(array::from_fn(|_| Part::default()))
    }
}

/// What counting up returns is of the thread's own part.
impl Atomic<u64> for Spread {
    fn inc(&self) -> u64 {
        self.inc_by(1)
    }

    fn inc_by(&self, by: u64) -> u64 {
        self.own().fetch_add(by, Ordering::Relaxed)
    }

    fn get(&self) -> u64 {
        self.0.iter().fold(0, |sum, Part(part)| sum.wrapping_add(part.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn what_all_threads_have_counted_is_added_up() {
        let counter = Spread::default();
        thread::scope(|scope| {
            for by in 1..=2 * COUNTER_PARTS as u64 {
                let counter = &counter;
                scope.spawn(move || {
                    counter.inc();
                    counter.inc_by(by);
                });
            }
        });
        let threads = 2 * COUNTER_PARTS as u64;
        assert_eq!(counter.get(), threads + threads * (threads + 1) / 2);
    }
}
