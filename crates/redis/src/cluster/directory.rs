//! The map of the cluster together with the nodes on it. What callers need of it is published as one immutable value, so that
//! finding a node takes no lock.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bowline_rt::random;
use tokio::sync::watch;

use crate::cache::Cache;
use crate::cluster::ReadFrom;
use crate::cluster::key::Slot;
use crate::cluster::layout::Layout;
use crate::cluster::map::{Map, Round, Taken};
use crate::cluster::place::{Kind, Open, Place};
use crate::limits::{CLUSTER_LINGER_ROUNDS, CLUSTER_PLACES_MAX};

/// The nodes that hold the same slots.
#[derive(Debug, Clone)]
pub(crate) struct Shard {
    pub primary: Arc<Place>,
    pub replicas: Vec<Arc<Place>>,
}

/// Who serves what, as the client believes. It is never changed, only replaced.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    shards: Vec<Shard>,
    /// The index of the shard of each slot.
    slots: Vec<Option<u16>>,
    /// The indices of those that serve something.
    serving: Vec<u16>,
}

impl Routes {
    fn new(shards: Vec<Shard>, slots: Vec<Option<u16>>) -> Self {
        let serving: BTreeSet<u16> = slots.iter().copied().flatten().collect();
        Self { shards, slots, serving: serving.into_iter().collect() }
    }

    /// Those who serve something.
    pub fn shards(&self) -> impl ExactSizeIterator<Item = &Shard> + Clone {
        self.serving.iter().map(|&shard| &self.shards[usize::from(shard)])
    }

    /// Whether anything is known.
    pub const fn is_known(&self) -> bool {
        !self.serving.is_empty()
    }

    /// Whether a slot that has an owner here has another one there.
    fn loses_a_slot_to(&self, other: &Self) -> bool {
        let owner = |routes: &Self, slot: usize| {
            let shard = (*routes.slots.get(slot)?)?;
            Some(Arc::as_ptr(&routes.shards[usize::from(shard)].primary))
        };
        (0..self.slots.len()).any(|slot| {
            let before = owner(self, slot);
            before.is_some() && before != owner(other, slot)
        })
    }

    /// Whether a slot has no owner, or a primary that callers want is not connected.
    pub fn is_amiss(&self) -> bool {
        self.slots.iter().any(Option::is_none)
            || !self.is_known()
            || self.shards().any(|shard| shard.primary.is_missed(Kind::Primary))
    }

    /// Who is to be asked about `slot`, or if that is `None`, about what any primary can answer.
    pub fn place(&self, slot: Option<Slot>, read_from: ReadFrom) -> Option<(Arc<Place>, Kind)> {
        let Some(slot) = slot else { return Some((self.any()?, Kind::Primary)) };
        let shard = (*self.slots.get(usize::from(slot.number()))?)?;
        let shard = &self.shards[usize::from(shard)];
        Some(match pick_replica(&shard.replicas, read_from) {
            Some(replica) => (replica, Kind::Replica),
            None => (shard.primary.clone(), Kind::Primary),
        })
    }

    /// A random primary, one that is connected if there is one.
    fn any(&self) -> Option<Arc<Place>> {
        let shards = self.shards();
        let start = below(shards.len());
        let mut in_turn = shards.clone().cycle().skip(start).take(shards.len()).map(|shard| &shard.primary);
        let up = in_turn.clone().find(|place| place.is_up(Kind::Primary));
        up.or_else(|| in_turn.next()).cloned()
    }
}

/// The replica to ask; `None` if that is the primary.
pub(crate) fn pick_replica(replicas: &[Arc<Place>], read_from: ReadFrom) -> Option<Arc<Place>> {
    match read_from {
        ReadFrom::Primary => None,
        ReadFrom::PreferReplica => pick(replicas, replicas.len()),
        ReadFrom::Any => pick(replicas, replicas.len() + 1),
    }
}

/// One of the replicas that are connected: the one on which a draw from `draw_from` falls, or the next. Those that are passed
/// over begin to connect.
fn pick(replicas: &[Arc<Place>], draw_from: usize) -> Option<Arc<Place>> {
    let start = below(draw_from);
    if start >= replicas.len() {
        return None;
    }
    let mut in_turn = replicas.iter().cycle().skip(start).take(replicas.len());
    in_turn
        .find(|place| {
            place.node(Kind::Replica);
            place.is_up(Kind::Replica)
        })
        .cloned()
}

