//! Keeps this gateway's entries in the store equal to what it holds.
//!
//! The decisions are `bowline_converge`'s; this is its shell. The lock around the core is held for the moment that a
//! decision takes and never across I/O, so that [`Publisher::publish`] and [`Publisher::withdraw`] wait for nothing but
//! memory (INV-REG-NOBLOCK). Who may write at all is decided in `membership`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bowline_converge::{Before, Converge, Counters, Held, Input, Outcome, Output, Write};
use bowline_model::limits::SERVICES_PER_AGENT_MAX;
use bowline_model::{AgentId, Fence, Generation, ServiceName, Term};
use bowline_rt::time;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{Notify, watch};

use crate::backend::{Backend, BackendError, ReadRequest, Verdict, WriteRequest, Written};
use crate::clock::{StoreClock, milliseconds};
use crate::layout::{Content, EntryKey, Record, TOMBSTONE};
use crate::lease::OwnLease;
use crate::limits::{FAILURE_LOG_PAUSE, LATE_SLACK, TOMBSTONE_TTL};
use crate::membership::Standing;
use crate::settings::Settings;

/// Why an agent could not be published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The agent offers more services than one may.
    #[error("agent {agent} offers {services} services, the limit is {SERVICES_PER_AGENT_MAX}")]
    TooManyServices {
        /// The agent.
        agent: AgentId,
        /// How many it offers.
        services: usize,
    },
    /// This gateway publishes as much as it may.
    #[error("agent {agent} cannot be published")]
    TooManyEntries {
        /// The agent.
        agent: AgentId,
        /// The limit that was met.
        #[source]
        source: bowline_converge::SetError,
    },
    /// The registry has been shut down.
    #[error("the registry is shut down")]
    ShutDown,
}

/// What the lock guards.
struct State {
    core: Converge<EntryKey, Content>,
    /// Services of each published agent.
    published: BTreeMap<AgentId, BTreeSet<ServiceName>>,
    term: Term,
    /// Highest term that a refusal showed.
    seen_term: Term,
    shut_down: bool,
    /// The last write that ended was not carried out, as far as is known.
    failing: bool,
    failure_logged_at: Option<time::Instant>,
}

/// The writer of this gateway's entries.
pub(crate) struct Publisher {
    pub(crate) settings: Settings,
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) clock: StoreClock,
    pub(crate) own_lease: Arc<OwnLease>,
    content: Content,
    state: Mutex<State>,
    /// The core may have something to do.
    wake: Notify,
    /// A write was refused: membership has to look who owns the name.
    pub(crate) refused: Notify,
    pub(crate) standing: watch::Sender<Standing>,
    pending: watch::Sender<usize>,
    pub(crate) stop: watch::Sender<bool>,
}

impl Publisher {
    /// A publisher of this gateway's own entry. [`Publisher::run`] does its work.
    pub(crate) fn new(settings: Settings, backend: Arc<dyn Backend>) -> Self {
        let now = time::now();
        let content = Content::new(&settings.peer_address, &settings.zone);
        let mut core = Converge::new(settings.converge(), bowline_rt::random::bits64(), now);
        core.set(now, &EntryKey::Gateway, content.clone()).expect("the limit of keys is above zero");
        let state = State {
            core,
            published: BTreeMap::new(),
            term: Term::default(),
            seen_term: Term::default(),
            shut_down: false,
            failing: false,
            failure_logged_at: None,
        };
        Self {
            settings,
            backend,
            clock: StoreClock::default(),
            own_lease: Arc::default(),
            content,
            state: Mutex::new(state),
            wake: Notify::new(),
            refused: Notify::new(),
            standing: watch::Sender::new(Standing::Waiting),
            pending: watch::Sender::new(1),
            stop: watch::Sender::new(false),
        }
    }

    /// Says that `agent` is reachable here and offers `services`, instead of what was said before.
    pub(crate) fn publish(&self, agent: &AgentId, services: &[ServiceName]) -> Result<(), PublishError> {
        let wanted: BTreeSet<ServiceName> = services.iter().cloned().collect();
        if wanted.len() > SERVICES_PER_AGENT_MAX {
            return Err(PublishError::TooManyServices { agent: agent.clone(), services: wanted.len() });
        }
        self.change(|state| {
            if state.shut_down {
                return Err(PublishError::ShutDown);
            }
            let now = time::now();
            let former = state.published.insert(agent.clone(), wanted.clone()).unwrap_or_default();
            for key in keys(agent, &wanted) {
                if let Err(source) = state.core.set(now, &key, self.content.clone()) {
                    // An agent that is half published would be found by some of its names only.
                    state.published.remove(agent);
                    keys(agent, &former)
                        .chain(keys(agent, &wanted))
                        .for_each(|key| state.core.remove(now, &key));
                    return Err(PublishError::TooManyEntries { agent: agent.clone(), source });
                }
            }
            for service in former.difference(&wanted) {
                state.core.remove(now, &EntryKey::Service(service.clone(), agent.clone()));
            }
            Ok(())
        })
    }

