//! Places for connections. When none is free, the one that has waited longest for its peer makes room.
//!
//! A connection waits for its peer from when it has been accepted to when the head of a request is there, and from when the peer
//! can have taken an answer to the next head; and in between when the peer lets it wait too long: for the body (`inward`) or by not
//! reading (`outward`). Whoever only opens connections, or lets them idle, can therefore not keep anybody out, however many
//! they are.
//!
//! - Nobody makes room before there was time for a head to come ([`HEAD_GRACE`]): the others may all be at work, and who came
//!   last would be the only one that waits.
//! - Room is made by the address that has most places, those at work included, so that many from one address take the places
//!   of each other, and only many addresses together those of others. One that has more than half of all has a shorter
//!   grace, or it could come faster than places become free.
//! - An address gets no fixed share, as it does at the port for agents: callers of the session service are few and busy, often
//!   all behind one address.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::mem;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bowline_rt::net::who;
use bowline_rt::time::{Duration, Instant, now, sleep_until};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::counters::{Cut, PortCounters};
use crate::limits::{
    ANSWER_LEAVES_WITHIN, ANSWER_RATE_MIN, HEAD_GRACE, HEAD_GRACE_OF_MOST, LAST_ANSWER_LEAVES_WITHIN,
};

/// The places of a port.
#[derive(Debug)]
pub(super) struct Places {
    count: usize,
    free: Arc<Semaphore>,
    taken: Mutex<Taken>,
    /// One more connection waits for its peer.
    grown: Notify,
    counters: PortCounters,
}

/// The places that are taken, by address.
#[derive(Debug, Default)]
struct Taken {
    begun: u64,
    by_address: BTreeMap<IpAddr, Here>,
}

/// Those of one address.
#[derive(Debug, Default)]
struct Here {
    /// All of them.
    places: usize,
    /// Connections that wait for their peers, and how each is told to make room.
    waiting: BTreeMap<Waiting, CancellationToken>,
}

/// Since when a connection waits for its peer, which may lie ahead; and a number that no other one has.
type Waiting = (Instant, u64);

/// What came of looking for one that makes room.
#[derive(Debug, PartialEq, Eq)]
enum Eviction {
    Done,
    /// Nobody has waited for long enough; the first will have at this time.
    NotBefore(Instant),
    /// Nobody waits.
    Nobody,
}

/// A place; dropping it frees it.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    address: IpAddr,
    turn: Mutex<Turn>,
    gone: CancellationToken,
    _permit: OwnedSemaphorePermit,
}

/// Whose turn it is at a connection.
#[derive(Debug)]
struct Turn {
    phase: Phase,
    /// Where it is among those that wait for their peers; `None` if it does not wait.
    waits_as: Option<Waiting>,
    /// Whether the answer is to somebody known, who has time to take it.
    is_known: bool,
    /// When an answer had last left.
    answered: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No request is there.
    Idle,
    /// A request is worked on.
    Working,
    /// Its answer is on the way out.
    Leaving,
    /// No more requests are read. The peer may not have taken the last answer yet.
    Ending,
    /// It has; the stream is ended.
    Over,
}

/// A request is worked on; when the last of those who do is dropped, its answer is on the way out.
#[derive(Debug)]
pub(super) struct Work(Arc<Place>);

impl Places {
    pub fn new(count: usize, counters: PortCounters) -> Arc<Self> {
        Arc::new(Self {
            count,
            free: Arc::new(Semaphore::new(count)),
            taken: Mutex::default(),
            grown: Notify::new(),
            counters,
        })
    }

