//! Signals: the first SIGINT or SIGTERM drains, the second ends the process at once. SIGHUP reads files again where there
//! are any, and stops what has none: there it means that the terminal is gone.

use std::sync::Arc;

use anyhow::Context as _;
use bowline_rt::task;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::edge;
use crate::exit::FAILURE;

/// The signals of this process.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
    /// Who started the process did not want it to end with its terminal (`nohup`).
    outlives_terminal: bool,
}

impl Signals {
    /// Takes the signals over. From here on none of them ends the process by itself.
    pub fn take() -> anyhow::Result<Self> {
        // Afterwards the answer would be no.
        let outlives_terminal = edge::ignores_hang_up();
        let take = |kind| signal(kind).context("cannot handle signals");
        Ok(Self {
            interrupt: take(SignalKind::interrupt())?,
            terminate: take(SignalKind::terminate())?,
            hang_up: take(SignalKind::hangup())?,
            outlives_terminal,
        })
    }

    /// Watches for ever: cancels `shutdown` at the first signal to stop and ends the process at the second; calls
    /// `reload` after each SIGHUP, where it may wait for the disk. No signal waits for it; those that come meanwhile are
    /// answered by one more call.
    pub async fn watch(mut self, shutdown: CancellationToken, reload: impl Fn() + Send + Sync + 'static) {
        let wanted = Arc::new(Notify::new());
        task::spawn("reload", reload_when(wanted.clone(), reload));
        loop {
            tokio::select! {
                biased;
                _ = self.interrupt.recv() => stop("SIGINT", &shutdown),
                _ = self.terminate.recv() => stop("SIGTERM", &shutdown),
                _ = self.hang_up.recv() => {
                    tracing::info!("SIGHUP: reading files again");
                    wanted.notify_one();
                }
            }
        }
    }

    /// As [`Signals::watch`], for what has no files: SIGHUP is a signal to stop.
    pub async fn watch_to_stop(mut self, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                biased;
                _ = self.interrupt.recv() => stop("SIGINT", &shutdown),
                _ = self.terminate.recv() => stop("SIGTERM", &shutdown),
                _ = self.hang_up.recv(), if !self.outlives_terminal => stop("SIGHUP", &shutdown),
            }
        }
    }
}

/// Calls `reload` whenever it is `wanted`, for ever: on a thread for what may block, as a mount can that is out of reach.
async fn reload_when(wanted: Arc<Notify>, reload: impl Fn() + Send + Sync + 'static) {
    let reload = Arc::new(reload);
    loop {
        wanted.notified().await;
        let reload = reload.clone();
        task::blocking(move || reload()).await;
    }
}

fn stop(name: &str, shutdown: &CancellationToken) {
    if shutdown.is_cancelled() {
        edge::say(&format!("bowline: second signal to stop ({name}): ending at once"));
        std::process::exit(i32::from(FAILURE));
    }
    tracing::info!(signal = name, "stopping; a second signal ends the process at once");
    shutdown.cancel();
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use tokio::sync::mpsc;

    use super::*;

    /// On a runtime with one thread, which a reload on it would stop.
    #[tokio::test]
    async fn a_reload_that_hangs_holds_nobody_up_and_is_followed_by_one_more() {
        const BOUND: Duration = Duration::from_secs(30);
        let (begun, mut has_begun) = mpsc::unbounded_channel();
        let (let_go, hangs) = std::sync::mpsc::channel::<()>();
        let hangs = Mutex::new(hangs);
        let wanted = Arc::new(Notify::new());
        let reloads = task::spawn(
            "reload",
            reload_when(wanted.clone(), move || {
                begun.send(()).expect("the test waits for it");
                hangs.lock().expect("no panic").recv_timeout(BOUND).expect("the test lets it go");
            }),
        );
        wanted.notify_one();
        has_begun.recv().await.expect("it begins");
        wanted.notify_one();
        task::yield_now().await;
        assert!(has_begun.try_recv().is_err(), "one at a time");
        for _ in 0..2 {
            let_go.send(()).expect("it is there to be let go");
        }
        has_begun.recv().await.expect("what came meanwhile was not lost");
        reloads.abort();
    }
}
