//! A core, a fake store that misbehaves on demand, the local truth beside them, and the checks that hold at all times.
//!
//! The store refuses a lower generation per key, keeps a removal as a tombstone, and lets leases pass by the virtual clock.
//! Every request to it can be carried out early, late, after it was given up, or never, in any order.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bowline_converge::{Before, Converge, Held, Input, Outcome, Output, Settings, Write};
use bowline_model::Generation;

pub type Key = u8;
pub type Value = u8;

/// Short times, so that runs pass through leases, lingers and audits.
pub fn settings() -> Settings {
    Settings {
        lease: Some(Duration::from_millis(3_000)),
        renew_after: Duration::from_millis(1_000),
        audit_period: Duration::from_millis(1_000),
        doubt_spread: Duration::from_millis(25),
        linger: Duration::from_millis(100),
        write_timeout: Duration::from_millis(300),
        observe_timeout: Duration::from_millis(300),
        backoff_base: Duration::from_millis(10),
        backoff_cap: Duration::from_millis(100),
        batch_writes_max: 2,
        batches_in_flight_max: 2,
        writes_in_flight_max: 16,
        batch_patience: Duration::from_millis(20),
        audit_keys_max: 2,
        keys_max: 64,
        removed_keys_max: 64,
    }
}

/// A write on its way to the store.
#[derive(Debug, Clone)]
pub struct Flight {
    pub write: Write<Key, Value>,
    sent_at: Instant,
    /// Set once the store has dealt with it: what it answers.
    outcome: Option<Outcome<Value>>,
}

#[derive(Debug, Clone)]
struct Stored {
    generation: Generation,
    /// `None` is the tombstone of a removal.
    value: Option<Value>,
    expires_at: Instant,
}

/// What local truth says of a key.
#[derive(Debug, Clone, Copy)]
pub enum Truth {
    Present(Value),
    /// Removed; the core may hold on to the value until then.
    Removed {
        was: Value,
        until: Instant,
    },
}

#[derive(Debug, Clone)]
pub struct World {
    pub core: Converge<Key, Value>,
    settings: Settings,
    pub now: Instant,
    truth: BTreeMap<Key, Truth>,
    store: BTreeMap<Key, Stored>,
    pub flights: Vec<Flight>,
    /// Given up by the core, and still able to reach the store.
    pub late: Vec<Write<Key, Value>>,
    pub questions: Vec<(u64, Vec<Key>)>,
    /// When each key was last handed out, until its outcome was delivered.
    outstanding: BTreeMap<Key, Instant>,
    last_generation: Generation,
    /// The store has lost data or fences, so that an acknowledgement no longer proves anything until the next audit.
    pub lost_data: bool,
}

impl World {
    pub fn new(settings: Settings, seed: u64) -> Self {
        #[expect(clippy::disallowed_methods, reason = "virtual time has to count from some instant")]
        let now = Instant::now();
        let mut core = Converge::new(settings.clone(), seed, now);
        core.handle(now, Input::Reachable);
        let mut world = Self {
            core,
            settings,
            now,
            truth: BTreeMap::new(),
            store: BTreeMap::new(),
            flights: Vec::new(),
            late: Vec::new(),
            questions: Vec::new(),
            outstanding: BTreeMap::new(),
            last_generation: Generation::default(),
            lost_data: false,
        };
        world.pump();
        world
    }

    pub fn set(&mut self, key: Key, value: Value) {
        self.core.set(self.now, &key, value).expect("far below the limit of keys");
        self.truth.insert(key, Truth::Present(value));
        self.pump();
    }

    pub fn remove(&mut self, key: Key) {
        self.core.remove(self.now, &key);
        if let Some(Truth::Present(was)) = self.truth.get(&key).copied() {
            self.truth.insert(key, Truth::Removed { was, until: self.now + self.settings.linger });
        }
        self.pump();
    }

    /// What local truth says of a key, if it ever said anything.
    pub fn truth(&self, key: Key) -> Option<Truth> {
        self.truth.get(&key).copied()
    }