    /// Takes a place for a connection from `address`, and makes room for it if it has to. It waits while a request is worked on
    /// at every place, or everybody else came a moment ago. Cancel safe.
    pub async fn take(self: &Arc<Self>, address: IpAddr) -> Arc<Place> {
        let permit = match self.free.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => self.room().await,
        };
        let (address, gone) = (who(address), CancellationToken::new());
        lock(&self.taken).by_address.entry(address).or_default().places += 1;
        let waits_as = Some(self.begin(address, now(), &gone));
        let turn = Turn { phase: Phase::Idle, waits_as, is_known: false, answered: None };
        Arc::new(Place { places: self.clone(), address, turn: Mutex::new(turn), gone, _permit: permit })
    }

    async fn room(&self) -> OwnedSemaphorePermit {
        let free = self.free.clone().acquire_owned();
        let evicted = async {
            loop {
                match self.evict(Cut::MadeRoom) {
                    Eviction::Done => std::future::pending().await,
                    Eviction::Nobody => self.grown.notified().await,
                    // Who begins to wait meanwhile may be of an address with a shorter grace.
                    Eviction::NotBefore(time) => tokio::select! {
                        () = sleep_until(time) => {}
                        () = self.grown.notified() => {}
                    },
                }
            }
        };
        tokio::select! {
            biased;
            permit = free => permit.expect("the semaphore is never closed"),
            never = evicted => never,
        }
    }

    /// Sends the one away that has waited longest for its peer, for want of file descriptors. Whether there was one.
    pub fn free_descriptor(&self) -> bool {
        self.evict(Cut::Descriptors) == Eviction::Done
    }

    pub fn counters(&self) -> &PortCounters {
        &self.counters
    }

    fn begin(&self, address: IpAddr, since: Instant, gone: &CancellationToken) -> Waiting {
        let mut taken = lock(&self.taken);
        taken.begun += 1;
        let waiting = (since, taken.begun);
        taken.by_address.entry(address).or_default().waiting.insert(waiting, gone.clone());
        self.grown.notify_one();
        waiting
    }

    /// Ends the waiting of a connection; whether it still waited.
    fn end(&self, address: IpAddr, waiting: Waiting) -> bool {
        lock(&self.taken).remove(address, waiting).is_some()
    }

    fn leave(&self, address: IpAddr) {
        let mut taken = lock(&self.taken);
        let here = taken.by_address.get_mut(&address).expect("it has a place");
        here.places -= 1;
        if here.places == 0 {
            taken.by_address.remove(&address);
        }
    }

    /// How long a connection of an address may wait in any case.
    fn grace(&self, here: &Here) -> Duration {
        if here.places > self.count / 2 { HEAD_GRACE_OF_MOST } else { HEAD_GRACE }
    }

    /// Sends one connection away, if any has waited for its peer long enough.
    fn evict(&self, why: Cut) -> Eviction {
        let mut taken = lock(&self.taken);
        let (now, mut earliest, mut most) = (now(), None, None);
        for (address, here) in &taken.by_address {
            let Some((first, _)) = here.waiting.first_key_value() else { continue };
            let due = first.0 + self.grace(here);
            if due > now {
                earliest = Some(earliest.map_or(due, |earliest: Instant| earliest.min(due)));
            } else {
                most = most.max(Some((here.places, Reverse(*first), *address)));
            }
        }
        let Some((_, Reverse(first), address)) = most else {
            return earliest.map_or(Eviction::Nobody, Eviction::NotBefore);
        };
        taken.remove(address, first).expect("it was found a moment ago").cancel();
        self.counters.cut(why);
        Eviction::Done
    }
}

impl Taken {
    fn remove(&mut self, address: IpAddr, waiting: Waiting) -> Option<CancellationToken> {
        self.by_address.get_mut(&address)?.waiting.remove(&waiting)
    }
}

impl Place {
    /// Resolves when this connection has to make room. From then on it does no work.
    pub async fn gone(&self) {
        self.gone.cancelled().await;
    }

    /// Whether this connection has to make room.
    pub fn is_gone(&self) -> bool {
        self.gone.is_cancelled()
    }

    /// Whether neither a request nor an answer is under way, and more requests may come.
    pub fn is_idle(&self) -> bool {
        lock(&self.turn).phase == Phase::Idle
    }

