//! The handle that callers use.

use std::fmt;
use std::sync::Arc;

use bowline_resp::Frame;
use bowline_rt::time::now;
use prometheus_client::registry::Registry;
use tokio::sync::watch;

use crate::batch::{Answers, Batch, Transaction, answers};
use crate::command::Command;
use crate::config::{Config, Settings};
use crate::connect::{Connect, Dial, Target};
use crate::dedicated::{Dedicated, deadline};
use crate::dial::ToSentinels;
use crate::epoch::Fate;
use crate::error::{CallError, Death, ServerError, Unknown};
use crate::handshake::Role;
use crate::intake::Delivery;
use crate::limits::RESENDS_MAX;
use crate::metrics::Metrics;
use crate::node::Node;
use crate::reconnect::Connection;
use crate::request::Request;
use crate::script::Script;

/// A client of one server, over one connection that all clones share. Requests of concurrent callers travel together without
/// waiting for each other's answers. The connection is made anew for ever; it ends with the last clone.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    settings: Settings,
    metrics: Metrics,
    node: Node,
}

/// Whether an attempt is the end of a call.
enum Attempt {
    /// The server has answered.
    Answered(Frame),
    /// It may be made again.
    Again,
}

/// What the attempts of one call have in common.
#[derive(Default)]
struct Attempts {
    resends: u32,
    /// Once an attempt was lost, no later one can make it unsent (INV-DRV-ONCE).
    lost: Option<Death>,
}

impl Attempts {
    /// What `error` of a later attempt says about the whole call.
    fn in_spite_of_the_lost(&self, error: CallError) -> CallError {
        match self.lost {
            Some(death) if error.had_no_effect() => Unknown::Lost(death).into(),
            _ => error,
        }
    }
}

impl Client {
    /// Starts to connect in the background.
    ///
    /// # Panics
    /// Outside a runtime.
    #[must_use]
    pub fn start(config: Config) -> Self {
        let (dial, to_sentinels) = (config.connector.clone(), config.sentinel_connector.clone());
        Self::start_with(config, dial, to_sentinels)
    }

    pub(crate) fn start_with(config: Config, dial: impl Dial, to_sentinels: impl Dial) -> Self {
        let (settings, metrics) = (config.settings, Metrics::new());
        let node = Node::start(Connect {
            target: Target::of(&config, Arc::new(ToSentinels(to_sentinels))),
            config,
            dial,
            role: Role::Primary,
            metrics: metrics.clone(),
            pushes: None,
        });
        Self { shared: Arc::new(Shared { settings, metrics, node }) }
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
        let outcome = self.run_command(command, || None).await;
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
        let outcome = self.run_command(script.by_digest(keys, arguments), in_full).await;
        self.shared.metrics.count_call(&outcome);
        outcome
    }

    /// Runs several commands one behind the other, on one connection and within one deadline. See [`Batch`].
    ///
    /// # Errors
    /// As [`Client::call`], for the batch as a whole; the server's errors are among the answers.
    pub async fn batch(&self, batch: Batch) -> Result<Answers, CallError> {
        batch.check(self.bytes_max(), Command::check_shared)?;
        let outcome = self.run(&batch).await;
        self.shared.metrics.count_call(&outcome);
        outcome.map(answers)
    }

    /// Runs commands as a transaction. See [`Transaction`]; for one that depends on keys that are watched,
    /// [`Dedicated::transaction`].
    ///
    /// # Errors
    /// As [`Client::call`], for the transaction as a whole; the errors of commands that ran are among the answers.
    pub async fn transaction(&self, transaction: Transaction) -> Result<Answers, CallError> {
        transaction.check(self.bytes_max())?;
        let outcome = self.run(&transaction).await;
        self.shared.metrics.count_call(&outcome);
        let outcome = transaction.outcome(outcome?)?;
        // Nobody can watch on a shared connection, so nothing can be in the way.
        outcome.ok_or_else(|| Unknown::Torn.into())
    }

