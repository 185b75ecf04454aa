//! Tasks and threads.

use std::future::Future;

use tokio::sync::oneshot;
use tracing::Instrument;

pub use tokio::task::{JoinError, JoinHandle, JoinSet, LocalSet, yield_now};

/// Runs `future` in the background; its log lines carry `name` at level debug. Dropping the handle detaches the task.
#[expect(clippy::disallowed_methods, reason = "the one place that spawns")]
pub fn spawn<F>(name: &'static str, future: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    tokio::spawn(future.instrument(tracing::debug_span!("task", name)))
}

/// As [`spawn`], for a future that stays on this thread. Only inside [`run_local`].
///
/// # Panics
/// Outside a [`LocalSet`].
#[expect(clippy::disallowed_methods, reason = "the one place that spawns locally")]
pub fn spawn_local<F>(name: &'static str, future: F) -> JoinHandle<F::Output>
where
    F: Future<Output: 'static> + 'static,
{
    tokio::task::spawn_local(future.instrument(tracing::debug_span!("task", name)))
}

/// Runs what may block (files, name look-ups) on a thread of its own kind.
///
/// # Panics
/// If the closure panicked, its panic goes on here.
#[expect(clippy::disallowed_methods, reason = "the one place that spawns blocking work")]
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// Threads that run the tasks of this runtime.
///
/// # Panics
/// Outside a runtime.
#[must_use]
pub fn workers() -> usize {
    tokio::runtime::Handle::current().metrics().num_workers()
}

/// Number of this process, for people. In the simulator all hosts share one process, and its number would not repeat: there
/// it is always 1.
#[must_use]
pub fn process_id() -> u32 {
    if cfg!(feature = "sim") { 1 } else { std::process::id() }
}

/// A thread died before its future was done: it panicked or could not be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThreadDied(
    /// Name of the thread.
    pub &'static str,
);

impl std::fmt::Display for ThreadDied {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the thread {} died", self.0)
    }
}

impl std::error::Error for ThreadDied {}

/// Starts a thread with a single-threaded runtime of its own and runs there the future that `make` builds, so that the
/// future need not be `Send`. Awaiting the result waits for its end; dropping it lets the thread run on.
///
/// In the simulator the future runs on the simulated host's own thread.
///
/// # Errors
/// [`ThreadDied`] if the thread could not be started or panicked.
pub fn run_local<T, F>(
    name: &'static str,
    make: impl FnOnce() -> F + Send + 'static,
) -> impl Future<Output = Result<T, ThreadDied>> + Send + 'static
where
    T: Send + 'static,
    F: Future<Output = T> + 'static,
{
    let (sender, receiver) = oneshot::channel();
    imp::run_local(name, make, sender);
    async move { receiver.await.map_err(|_| ThreadDied(name)) }
}

#[cfg(not(feature = "sim"))]
mod imp {
    use super::{Future, LocalSet, oneshot};

    /// Stack of such a thread. The store's scripts nest calls from Lua to Rust and back, up to Lua's limit of 200.
    const LOCAL_STACK_BYTES: usize = 16 * 1024 * 1024;

    pub fn run_local<T, F>(
        name: &'static str,
        make: impl FnOnce() -> F + Send + 'static,
        done: oneshot::Sender<T>,
    ) where
        T: Send + 'static,
        F: Future<Output = T> + 'static,
    {
        let body = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            match runtime {
                // The receiver may be gone: then nobody wants the result.
                Ok(runtime) => drop(done.send(LocalSet::new().block_on(&runtime, async { make().await }))),
                Err(error) => tracing::error!(%error, thread = name, "cannot start a runtime"),
            }
        };
        // Without a thread the sender is dropped with the closure, and the waiter learns of it.
        if let Err(error) =
            std::thread::Builder::new().name(name.to_owned()).stack_size(LOCAL_STACK_BYTES).spawn(body)
        {
            tracing::error!(%error, thread = name, "cannot start a thread");
        }
    }
}

#[cfg(feature = "sim")]
mod imp {
    use super::{Future, oneshot, spawn_local};

    pub fn run_local<T, F>(
        name: &'static str,
        make: impl FnOnce() -> F + Send + 'static,
        done: oneshot::Sender<T>,
    ) where
        T: Send + 'static,
        F: Future<Output = T> + 'static,
    {
        spawn_local(name, async move { drop(done.send(make().await)) });
    }
}

#[cfg(all(test, not(feature = "sim")))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_local_thread_runs_what_is_not_send_and_reports_a_panic() {
        let shared = run_local("test", || async {
            let cell = std::rc::Rc::new(std::cell::Cell::new(1));
            let other = cell.clone();
            spawn_local("inner", async move { other.set(2) }).await.expect("no panic");
            cell.get()
        });
        assert_eq!(shared.await, Ok(2));
        assert_eq!(
            run_local::<(), _>("bad", || async { panic!("on purpose") }).await,
            Err(ThreadDied("bad"))
        );
    }
}
