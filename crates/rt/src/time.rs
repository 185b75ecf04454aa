//! Clocks and timers.
//!
//! Pure cores take [`Instant`] as a value; only this module makes one.

pub use std::time::{Duration, Instant};

/// A wait that ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elapsed(
    /// The time that was waited.
    pub Duration,
);

impl std::fmt::Display for Elapsed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "no answer within {:?}", self.0)
    }
}

impl std::error::Error for Elapsed {}

/// The monotonic clock of this runtime. In the simulator it is the simulated host's.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one place that reads the monotonic clock")]
pub fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Time since 1970-01-01 UTC by this host's wall clock, for people and for certificates. Never order events by it.
#[must_use]
pub fn unix_time() -> Duration {
    imp::unix_time()
}

/// For how long this machine has been suspended since it started, during which [`now`] stood still. Only differences mean
/// something. A process that was stopped (SIGSTOP) or starved was not suspended: its clock went on. In the simulator machines are
/// never suspended.
#[must_use]
pub fn suspended() -> Duration {
    imp::suspended()
}

/// Waits for `duration`. Cancel safe.
pub async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// Waits until `deadline`. Cancel safe.
pub async fn sleep_until(deadline: Instant) {
    tokio::time::sleep_until(deadline.into()).await;
}

/// Waits until `deadline`, or for ever without one: the shape of a core's `poll_timeout`. Cancel safe.
pub async fn sleep_until_some(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Runs `future` for at most `duration`, then drops it.
///
/// # Errors
/// [`Elapsed`] if the time ran out first.
pub async fn timeout<F: Future>(duration: Duration, future: F) -> Result<F::Output, Elapsed> {
    tokio::time::timeout(duration, future).await.map_err(|_| Elapsed(duration))
}

#[cfg(not(feature = "sim"))]
mod imp {
    use super::Duration;

    #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    pub fn unix_time() -> Duration {
        // A clock before 1970 is a machine without a clock; zero keeps certificates invalid, which is what it should.
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default()
    }

    pub fn suspended() -> Duration {
        use rustix::time::{ClockId, clock_gettime};
        // In this order: being interrupted between the two makes the difference larger by as little as that takes, not negative.
        let awake = clock_gettime(ClockId::Monotonic);
        let in_all = clock_gettime(ClockId::Boottime);
        let since_start = |time: rustix::time::Timespec| Duration::try_from(time).unwrap_or_default();
        since_start(in_all).saturating_sub(since_start(awake))
    }
}

#[cfg(feature = "sim")]
mod imp {
    use super::Duration;

    pub fn unix_time() -> Duration {
        turmoil::since_epoch().unwrap_or_default()
    }

    pub fn suspended() -> Duration {
        Duration::ZERO
    }
}
