//! The state machine over all keys: commands and inputs in, writes and observations out.
//!
//! Invariants kept here: a key stands in the queue at most once; a key has a timer exactly when its last review named one;
//! `pending` counts the keys whose last review found them so; a batch holds a slot until its writes ended or its patience is
//! over. What to do about one key is decided in `entry`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bowline_model::Generation;

use crate::audit::{Asked, Audit, Question};
use crate::counters::Counters;
use crate::entry::{Acknowledged, Desired, Entry, InFlight, Review};
use crate::limits::{BACKOFF_DOUBLINGS_MAX, RETRY_SPACING};
use crate::message::{Before, Held, Input, Outcome, Output, Write};
use crate::random::Jitter;
use crate::settings::Settings;

/// Why a key could not be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SetError {
    /// The core looks after as many keys as it may.
    #[error("the limit of {limit} keys is reached")]
    TooManyKeys {
        /// The limit.
        limit: usize,
    },
}

/// Whether anything may be asked of the copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gate {
    /// It answers.
    Open,
    /// It cannot be reached.
    Unreachable,
    /// It refused a write because of a newer writer.
    Refused,
}

/// The writes of one batch that have not ended, and since when it holds its slot.
#[derive(Debug, Clone)]
struct Batch {
    writes: usize,
    started_at: Instant,
}

/// Keeps a remote copy equal to local truth; see the crate's documentation.
///
/// After every command and input the shell takes all of [`Converge::poll_output`] and waits until
/// [`Converge::poll_timeout`]. A new core has an unreachable copy until it hears [`Input::Reachable`].
#[derive(Debug, Clone)]
pub struct Converge<K, V> {
    settings: Settings,
    jitter: Jitter,
    now: Instant,
    gate: Gate,
    /// The refused key that the shell has not heard of yet.
    refused_key: Option<K>,
    last_generation: Generation,
    entries: BTreeMap<K, Entry<V>>,
    /// Removed keys and until when they are remembered.
    removed: BTreeMap<K, Instant>,
    /// Keys to write, in the order in which they became so.
    ready: BTreeMap<u64, K>,
    last_place: u64,
    timers: BTreeSet<(Instant, K)>,
    batches: BTreeMap<u64, Batch>,
    last_batch: u64,
    /// Keys with a write in flight.
    in_flight: usize,
    /// Keys whose last write failed.
    failing: usize,
    audit: Audit<K>,
    pending: usize,
    counters: Counters,
}

impl<K: Ord + Clone, V: Eq + Clone> Converge<K, V> {
    /// A core without keys. `seed` determines all its jitter.
    ///
    /// # Panics
    /// If [`Settings::check`] refuses the settings.
    #[must_use]
    pub fn new(settings: Settings, seed: u64, now: Instant) -> Self {
        settings.check().expect("the owner checked its settings");
        let mut jitter = Jitter::new(seed);
        let first_audit_at = now + jitter.within(settings.audit_period);
        Self {
            settings,
            jitter,
            now,
            gate: Gate::Unreachable,
            refused_key: None,
            last_generation: Generation::default(),
            entries: BTreeMap::new(),
            removed: BTreeMap::new(),
            ready: BTreeMap::new(),
            last_place: 0,
            timers: BTreeSet::new(),
            batches: BTreeMap::new(),
            last_batch: 0,
            in_flight: 0,
            failing: 0,
            audit: Audit::new(first_audit_at),
            pending: 0,
            counters: Counters::default(),
        }
    }

    /// Local truth: the copy should hold `value` for `key`. During a linger with the same value this costs no write.
    ///
    /// # Errors
    /// [`SetError::TooManyKeys`]; nothing has changed then.
    pub fn set(&mut self, now: Instant, key: &K, value: V) -> Result<(), SetError> {
        self.advance(now);
        if let Some(entry) = self.entries.get_mut(key) {
            entry.desired = Desired::Present(value);
        } else {
            let limit = self.settings.keys_max;
            if self.entries.len() >= limit {
                return Err(SetError::TooManyKeys { limit });
            }
            self.removed.remove(key);
            self.entries.insert(key.clone(), Entry::new(Desired::Present(value), Acknowledged::Untouched));
        }
        self.settle(key);
        Ok(())
    }

    /// Local truth: the copy should hold nothing for `key`, once the linger has passed.
    pub fn remove(&mut self, now: Instant, key: &K) {
        self.advance(now);
        let until = self.now + self.settings.linger;
        let Some(entry) = self.entries.get_mut(key) else { return };
        if let Desired::Present(value) = &entry.desired {
            let linger = until > self.now && !entry.never_written();
            entry.desired =
                if linger { Desired::Lingering { value: value.clone(), until } } else { Desired::Absent };
        }
        self.settle(key);
    }