fn below(bound: usize) -> usize {
    usize::try_from(random::below(bound as u64)).expect("it is below a usize")
}

/// See the module.
pub(crate) struct Directory {
    state: Mutex<State>,
    routes: watch::Sender<Arc<Routes>>,
    open: Open,
    /// What was read from nodes, for as long as they own the slots of what was read.
    cache: Option<Arc<Cache>>,
}

struct State {
    map: Map,
    /// The routes are those of the map.
    is_published: bool,
    places: HashMap<String, Known>,
}

/// A node whose address was told.
struct Known {
    place: Arc<Place>,
    /// Refreshes in a row in which it was not on the map.
    missing: u32,
}

impl Directory {
    pub fn new(open: Open, cache: Option<Arc<Cache>>) -> Self {
        let state = State { map: Map::new(), is_published: true, places: HashMap::new() };
        Self { state: Mutex::new(state), routes: watch::Sender::new(Arc::default()), open, cache }
    }

    /// What is believed now, and from now on.
    pub fn routes(&self) -> watch::Receiver<Arc<Routes>> {
        self.routes.subscribe()
    }

    /// The node at `address`; `None` if there are too many.
    pub fn place(&self, address: &str) -> Option<Arc<Place>> {
        self.lock().place(address, &self.open)
    }

    /// A redirect said that the node at `to` serves `slot`. Whether that was news.
    pub fn moved(&self, slot: Slot, to: &str) -> bool {
        let mut state = self.lock();
        let is_news = state.map.moved(slot, to);
        if is_news {
            self.publish(&mut state);
        }
        is_news
    }

    /// Begins a refresh.
    pub fn begin_round(&self) -> Round {
        self.lock().map.begin_round()
    }

    /// Takes the answers to the refresh of `round`. A node that has left the map is forgotten a few refreshes later, and its
    /// connections end with the last call on them. Not at once: a node to which slots only begin to move is on no map, and one
    /// that comes back should find the connection that knows its predecessor.
    pub fn take(&self, round: Round, answers: Vec<Layout>) -> Taken {
        let mut state = self.lock();
        let taken = state.map.take(round, answers);
        if taken != Taken::Stale {
            let State { map, places, .. } = &mut *state;
            let on_map: HashSet<&str> = map
                .shards()
                .iter()
                .flat_map(|shard| [&shard.primary].into_iter().chain(&shard.replicas).map(String::as_str))
                .collect();
            places.retain(|address, known| {
                known.missing = if on_map.contains(address.as_str()) { 0 } else { known.missing + 1 };
                known.missing < CLUSTER_LINGER_ROUNDS || Arc::strong_count(&known.place) > 1
            });
        }
        if taken == Taken::Changed || (taken == Taken::Same && !state.is_published) {
            self.publish(&mut state);
        }
        taken
    }

    fn publish(&self, state: &mut State) {
        let shards = state.map.shards().to_vec();
        state.is_published = false;
        let mut place = |address: &String| state.place(address, &self.open);
        let shards = shards.iter().map(|shard| {
            let replicas: Option<Vec<_>> = shard.replicas.iter().map(&mut place).collect();
            Some(Shard { primary: place(&shard.primary)?, replicas: replicas? })
        });
        let Some(shards) = shards.collect() else {
            tracing::warn!(
                nodes_max = CLUSTER_PLACES_MAX,
                "the cluster has named too many nodes; its newest layout is not used until some have gone"
            );
            return;
        };
        let slots = state.map.slots().to_vec();
        state.is_published = true;
        let before = self.routes.send_replace(Arc::new(Routes::new(shards, slots)));
        // A former owner may never learn of what is written from now on, and so could not tell of it. Whoever reads from it after
        // this has begun before, and keeps nothing.
        if before.loses_a_slot_to(&self.routes.borrow()) {
            self.cache.iter().for_each(|cache| cache.empty());
        }
    }

    /// Nothing that is done under the lock leaves it half done, so a panic elsewhere in a task does not matter.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn place(&mut self, address: &str, open: &Open) -> Option<Arc<Place>> {
        if let Some(known) = self.places.get(address) {
            return Some(known.place.clone());
        }
        if self.places.len() >= CLUSTER_PLACES_MAX {
            return None;
        }
        let place = Arc::new(Place::new(address, open.clone()));
        self.places.insert(address.to_owned(), Known { place: place.clone(), missing: 0 });
        Some(place)
    }
}
