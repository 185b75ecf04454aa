//! Where callers put their requests: the part of a connection epoch that is shared between tasks.
//!
//! Bytes and entries are one object behind one lock, which is held for a copy and never across an await. Closing it under that
//! lock is the first act of a dying epoch, so no request can slip in between the last look and the end.
//!
//! Room is bounded in requests and in bytes (INV-DRV-BOUND). It is given back by the answer or by the death of the epoch,
//! never by a caller who gives up: the server still works on what was sent.
//!
//! A call that finds room takes the lock twice, to put its request in and to fetch its answer, and allocates nothing.

use std::future::poll_fn;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bowline_model::Epoch;
use bowline_resp::Frame;
use bowline_rt::time::now;
use bytes::BytesMut;
use tokio::sync::Semaphore;

use crate::config::Settings;
use crate::epoch::{Fate, Pending};
use crate::error::Death;
use crate::request::{Limit, Request};
use crate::slots::{Delivered, Slots};

pub(crate) use crate::slots::Caller;

/// What a caller is told, exactly once.
#[derive(Debug)]
pub(crate) enum Delivery {
    /// The answer, which may be an error.
    Answer(Frame),
    /// The deadline passed while the answer was owed.
    Expired,
    /// The epoch died first. The caller waits until `deadline`.
    Lost { fate: Fate, death: Death, deadline: Instant },
}

/// The epoch is dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Closed;

/// See the module.
#[derive(Debug)]
pub(crate) struct Intake {
    epoch: Epoch,
    state: Mutex<State>,
    /// Those who wait for room stand in a queue; only the first of them looks for it.
    turn: Semaphore,
}

#[derive(Debug)]
struct State {
    is_open: bool,
    bytes: BytesMut,
    requests: Vec<Pending<Caller>>,
    slots: Slots,
    room: Vacancy,
    /// Callers in the queue for room. While there are some, nobody else may take any.
    queued: usize,
    /// The first of them, while there is no room.
    first: Option<Waker>,
    /// The task of the epoch, while it sleeps on an empty intake.
    waker: Option<Waker>,
}

/// What may still be put in.
#[derive(Debug, Clone, Copy)]
struct Vacancy {
    requests: usize,
    bytes: usize,
}

/// Room for one request, taken and not yet used. Dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Room<'a> {
    intake: &'a Intake,
    /// 0 when it is used.
    requests: usize,
    size_bytes: usize,
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        if self.requests > 0 {
            self.intake.free(self.requests, self.size_bytes);
        }
    }
}

/// One caller in the queue for room.
struct Queued<'a>(&'a Intake);

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.lock().queued -= 1;
    }
}

/// What becomes of a request that was put in. Dropping it lets the request run on; nobody is told then.
#[derive(Debug)]
pub(crate) struct Answer {
    intake: Arc<Intake>,
    caller: Caller,
    has_ended: bool,
}

impl Answer {
    /// The connection that owes it.
    pub fn epoch(&self) -> Epoch {
        self.intake.epoch
    }
}

impl Future for Answer {
    type Output = Delivery;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Delivery> {
        let (delivery, former) = self.intake.lock().slots.poll(self.caller, context.waker());
        drop(former);
        self.has_ended = delivery.is_ready();
        delivery
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if !self.has_ended {
            let rest = self.intake.lock().slots.give_up(self.caller);
            drop(rest);
        }
    }
}

impl Intake {
    pub fn new(epoch: Epoch, settings: &Settings) -> Self {
        let state = State {
            is_open: true,
            bytes: BytesMut::new(),
            requests: Vec::new(),
            slots: Slots::default(),
            room: Vacancy { requests: settings.in_flight_max, bytes: settings.in_flight_bytes_max as usize },
            queued: 0,
            first: None,
            waker: None,
        };
        Self { epoch, state: Mutex::new(state), turn: Semaphore::new(1) }
    }

    /// The connection's identity.
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Whether requests are taken.
    pub fn is_open(&self) -> bool {
        self.lock().is_open
    }

