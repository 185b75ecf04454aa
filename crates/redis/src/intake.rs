//! Where callers put their requests: the part of a connection epoch that is shared between tasks.
//!
//! Bytes and entries are one object behind one lock, which is held for a copy and never across an await. Closing it under that
//! lock is the first act of a dying epoch, so no request can slip in between the last look and the end.
//!
//! Room is bounded in requests and in bytes (INV-DRV-BOUND). It is given back by the answer or by the death of the epoch,
//! never by a caller who gives up: the server still works on what was sent.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bowline_model::Epoch;
use bowline_resp::Frame;
use bytes::BytesMut;
use tokio::sync::{Semaphore, SemaphorePermit, oneshot};

use crate::config::Settings;
use crate::epoch::{Fate, Pending};
use crate::error::Death;
use crate::request::Request;

/// What a caller is told, exactly once.
#[derive(Debug)]
pub(crate) enum Delivery {
    /// The answer, which may be an error.
    Answer(Frame),
    /// The deadline passed while the answer was owed.
    Expired,
    /// The epoch died first.
    Lost(Fate, Death),
}

/// A caller, as an epoch sees it.
pub(crate) type Caller = oneshot::Sender<Delivery>;

/// The epoch is dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Closed;

/// See the module.
#[derive(Debug)]
pub(crate) struct Intake {
    epoch: Epoch,
    state: Mutex<State>,
    /// Requests that may still be put in.
    requests: Semaphore,
    /// Bytes of requests that may still be put in.
    bytes: Semaphore,
}

#[derive(Debug)]
struct State {
    is_open: bool,
    bytes: BytesMut,
    requests: Vec<Pending<Caller>>,
    /// The task of the epoch, while it sleeps on an empty intake.
    waker: Option<Waker>,
}

/// Room for one request, taken and not yet used. Dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Room<'a> {
    request: SemaphorePermit<'a>,
    bytes: SemaphorePermit<'a>,
}

impl Intake {
    pub fn new(epoch: Epoch, settings: &Settings) -> Self {
        let state = State { is_open: true, bytes: BytesMut::new(), requests: Vec::new(), waker: None };
        Self {
            epoch,
            state: Mutex::new(state),
            requests: Semaphore::new(settings.in_flight_max),
            bytes: Semaphore::new(settings.in_flight_bytes_max as usize),
        }
    }

    /// The connection's identity.
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Whether requests are taken.
    pub fn is_open(&self) -> bool {
        self.lock().is_open
    }