    /// Lets time pass, stopping wherever the core asked to be woken.
    pub fn elapse(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(at) = self.core.poll_timeout().filter(|at| *at <= end) {
            assert!(at >= self.now || self.core.clone().poll_output().is_none(), "an output was left behind");
            self.now = self.now.max(at);
            self.core.handle(self.now, Input::Timer);
            self.pump();
            let next = self.core.poll_timeout();
            assert!(
                next.is_none_or(|next| next > self.now),
                "the core spins: it asks for a time that is over"
            );
        }
        self.now = end;
        self.give_up();
        self.core.handle(self.now, Input::Timer);
        self.pump();
    }

    /// The `index`-th write reaches the store, which answers; the answer is on its way.
    pub fn apply(&mut self, index: usize) {
        let Some(at) = self.undecided(index) else { return };
        let write = self.flights[at].write.clone();
        self.flights[at].outcome = Some(self.execute(&write));
    }

    /// The `index`-th answer reaches the core.
    pub fn deliver(&mut self, index: usize) {
        let answered: Vec<usize> =
            (0..self.flights.len()).filter(|at| self.flights[*at].outcome.is_some()).collect();
        let Some(at) = pick(&answered, index) else { return };
        let flight = self.flights.remove(at);
        self.written(&flight.write, flight.outcome.expect("chosen because it has one"));
    }

    /// The `index`-th write is certainly lost, and the shell knows.
    pub fn fail(&mut self, index: usize) {
        let Some(at) = self.undecided(index) else { return };
        let flight = self.flights.remove(at);
        self.written(&flight.write, Outcome::Failed);
    }

    /// The shell gives the `index`-th write up; it may reach the store later or never.
    pub fn lose(&mut self, index: usize) {
        let Some(at) = self.undecided(index) else { return };
        let flight = self.flights.remove(at);
        self.late.push(flight.write.clone());
        self.written(&flight.write, Outcome::Unknown);
    }

    /// A write that was given up reaches the store after all.
    pub fn apply_late(&mut self, index: usize) {
        if self.late.is_empty() {
            return;
        }
        let write = self.late.remove(index % self.late.len());
        self.execute(&write);
        self.check();
    }

    /// The store loses everything, fences included.
    pub fn lose_data(&mut self) {
        self.store.clear();
        self.lost_data = true;
    }

    pub fn set_reachable(&mut self, reachable: bool) {
        let input = if reachable { Input::Reachable } else { Input::Unreachable };
        self.core.handle(self.now, input);
        self.pump();
    }

    /// The store answers the oldest observation.
    pub fn answer(&mut self) {
        if self.questions.is_empty() {
            return;
        }
        let (audit, keys) = self.questions.remove(0);
        let copies = keys.into_iter().map(|key| (key, self.held(key))).collect();
        self.core.handle(self.now, Input::Observed { audit, copies });
        self.pump();
    }

    /// Everything works from now on, until nothing moves: one round trip at a time.
    pub fn heal(&mut self) {
        self.late.clear();
        self.set_reachable(true);
        for _ in 0..200 {
            while !self.flights.is_empty() || !self.questions.is_empty() {
                self.apply(0);
                self.deliver(0);
                self.answer();
            }
            self.elapse(Duration::from_millis(5));
        }
    }

    /// INV-REG-CONVERGE after healing: quiet, and the store holds the truth and nothing else.
    pub fn assert_converged(&self) {
        assert_eq!(self.core.pending(), 0, "still pending after healing");
        let stored: BTreeMap<Key, Value> =
            self.store.keys().filter_map(|key| Some((*key, self.held(*key)?.value))).collect();
        let wanted: BTreeMap<Key, Value> = self
            .truth
            .iter()
            .filter_map(|(key, truth)| match truth {
                Truth::Present(value) => Some((*key, *value)),
                Truth::Removed { .. } => None,
            })
            .collect();
        assert_eq!(stored, wanted, "INV-REG-CONVERGE");
    }

    fn undecided(&self, index: usize) -> Option<usize> {
        let undecided: Vec<usize> =
            (0..self.flights.len()).filter(|at| self.flights[*at].outcome.is_none()).collect();
        pick(&undecided, index)
    }

