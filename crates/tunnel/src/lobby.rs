//! Places for connections that have not yet said who they are, and how many of them one address may take.
//!
//! Whoever opens connections and says nothing takes places of its own address only. What an address has too many of
//! waits in a queue, so that a fleet of agents behind one address that reconnects together is smoothed and not turned
//! away; when the queue is full too, the connection is closed. Who has said who he is counts no more.
//!
//! Many addresses together can take all places. Some are therefore kept for addresses that are known: there an agent is
//! attached, whose tunnels come in by the same port.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use bowline_rt::net::who;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits;
use crate::session::lock;

/// See the module's documentation.
#[derive(Debug)]
pub struct Lobby {
    places: Arc<Semaphore>,
    kept_places: Arc<Semaphore>,
    queue: Arc<Semaphore>,
    per_address_max: usize,
    /// Addresses at which more are noted than this many are looked through for those that hold nothing.
    addresses_max: usize,
    shares: Mutex<BTreeMap<IpAddr, Arc<Semaphore>>>,
}

/// A place in the lobby; dropping it frees it.
#[derive(Debug)]
pub struct LobbyPlace {
    _place: OwnedSemaphorePermit,
    _share: OwnedSemaphorePermit,
}

/// What a connection gets.
#[derive(Debug)]
pub enum Entry {
    /// A place at once.
    Place(LobbyPlace),
    /// A place in the queue: its address has its share, or all places are taken.
    Queued(Queued),
    /// Nothing.
    Full,
}

/// A place in the queue.
#[derive(Debug)]
pub struct Queued {
    places: Arc<Semaphore>,
    /// Where its address is known.
    kept_places: Option<Arc<Semaphore>>,
    share: Arc<Semaphore>,
    _in_queue: OwnedSemaphorePermit,
}

impl Lobby {
    /// A lobby with so many places, of which one address gets so many, with a queue as long as there are places, and with
    /// as many more kept for known addresses as one gets.
    pub fn new(places: usize, per_address_max: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(places)),
            kept_places: Arc::new(Semaphore::new(per_address_max)),
            queue: Arc::new(Semaphore::new(places)),
            per_address_max,
            addresses_max: 4 * places,
            shares: Mutex::default(),
        }
    }

    /// The lobby of a port.
    pub fn of_port() -> Self {
        Self::new(limits::STRANGERS_MAX, limits::STRANGERS_PER_ADDRESS_MAX)
    }

    /// Whether every place is taken.
    pub fn is_full(&self) -> bool {
        self.places.available_permits() == 0
    }

    /// Takes in a connection from `remote`, a known address or not.
    pub fn enter(&self, remote: SocketAddr, is_known: bool) -> Entry {
        let share = self.share(remote.ip());
        let permits = share.clone().try_acquire_owned().ok().zip(self.try_place(is_known));
        if let Some((share, place)) = permits {
            return Entry::Place(LobbyPlace { _place: place, _share: share });
        }
        match self.queue.clone().try_acquire_owned() {
            Ok(in_queue) => {
                let kept_places = is_known.then(|| self.kept_places.clone());
                Entry::Queued(Queued { places: self.places.clone(), kept_places, share, _in_queue: in_queue })
            }
            Err(_) => Entry::Full,
        }
    }

    fn try_place(&self, is_known: bool) -> Option<OwnedSemaphorePermit> {
        let kept = || self.kept_places.clone().try_acquire_owned().ok().filter(|_| is_known);
        self.places.clone().try_acquire_owned().ok().or_else(kept)
    }

    fn share(&self, address: IpAddr) -> Arc<Semaphore> {
        let mut shares = lock(&self.shares);
        if shares.len() >= self.addresses_max {
            // Whoever holds or waits for a part of a share holds on to the share.
            shares.retain(|_, share| Arc::strong_count(share) > 1);
        }
        let share = shares.entry(who(address));
        share.or_insert_with(|| Arc::new(Semaphore::new(self.per_address_max))).clone()
    }
}

impl Queued {
    /// Waits for a place. Cancel safe.
    pub async fn place(self) -> LobbyPlace {
        let share = acquire(&self.share).await;
        let kept = async {
            match &self.kept_places {
                Some(kept) => acquire(kept).await,
                None => std::future::pending().await,
            }
        };
        let place = tokio::select! {
            biased;
            place = acquire(&self.places) => place,
            place = kept => place,
        };
        LobbyPlace { _place: place, _share: share }
    }
}

async fn acquire(semaphore: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    semaphore.clone().acquire_owned().await.expect("the semaphores of a lobby are never closed")
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use futures_util::FutureExt;

    use super::*;

    fn enter(lobby: &Lobby, address: &str) -> Entry {
        lobby.enter(SocketAddr::new(address.parse().expect("an address"), 1), false)
    }

    #[test]
    fn places_are_kept_for_known_addresses() {
        let lobby = Lobby::new(2, 1);
        let taken = ["192.0.2.1", "192.0.2.2"].map(|address| enter(&lobby, address));
        assert!(taken.iter().all(|entry| matches!(entry, Entry::Place(_))) && lobby.is_full());
        let queued = enter(&lobby, "192.0.2.3");
        let Entry::Queued(queued) = queued else { panic!("all places are taken") };
        let known = SocketAddr::new("192.0.2.4".parse().expect("an address"), 1);
        let Entry::Place(kept) = lobby.enter(known, true) else { panic!("a place is kept for it") };
        let Entry::Queued(next) = lobby.enter(known, true) else { panic!("one address gets its share") };
        drop(kept);
        assert!(next.place().now_or_never().is_some(), "the kept place is there for the next one too");
        drop(taken);
        assert!(queued.place().now_or_never().is_some());
    }

    #[test]
    fn one_address_takes_its_share_then_queues_and_is_then_turned_away() {
        let lobby = Lobby::new(4, 1);
        let Entry::Place(first) = enter(&lobby, "192.0.2.1") else { panic!("a place is free") };
        let mut queue: Vec<Queued> = Vec::new();
        for _ in 0..4 {
            let Entry::Queued(queued) = enter(&lobby, "192.0.2.1") else { panic!("the queue has room") };
            queue.push(queued);
        }
        assert!(matches!(enter(&lobby, "192.0.2.1"), Entry::Full));
        let other = enter(&lobby, "192.0.2.2");
        assert!(matches!(other, Entry::Place(_)), "the others' places are theirs");
        let mut waiting = Box::pin(queue.remove(0).place());
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(first);
        assert!(waiting.now_or_never().is_some(), "the share is free again");
        assert!(matches!(enter(&lobby, "192.0.2.1"), Entry::Place(_)));
    }

    #[test]
    fn addresses_that_have_gone_are_forgotten() {
        let lobby = Lobby::new(4, 1);
        let kept = enter(&lobby, "192.0.2.1");
        for host in 0..1_000_u32 {
            drop(enter(&lobby, &Ipv6Addr::from_bits(u128::from(host) << 64).to_string()));
        }
        assert!(lock(&lobby.shares).len() <= 16);
        assert!(matches!(enter(&lobby, "192.0.2.1"), Entry::Queued(_)), "who is here is not forgotten");
        drop(kept);
    }
}
