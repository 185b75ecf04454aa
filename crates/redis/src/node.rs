//! One server, and the connection to it that all callers share.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use bowline_model::Epoch;
use bowline_rt::task::{self, JoinHandle};
use bowline_rt::time::{now, timeout};
use tokio::sync::{Semaphore, watch};

use crate::config::Settings;
use crate::connect::{Connect, Dedicate, Dial};
use crate::dedicated::Dedicated;
use crate::error::NotSent;
use crate::intake::{Answer, Intake};
use crate::metrics::Metrics;
use crate::reconnect::{Connection, Reconnect};
use crate::request::{Limit, Request};

/// A request that was put into a connection.
pub(crate) struct Sent {
    /// Which connection.
    pub epoch: Epoch,
    /// What becomes of it.
    pub answer: Answer,
}

/// One server. The connection to it is made anew for ever; it ends with this value.
pub(crate) struct Node {
    name: String,
    settings: Settings,
    metrics: Metrics,
    /// The intake of the living connection, for those who look and for those who wait.
    live: Arc<ArcSwapOption<Intake>>,
    intake: watch::Receiver<Option<Arc<Intake>>>,
    connection: watch::Receiver<Connection>,
    waiting: Waiting,
    dedicate: Arc<dyn Dedicate>,
    places: Arc<Semaphore>,
    reconnect: JoinHandle<()>,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.reconnect.abort();
    }
}

impl Node {
    /// Starts to connect in the background.
    pub fn start(connect: Connect<impl Dial>) -> Self {
        let (intake_sender, intake) = watch::channel(None);
        let (connection_sender, connection) = watch::channel(Connection::Down { error: None });
        let live = Arc::new(ArcSwapOption::empty());
        let settings = connect.config.settings;
        Self {
            live: live.clone(),
            name: connect.target.name(),
            settings,
            metrics: connect.metrics.clone(),
            intake,
            connection,
            waiting: Waiting::default(),
            // A connection of a caller's own has nothing to do with the cache.
            dedicate: Arc::new(connect.clone().without_cache()),
            places: Arc::new(Semaphore::new(settings.dedicated_max)),
            reconnect: task::spawn(
                "store-connection",
                Reconnect { connect, live, intake: intake_sender, connection: connection_sender }.run(),
            ),
        }
    }

    /// Where it is.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether there is a connection, now and from now on.
    pub fn connection(&self) -> watch::Receiver<Connection> {
        self.connection.clone()
    }

    /// Whether there is a connection.
    pub fn is_up(&self) -> bool {
        matches!(*self.connection.borrow(), Connection::Up { .. })
    }

    /// Puts a request, which was checked, into the living connection; waits for one, and for room in it, until `deadline`.
    /// `started` is when the caller began to wait. Cancel safe: before it ends nothing is sent.
    pub async fn send(
        &self,
        request: &impl Request,
        started: Instant,
        deadline: Instant,
    ) -> Result<Sent, NotSent> {
        if let Some(sent) = self.try_send(request, deadline).await {
            return Ok(sent);
        }
        let _waiting = self.waiting.enter(request.size_bytes(), &self.settings)?;
        let limit = deadline.saturating_duration_since(now());
        match timeout(limit, self.wait_and_send(request, deadline)).await {
            Ok(sent) => sent,
            Err(_) => Err(self.still_waiting(now().saturating_duration_since(started))),
        }
    }

    /// Callers that wait, and bytes of their requests.
    #[cfg(test)]
    pub fn waiting(&self) -> (usize, usize) {
        let Waiting { callers, bytes } = &self.waiting;
        (callers.load(Ordering::Relaxed), bytes.load(Ordering::Relaxed))
    }

    /// A connection that one caller has to itself, within `limit`.
    pub async fn dedicated(&self, limit: Duration) -> Result<Dedicated, NotSent> {
        let started = now();
        let made = timeout(limit, async {
            let place = self.places.clone().acquire_owned().await.expect("the semaphore is never closed");
            self.dedicate.dedicate().await.map(|dedication| (dedication, place))
        });
        match made.await {
            Ok(Ok((dedication, place))) => {
                Ok(Dedicated::new(dedication, self.settings, self.metrics.clone(), place))
            }
            Ok(Err(error)) => {
                let waited = now().saturating_duration_since(started);
                Err(NotSent::Down { waited, last_error: Some(error.to_string()) })
            }
            Err(_) => Err(NotSent::Down {
                waited: limit,
                last_error: (self.places.available_permits() == 0)
                    .then(|| format!("all {} dedicated connections are in use", self.settings.dedicated_max)),
            }),
        }
    }

    /// The quick way: a connection with room. Waits for nothing.
    pub async fn try_send(&self, request: &impl Request, deadline: Instant) -> Option<Sent> {
        let limit = Limit::At(deadline);
        let answer = poll_fn(|context| Poll::Ready(self.try_commit(request, limit, context.waker()))).await?;
        Some(Sent { epoch: answer.epoch(), answer })
    }

    /// As [`Intake::try_commit`], in the living connection.
    pub fn try_commit(&self, request: &impl Request, limit: Limit, waker: &Waker) -> Option<Answer> {
        self.live.load_full()?.try_commit(request, limit, waker)
    }

    async fn wait_and_send(&self, request: &impl Request, deadline: Instant) -> Result<Sent, NotSent> {
        let mut intakes = self.intake.clone();
        loop {
            let is_open =
                |intake: &Option<Arc<Intake>>| intake.as_ref().is_some_and(|intake| intake.is_open());
            let intake = intakes.wait_for(is_open).await.map_err(|_| NotSent::Stopped)?.clone();
            let Some(intake) = intake else { continue };
            if let Ok(room) = intake.room(request).await
                && let Ok(answer) = intake.commit(room, request, Limit::At(deadline))
            {
                return Ok(Sent { epoch: intake.epoch(), answer });
            }
        }
    }

    /// Why a call has waited in vain.
    fn still_waiting(&self, waited: Duration) -> NotSent {
        match &*self.connection.borrow() {
            Connection::Up { .. } => NotSent::Full { waited },
            Connection::Down { error } => NotSent::Down { waited, last_error: error.clone() },
        }
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("name", &self.name).finish_non_exhaustive()
    }
}

/// How many callers wait, and with how many bytes.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    callers: AtomicUsize,
    bytes: AtomicUsize,
}

/// One caller that waits.
pub(crate) struct Waiter<'a> {
    waiting: &'a Waiting,
    size_bytes: usize,
}

impl Waiting {
    /// Lets one more caller wait, if there may be one (INV-DRV-BOUND).
    pub fn enter(&self, size_bytes: usize, settings: &Settings) -> Result<Waiter<'_>, NotSent> {
        let callers = self.callers.fetch_add(1, Ordering::Relaxed) + 1;
        let bytes = self.bytes.fetch_add(size_bytes, Ordering::Relaxed) + size_bytes;
        // Made first: its drop undoes the counting.
        let waiter = Waiter { waiting: self, size_bytes };
        if callers > settings.waiting_max || bytes > settings.waiting_bytes_max {
            return Err(NotSent::Overloaded);
        }
        Ok(waiter)
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.waiting.callers.fetch_sub(1, Ordering::Relaxed);
        self.waiting.bytes.fetch_sub(self.size_bytes, Ordering::Relaxed);
    }
}