    /// Says that `agent` is no longer reachable here, once the linger has passed.
    pub(crate) fn withdraw(&self, agent: &AgentId) {
        self.change(|state| {
            let Some(services) = state.published.remove(agent) else { return };
            let now = time::now();
            keys(agent, &services).for_each(|key| state.core.remove(now, &key));
        });
    }

    /// Withdraws everything without linger and waits until the store has it, at most for `limit`. Returns what is left.
    pub(crate) async fn shut_down(&self, limit: Duration) -> usize {
        self.change(|state| {
            state.shut_down = true;
            state.published.clear();
            state.core.remove_all_now(time::now());
        });
        let (mut pending, mut standing) = (self.pending.subscribe(), self.standing.subscribe());
        // The time may run out; what is left then is the result.
        let _ = time::timeout(limit, async {
            tokio::select! {
                _ = pending.wait_for(|pending| *pending == 0) => {}
                _ = standing.wait_for(|standing| *standing == Standing::Superseded) => {}
            }
        })
        .await;
        self.stop.send_replace(true);
        // One that was superseded has nothing to withdraw: its successor's entries stand there.
        if *self.standing.borrow() == Standing::Superseded { 0 } else { self.pending() }
    }

    pub(crate) fn pending(&self) -> usize {
        *self.pending.borrow()
    }

    pub(crate) fn counters(&self) -> Counters {
        self.lock().core.counters()
    }

    /// Whether the store answers and takes this gateway's writes.
    pub(crate) fn store_up(&self) -> bool {
        *self.standing.borrow() == Standing::Admitted && !self.lock().failing
    }

    pub(crate) fn seen_term(&self) -> Term {
        self.lock().seen_term
    }

    /// This gateway may write with `term`. Returns whether it could not before, or with another term only.
    pub(crate) fn admit(&self, term: Term, was_out: bool) {
        self.change(|state| {
            let changed = state.term != term;
            state.term = term;
            let input = match (was_out || state.core.is_refused(), changed) {
                (true, _) => Input::Reachable,
                // The claim was lost, so other things may be lost as well.
                (false, true) => Input::Doubtful,
                (false, false) => return,
            };
            state.core.handle(time::now(), input);
        });
    }

    /// Nothing can be written for now.
    pub(crate) fn leave(&self) {
        self.change(|state| state.core.handle(time::now(), Input::Unreachable));
    }

