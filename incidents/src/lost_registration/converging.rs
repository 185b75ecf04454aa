//! Bowline's core with a shell and a store around it: the design, and the two mutants that take one idea away from it.
//!
//! A run has two parts. First everything may go wrong that the faults of the subject name. Then all that is on its way
//! arrives, in any order, and from there on everything works: within [`PROMPT`] the store must equal the truth, without
//! waiting for a renewal; and after a lease nothing of a former incarnation may be left.

use std::time::{Duration, Instant};

use bowline_converge::{Before, Converge, Held, Input, Outcome, Output, Settings, Write};
use bowline_model::Generation;

use crate::checker::{Checker, Decision, Key};
use crate::draw::Draw;
use crate::explore::Run;
use crate::lost_registration::store::{Milliseconds, Request, Store};
use crate::trace::Trace;

const LEASE: Milliseconds = 3_000;
const WRITE_TIMEOUT: Milliseconds = 100;
const LINGER: Milliseconds = 50;
const BACKOFF_CAP: Milliseconds = 50;
/// A write that reaches the store this long after it was made is refused as late.
const LATE_MAX: Milliseconds = 200;
/// The tombstone of a removal outlives every write that was made before it.
const TOMBSTONE: Milliseconds = 500;
/// Once everything works: linger, back-off and the reads of an audit are over by then, and no renewal is due yet.
const PROMPT: Milliseconds = 250;

const KEYS: usize = 2;
const STEPS_MAX: usize = 60;
const CHANGES_MAX: usize = 10;
const TRUTH: usize = 0;
const WRITER: usize = 1;

/// What may go wrong.
#[derive(Debug, Clone, Copy, Default)]
struct Faults {
    /// Requests and answers are lost.
    lost: bool,
    /// Requests reach the store after the writer has given them up.
    late: bool,
    /// Requests overtake each other.
    reordered: bool,
    /// The connection breaks.
    reconnects: bool,
    /// The store forgets everything.
    forgets: bool,
    /// The gateway is restarted.
    restarts: bool,
}

/// What is taken away from the design.
#[derive(Debug, Clone, Copy, Default)]
struct Flaws {
    /// The store takes any write.
    unfenced: bool,
    /// The shell tells the core that a write without an answer succeeded.
    silence_is_success: bool,
}

/// The design under everything.
pub(super) fn design(seed: u64) -> Run {
    let faults =
        Faults { lost: true, late: true, reordered: true, reconnects: true, forgets: true, restarts: true };
    run(seed, faults, Flaws::default())
}

/// A write that was given up lands after its successor, and nobody refuses it.
pub(super) fn no_fence(seed: u64) -> Run {
    run(seed, Faults { late: true, ..Faults::default() }, Flaws { unfenced: true, ..Flaws::default() })
}

/// A write is lost, and nobody makes it again before the renewal.
pub(super) fn lost_write_not_retried(seed: u64) -> Run {
    let flaws = Flaws { silence_is_success: true, ..Flaws::default() };
    run(seed, Faults { lost: true, ..Faults::default() }, flaws)
}

/// A write on its way, and what the store answered.
#[derive(Debug, Clone)]
struct Packet {
    request: Request,
    generation: Generation,
    answer: Option<Outcome<()>>,
    /// The writer no longer waits for it.
    given_up: bool,
}

/// What can happen next.
#[derive(Debug, Clone, Copy)]
enum Step {
    Change,
    Arrive,
    Answer,
    GiveUp,
    LoseRequest,
    AnswerAudit,
    Time,
    Break,
    Connect,
    Forget,
    Restart,
    Sweep,
}

struct World {
    faults: Faults,
    flaws: Flaws,
    draw: Draw,
    origin: Instant,
    now: Milliseconds,
    core: Converge<Key, ()>,
    term: u64,
    store: Store,
    packets: Vec<Packet>,
    questions: Vec<(u64, Vec<Key>)>,
    connected: bool,
    has_forgotten: bool,
    changes: usize,
    checker: Checker,
    trace: Trace,
}

