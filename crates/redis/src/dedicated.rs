//! A connection that one caller has to itself: for commands that block, and for `WATCH`.
//!
//! It has what the shared connection has (one epoch, deadlines, bounds), but for two things: it is not made anew when it is
//! lost, because what the server kept for it is lost with it; and nothing is sent twice.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use bowline_resp::Frame;
use bowline_rt::task::{self, JoinHandle};
use bowline_rt::time::now;
use tokio::sync::OwnedSemaphorePermit;

use crate::batch::{Answers, Batch, Transaction, answers};
use crate::command::Command;
use crate::config::Settings;
use crate::connect::Dedication;
use crate::epoch::Fate;
use crate::error::{CallError, Death, NotSent, ServerError, Unknown};
use crate::intake::{Delivery, Intake};
use crate::metrics::Metrics;
use crate::request::{Limit, Request, after};
use crate::trace::{self, Name, traced};

/// A connection of one's own; see [`Client::dedicated`](crate::Client::dedicated). Dropping it closes it, which also ends a
/// command that blocks.
///
/// Calls are not cancel safe: one that is dropped before its end leaves a connection of which it is not known what it holds. It
/// answers [`NotSent::GivenUp`] from then on; it never gives an answer to the wrong call.
#[derive(Debug)]
pub struct Dedicated {
    intake: Arc<Intake>,
    settings: Settings,
    metrics: Metrics,
    life: JoinHandle<Death>,
    /// A call has begun and has not ended.
    is_busy: bool,
    _place: OwnedSemaphorePermit,
}

impl Drop for Dedicated {
    fn drop(&mut self) {
        self.life.abort();
    }
}

impl Dedicated {
    pub(crate) fn new(
        (intake, life): Dedication,
        settings: Settings,
        metrics: Metrics,
        place: OwnedSemaphorePermit,
    ) -> Self {
        let life = task::spawn("dedicated-connection", life);
        Self { intake, settings, metrics, life, is_busy: false, _place: place }
    }

    /// Runs a command, which may be one that blocks: that has the usual deadline on top of the time for which it asks to wait,
    /// and while it blocks the server may be silent.
    ///
    /// # Errors
    /// [`CallError`]; nothing is sent a second time.
    pub async fn call(&mut self, command: Command) -> Result<Frame, CallError> {
        command.check_dedicated(self.settings.in_flight_bytes_max as usize)?;
        let outcome = match traced!(&Name(&command), self.run(&command)) {
            Ok(Frame::Error(text)) => Err(ServerError::new(&text).into()),
            outcome => outcome,
        };
        self.metrics.count_call(&outcome);
        outcome
    }

    /// Runs commands one behind the other; see [`Batch`].
    ///
    /// # Errors
    /// As [`Dedicated::call`]; the server's errors are among the answers.
    pub async fn batch(&mut self, batch: Batch) -> Result<Answers, CallError> {
        batch.check(self.settings.in_flight_bytes_max as usize, Command::check_dedicated)?;
        let outcome = traced!(&"batch", self.run(&batch));
        self.metrics.count_call(&outcome);
        outcome.map(answers)
    }

    /// Makes the next transaction of this connection conditional: it runs only if none of `keys` was changed until then.
    ///
    /// # Errors
    /// As [`Dedicated::call`].
    pub async fn watch(&mut self, keys: impl IntoIterator<Item: AsRef<[u8]>>) -> Result<(), CallError> {
        self.call(Command::new("WATCH").args(keys)).await.map(drop)
    }

    /// Takes back every [`Dedicated::watch`] since the last transaction.
    ///
    /// # Errors
    /// As [`Dedicated::call`].
    pub async fn unwatch(&mut self) -> Result<(), CallError> {
        self.call(Command::new("UNWATCH")).await.map(drop)
    }

    /// Runs a transaction. `None` says that a watched key was changed, and nothing was run. Either way nothing is watched any
    /// more.
    ///
    /// # Errors
    /// As [`Dedicated::call`]; the errors of commands that ran are among the answers.
    pub async fn transaction(&mut self, transaction: Transaction) -> Result<Option<Answers>, CallError> {
        transaction.check_dedicated(self.settings.in_flight_bytes_max as usize)?;
        let outcome = traced!(&"transaction", self.run(&transaction));
        self.metrics.count_call(&outcome);
        transaction.outcome(outcome?)
    }

    async fn run(&mut self, request: &impl Request) -> Result<Frame, CallError> {
        if self.is_busy {
            return Err(NotSent::GivenUp.into());
        }
        let limit = Limit::In(request.deadline_or(self.settings.call_deadline));
        let answer =
            poll_fn(|context| Poll::Ready(self.intake.clone().try_commit(request, limit, context.waker())));
        let answer = answer.await.ok_or(NotSent::Gone(Death::Closed))?;
        self.is_busy = true;
        trace::sent(self.intake.epoch(), 0);
        let delivery = answer.await;
        // After a deadline the answer is still owed: the connection stays busy for good.
        self.is_busy = matches!(delivery, Delivery::Expired);
        match delivery {
            Delivery::Answer(frame) => Ok(frame),
            Delivery::Expired => Err(Unknown::Deadline.into()),
            Delivery::Lost { fate: Fate::NotSent, death, .. } => Err(NotSent::Gone(death).into()),
            Delivery::Lost { fate: Fate::Unknown, death, .. } => Err(Unknown::Lost(death).into()),
        }
    }
}

/// When a request that begins now has to be over.
pub(crate) fn deadline(request: &impl Request, settings: &Settings) -> Instant {
    deadline_from(now(), request, settings)
}

/// When a request that began at `started` has to be over.
pub(crate) fn deadline_from(started: Instant, request: &impl Request, settings: &Settings) -> Instant {
    after(started, request.deadline_or(settings.call_deadline))
}