    /// A connection of one's own: for commands that block, and for transactions that depend on watched keys. It is made for
    /// this call, within the usual deadline, and closed when the value is dropped.
    ///
    /// # Errors
    /// [`NotSent`](crate::NotSent) in [`CallError`]: the server cannot be reached, or
    /// [`Settings::dedicated_max`] are in use.
    pub async fn dedicated(&self) -> Result<Dedicated, CallError> {
        self.shared.node.dedicated().await.map_err(CallError::from)
    }

    /// Whether there is a connection, now and from now on.
    #[must_use]
    pub fn connection(&self) -> watch::Receiver<Connection> {
        self.shared.node.connection()
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

    /// Where the server is: `host:port`, `unix:path`, or the name of the service that the sentinels watch.
    #[must_use]
    pub fn address(&self) -> &str {
        self.shared.node.name()
    }

    fn bytes_max(&self) -> usize {
        self.shared.settings.in_flight_bytes_max as usize
    }

    /// Runs a command; in place of one that names a script which the server does not know, what `in_full` makes.
    async fn run_command(
        &self,
        mut command: Command,
        in_full: impl FnOnce() -> Option<Command>,
    ) -> Result<Frame, CallError> {
        let (started, deadline) = (now(), deadline(&command, &self.shared.settings));
        let mut in_full = Some(in_full);
        let mut attempts = Attempts::default();
        loop {
            command.check_shared(self.bytes_max())?;
            let frame = match self.attempt(&command, started, deadline, &mut attempts).await? {
                Attempt::Again => continue,
                Attempt::Answered(frame) => frame,
            };
            let Frame::Error(text) = frame else { return Ok(frame) };
            let error = ServerError::new(&text);
            let in_full = if error.code == "NOSCRIPT" { in_full.take() } else { None };
            match in_full.and_then(|in_full| in_full()) {
                Some(whole) => command = whole,
                None => return Err(attempts.in_spite_of_the_lost(error.into())),
            }
        }
    }

    /// Runs a request that has several answers.
    async fn run(&self, request: &impl Request) -> Result<Frame, CallError> {
        let (started, deadline) = (now(), deadline(request, &self.shared.settings));
        let mut attempts = Attempts::default();
        loop {
            if let Attempt::Answered(frame) = self.attempt(request, started, deadline, &mut attempts).await? {
                return Ok(frame);
            }
        }
    }

    /// Sends a request, which was checked, and waits for what becomes of it.
    async fn attempt(
        &self,
        request: &impl Request,
        started: std::time::Instant,
        deadline: std::time::Instant,
        attempts: &mut Attempts,
    ) -> Result<Attempt, CallError> {
        let sent = self.shared.node.send(request, started, deadline).await;
        let sent = sent.map_err(|error| attempts.in_spite_of_the_lost(error.into()))?;
        tracing::trace!(epoch = %sent.epoch, "sent to the store");
        match sent.answer.await.unwrap_or(Delivery::Lost(Fate::Unknown, Death::Stopped)) {
            Delivery::Answer(frame) => return Ok(Attempt::Answered(frame)),
            Delivery::Expired => return Err(Unknown::Deadline.into()),
            // Ends with the deadline, because the next attempt has to wait for another connection.
            Delivery::Lost(Fate::NotSent, _) => {}
            Delivery::Lost(Fate::Unknown, death)
                if request.is_idempotent() && death.spares_a_repeat() && attempts.resends < RESENDS_MAX =>
            {
                attempts.resends += 1;
                attempts.lost = Some(death);
            }
            Delivery::Lost(Fate::Unknown, death) => return Err(Unknown::Lost(death).into()),
        }
        self.shared.metrics.resent.inc();
        Ok(Attempt::Again)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("address", &self.address()).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "client_login_tests.rs"]
mod login_tests;