fn settings() -> Settings {
    let milliseconds = Duration::from_millis;
    Settings {
        lease: Some(milliseconds(LEASE)),
        renew_after: milliseconds(1_000),
        audit_period: milliseconds(1_000),
        doubt_spread: milliseconds(25),
        linger: milliseconds(LINGER),
        write_timeout: milliseconds(WRITE_TIMEOUT),
        observe_timeout: milliseconds(WRITE_TIMEOUT),
        backoff_base: milliseconds(10),
        backoff_cap: milliseconds(BACKOFF_CAP),
        batch_writes_max: 2,
        batches_in_flight_max: 2,
        writes_in_flight_max: 2,
        batch_patience: milliseconds(5),
        audit_keys_max: 1,
        keys_max: 8,
        removed_keys_max: 8,
    }
}

fn run(seed: u64, faults: Faults, flaws: Flaws) -> Run {
    let mut world = World::new(seed, faults, flaws);
    for _ in 0..1 + world.draw.below(STEPS_MAX) {
        let choices = world.choices();
        let step = *world.draw.weighted(&choices);
        world.take(step);
    }
    world.arrive_all();
    world.work(PROMPT);
    let (now, term) = (world.now, world.term);
    if world.core.pending() > 0 {
        world.checker.restless(world.core.pending());
    }
    let store = world.store.clone();
    world.checker.quiet(|key| store.live(now, key).is_some_and(|entry| entry.fence.0 == term));
    if !world.checker.is_violated() {
        world.work(LEASE);
        let (now, store) = (world.now, world.store.clone());
        world.checker.quiet(|key| store.live(now, key).is_some());
    }
    Run { violation: world.checker.verdict(), trace: world.trace }
}

impl World {
    fn new(seed: u64, faults: Faults, flaws: Flaws) -> Self {
        #[expect(clippy::disallowed_methods, reason = "virtual time has to count from some instant")]
        let origin = Instant::now();
        let mut draw = Draw::new(seed);
        let core = Converge::new(settings(), draw.bits(), origin);
        let changes = 1 + draw.below(CHANGES_MAX);
        let mut world = Self {
            faults,
            flaws,
            draw,
            origin,
            now: 0,
            core,
            term: 1,
            store: Store::new(!flaws.unfenced),
            packets: Vec::new(),
            questions: Vec::new(),
            connected: false,
            has_forgotten: false,
            changes,
            checker: Checker::default(),
            trace: Trace::new(&["local truth", "writer and store"]),
        };
        world.connect();
        world
    }

