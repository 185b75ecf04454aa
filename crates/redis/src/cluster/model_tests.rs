//! A model of a cluster: it counts, its slots move key by key, its nodes fail over, cut connections and lag behind in what they
//! know of each other, in any order. Every increment is counted, and every call ends in time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bowline_resp::Frame;
use bowline_rt::time::{now, sleep};
use bowline_rt::{random, task};
use proptest::prelude::*;

use super::world::{DEADLINE, World, range};
use crate::client::Client;
use crate::cluster::key::{SLOTS, Slot};
use crate::command::Command;
use crate::error::CallError;

/// The first one never dies: somebody has to be known.
const NODES: usize = 4;
const NAMES: [&str; NODES] = ["a", "b", "c", "d"];
const KEYS: usize = 4;
const CALLERS: usize = 6;

#[derive(Debug, Clone)]
enum Event {
    /// The slot of a key begins to move to a node, its key moves, the move ends.
    Begin(usize, usize),
    Move(usize),
    End(usize),
    /// A node learns what is.
    Gossip(usize),
    /// A node dies, and its replica, which has everything, takes over at another address.
    FailOver(usize),
    /// A node runs its next command and then cuts the connection.
    Cut(usize),
    Wait(u64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => (0..KEYS, 0..NODES).prop_map(|(key, to)| Event::Begin(key, to)),
        3 => (0..KEYS).prop_map(Event::Move),
        3 => (0..KEYS).prop_map(Event::End),
        4 => (0..NODES).prop_map(Event::Gossip),
        1 => (1..NODES).prop_map(Event::FailOver),
        1 => (0..NODES).prop_map(Event::Cut),
        6 => (0..200_u64).prop_map(Event::Wait),
    ]
}

/// Who serves which key: what one node knows, or what is.
#[derive(Debug, Clone, Default)]
struct View {
    epoch: u64,
    owners: Vec<usize>,
    addresses: Vec<String>,
}

#[derive(Debug, Default)]
struct Truth {
    now: View,
    known: Vec<View>,
    counters: Vec<i64>,
    /// Where the slot of a key moves to, and whether the key is there.
    moving: Vec<Option<(usize, bool)>>,
    asking: Vec<bool>,
    cuts: Vec<bool>,
}

fn key(number: usize) -> String {
    format!("k{number}")
}

impl Truth {
    /// What node `node` says to `words`.
    fn answer(&mut self, node: usize, words: &str) -> Option<Frame> {
        if words == "ASKING" {
            self.asking[node] = true;
            return Some(Frame::ok());
        }
        let asking = std::mem::take(&mut self.asking[node]);
        let name = words.strip_prefix("INCR ").expect("the callers only count");
        let number = (0..KEYS).find(|&number| key(number) == name).unwrap();
        let slot = Slot::of(name.as_bytes());
        let view = &self.known[node];
        let to = |kind, node: usize| Frame::error(format!("{kind} {slot} {}", view.addresses[node]));
        let is_owner = self.now.owners[number] == node;
        match self.moving[number] {
            Some((target, true)) if is_owner => return Some(to("ASK", target)),
            Some((target, true)) if asking && target == node => {}
            // The key may be at the source yet: several keys of one slot would meet this.
            Some((target, false)) if asking && target == node => return Some(Frame::error("TRYAGAIN x")),
            // What it does not own it believes to be where it last heard; but never with itself.
            _ if !is_owner => {
                let believed = view.owners[number];
                let to = if believed == node { Frame::error("CLUSTERDOWN x") } else { to("MOVED", believed) };
                return Some(to);
            }
            _ => {}
        }
        self.counters[number] += 1;
        let is_cut = std::mem::take(&mut self.cuts[node]);
        (!is_cut).then_some(Frame::Integer(self.counters[number]))
    }
}

struct Model {
    world: World,
    truth: Arc<Mutex<Truth>>,
}

impl Model {
    fn new() -> Self {
        let now = View {
            epoch: 1,
            owners: (0..KEYS).map(|key| key % NODES).collect(),
            addresses: (0..NODES).map(|node| format!("{}:1", NAMES[node])).collect(),
        };
        let truth = Truth {
            known: vec![now.clone(); NODES],
            counters: vec![0; KEYS],
            moving: vec![None; KEYS],
            asking: vec![false; NODES],
            cuts: vec![false; NODES],
            now,
        };
        let model = Self { world: World::default(), truth: Arc::new(Mutex::new(truth)) };
        (0..NODES).for_each(|node| model.open(node));
        model
    }

    /// Node `node` answers at its address.
    fn open(&self, node: usize) {
        let truth = self.truth.clone();
        let address = truth.lock().unwrap().now.addresses[node].clone();
        self.world.node(&address, move |words| truth.lock().unwrap().answer(node, words));
        self.gossip(node);
    }