    /// Local truth: the copy should hold nothing at all, now and without lingers. For shutting down.
    pub fn remove_all_now(&mut self, now: Instant) {
        self.advance(now);
        for entry in self.entries.values_mut() {
            entry.desired = Desired::Absent;
            entry.retry_at = None;
        }
        self.settle_all();
    }

    /// Takes an input from the shell.
    pub fn handle(&mut self, now: Instant, input: Input<K, V>) {
        self.advance(now);
        match input {
            Input::Written { key, generation, outcome } => self.written(&key, generation, &outcome),
            Input::Observed { audit, copies } => self.observed(audit, copies),
            Input::Reachable => self.reachable(),
            // A refusal outranks it: after that only the word that this writer is admitted again opens the gate.
            Input::Unreachable if self.gate == Gate::Open => self.gate = Gate::Unreachable,
            Input::Doubtful => self.doubt(),
            Input::Unreachable | Input::Timer => {}
        }
    }

    /// The next thing that the shell has to do now, if any.
    pub fn poll_output(&mut self) -> Option<Output<K, V>> {
        if let Some(key) = self.refused_key.take() {
            return Some(Output::Refused { key });
        }
        if self.gate != Gate::Open {
            return None;
        }
        self.next_batch().or_else(|| self.next_observation())
    }