    /// Does the core's work until the registry is shut down.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut stop = self.stop.subscribe();
        loop {
            let (outputs, term, deadline) = self.poll();
            for output in outputs {
                self.carry_out(output, term);
            }
            tokio::select! {
                biased;
                () = stopped(&mut stop) => return,
                () = self.wake.notified() => {}
                () = time::sleep_until_some(deadline) => self.input(Input::Timer),
            }
        }
    }

    fn poll(&self) -> (Vec<Output<EntryKey, Content>>, Term, Option<time::Instant>) {
        let mut state = self.lock();
        let outputs = std::iter::from_fn(|| state.core.poll_output()).collect();
        self.tell_pending(&state);
        (outputs, state.term, state.core.poll_timeout())
    }

    fn carry_out(self: &Arc<Self>, output: Output<EntryKey, Content>, term: Term) {
        let publisher = Arc::clone(self);
        match output {
            // The entries of a batch go out together; the driver below sends them as one pipeline.
            Output::Write { writes } => {
                bowline_rt::task::spawn(
                    "registry-write",
                    async move { publisher.write_all(writes, term).await },
                );
            }
            Output::Observe { audit, keys } => {
                bowline_rt::task::spawn(
                    "registry-audit",
                    async move { publisher.observe(audit, keys).await },
                );
            }
            Output::Refused { key } => {
                tracing::warn!(?key, "the store holds an entry of a newer gateway of this name");
                self.refused.notify_one();
            }
        }
    }

    async fn write_all(&self, writes: Vec<Write<EntryKey, Content>>, term: Term) {
        let mut running: FuturesUnordered<_> =
            writes.into_iter().map(|write| self.write_one(write, term)).collect();
        // Each is reported as it ends: a slow one must not hold up the news of the others.
        while let Some(input) = running.next().await {
            self.input(input);
        }
    }

    async fn write_one(&self, write: Write<EntryKey, Content>, term: Term) -> Input<EntryKey, Content> {
        let Write { key, generation, value } = write;
        let asked_at = time::now();
        let last_moment = self.settings.write_timeout + LATE_SLACK;
        let (lifetime, payload) = match value {
            Some(content) => (self.settings.ttl, content.0.as_ref().to_owned()),
            None => (TOMBSTONE_TTL, TOMBSTONE.to_owned()),
        };
        let request = WriteRequest {
            key: key.store_key(),
            field: key.field(&self.settings.gateway),
            fence: Fence { term, generation, epoch: self.settings.epoch },
            lifetime,
            payload,
            not_after_unix_ms: self.clock.at_most(asked_at).saturating_add(milliseconds(last_moment)),
        };
        let result = self.backend.write(request).await;
        match &result {
            Ok(written) => self.clock.learn(asked_at, written.now_unix_ms),
            Err(error) => self.log_failure(error),
        }
        self.lock().failing =
            !matches!(&result, Ok(Written { verdict: Verdict::Applied | Verdict::Refused, .. }));
        let outcome = self.outcome(result);
        if key == EntryKey::Gateway && matches!(outcome, Outcome::Applied { .. }) {
            // Others were renewed up to a third of the TTL earlier: as long as this counts, none of them has passed.
            self.own_lease.renewed(asked_at, self.settings.ttl * 2 / 3);
        }
        Input::Written { key, generation, outcome }
    }

    /// What the answer of the store means to the core.
    fn outcome(&self, result: Result<Written, BackendError>) -> Outcome<Content> {
        match result {
            Ok(Written { verdict: Verdict::Applied, before, .. }) => {
                Outcome::Applied { before: self.before(&before) }
            }
            Ok(Written { verdict: Verdict::Refused, before, .. }) => {
                let seen = Record::parse(&before).map_or(Term::default(), |record| record.term);
                let mut state = self.lock();
                state.seen_term = state.seen_term.max(seen);
                Outcome::Refused
            }
            Ok(Written { verdict: Verdict::Late, .. }) => Outcome::Failed,
            Err(BackendError { had_no_effect: true, .. }) => Outcome::Failed,
            Err(BackendError { had_no_effect: false, .. }) => Outcome::Unknown,
        }
    }

    /// Tells of failures, now and then: an outage is to make a line in the log and not thousands.
    fn log_failure(&self, error: &BackendError) {
        let now = time::now();
        let mut state = self.lock();
        if state.failure_logged_at.is_some_and(|at| now.saturating_duration_since(at) < FAILURE_LOG_PAUSE) {
            return;
        }
        state.failure_logged_at = Some(now);
        let pending = state.core.pending();
        drop(state);
        let gateway = &self.settings.gateway;
        tracing::warn!(%gateway, pending, %error, "cannot write to the store; will go on trying");
    }

    fn before(&self, text: &str) -> Before<Content> {
        match (text, Record::parse(text)) {
            ("", _) => Before::Absent,
            (_, Some(record)) => self.held(record).map_or(Before::Absent, Before::Present),
            (_, None) => Before::Unseen,
        }
    }

    /// What a record holds; nothing if it is a tombstone. A predecessor's generations mean nothing here, and those of an
    /// earlier term do not fence as the present one does: such an entry is written again.
    fn held(&self, record: Record) -> Option<Held<Content>> {
        let own = record.epoch == self.settings.epoch && record.term == self.lock().term;
        let generation = if own { record.generation } else { Generation::default() };
        record.content.map(|value| Held { value, generation })
    }

    /// Reads this gateway's entries back.
    async fn observe(&self, audit: u64, keys: Vec<EntryKey>) {
        let mut running: FuturesUnordered<_> = keys.into_iter().map(|key| self.observe_one(key)).collect();
        let mut copies = Vec::new();
        while let Some(copy) = running.next().await {
            copies.extend(copy);
        }
        self.input(Input::Observed { audit, copies });
    }

    async fn observe_one(&self, key: EntryKey) -> Option<(EntryKey, Option<Held<Content>>)> {
        let field = key.field(&self.settings.gateway);
        let request = ReadRequest { key: key.store_key(), field: Some(field), entries_max: 1 };
        let asked_at = time::now();
        let listing = self.backend.read(request).await.ok()?;
        self.clock.learn(asked_at, listing.now_unix_ms);
        let Some((_, value)) = listing.entries.first() else { return Some((key, None)) };
        // An entry that cannot be read counts as another's, and is written over.
        let unreadable = Held { value: Content("".into()), generation: Generation::default() };
        let held = Record::parse(value).map_or(Some(unreadable), |record| self.held(record));
        Some((key, held))
    }

    fn input(&self, input: Input<EntryKey, Content>) {
        self.change(|state| state.core.handle(time::now(), input));
    }

    /// Changes the state, tells what is pending, and wakes the one that does the work.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let result = change(&mut state);
        self.tell_pending(&state);
        drop(state);
        self.wake.notify_one();
        result
    }

    fn tell_pending(&self, state: &State) {
        let pending = state.core.pending();
        self.pending.send_if_modified(|told| std::mem::replace(told, pending) != pending);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // A panic under the lock is a bug in the core, which checks itself again at the next step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The entries that publish an agent.
fn keys(agent: &AgentId, services: &BTreeSet<ServiceName>) -> impl Iterator<Item = EntryKey> {
    let service = |service: &ServiceName| EntryKey::Service(service.clone(), agent.clone());
    std::iter::once(EntryKey::Agent(agent.clone())).chain(services.iter().map(service))
}

/// Waits until the registry is shut down, or its publisher gone.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error says that the publisher is gone, which comes to the same.
    let _ = stop.wait_for(|stop| *stop).await;
}