    fn written(&mut self, write: &Write<Key, Value>, outcome: Outcome<Value>) {
        assert_ne!(outcome, Outcome::Refused, "there is no other writer here");
        self.outstanding.remove(&write.key);
        let Write { key, generation, .. } = *write;
        self.core.handle(self.now, Input::Written { key, generation, outcome });
        self.pump();
    }

    /// What the store does with a write: the fence, the tombstone and the lease.
    fn execute(&mut self, write: &Write<Key, Value>) -> Outcome<Value> {
        let stored = self.store.get(&write.key).filter(|stored| stored.expires_at > self.now);
        if stored.is_some_and(|stored| stored.generation > write.generation) {
            return Outcome::Refused;
        }
        let before = match self.held(write.key) {
            Some(held) => Before::Present(held),
            None => Before::Absent,
        };
        let expires_at = self.now + self.settings.lease.expect("these tests use one");
        let stored = Stored { generation: write.generation, value: write.value, expires_at };
        self.store.insert(write.key, stored);
        Outcome::Applied { before }
    }

    fn held(&self, key: Key) -> Option<Held<Value>> {
        let stored = self.store.get(&key).filter(|stored| stored.expires_at > self.now)?;
        stored.value.map(|value| Held { value, generation: stored.generation })
    }

    /// Takes what the core wants done, and checks every write as it is handed out.
    fn pump(&mut self) {
        while let Some(output) = self.core.poll_output() {
            match output {
                Output::Write { writes } => {
                    assert!(writes.len() <= self.settings.batch_writes_max, "a batch is bounded");
                    writes.into_iter().for_each(|write| self.sent(write));
                }
                Output::Observe { audit, keys } => {
                    assert!(keys.len() <= self.settings.audit_keys_max, "an observation is bounded");
                    self.questions = vec![(audit, keys)];
                }
                Output::Refused { key } => panic!("a write of key {key} was refused without another writer"),
            }
        }
        self.check();
    }

    fn sent(&mut self, write: Write<Key, Value>) {
        assert!(write.generation > self.last_generation, "INV-REG-ORDER: generations rise");
        self.last_generation = write.generation;
        let fits = match self.truth.get(&write.key) {
            Some(Truth::Present(value)) => write.value == Some(*value),
            Some(Truth::Removed { was, until }) => {
                write.value.is_none() || (write.value == Some(*was) && self.now < *until)
            }
            None => write.value.is_none(),
        };
        assert!(fits, "INV-REG-ORDER: a write carries the newest decision, not {write:?}");
        self.give_up();
        let former = self.outstanding.insert(write.key, self.now);
        assert_eq!(former, None, "one write of key {} in flight", write.key);
        self.flights.push(Flight { write, sent_at: self.now, outcome: None });
    }

    /// Beyond the time-out the core gives a write up on its own; it may still reach the store.
    fn give_up(&mut self) {
        let (now, limit) = (self.now, self.settings.write_timeout);
        self.outstanding.retain(|_, sent_at| *sent_at + limit > now);
        let (over, rest) =
            std::mem::take(&mut self.flights).into_iter().partition(|flight| flight.sent_at + limit <= now);
        self.flights = rest;
        let over: Vec<Flight> = over;
        self.late
            .extend(over.into_iter().filter(|flight| flight.outcome.is_none()).map(|flight| flight.write));
    }

    /// What is acknowledged is true: with nothing pending the store holds the truth, at every moment of every run.
    fn check(&self) {
        if self.lost_data || self.core.pending() > 0 {
            return;
        }
        for (key, truth) in &self.truth {
            let held = self.held(*key).map(|held| held.value);
            let fits = match truth {
                Truth::Present(value) => held == Some(*value),
                // Within the linger, or just after it and before the core was woken, the value may stay.
                Truth::Removed { was, until } => held.is_none() || (held == Some(*was) && self.now <= *until),
            };
            assert!(
                fits,
                "INV-REG-CONVERGE: key {key} is {truth:?}, nothing is pending, the store holds {held:?}"
            );
        }
    }
}

fn pick(candidates: &[usize], index: usize) -> Option<usize> {
    if candidates.is_empty() { None } else { Some(candidates[index % candidates.len()]) }
}