    /// Puts a request in, if there is room for it now and nobody waits for room already. `waker` is woken when the answer has come:
    /// a task that is woken by it need not poll the answer before.
    pub fn try_commit(
        self: Arc<Self>,
        request: &impl Request,
        limit: Limit,
        waker: &Waker,
    ) -> Option<Answer> {
        // Before the lock is taken: what a waker does when it is cloned is its own affair.
        let waker = waker.clone();
        let mut state = self.lock();
        if !state.is_open || state.queued > 0 || !state.room.take(request.size_bytes()) {
            return None;
        }
        let caller = put(state, request, limit, Some(waker));
        Some(Answer { intake: self, caller, has_ended: false })
    }

    /// Waits for room; first come, first served. Cancel safe.
    pub async fn room(&self, request: &impl Request) -> Result<Room<'_>, Closed> {
        self.lock().queued += 1;
        let _queued = Queued(self);
        let _turn = self.turn.acquire().await.map_err(|_| Closed)?;
        let size_bytes = request.size_bytes();
        poll_fn(|context| self.poll_room(size_bytes, context)).await
    }

    fn poll_room(&self, size_bytes: usize, context: &Context<'_>) -> Poll<Result<Room<'_>, Closed>> {
        let waker = context.waker().clone();
        let mut state = self.lock();
        if !state.is_open {
            return Poll::Ready(Err(Closed));
        }
        if state.room.take(size_bytes) {
            return Poll::Ready(Ok(Room { intake: self, requests: 1, size_bytes }));
        }
        let former = state.first.replace(waker);
        drop(state);
        drop(former);
        Poll::Pending
    }

    /// Puts a request in. From then on its bytes will be sent, whatever the caller does.
    pub fn commit(
        self: &Arc<Self>,
        room: Room<'_>,
        request: &impl Request,
        limit: Limit,
    ) -> Result<Answer, Closed> {
        debug_assert!(std::ptr::eq(room.intake, &raw const **self), "the room is this intake's");
        let state = self.lock();
        if !state.is_open {
            // The room is given back under this lock.
            drop(state);
            return Err(Closed);
        }
        let caller = put(state, request, limit, None);
        // From here on the answer gives the room back.
        room.use_up();
        Ok(Answer { intake: self.clone(), caller, has_ended: false })
    }

    /// Requests that wait to be taken; if there are none, the task is woken when the first comes.
    pub fn poll_waiting(&self, context: &Context<'_>) -> Poll<usize> {
        let mut state = self.lock();
        if state.requests.is_empty() {
            let former = state.sleep(context);
            drop(state);
            drop(former);
            return Poll::Pending;
        }
        Poll::Ready(state.requests.len())
    }

    /// Puts everything that waits into `bytes` and `requests`, which are empty; the task is woken when the next request comes.
    /// Both happen under one lock, so that no request can come in between and wait for a wake-up that nobody owes it.
    pub fn take(&self, context: &Context<'_>, bytes: &mut BytesMut, requests: &mut Vec<Pending<Caller>>) {
        debug_assert!(bytes.is_empty() && requests.is_empty());
        let mut state = self.lock();
        mem::swap(&mut state.bytes, bytes);
        mem::swap(&mut state.requests, requests);
        let former = state.sleep(context);
        drop(state);
        drop(former);
    }

    /// Leaves what came for callers with them, and gives back the room of requests that were answered. Everybody who waits for
    /// either is woken, after all of it is done. Returns how many of the deliveries somebody waited for.
    pub fn deliver(&self, deliveries: &mut Deliveries) -> usize {
        let mut state = self.lock();
        let mut told = 0;
        for (caller, delivery) in deliveries.news.drain(..) {
            if let Delivered::To(waker) = state.slots.deliver(caller, delivery) {
                told += 1;
                deliveries.wakers.extend(waker);
            }
        }
        deliveries.wakers.extend(state.give_back(deliveries.requests, deliveries.bytes));
        drop(state);
        (deliveries.requests, deliveries.bytes) = (0, 0);
        deliveries.wakers.drain(..).for_each(Waker::wake);
        told
    }

    /// Gives room back.
    fn free(&self, requests: usize, bytes: usize) {
        let first = self.lock().give_back(requests, bytes);
        if let Some(first) = first {
            first.wake();
        }
    }

    /// Takes no more requests; those that nobody took are told that they were not sent.
    pub fn close(&self, death: Death) {
        let mut deliveries = Deliveries::default();
        let (task, first) = {
            let mut state = self.lock();
            state.is_open = false;
            state.bytes = BytesMut::new();
            for request in mem::take(&mut state.requests) {
                let deadline = request.limit.from(now());
                deliveries.tell(request.caller, Delivery::Lost { fate: Fate::NotSent, death, deadline });
            }
            (state.waker.take(), state.first.take())
        };
        self.turn.close();
        drop(task);
        if let Some(first) = first {
            first.wake();
        }
        self.deliver(&mut deliveries);
    }

    /// Nothing that is done under the lock leaves it half done, so a panic elsewhere in a task does not matter.
    #[inline]
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The one step that makes a request of the epoch: its bytes, its entry and its slot (design rule 4).
fn put(
    mut guard: MutexGuard<'_, State>,
    request: &impl Request,
    limit: Limit,
    waker: Option<Waker>,
) -> Caller {
    let state = &mut *guard;
    state.requests.reserve(1);
    let caller = state.slots.take(waker);
    state.requests.push(Pending::write(request, caller, limit, &mut state.bytes));
    let task = state.waker.take();
    drop(guard);
    if let Some(task) = task {
        task.wake();
    }
    caller
}

impl State {
    /// The task of the epoch is woken by the next request. Its former waker comes back, so that it is dropped outside the lock.
    fn sleep(&mut self, context: &Context<'_>) -> Option<Waker> {
        match &self.waker {
            Some(known) if known.will_wake(context.waker()) => None,
            _ => self.waker.replace(context.waker().clone()),
        }
    }

    /// Whom to wake comes back: there may be room for the first in the queue.
    fn give_back(&mut self, requests: usize, bytes: usize) -> Option<Waker> {
        self.room.requests += requests;
        self.room.bytes += bytes;
        if requests > 0 { self.first.take() } else { None }
    }
}

impl Vacancy {
    /// Takes room for one request, if there is some.
    #[inline]
    const fn take(&mut self, size_bytes: usize) -> bool {
        let fits = self.requests > 0 && self.bytes >= size_bytes;
        if fits {
            self.requests -= 1;
            self.bytes -= size_bytes;
        }
        fits
    }
}

impl Room<'_> {
    /// Does not give it back: an answer will.
    fn use_up(mut self) {
        (self.requests, self.size_bytes) = (0, 0);
    }
}

/// What came for callers in one turn of a connection. The memory is used again in the next.
#[derive(Debug, Default)]
pub(crate) struct Deliveries {
    news: Vec<(Caller, Delivery)>,
    /// Room that answers gave back.
    requests: usize,
    bytes: usize,
    wakers: Vec<Waker>,
}

impl Deliveries {
    /// `caller` is told `delivery`.
    #[inline]
    pub fn tell(&mut self, caller: Caller, delivery: Delivery) {
        self.news.push((caller, delivery));
    }

    /// The room of one request is free.
    #[inline]
    pub const fn free(&mut self, size_bytes: usize) {
        self.requests += 1;
        self.bytes += size_bytes;
    }

    /// Callers that will be told.
    pub const fn len(&self) -> usize {
        self.news.len()
    }

    /// Whether there is nothing to do.
    pub const fn is_empty(&self) -> bool {
        self.news.is_empty() && self.requests == 0
    }
}

#[cfg(test)]
#[path = "intake_tests.rs"]
mod tests;
