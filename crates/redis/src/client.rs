//! The handle that callers use.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use bowline_resp::Frame;
use bowline_rt::task::{self, JoinHandle};
use bowline_rt::time::{now, timeout};
use prometheus_client::registry::Registry;
use tokio::sync::{oneshot, watch};

use crate::command::Command;
use crate::config::{Config, Settings};
use crate::epoch::Fate;
use crate::error::{CallError, Death, NotSent, ServerError, Unknown};
use crate::intake::{Delivery, Intake};
use crate::limits::{DEADLINE_FAR, RESENDS_MAX};
use crate::metrics::Metrics;
use crate::reconnect::{Connection, Dial, Reconnect};
use crate::script::Script;

/// A client of one server, over one connection that all clones share. Requests of concurrent callers travel together without
/// waiting for each other's answers. The connection is made anew for ever; it ends with the last clone.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    address: String,
    settings: Settings,
    metrics: Metrics,
    intake: watch::Receiver<Option<Arc<Intake>>>,
    connection: watch::Receiver<Connection>,
    waiting: Waiting,
    reconnect: JoinHandle<()>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.reconnect.abort();
    }
}

impl Client {
    /// Starts to connect in the background.
    ///
    /// # Panics
    /// Outside a runtime.
    #[must_use]
    pub fn start(config: Config) -> Self {
        let connector = config.connector.clone();
        Self::start_with(config, connector)
    }

    fn start_with(config: Config, dial: impl Dial) -> Self {
        let metrics = Metrics::new();
        let (intake_sender, intake) = watch::channel(None);
        let (connection_sender, connection) = watch::channel(Connection::Down { error: None });
        let (address, settings) = (config.address.clone(), config.settings);
        let reconnect = Reconnect {
            config,
            dial,
            metrics: metrics.clone(),
            intake: intake_sender,
            connection: connection_sender,
        };
        let reconnect = task::spawn("store-connection", reconnect.run());
        let waiting = Waiting::default();
        Self {
            shared: Arc::new(Shared { address, settings, metrics, intake, connection, waiting, reconnect }),
        }
    }

    /// Runs a command and waits for its answer, within the command's deadline or else that of the settings. If there is no
    /// connection, it waits for one. What was surely not sent is sent again on the next connection; what may have been
    /// executed only if the command is idempotent, and only if the connection was lost: where the server sent what it must
    /// not, the answer to this command may be the cause.
    ///
    /// Byte strings in the answer are slices of a read buffer: copy what is kept for long.
    ///
    /// Cancel safe in this sense: a dropped call never disturbs another one (INV-DRV-CANCEL), and its command may or may not
    /// be executed.
    ///
    /// # Errors
    /// [`CallError`], which says what is known about the command.
    pub async fn call(&self, command: Command) -> Result<Frame, CallError> {
        let outcome = self.run(command, || None).await;
        self.shared.metrics.count_call(&outcome);
        outcome
    }

