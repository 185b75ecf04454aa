//! Signals: the first SIGINT or SIGTERM drains, the second ends the process at once. SIGHUP reads files again where there
//! are any, and stops what has none: there it means that the terminal is gone.

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
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
    /// `reload` at each SIGHUP.
    pub async fn watch(mut self, shutdown: CancellationToken, mut reload: impl FnMut()) {
        loop {
            tokio::select! {
                biased;
                _ = self.interrupt.recv() => stop("SIGINT", &shutdown),
                _ = self.terminate.recv() => stop("SIGTERM", &shutdown),
                _ = self.hang_up.recv() => {
                    tracing::info!("SIGHUP: reading files again");
                    reload();
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

fn stop(name: &str, shutdown: &CancellationToken) {
    if shutdown.is_cancelled() {
        edge::say(&format!("bowline: second signal to stop ({name}): ending at once"));
        std::process::exit(i32::from(FAILURE));
    }
    tracing::info!(signal = name, "stopping; a second signal ends the process at once");
    shutdown.cancel();
}