    /// Whether every answer was written to its end.
    pub fn is_answered(&self) -> bool {
        matches!(lock(&self.turn).phase, Phase::Idle | Phase::Ending | Phase::Over)
    }

    /// Whether the peer has taken all that it was owed, and the stream is ended.
    pub fn is_over(&self) -> bool {
        lock(&self.turn).phase == Phase::Over
    }

    /// The peer has taken every answer.
    pub fn has_ended(&self) {
        let mut turn = lock(&self.turn);
        if turn.phase == Phase::Ending {
            turn.phase = Phase::Over;
        }
    }

    /// No more requests are read: what is left is up to the peer.
    pub fn ends(&self) {
        {
            let mut turn = lock(&self.turn);
            if turn.phase == Phase::Idle {
                turn.phase = Phase::Ending;
            }
        }
        self.waits();
    }

    /// When an answer had last left, if any has.
    pub fn answered(&self) -> Option<Instant> {
        lock(&self.turn).answered
    }

    pub fn counters(&self) -> &PortCounters {
        self.places.counters()
    }

    /// Begins the work on a request; `None` if this connection has to make room.
    pub fn work(self: &Arc<Self>) -> Option<Arc<Work>> {
        let before = mem::replace(&mut lock(&self.turn).phase, Phase::Working);
        if self.goes_on() && !self.is_gone() {
            return Some(Arc::new(Work(self.clone())));
        }
        lock(&self.turn).phase = before;
        None
    }

    /// Whether the answer that follows is to somebody known, who is given the time to take it.
    pub fn answers(&self, is_known: bool) {
        lock(&self.turn).is_known = is_known;
    }

    /// Whether the answer that is on its way is to somebody known.
    pub fn is_known(&self) -> bool {
        lock(&self.turn).is_known
    }

    /// How long the peer may take for the last answer.
    pub fn last_patience(&self) -> Duration {
        if self.is_known() { LAST_ANSWER_LEAVES_WITHIN } else { ANSWER_LEAVES_WITHIN }
    }

    /// The peer lets the connection wait.
    pub fn waits(&self) {
        self.waits_from(now());
    }

    fn waits_from(&self, since: Instant) {
        let mut turn = lock(&self.turn);
        if turn.waits_as.is_none() {
            turn.waits_as = Some(self.places.begin(self.address, since, &self.gone));
        }
    }

    /// The peer lets it wait no more, if there is a request. Whether it need not make room.
    pub fn goes_on(&self) -> bool {
        let mut turn = lock(&self.turn);
        if matches!(turn.phase, Phase::Idle | Phase::Ending | Phase::Over) {
            return true;
        }
        turn.waits_as.take().is_none_or(|waiting| self.places.end(self.address, waiting))
    }

    /// The kernel has all that was to be written, `bytes` since this was said the last time that it was the end of an answer.
    /// Whether it is.
    pub fn has_written(&self, bytes: usize) -> bool {
        let is_known = {
            let mut turn = lock(&self.turn);
            if turn.phase != Phase::Leaving {
                return false;
            }
            turn.phase = Phase::Idle;
            turn.answered = Some(now());
            turn.is_known
        };
        let time = if is_known { time_to_take(bytes) } else { Duration::ZERO };
        self.waits_from(now() + time);
        true
    }
}

/// How long a peer may need for so many bytes.
fn time_to_take(bytes: usize) -> Duration {
    let ms = bytes.saturating_mul(1_000) / ANSWER_RATE_MIN;
    Duration::from_millis(u64::try_from(ms).unwrap_or(u64::MAX)).min(ANSWER_LEAVES_WITHIN)
}

impl Work {
    pub fn place(&self) -> &Place {
        &self.0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(waiting) = lock(&self.turn).waits_as.take() {
            self.places.end(self.address, waiting);
        }
        self.places.leave(self.address);
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        lock(&self.0.turn).phase = Phase::Leaving;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "places_tests.rs"]
mod tests;