    /// When the shell has to say [`Input::Timer`], if nothing else comes before.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let open = self.gate == Gate::Open;
        let key = self.timers.first().map(|(at, _)| *at);
        let slot = self.batches.first_key_value().filter(|_| open && !self.ready.is_empty());
        let slot = slot.map(|(_, batch)| batch.started_at + self.settings.batch_patience);
        [key, slot, self.audit.wake_at(open)].into_iter().flatten().min()
    }

    /// Keys of which the copy is not known to hold what it should. Lingers and renewals do not count.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.pending
    }

    /// Keys that the core looks after, the lingering ones and those being removed included.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.entries.len()
    }

    /// What was counted so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Whether a write was refused and this writer has not been admitted again.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.gate == Gate::Refused
    }

    /// Moves the clock forward and does what has come due.
    fn advance(&mut self, now: Instant) {
        self.now = self.now.max(now);
        let now = self.now;
        let patience = self.settings.batch_patience;
        while self.batches.first_key_value().is_some_and(|(_, batch)| batch.started_at + patience <= now) {
            self.batches.pop_first();
        }
        while self.timers.first().is_some_and(|(at, _)| *at <= now) {
            let (_, key) = self.timers.pop_first().expect("just seen");
            self.due(&key);
        }
        if self.audit.asked.as_ref().is_some_and(|asked| asked.deadline <= now) {
            self.audit.asked = None;
            let retry = self.jitter.up_to(self.settings.backoff_cap);
            self.audit.hasten(now + retry);
        }
        if self.gate == Gate::Open && !self.audit.runs() && self.audit.next_at <= now {
            self.start_audit();
        }
    }

    /// A key's timer has come.
    fn due(&mut self, key: &K) {
        let entry = self.entries.get_mut(key).expect("a timer belongs to an entry");
        entry.timer = None;
        let deadline = entry.in_flight.as_ref().map(|flight| flight.sent_at + self.settings.write_timeout);
        if deadline.is_some_and(|at| at <= self.now) {
            let generation = entry.in_flight.as_ref().expect("it has a deadline").generation;
            self.written(key, generation, &Outcome::Unknown);
        } else {
            self.settle(key);
        }
    }

    /// A write ended, or was given up.
    fn written(&mut self, key: &K, generation: Generation, outcome: &Outcome<V>) {
        assert!(generation <= self.last_generation, "an outcome of a write that was never handed out");
        let entry = self.entries.get_mut(key);
        let flight =
            entry.and_then(|entry| entry.in_flight.take_if(|flight| flight.generation == generation));
        let Some(flight) = flight else {
            self.counters.late_outcomes += 1;
            return;
        };
        self.in_flight -= 1;
        self.release(flight.batch);
        let renew_at = flight.sent_at + self.jitter.within(self.settings.renew_after);
        let renew_at = self.settings.lease.map(|_| renew_at);
        let entry = self.entries.get_mut(key).expect("its write was in flight");
        match outcome {
            Outcome::Applied { before } => {
                self.counters.applied += 1;
                match (&entry.acknowledged, before) {
                    (Acknowledged::Present { .. }, Before::Absent) => self.counters.drift.missing += 1,
                    (Acknowledged::Present { held, .. }, Before::Present(found)) if held != found => {
                        self.counters.drift.stale += 1;
                    }
                    _ => {}
                }
            }
            Outcome::Refused => {
                self.counters.refused += 1;
                if self.gate != Gate::Refused {
                    self.gate = Gate::Refused;
                    self.refused_key = Some(key.clone());
                }
            }
            Outcome::Unknown => self.counters.unknown += 1,
            Outcome::Failed => self.counters.failed += 1,
        }
        let failed_before = entry.failures > 0;
        entry.finish(flight, outcome, renew_at);
        let fails = entry.failures > 0;
        let crowd = retry_spread(self.failing);
        self.failing = self.failing + usize::from(fails) - usize::from(failed_before);
        let bound_min = retry_spread(self.failing);
        entry.retry_at =
            fails.then(|| self.now + backoff(&self.settings, &mut self.jitter, entry.failures, bound_min));
        self.settle(key);
        if failed_before && !fails && crowd > self.settings.backoff_cap {
            // What made so many fail is over for one of them; the others need not wait for their turn.
            self.forgive_all();
        }
    }

    /// A write of this batch is no longer in flight.
    fn release(&mut self, batch_number: u64) {
        // A batch that ran out of patience has given its slot back already.
        let Some(batch) = self.batches.get_mut(&batch_number) else { return };
        batch.writes -= 1;
        if batch.writes == 0 {
            self.batches.remove(&batch_number);
        }
    }

    /// The copy answers again: what was put off is tried at once, and what is there is compared.
    fn reachable(&mut self) {
        self.gate = Gate::Open;
        self.refused_key = None;
        self.doubt();
        self.forgive_all();
    }

    /// Whatever failed is tried again at once.
    fn forgive_all(&mut self) {
        self.entries.values_mut().for_each(Entry::forgive);
        self.failing = 0;
        self.settle_all();
    }

    /// Nothing that was acknowledged can be relied on until it has been seen.
    fn doubt(&mut self) {
        self.audit.proof_counts_from = Some(self.now);
        // An audit that is under way may have asked before the loss: it is dropped, and the next asks for everything.
        self.audit.waiting.clear();
        self.audit.asked = None;
        self.audit.next_at = self.now + self.jitter.up_to(self.settings.doubt_spread);
    }

    fn settle_all(&mut self) {
        let keys: Vec<K> = self.entries.keys().cloned().collect();
        keys.iter().for_each(|key| self.settle(key));
    }

    /// Reviews a key and brings queue, timers and counts in line with the result.
    fn settle(&mut self, key: &K) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let review = entry.review(self.now, &self.settings);
        let pending = entry.is_pending();
        self.pending = self.pending + usize::from(pending) - usize::from(entry.pending);
        entry.pending = pending;
        let again_at = match review {
            Review::Quiet { again_at } => again_at,
            Review::Waits { again_at } => Some(again_at),
            Review::Write { again_at } => {
                if entry.place.is_none() {
                    self.last_place += 1;
                    entry.place = Some(self.last_place);
                    self.ready.insert(self.last_place, key.clone());
                }
                again_at
            }
            Review::Removed => return self.drop_entry(key, true),
            Review::Forget => return self.drop_entry(key, false),
        };
        if entry.timer != again_at {
            if let Some(old) = entry.timer.take() {
                self.timers.remove(&(old, key.clone()));
            }
            if let Some(at) = again_at {
                self.timers.insert((at, key.clone()));
            }
            entry.timer = again_at;
        }
    }

    /// Ends the life of a key.
    fn drop_entry(&mut self, key: &K, remember: bool) {
        let entry = self.entries.remove(key).expect("it was just reviewed");
        assert!(!entry.pending && entry.in_flight.is_none(), "only a settled key is dropped");
        if let Some(at) = entry.timer {
            self.timers.remove(&(at, key.clone()));
        }
        if let Some(place) = entry.place {
            self.ready.remove(&place);
        }
        self.failing -= usize::from(entry.failures > 0);
        if remember && self.removed.len() < self.settings.removed_keys_max {
            let memory = self.settings.lease.unwrap_or(self.settings.audit_period * 2);
            self.removed.insert(key.clone(), self.now + memory);
        }
    }

    /// Gathers the keys that are to be written, if a slot is free.
    fn next_batch(&mut self) -> Option<Output<K, V>> {
        if self.batches.len() >= self.settings.batches_in_flight_max {
            return None;
        }
        let number = self.last_batch + 1;
        let mut writes = Vec::new();
        let room = self.settings.writes_in_flight_max - self.in_flight;
        while writes.len() < self.settings.batch_writes_max.min(room) {
            let Some((place, key)) = self.ready.pop_first() else { break };
            let entry = self.entries.get_mut(&key).expect("a place in the queue belongs to an entry");
            assert!(entry.place.take() == Some(place), "a key stands in the queue once");
            // It may have come right since it was queued.
            if !matches!(entry.review(self.now, &self.settings), Review::Write { .. }) {
                self.settle(&key);
                continue;
            }
            let generation = self.last_generation.next();
            self.last_generation = generation;
            let value = entry.wanted().cloned();
            entry.start(InFlight { generation, value: value.clone(), sent_at: self.now, batch: number });
            self.settle(&key);
            writes.push(Write { key, generation, value });
        }
        if writes.is_empty() {
            return None;
        }
        self.last_batch = number;
        self.in_flight += writes.len();
        assert!(self.in_flight <= self.settings.writes_in_flight_max, "writes in flight are bounded");
        self.batches.insert(number, Batch { writes: writes.len(), started_at: self.now });
        self.counters.writes += u64::try_from(writes.len()).expect("a batch is small");
        Some(Output::Write { writes })
    }

    /// Lists the keys that the audit has to ask for.
    fn start_audit(&mut self) {
        let now = self.now;
        self.audit.next_at = now + self.jitter.within(self.settings.audit_period);
        self.removed.retain(|_, until| *until > now);
        let since = self.audit.proof_counts_from.replace(now);
        // A write or an observation proves something about the time when it was asked for, not when its answer came.
        let is_proven =
            |entry: &Entry<V>| entry.proven_at.is_some_and(|at| since.is_none_or(|since| at > since));
        let held = self.entries.iter().filter(|(_, entry)| entry.settled().is_some() && !is_proven(entry));
        self.audit.waiting = held.map(|(key, _)| key).chain(self.removed.keys()).cloned().collect();
    }

    /// Asks for the next keys of the audit that runs.
    fn next_observation(&mut self) -> Option<Output<K, V>> {
        if self.audit.asked.is_some() {
            return None;
        }
        let mut questions = BTreeMap::new();
        while questions.len() < self.settings.audit_keys_max {
            let Some(key) = self.audit.waiting.pop_front() else { break };
            let question = match self.entries.get(&key) {
                // A key that is being written verifies itself.
                Some(entry) => entry.settled().map(|held| Question::Held(held.generation)),
                None => self.removed.contains_key(&key).then_some(Question::Removed),
            };
            questions.extend(question.map(|question| (key, question)));
        }
        if questions.is_empty() {
            return None;
        }
        let keys = questions.keys().cloned().collect();
        let audit = self.audit.ask(questions, self.now, self.now + self.settings.observe_timeout);
        self.counters.observations += 1;
        Some(Output::Observe { audit, keys })
    }

    /// Compares what an observation found, counts the differences, and has them repaired.
    fn observed(&mut self, audit: u64, copies: Vec<(K, Option<Held<V>>)>) {
        let Some(Asked { mut questions, asked_at, .. }) = self.audit.answered(audit) else { return };
        for (key, found) in copies {
            match (questions.remove(&key), found) {
                (Some(Question::Held(generation)), found) => {
                    self.compare(&key, generation, found.as_ref(), asked_at);
                }
                (Some(Question::Removed) | None, Some(held)) => self.unexpected(&key, held),
                (Some(Question::Removed) | None, None) => {}
            }
        }
        if !questions.is_empty() {
            let retry = self.jitter.up_to(self.settings.backoff_cap);
            self.audit.hasten(self.now + retry);
        }
    }

    /// Compares a key that was quiet when it was asked for.
    fn compare(&mut self, key: &K, generation: Generation, found: Option<&Held<V>>, asked_at: Instant) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        // Written since: the answer may be from before or after.
        let Some(held) = entry.settled().filter(|held| held.generation == generation) else { return };
        if found == Some(held) {
            entry.proven_at = Some(asked_at);
            return;
        }
        match found {
            Some(_) => self.counters.drift.stale += 1,
            None => self.counters.drift.missing += 1,
        }
        // `Unknown` makes it pending whatever was found, so that the repair cannot be taken for done.
        entry.acknowledged = Acknowledged::Unknown;
        self.settle(key);
    }

    /// The copy holds a key that local truth does not.
    fn unexpected(&mut self, key: &K, held: Held<V>) {
        if self.entries.contains_key(key) || self.entries.len() >= self.settings.keys_max {
            return;
        }
        self.counters.drift.unexpected += 1;
        self.removed.remove(key);
        let found = Acknowledged::Present { held, written_at: self.now, renew_at: None };
        self.entries.insert(key.clone(), Entry::new(Desired::Absent, found));
        self.settle(key);
    }
}

/// Full jitter: anywhere between zero and a bound that doubles with every failure in a row, and is at least `bound_min`.
fn backoff(settings: &Settings, jitter: &mut Jitter, failures: u32, bound_min: Duration) -> Duration {
    let doublings = (failures - 1).min(BACKOFF_DOUBLINGS_MAX);
    let bound = settings.backoff_base.saturating_mul(1 << doublings).min(settings.backoff_cap);
    jitter.up_to(bound.max(bound_min))
}

/// The time over which the retries of so many keys are spread.
fn retry_spread(failing: usize) -> Duration {
    RETRY_SPACING.saturating_mul(u32::try_from(failing).unwrap_or(u32::MAX))
}
