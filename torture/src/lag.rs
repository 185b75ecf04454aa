//! How late this runtime itself is: what cannot be told from lateness of what is tested.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bowline_rt::task::{self, JoinHandle};
use bowline_rt::time::{self, now};

/// How often a wake-up is asked for.
const PERIOD: Duration = Duration::from_millis(10);

/// Measures until it is dropped.
#[derive(Debug)]
pub struct Lag {
    worst_us: Arc<AtomicU64>,
    measuring: JoinHandle<()>,
}

impl Lag {
    /// Begins to measure.
    #[must_use]
    pub fn start() -> Self {
        let worst_us = Arc::new(AtomicU64::new(0));
        let measuring = task::spawn("lag", measure(worst_us.clone()));
        Self { worst_us, measuring }
    }

    /// How late a wake-up was at worst.
    #[must_use]
    pub fn worst(&self) -> Duration {
        Duration::from_micros(self.worst_us.load(Ordering::Relaxed))
    }
}

impl Drop for Lag {
    fn drop(&mut self) {
        self.measuring.abort();
    }
}

async fn measure(worst_us: Arc<AtomicU64>) {
    loop {
        let asleep = now();
        time::sleep(PERIOD).await;
        let lag = asleep.elapsed().saturating_sub(PERIOD);
        worst_us.fetch_max(u64::try_from(lag.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}
