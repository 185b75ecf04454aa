//! Waiting for a predicate, within a bound.

use std::future::Future;
use std::time::Duration;

use bowline_rt::time;

use crate::limits::{LOOK_PERIOD, SOON};

/// Waits until `look` returns something, and returns that.
///
/// # Panics
/// After `limit`, with `what`: a test that waited in vain has failed.
pub async fn wait_within<T, F: Future<Output = Option<T>>>(
    limit: Duration,
    what: &str,
    mut look: impl FnMut() -> F,
) -> T {
    let start = time::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(start.elapsed() < limit, "waited {limit:?} in vain: {what}");
        time::sleep(LOOK_PERIOD).await;
    }
}

/// [`wait_within`] for what should take a fraction of a second.
///
/// # Panics
/// As [`wait_within`].
pub async fn wait_until<F: Future<Output = bool>>(what: &str, mut look: impl FnMut() -> F) {
    wait_within(SOON, what, || {
        let seen = look();
        async move { seen.await.then_some(()) }
    })
    .await;
}

/// Lets a stated time pass, where the story itself is about time: "the store stands still for three seconds".
pub async fn wait_out(duration: Duration) {
    time::sleep(duration).await;
}
