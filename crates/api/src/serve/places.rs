//! Places for connections. When none is free, the one that has waited longest for its peer makes room.
//!
//! A connection waits for its peer from when it has been accepted to when the head of a request is there, and from when an
//! answer has left to the next head; and in between when the peer lets it wait too long: for the body (`inward`) or by not
//! reading (`outward`). Whoever only opens connections, or lets them idle, can therefore not keep anybody out, however many
//! they are; a client that comes needs no longer than a round trip to be no such connection any more. Room is made by the
//! address that has most of them, so that many from one address take the places of each other, and only many addresses
//! together those of others.
//!
//! An address gets no fixed share, as it does at the port for agents: callers of the session service are few and busy, often
//! all behind one address.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bowline_rt::net::who;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// The places of a port.
#[derive(Debug)]
pub(super) struct Places {
    free: Arc<Semaphore>,
    waiting: Mutex<Waiting>,
    /// One more connection waits for its peer.
    grown: Notify,
}

/// Connections that wait for their peers, by address and in the order in which they began.
#[derive(Debug, Default)]
struct Waiting {
    begun: u64,
    by_address: BTreeMap<IpAddr, BTreeMap<u64, CancellationToken>>,
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
    /// When it began to wait for its peer, in the order of all; `None` if it does not.
    since: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No request is there.
    Idle,
    /// A request is worked on.
    Working,
    /// Its answer is on the way out.
    Leaving,
}

/// A request is worked on; when the last of those who do is dropped, its answer is on the way out.
#[derive(Debug)]
pub(super) struct Work(Arc<Place>);

impl Places {
    pub fn new(count: usize) -> Arc<Self> {
        Arc::new(Self {
            free: Arc::new(Semaphore::new(count)),
            waiting: Mutex::default(),
            grown: Notify::new(),
        })
    }

    /// Takes a place for a connection from `address`, and makes room for it if it has to. It waits only while a request is
    /// worked on at every place. Cancel safe.
    pub async fn take(self: &Arc<Self>, address: IpAddr) -> Arc<Place> {
        let permit = match self.free.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => self.room().await,
        };
        let (address, gone) = (who(address), CancellationToken::new());
        let turn = Turn { phase: Phase::Idle, since: Some(self.begin(address, &gone)) };
        Arc::new(Place { places: self.clone(), address, turn: Mutex::new(turn), gone, _permit: permit })
    }

    async fn room(&self) -> OwnedSemaphorePermit {
        let free = self.free.clone().acquire_owned();
        let evicted = async {
            while !self.evict() {
                self.grown.notified().await;
            }
            std::future::pending().await
        };
        tokio::select! {
            biased;
            permit = free => permit.expect("the semaphore is never closed"),
            never = evicted => never,
        }
    }

    fn begin(&self, address: IpAddr, gone: &CancellationToken) -> u64 {
        let mut waiting = lock(&self.waiting);
        waiting.begun += 1;
        let since = waiting.begun;
        waiting.by_address.entry(address).or_default().insert(since, gone.clone());
        self.grown.notify_one();
        since
    }

    /// Ends the waiting of a connection; whether it still waited.
    fn end(&self, address: IpAddr, since: u64) -> bool {
        lock(&self.waiting).remove(address, since).is_some()
    }

    /// Sends one connection away, if any waits for its peer.
    fn evict(&self) -> bool {
        let mut waiting = lock(&self.waiting);
        let firsts = waiting.by_address.iter().filter_map(|(address, here)| {
            let (since, _) = here.first_key_value()?;
            Some((here.len(), Reverse(*since), *address))
        });
        let Some((_, Reverse(since), address)) = firsts.max() else { return false };
        let gone = waiting.remove(address, since);
        gone.iter().for_each(CancellationToken::cancel);
        gone.is_some()
    }
}

impl Waiting {
    fn remove(&mut self, address: IpAddr, since: u64) -> Option<CancellationToken> {
        let here = self.by_address.get_mut(&address)?;
        let gone = here.remove(&since);
        if here.is_empty() {
            self.by_address.remove(&address);
        }
        gone
    }
}

impl Place {
    /// Resolves when this connection has to make room. From then on it does no work.
    pub async fn gone(&self) {
        self.gone.cancelled().await;
    }

    /// Begins the work on a request; `None` if this connection has to make room.
    pub fn work(self: &Arc<Self>) -> Option<Arc<Work>> {
        lock(&self.turn).phase = Phase::Working;
        self.goes_on().then(|| Arc::new(Work(self.clone())))
    }