    /// Node `node` learns what is.
    fn gossip(&self, node: usize) {
        let mut truth = self.truth.lock().unwrap();
        let now = truth.now.clone();
        let owner = |number: u16| {
            let key = (0..KEYS).find(|&known| Slot::of(key(known).as_bytes()).number() == number);
            &*now.addresses[key.map_or(0, |key| now.owners[key])]
        };
        let mut slots: Vec<u16> = (0..KEYS).map(|known| Slot::of(key(known).as_bytes()).number()).collect();
        slots.sort_unstable();
        let mut ranges = Vec::new();
        let mut first = 0;
        for slot in slots {
            ranges.push(range(first, slot - 1, &[&now.addresses[0]]));
            ranges.push(range(slot, slot, &[owner(slot)]));
            first = slot + 1;
        }
        ranges.push(range(first, SLOTS - 1, &[&now.addresses[0]]));
        self.world.say_at(&now.addresses[node], now.epoch, ranges);
        truth.known[node] = now;
    }

    async fn happen(&self, event: &Event) {
        match *event {
            Event::Wait(millis) => sleep(Duration::from_millis(millis)).await,
            _ => self.change(event),
        }
    }

    fn change(&self, event: &Event) {
        let mut truth = self.truth.lock().unwrap();
        match *event {
            Event::Begin(key, to) if truth.moving[key].is_none() && truth.now.owners[key] != to => {
                truth.moving[key] = Some((to, false));
            }
            Event::Move(key) => truth.moving[key] = truth.moving[key].map(|(to, _)| (to, true)),
            Event::End(key) => {
                if let Some((to, true)) = truth.moving[key] {
                    truth.moving[key] = None;
                    truth.now.owners[key] = to;
                    truth.now.epoch += 1;
                    drop(truth);
                    self.gossip(to);
                }
            }
            Event::Gossip(node) => {
                drop(truth);
                self.gossip(node);
            }
            Event::FailOver(node) => {
                let old = truth.now.addresses[node].clone();
                truth.now.epoch += 1;
                let epoch = truth.now.epoch;
                truth.now.addresses[node] = format!("{}{epoch}:1", NAMES[node]);
                truth.asking[node] = false;
                drop(truth);
                self.world.remove(&old);
                self.open(node);
            }
            Event::Cut(node) => truth.cuts[node] = true,
            Event::Begin(..) | Event::Wait(_) => {}
        }
    }
}

/// Counts until `stop`; returns for each key what was acknowledged, and what may have been counted.
async fn count(client: Client, stop: Arc<Mutex<bool>>) -> Vec<(i64, i64)> {
    let mut counted = vec![(0, 0); KEYS];
    let mut seen = HashMap::new();
    while !*stop.lock().unwrap() {
        let number = usize::try_from(random::below(KEYS as u64)).unwrap();
        let started = now();
        let outcome = client.call(Command::new("INCR").arg(key(number))).await;
        let took = now() - started;
        assert!(took <= DEADLINE + Duration::from_millis(10), "{took:?}");
        let (acknowledged, unknown) = &mut counted[number];
        match outcome {
            Ok(value) => {
                *acknowledged += 1;
                let value = value.as_integer().unwrap();
                assert!(
                    seen.insert(number, value).is_none_or(|before| before < value),
                    "a counter went back"
                );
            }
            Err(CallError::Unknown(_)) => *unknown += 1,
            Err(error) => assert!(error.had_no_effect(), "{error}"),
        }
        sleep(Duration::from_millis(random::below(20))).await;
    }
    counted
}

async fn run(events: Vec<Event>) {
    let model = Model::new();
    let client = model.world.client();
    let stop = Arc::new(Mutex::new(false));
    let callers: Vec<_> =
        (0..CALLERS).map(|_| task::spawn("caller", count(client.clone(), stop.clone()))).collect();
    for event in &events {
        model.happen(event).await;
        sleep(Duration::from_millis(1)).await;
    }
    // What has begun comes to its end, and everybody learns of it.
    for key in 0..KEYS {
        model.happen(&Event::Move(key)).await;
        model.happen(&Event::End(key)).await;
    }
    for node in 0..NODES {
        model.happen(&Event::Gossip(node)).await;
    }
    model.truth.lock().unwrap().cuts = vec![false; NODES];
    *stop.lock().unwrap() = true;
    let mut counted = vec![(0, 0); KEYS];
    for caller in callers {
        for (sum, part) in counted.iter_mut().zip(caller.await.unwrap()) {
            *sum = (sum.0 + part.0, sum.1 + part.1);
        }
    }
    for (number, (acknowledged, unknown)) in counted.into_iter().enumerate() {
        let value = model.truth.lock().unwrap().counters[number];
        assert!(acknowledged <= value && value <= acknowledged + unknown, "{acknowledged} {value} {unknown}");
        let next = client.call(Command::new("INCR").arg(key(number))).await;
        assert_eq!(next, Ok(Frame::Integer(value + 1)), "all is well again");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn every_increment_is_counted_whatever_happens(events in proptest::collection::vec(event(), 0..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(run(events));
    }
}