    /// Room, if there is some now and nobody waits for it already.
    pub fn try_room(&self, request: &impl Request) -> Option<Room<'_>> {
        let bytes = size_of(request);
        let request = self.requests.try_acquire().ok()?;
        let bytes = self.bytes.try_acquire_many(bytes).ok()?;
        Some(Room { request, bytes })
    }

    /// Waits for room; first come, first served. Cancel safe.
    pub async fn room(&self, request: &impl Request) -> Result<Room<'_>, Closed> {
        let bytes = size_of(request);
        let request = self.requests.acquire().await.map_err(|_| Closed)?;
        let bytes = self.bytes.acquire_many(bytes).await.map_err(|_| Closed)?;
        Ok(Room { request, bytes })
    }

    /// Puts a request in. From then on its bytes will be sent, whatever the caller does.
    pub fn commit(
        &self,
        room: Room<'_>,
        request: &impl Request,
        deadline: Instant,
    ) -> Result<oneshot::Receiver<Delivery>, Closed> {
        let (caller, answer) = oneshot::channel();
        let mut guard = self.lock();
        let state = &mut *guard;
        if !state.is_open {
            return Err(Closed);
        }
        state.requests.reserve(1);
        state.requests.push(Pending::write(request, caller, deadline, &mut state.bytes));
        let waker = state.waker.take();
        drop(guard);
        // From here on the answer gives the room back.
        room.request.forget();
        room.bytes.forget();
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(answer)
    }

    /// Requests that wait to be taken; if there are none, the task is woken when the first comes.
    pub fn poll_waiting(&self, context: &Context<'_>) -> Poll<usize> {
        let mut state = self.lock();
        if state.requests.is_empty() {
            state.waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(state.requests.len())
    }

    /// Hands everything that waits to `take`, which leaves both empty; the task is woken when the next request comes. Both
    /// happen under one lock, so that no request can come in between and wait for a wake-up that nobody owes it.
    pub fn take(&self, context: &Context<'_>, take: impl FnOnce(&mut BytesMut, &mut Vec<Pending<Caller>>)) {
        let state = &mut *self.lock();
        take(&mut state.bytes, &mut state.requests);
        state.waker = Some(context.waker().clone());
    }

    /// Gives room back.
    pub fn free(&self, requests: usize, bytes: usize) {
        self.requests.add_permits(requests);
        self.bytes.add_permits(bytes);
    }

    /// Takes no more requests; those that nobody took are told that they were not sent.
    pub fn close(&self, death: Death) {
        let requests = {
            let mut state = self.lock();
            state.is_open = false;
            state.bytes = BytesMut::new();
            state.waker = None;
            std::mem::take(&mut state.requests)
        };
        self.requests.close();
        self.bytes.close();
        for request in requests {
            // Who has given up need not be told.
            drop(request.caller.send(Delivery::Lost(Fate::NotSent, death)));
        }
    }

    /// Nothing that is done under the lock leaves it half done, so a panic elsewhere in a task does not matter.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The size in permits. What is larger than all the room together was refused before.
fn size_of(request: &impl Request) -> u32 {
    u32::try_from(request.size_bytes()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use bowline_rt::time::now;

    use super::*;
    use crate::command::Command;

    fn intake() -> (Intake, Command) {
        let command = Command::new("PING");
        let in_flight_bytes_max = u32::try_from(command.size_bytes() * 3).unwrap();
        (
            Intake::new(
                Epoch::from_bits(1),
                &Settings { in_flight_max: 2, in_flight_bytes_max, ..Settings::default() },
            ),
            command,
        )
    }

    #[tokio::test]
    async fn what_nobody_took_when_the_epoch_died_was_not_sent() {
        let (intake, command) = intake();
        let answer = intake.commit(intake.try_room(&command).unwrap(), &command, now()).unwrap();
        let room = intake.try_room(&command).unwrap();
        intake.close(Death::Closed);
        assert!(matches!(answer.await, Ok(Delivery::Lost(Fate::NotSent, Death::Closed))));
        assert!(!intake.is_open());
        assert_eq!(intake.commit(room, &command, now()).err(), Some(Closed));
        assert!(intake.try_room(&command).is_none());
        assert_eq!(intake.room(&command).await.err(), Some(Closed));
    }

    #[tokio::test]
    async fn the_first_request_after_the_intake_was_emptied_wakes_the_task() {
        let (intake, command) = intake();
        let commit = || intake.commit(intake.try_room(&command).unwrap(), &command, now()).unwrap();
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(wakes.clone());
        let context = Context::from_waker(&waker);
        let take = || intake.take(&context, |bytes, requests| (bytes.clear(), requests.clear()).1);
        assert!(intake.poll_waiting(&context).is_pending());
        for expected in 1..=3 {
            let answer = commit();
            assert_eq!(wakes.0.load(Ordering::Relaxed), expected);
            drop(answer);
            assert_eq!(intake.poll_waiting(&context), Poll::Ready(1));
            take();
            intake.free(1, command.size_bytes());
        }
    }

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[tokio::test]
    async fn room_is_bounded_in_requests_and_in_bytes_and_comes_back_with_answers_only() {
        let (intake, command) = intake();
        let commit = || Some(intake.commit(intake.try_room(&command)?, &command, now()).unwrap());
        let answers = [commit(), commit()];
        assert!(answers.iter().all(Option::is_some) && commit().is_none(), "two requests fit");
        drop(answers);
        assert!(commit().is_none(), "who gives up leaves the room taken");
        intake.free(1, command.size_bytes());
        drop(intake.try_room(&command).expect("an answer came"));
        assert!(commit().is_some(), "unused room comes back by itself");

        let large = Command::new("ECHO").arg([0; 40]);
        intake.free(2, 2 * command.size_bytes());
        assert!(intake.try_room(&large).is_none(), "too many bytes");
    }
}