    /// The peer lets the connection wait.
    pub fn waits(&self) {
        let mut turn = lock(&self.turn);
        if turn.since.is_none() {
            turn.since = Some(self.places.begin(self.address, &self.gone));
        }
    }

    /// The peer lets it wait no more, if there is a request. Whether it need not make room.
    pub fn goes_on(&self) -> bool {
        let mut turn = lock(&self.turn);
        if turn.phase == Phase::Idle {
            return true;
        }
        turn.since.take().is_none_or(|since| self.places.end(self.address, since))
    }

    /// All that was to be written was.
    pub fn has_written(&self) {
        let is_answered = {
            let mut turn = lock(&self.turn);
            let is_answered = turn.phase == Phase::Leaving;
            if is_answered {
                turn.phase = Phase::Idle;
            }
            is_answered
        };
        if is_answered {
            self.waits();
        }
    }
}

impl Work {
    pub fn place(&self) -> &Place {
        &self.0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(since) = lock(&self.turn).since.take() {
            self.places.end(self.address, since);
        }
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
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn taken(places: &Arc<Places>, address: &str) -> Arc<Place> {
        places.take(address.parse().expect("an address")).now_or_never().expect("a place is free")
    }

    /// Somebody comes: who has to go for it?
    #[track_caller]
    fn makes_room(places: &Arc<Places>, among: &[&Arc<Place>], expected: &[bool]) {
        let newcomer = places.take("192.0.2.99".parse().expect("an address")).now_or_never();
        assert!(newcomer.is_none(), "no place was free");
        let gone: Vec<bool> = among.iter().map(|place| place.gone.is_cancelled()).collect();
        assert_eq!(gone, expected);
    }

    #[test]
    fn who_has_waited_longest_goes_and_of_the_address_that_has_most() {
        let places = Places::new(4);
        let first = taken(&places, "192.0.2.1");
        let [a, b, c] = [(); 3].map(|()| taken(&places, "192.0.2.2"));
        let all = [&first, &a, &b, &c];
        makes_room(&places, &all, &[false, true, false, false]);
        // Its work moves it to the end of the queue, and while it lasts out of it.
        let work = b.work().expect("it may stay");
        makes_room(&places, &all, &[true, true, false, false]);
        makes_room(&places, &all, &[true, true, false, true]);
        makes_room(&places, &all, &[true, true, false, true]);
        drop(work);
        makes_room(&places, &all, &[true, true, false, true]);
        b.has_written();
        makes_room(&places, &all, &[true, true, true, true]);
        assert!(b.work().is_none(), "it has to make room");
        drop((first, a, b, c));
        assert!(lock(&places.waiting).by_address.is_empty());
        assert_eq!(places.free.available_permits(), 4);
    }

    #[test]
    fn room_is_made_as_soon_as_somebody_waits_for_its_peer() {
        let places = Places::new(1);
        let only = taken(&places, "192.0.2.1");
        let work = only.work().expect("it may stay");
        let mut next = Box::pin(places.take("192.0.2.2".parse().expect("an address")));
        assert!(
            next.as_mut().now_or_never().is_none() && !only.gone.is_cancelled(),
            "work is not interrupted"
        );
        only.waits();
        assert!(next.as_mut().now_or_never().is_none() && only.gone.is_cancelled());
        assert!(!only.goes_on(), "it is too late");
        drop(work);
        drop(only);
        let next = next.now_or_never().expect("the place is free");
        assert!(next.work().is_some());
    }

    #[test]
    fn who_lets_a_request_wait_makes_room_until_it_goes_on() {
        let places = Places::new(2);
        let [a, b] = [(); 2].map(|()| taken(&places, "192.0.2.1"));
        let works = [a.work(), b.work()];
        a.waits();
        b.waits();
        assert!(a.goes_on());
        makes_room(&places, &[&a, &b], &[false, true]);
        a.has_written();
        makes_room(&places, &[&a, &b], &[false, true]);
        drop(works);
        a.has_written();
        makes_room(&places, &[&a, &b], &[true, true]);
    }

    #[test]
    fn networks_of_ipv6_are_one_address() {
        let places = Places::new(3);
        let alone = taken(&places, "2001:db8:1::1");
        let [a, b] = ["2001:db8:2::1", "2001:db8:2::2"].map(|address| taken(&places, address));
        makes_room(&places, &[&alone, &a, &b], &[false, true, false]);
    }
}
