//! Signals: the first SIGINT or SIGTERM drains, the second ends the process at once, SIGHUP reads files again.

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
}

impl Signals {
    /// Takes the signals over. From here on none of them ends the process by itself.
    pub fn take() -> anyhow::Result<Self> {
        let take = |kind| signal(kind).context("cannot handle signals");
        Ok(Self {
            interrupt: take(SignalKind::interrupt())?,
            terminate: take(SignalKind::terminate())?,
            hang_up: take(SignalKind::hangup())?,
        })
    }

    /// Watches for ever: cancels `shutdown` at the first signal to stop and ends the process at the second; calls
    /// `reload` at each SIGHUP.
    pub async fn watch(mut self, shutdown: CancellationToken, mut reload: impl FnMut()) {
        loop {
            let name = tokio::select! {
                biased;
                _ = self.interrupt.recv() => "SIGINT",
                _ = self.terminate.recv() => "SIGTERM",
                _ = self.hang_up.recv() => {
                    tracing::info!("SIGHUP: reading files again");
                    reload();
                    continue;
                }
            };
            if shutdown.is_cancelled() {
                edge::say(&format!("bowline: second signal to stop ({name}): ending at once"));
                std::process::exit(i32::from(FAILURE));
            }
            tracing::info!(signal = name, "stopping; a second signal ends the process at once");
            shutdown.cancel();
        }
    }
}