    /// Runs a script: by its digest, and in full on a server that does not know it, within one deadline.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn eval(
        &self,
        script: &Script,
        keys: &[&[u8]],
        arguments: &[&[u8]],
    ) -> Result<Frame, CallError> {
        let in_full = || Some(script.by_source(keys, arguments));
        let outcome = self.run(script.by_digest(keys, arguments), in_full).await;
        self.shared.metrics.count_call(&outcome);
        outcome
    }

    /// Whether there is a connection, now and from now on.
    #[must_use]
    pub fn connection(&self) -> watch::Receiver<Connection> {
        self.shared.connection.clone()
    }

    /// The counters of this client.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// Adds the counters of this client to a registry.
    pub fn register_metrics(&self, registry: &mut Registry) {
        self.shared.metrics.register(registry);
    }

    /// `host:port` of the server.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.shared.address
    }

    /// Runs a command; in place of one that names a script which the server does not know, what `in_full` makes.
    async fn run(
        &self,
        mut command: Command,
        in_full: impl FnOnce() -> Option<Command>,
    ) -> Result<Frame, CallError> {
        let started = now();
        let patience = command.deadline_or(self.shared.settings.call_deadline);
        let deadline = started.checked_add(patience).unwrap_or(started + DEADLINE_FAR);
        let (mut in_full, mut resends) = (Some(in_full), 0);
        // Once an attempt was lost, no later one can make it unsent (INV-DRV-ONCE).
        let mut lost: Option<Death> = None;
        let in_spite_of = |lost: Option<Death>, error: CallError| match lost {
            Some(death) if error.had_no_effect() => Unknown::Lost(death).into(),
            _ => error,
        };
        loop {
            let answer = match self.send(&command, started, deadline).await {
                Ok(answer) => answer,
                Err(error) => return Err(in_spite_of(lost, error.into())),
            };
            match answer.await.unwrap_or(Delivery::Lost(Fate::Unknown, Death::Stopped)) {
                Delivery::Answer(Frame::Error(text)) => {
                    let error = ServerError::new(&text);
                    let in_full = if error.code == "NOSCRIPT" { in_full.take() } else { None };
                    match in_full.and_then(|in_full| in_full()) {
                        Some(whole) => command = whole,
                        None => return Err(in_spite_of(lost, error.into())),
                    }
                    continue;
                }
                Delivery::Answer(frame) => return Ok(frame),
                Delivery::Expired => return Err(Unknown::Deadline.into()),
                // Ends with the deadline, because the next round has to wait for another connection.
                Delivery::Lost(Fate::NotSent, _) => {}
                Delivery::Lost(Fate::Unknown, death)
                    if command.is_idempotent() && death.spares_a_repeat() && resends < RESENDS_MAX =>
                {
                    resends += 1;
                    lost = Some(death);
                }
                Delivery::Lost(Fate::Unknown, death) => return Err(Unknown::Lost(death).into()),
            }
            self.shared.metrics.resent.inc();
        }
    }

    /// Puts the command into the living connection.
    async fn send(
        &self,
        command: &Command,
        started: Instant,
        deadline: Instant,
    ) -> Result<oneshot::Receiver<Delivery>, NotSent> {
        command.check(self.shared.settings.in_flight_bytes_max as usize)?;
        if let Some(answer) = self.try_send(command, deadline) {
            return Ok(answer);
        }
        let _waiting = self.shared.waiting.enter(command.size_bytes(), &self.shared.settings)?;
        let limit = deadline.saturating_duration_since(now());
        match timeout(limit, self.wait_and_send(command, deadline)).await {
            Ok(sent) => sent,
            Err(_) => Err(self.still_waiting(now().saturating_duration_since(started))),
        }
    }

    /// The quick way: a connection with room.
    fn try_send(&self, command: &Command, deadline: Instant) -> Option<oneshot::Receiver<Delivery>> {
        let intake = self.shared.intake.borrow();
        let intake = intake.as_ref()?;
        let room = intake.try_room(command)?;
        intake.commit(room, command, deadline).ok()
    }

    async fn wait_and_send(
        &self,
        command: &Command,
        deadline: Instant,
    ) -> Result<oneshot::Receiver<Delivery>, NotSent> {
        let mut intakes = self.shared.intake.clone();
        loop {
            let is_open =
                |intake: &Option<Arc<Intake>>| intake.as_ref().is_some_and(|intake| intake.is_open());
            let intake = intakes.wait_for(is_open).await.map_err(|_| NotSent::Stopped)?.clone();
            let Some(intake) = intake else { continue };
            if let Ok(room) = intake.room(command).await
                && let Ok(answer) = intake.commit(room, command, deadline)
            {
                return Ok(answer);
            }
        }
    }

    /// Why a call has waited in vain.
    fn still_waiting(&self, waited: std::time::Duration) -> NotSent {
        match &*self.shared.connection.borrow() {
            Connection::Up { .. } => NotSent::Full { waited },
            Connection::Down { error } => NotSent::Down { waited, last_error: error.clone() },
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("address", &self.shared.address).finish_non_exhaustive()
    }
}

/// How many callers wait, and with how many bytes.
#[derive(Debug, Default)]
struct Waiting {
    callers: AtomicUsize,
    bytes: AtomicUsize,
}

/// One caller that waits.
struct Waiter<'a> {
    waiting: &'a Waiting,
    size_bytes: usize,
}

impl Waiting {
    /// Lets one more caller wait, if there may be one (INV-DRV-BOUND).
    fn enter(&self, size_bytes: usize, settings: &Settings) -> Result<Waiter<'_>, NotSent> {
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

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