    /// What can happen next, by weight. Time can always pass.
    fn choices(&self) -> Vec<(usize, Step)> {
        let once = usize::from;
        let waiting = self.packets.iter().any(|packet| packet.answer.is_none());
        let answered = self.packets.iter().any(|packet| packet.answer.is_some());
        let expected = self.packets.iter().any(|packet| !packet.given_up);
        vec![
            (8 * once(self.changes > 0), Step::Change),
            (8 * once(waiting), Step::Arrive),
            (8 * once(answered), Step::Answer),
            (3 * once(self.faults.late && expected), Step::GiveUp),
            (2 * once(self.faults.lost && expected), Step::LoseRequest),
            (4 * once(!self.questions.is_empty()), Step::AnswerAudit),
            (4, Step::Time),
            (once(self.faults.reconnects && self.connected), Step::Break),
            (4 * once(!self.connected), Step::Connect),
            (once(self.faults.forgets), Step::Forget),
            (once(self.faults.restarts), Step::Restart),
            (1, Step::Sweep),
        ]
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Change => self.change(),
            Step::Arrive => self.arrive(),
            Step::Answer => self.answer(),
            Step::GiveUp => self.give_up(true),
            Step::LoseRequest => self.give_up(false),
            Step::AnswerAudit => self.answer_audit(),
            Step::Time => self.pass_time(),
            Step::Break => self.disconnect(),
            Step::Connect => self.connect(),
            Step::Forget => {
                self.trace.step(WRITER, "the store loses everything");
                self.store.forget(&mut self.checker);
                self.has_forgotten = true;
            }
            Step::Restart => self.restart(),
            Step::Sweep => self.store.sweep(self.now, &mut self.checker),
        }
    }

    fn instant(&self) -> Instant {
        self.origin + Duration::from_millis(self.now)
    }

    fn input(&mut self, input: Input<Key, ()>) {
        self.core.handle(self.instant(), input);
        self.pump();
    }

    fn change(&mut self) {
        self.changes -= 1;
        let key = Key::try_from(self.draw.below(KEYS)).expect("a few keys");
        let wanted = !self.checker.truth(key).0;
        let decision = self.checker.decided(key, wanted);
        self.trace.step(TRUTH, format!("agent {key} {}", if wanted { "connects" } else { "leaves" }));
        assert!(decision > Decision::default(), "decisions count from 1");
        if wanted {
            self.core.set(self.instant(), &key, ()).expect("below the limit of keys");
        } else {
            self.core.remove(self.instant(), &key);
        }
        self.pump();
    }

    /// Takes what the core wants done.
    fn pump(&mut self) {
        while let Some(output) = self.core.poll_output() {
            match output {
                Output::Write { writes } => writes.iter().for_each(|write| self.send(write)),
                Output::Observe { audit, keys } => self.questions.push((audit, keys)),
                Output::Refused { key } => panic!("agent {key}: refused, and there is no newer writer"),
            }
        }
    }

    fn send(&mut self, write: &Write<Key, ()>) {
        let Write { key, generation, value } = *write;
        let present = value.is_some();
        let (wanted, mut decision) = self.checker.truth(key);
        if present != wanted {
            // A renewal during the linger still carries out the decision before the last.
            decision.0 -= 1;
        }
        let verb = if present { "put" } else { "remove" };
        self.trace
            .step(WRITER, format!("{} ms: sends {verb} of agent {key}, generation {generation}", self.now));
        let lifetime = if present { LEASE } else { TOMBSTONE };
        let fence = (self.term, generation.0);
        let not_after = self.now + LATE_MAX;
        let request = Request { key, present, fence, decision, lifetime, not_after };
        self.packets.push(Packet { request, generation, answer: None, given_up: false });
    }

    /// A request reaches the store.
    fn arrive(&mut self) {
        let waiting = |packet: &Packet| packet.answer.is_none();
        let candidates: Vec<usize> =
            (0..self.packets.len()).filter(|at| waiting(&self.packets[*at])).collect();
        let in_order = candidates.first().copied();
        let any = if self.faults.reordered || self.faults.late {
            (!candidates.is_empty()).then(|| candidates[self.draw.below(candidates.len())])
        } else {
            in_order
        };
        let Some(at) = any else { return };
        let Packet { request, generation, given_up, .. } = self.packets[at].clone();
        let held = self.held(request.key);
        let result = self.store.write(self.now, &request, &mut self.checker);
        let (what, outcome) = match result {
            Some(true) => {
                ("takes", Outcome::Applied { before: held.map_or(Before::Absent, Before::Present) })
            }
            Some(false) => ("refuses", Outcome::Refused),
            None => ("refuses as late", Outcome::Failed),
        };
        let key = request.key;
        self.trace.step(
            WRITER,
            format!("{} ms: the store {what} generation {generation} of agent {key}", self.now),
        );
        self.packets[at].answer = Some(outcome);
        if given_up {
            self.packets.remove(at);
        }
    }

    /// An answer reaches the writer.
    fn answer(&mut self) {
        let Some(at) = self.packets.iter().position(|packet| packet.answer.is_some()) else { return };
        let Packet { request, generation, answer, .. } = self.packets.remove(at);
        let outcome = answer.expect("just seen");
        self.input(Input::Written { key: request.key, generation, outcome });
    }

    /// The writer's wait for a write ends. The request may still arrive, or is lost, or its answer was.
    fn give_up(&mut self, may_still_arrive: bool) {
        let expected: Vec<usize> = (0..self.packets.len()).filter(|at| !self.packets[*at].given_up).collect();
        if expected.is_empty() {
            return;
        }
        let at = expected[self.draw.below(expected.len())];
        let Packet { request, generation, answer, .. } = self.packets[at].clone();
        if may_still_arrive && answer.is_none() {
            self.packets[at].given_up = true;
        } else {
            self.packets.remove(at);
        }
        let why = if may_still_arrive { "no answer to" } else { "the network loses" };
        self.trace
            .step(WRITER, format!("{} ms: {why} generation {generation} of agent {}", self.now, request.key));
        let silence = if self.flaws.silence_is_success {
            Outcome::Applied { before: Before::Unseen }
        } else {
            Outcome::Unknown
        };
        self.input(Input::Written { key: request.key, generation, outcome: silence });
    }

    fn answer_audit(&mut self) {
        if self.questions.is_empty() {
            return;
        }
        let (audit, keys) = self.questions.remove(0);
        let copies = keys.into_iter().map(|key| (key, self.held(key))).collect();
        self.input(Input::Observed { audit, copies });
    }

    /// What this incarnation would find in the store; a predecessor's generations mean nothing to it.
    fn held(&self, key: Key) -> Option<Held<()>> {
        let (term, generation) = self.store.live(self.now, key)?.fence;
        let generation = if term == self.term { Generation(generation) } else { Generation::default() };
        Some(Held { value: (), generation })
    }

    /// A little time passes, or all until the core wants to be woken.
    fn pass_time(&mut self) {
        let wake_at = self.wake_at().filter(|_| self.draw.once_in(2));
        let little = u64::try_from(self.draw.below(30)).expect("small");
        self.now = wake_at.unwrap_or(self.now + little).max(self.now);
        self.input(Input::Timer);
    }

    fn wake_at(&self) -> Option<Milliseconds> {
        let at = self.core.poll_timeout()?.saturating_duration_since(self.origin);
        // Rounded up: a timer never fires early.
        Some(u64::try_from(at.as_nanos().div_ceil(1_000_000)).expect("a short run"))
    }

    /// The connection breaks: what was sent on it may still arrive, but no answer will.
    fn disconnect(&mut self) {
        self.trace.step(WRITER, format!("{} ms: the connection breaks", self.now));
        self.connected = false;
        self.input(Input::Unreachable);
        while self.packets.iter().any(|packet| !packet.given_up) {
            self.give_up(true);
        }
        self.questions.clear();
    }

    fn connect(&mut self) {
        self.connected = true;
        self.input(Input::Reachable);
    }

    /// The gateway dies with all its connections, and a new incarnation starts.
    fn restart(&mut self) {
        self.trace.step(TRUTH, format!("{} ms: the gateway is restarted, all agents are gone", self.now));
        self.packets.retain_mut(|packet| {
            packet.given_up = true;
            packet.answer.is_none()
        });
        self.questions.clear();
        for key in 0..Key::try_from(KEYS).expect("a few keys") {
            if self.checker.truth(key).0 {
                self.checker.decided(key, false);
            }
        }
        self.core = Converge::new(settings(), self.draw.bits(), self.instant());
        self.term += 1;
        self.connect();
    }

    /// All that is on its way arrives, in any order.
    fn arrive_all(&mut self) {
        while self.packets.iter().any(|packet| packet.answer.is_none()) {
            self.arrive();
        }
        // A core that was not told of a loss by a broken connection would find it at the next audit. That is tested in its
        // own crate; here the store's restart is seen.
        if !self.connected || self.has_forgotten {
            self.connect();
        }
    }

    /// Everything works, for so long.
    fn work(&mut self, duration: Milliseconds) {
        let end = self.now + duration;
        loop {
            while !self.packets.is_empty() || !self.questions.is_empty() {
                self.arrive();
                self.answer();
                self.answer_audit();
            }
            let Some(at) = self.wake_at().filter(|at| *at <= end) else { break };
            self.now = self.now.max(at);
            self.input(Input::Timer);
        }
        self.now = end;
        self.input(Input::Timer);
    }
}
