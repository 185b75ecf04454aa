//! The time that an HTTP/2 client has to read a response.
//!
//! A client may open no window for one stream and be quick with everything else; the clock of its connection
//! ([`super::client`]) never runs then. hyper holds one piece of the body meanwhile and does not ask the body for the
//! next, so nothing that the body does could end it. What can is the task that hyper runs for each stream: it comes
//! through our executor, which drops it when hyper has held a piece for too long, and everything with it: h2 resets the
//! stream, and the connection to the service is closed.
//!
//! A body that waits for its service was asked and has nothing: that clock does not run.

use std::cell::Cell;
use std::time::Instant;

use bowline_rt::task;
use bowline_rt::time::{now, sleep_until};

use crate::limits::WRITE_STALL_TIMEOUT;

tokio::task_local! {
    /// Since when hyper has held a piece of the response of this task's stream without asking for the next.
    static HELD_SINCE: Cell<Option<Instant>>;
}

/// Notes what the body of a response answered: whether hyper has a piece now, and it is the client's turn.
///
/// Over HTTP/1 nobody wants to know: there the connection's own clock sees every stall.
pub(super) fn note(has_piece: bool) {
    // Outside of such a task there is nothing to set.
    let _ = HELD_SINCE.try_with(|since| since.set(has_piece.then(now)));
}

/// Runs hyper's tasks for the streams of a client's connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct StreamTasks;

impl<F> hyper::rt::Executor<F> for StreamTasks
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let bounded = async move {
            tokio::select! {
                biased;
                _ = stream => {}
                () = held_for_too_long() => {
                    tracing::debug!("a client read nothing of a response for {WRITE_STALL_TIMEOUT:?}: gave it up");
                }
            }
        };
        task::spawn("http2", HELD_SINCE.scope(Cell::new(None), bounded));
    }
}

async fn held_for_too_long() {
    loop {
        // A piece that comes later has longer than until then.
        let deadline = HELD_SINCE.with(Cell::get).unwrap_or_else(now) + WRITE_STALL_TIMEOUT;
        if deadline <= now() {
            return;
        }
        sleep_until(deadline).await;
    }
}
