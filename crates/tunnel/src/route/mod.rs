//! How one stream finds its way: which agent or gateway is asked next, when, and who wins. A pure core.
//!
//! A round asks the local agents first, then the holders that the registry names. Whoever has not answered within the
//! hedge time is not given up: the next candidate is asked as well (*The Tail at Scale*), and at once when a candidate
//! refuses. The first that is ready wins and is the only one that gets a commit; the others are abandoned before any
//! commit, so that whoever holds a tunnel for them lays it back into its pool. A round in which all fail is repeated
//! after a pause, but only while there is reason to believe that the agent exists; otherwise the answer is immediate.
//! While somebody hangs, the route looks from time to time who else has come meanwhile: the agent may have moved.
//!
//! Invariants:
//! - at most one candidate is committed at any time, and a second one only after the first one broke;
//! - every route ends by its deadline, with exactly one [`Output::Done`] or [`Output::Fail`], and is silent after it;
//! - a candidate is asked at most once per look at who there is, unless it was abandoned for a winner that broke, and
//!   never while it is being asked;
//! - no more than [`limits::ASKS_MAX`] candidates are asked in all.
//!
//! What it does not do: it orders nothing (the shell shuffles, and puts suspected gateways last) and it knows no
//! sockets, pools or registry.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bowline_model::{AgentId, GatewayId, Reason};

use crate::limits;

/// The route's part of the settings.
#[derive(Debug, Clone)]
pub struct RouteSettings {
    /// Longest time to open a stream, all attempts included.
    pub open_timeout: Duration,
    /// Wait for one gateway's answer before the next one is asked as well.
    pub hedge_after: Duration,
    /// Wait for a tunnel of a local agent before others are asked as well.
    pub local_patience: Duration,
}

impl Default for RouteSettings {
    fn default() -> Self {
        Self {
            open_timeout: limits::OPEN_TIMEOUT,
            hedge_after: limits::HEDGE_AFTER,
            local_patience: limits::LOCAL_PATIENCE,
        }
    }
}

/// Who may have a tunnel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Candidate {
    /// An agent that is attached to this gateway.
    Local(AgentId),
    /// Another gateway.
    Remote {
        /// Its name.
        gateway: GatewayId,
        /// Where its peer port is.
        address: String,
    },
}

/// Why something failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// For programs.
    pub reason: Reason,
    /// For people.
    pub detail: String,
}

impl Refusal {
    /// A refusal with a detail for people.
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }
}

/// Names one ask of one route.
pub type AskId = u64;

/// What happened.
#[derive(Debug)]
pub enum Input {
    /// A round may begin; these agents are attached here and offer the service, the best one first.
    Begin(Vec<AgentId>),
    /// The registry answered: the other gateways that hold an agent for the service, the best one first.
    Found(Vec<Candidate>),
    /// The registry could not answer.
    NotFound(Refusal),
    /// The candidate holds a tunnel for this route.
    Ready(AskId),
    /// The candidate has none.
    Refused(AskId, Refusal),
    /// The committed candidate's stream is open.
    Opened(AskId),
    /// The committed candidate could not open the stream.
    Broken(AskId, Refusal),
}

/// What the shell has to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// List the local agents and answer with [`Input::Begin`].
    Begin,
    /// Ask the registry; answer with [`Input::Found`] or [`Input::NotFound`].
    Lookup,
    /// Ask the candidate for a tunnel; answer with [`Input::Ready`] or [`Input::Refused`].
    Ask(AskId, Candidate),
    /// Open the stream on the tunnel that this candidate holds; answer with [`Input::Opened`] or [`Input::Broken`].
    Commit(AskId),
    /// Stop asking, or give the tunnel back.
    Abandon(AskId),
    /// The stream is open: the route is over.
    Done(AskId),
    /// The route is over.
    Fail(Refusal),
}

#[derive(Debug, PartialEq, Eq)]
enum Lookup {
    /// The list of local agents was asked for once more.
    Listing,
    Needed,
    Running,
    Answered,
}

#[derive(Debug, PartialEq, Eq)]
enum Phase {
    /// Waits for the list of local agents.
    Beginning,
    /// Asks.
    Racing,
    /// One candidate opens the stream.
    Committed(AskId),
    /// Waits for the next round.
    Pausing(Instant),
    Over,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Route {
    settings: RouteSettings,
    deadline: Instant,
    phase: Phase,
    lookup: Lookup,
    /// Candidates of this round that have not been asked yet.
    queue: VecDeque<Candidate>,
    asked: BTreeMap<AskId, Candidate>,
    /// When the next candidate is asked although nobody has answered; `None` if there is none left.
    hedge_at: Option<Instant>,
    /// When to look again, because nobody is left to ask and somebody may be hanging.
    look_again_at: Option<Instant>,
    asks: u64,
    round: u32,
    /// Somebody has been seen who holds an agent for this service.
    evidence: bool,
    /// The most telling refusal so far in this round.
    verdict: Option<Refusal>,
    /// That of the round before, to be told if the time runs out before this round knows better.
    earlier_verdict: Option<Refusal>,
    /// Random bits that spread the pauses.
    random: u64,
    outputs: VecDeque<Output>,
}

impl Route {
    /// A route that starts now. `random` spreads its pauses.
    pub fn new(settings: RouteSettings, now: Instant, random: u64) -> Self {
        Self {
            deadline: now + settings.open_timeout,
            settings,
            phase: Phase::Beginning,
            lookup: Lookup::Needed,
            queue: VecDeque::new(),
            asked: BTreeMap::new(),
            hedge_at: None,
            look_again_at: None,
            asks: 0,
            round: 0,
            evidence: false,
            verdict: None,
            earlier_verdict: None,
            random,
            outputs: VecDeque::from([Output::Begin]),
        }
    }

    /// Takes in what happened. What concerns an ask that is no longer of interest is ignored.
    pub fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::Begin(agents) if self.phase == Phase::Beginning => {
                self.phase = Phase::Racing;
                self.enqueue(agents.into_iter().map(Candidate::Local));
            }
            Input::Begin(agents) if self.phase == Phase::Racing && self.lookup == Lookup::Listing => {
                self.lookup = Lookup::Needed;
                self.enqueue(agents.into_iter().map(Candidate::Local));
                self.hedge_at = Some(now);
            }
            Input::Found(holders) if self.lookup == Lookup::Running => {
                self.lookup = Lookup::Answered;
                self.enqueue(holders);
                // The local agents have had their time already, or there are none.
                self.hedge_at = Some(now);
            }
            Input::NotFound(refusal) if self.lookup == Lookup::Running => {
                self.lookup = Lookup::Answered;
                self.note(refusal);
            }
            Input::Ready(ask) => self.ready(ask),
            Input::Refused(ask, refusal) => {
                if self.asked.remove(&ask).is_some() {
                    self.note(refusal);
                    self.hedge_at = Some(now);
                }
            }
            Input::Opened(ask) if self.phase == Phase::Committed(ask) => {
                self.end(Output::Done(ask));
            }
            Input::Broken(ask, refusal) if self.phase == Phase::Committed(ask) => {
                self.asked.remove(&ask);
                self.note(refusal);
                self.phase = Phase::Racing;
            }
            Input::Begin(_) | Input::Found(_) | Input::NotFound(_) | Input::Opened(_) | Input::Broken(..) => {
            }
        }
        self.advance(now);
    }

    /// Lets time act.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.advance(now);
    }

    /// When [`Route::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let next = match self.phase {
            Phase::Over => return None,
            Phase::Racing => {
                [self.hedge_at, self.look_again_at].into_iter().flatten().min().unwrap_or(self.deadline)
            }
            Phase::Pausing(until) => until,
            Phase::Beginning | Phase::Committed(_) => self.deadline,
        };
        Some(next.min(self.deadline))
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Puts those who are neither being asked nor about to be into the queue.
    fn enqueue(&mut self, candidates: impl IntoIterator<Item = Candidate>) {
        for candidate in candidates {
            self.evidence = true;
            if !self.asked.values().any(|asked| *asked == candidate) && !self.queue.contains(&candidate) {
                self.queue.push_back(candidate);
            }
        }
    }

    fn ready(&mut self, ask: AskId) {
        if self.phase != Phase::Racing || !self.asked.contains_key(&ask) {
            return;
        }
        self.phase = Phase::Committed(ask);
        self.hedge_at = None;
        self.look_again_at = None;
        if self.lookup == Lookup::Listing {
            // The list comes too late to be of use; should the winner break, the registry knows more.
            self.lookup = Lookup::Needed;
        }
        let winner = self.asked.remove(&ask).expect("it was just seen");
        for (loser, candidate) in std::mem::take(&mut self.asked) {
            self.outputs.push_back(Output::Abandon(loser));
            // Should the winner break, the losers are as good as before.
            self.queue.push_back(candidate);
        }
        self.asked.insert(ask, winner);
        self.outputs.push_back(Output::Commit(ask));
    }

    fn advance(&mut self, now: Instant) {
        if self.phase == Phase::Over {
            return;
        }
        if now >= self.deadline {
            return self.fail();
        }
        match self.phase {
            Phase::Pausing(until) if until <= now => {
                self.phase = Phase::Beginning;
                self.lookup = Lookup::Needed;
                self.earlier_verdict = self.verdict.take().or(self.earlier_verdict.take());
                self.outputs.push_back(Output::Begin);
            }
            Phase::Racing => self.race(now),
            Phase::Beginning | Phase::Committed(_) | Phase::Pausing(_) | Phase::Over => {}
        }
    }

    fn race(&mut self, now: Instant) {
        if self.asked.is_empty() || self.hedge_at.is_some_and(|at| at <= now) {
            if self.ask_next(now) {
                return;
            }
            // Nothing more to ask until something happens.
            self.hedge_at = None;
            match self.lookup {
                Lookup::Needed => {
                    self.lookup = Lookup::Running;
                    self.outputs.push_back(Output::Lookup);
                }
                Lookup::Answered if self.asked.is_empty() => return self.end_round(now),
                Lookup::Listing | Lookup::Running | Lookup::Answered => {}
            }
        }
        if self.hedge_at.is_none() && self.lookup == Lookup::Answered && self.may_ask() {
            self.look_again(now);
        }
    }

    /// Asks the next one in the queue, if there is one.
    fn ask_next(&mut self, now: Instant) -> bool {
        if !self.may_ask() {
            return false;
        }
        let Some(candidate) = self.queue.pop_front() else { return false };
        let patience = match candidate {
            Candidate::Local(_) => self.settings.local_patience,
            Candidate::Remote { .. } => self.settings.hedge_after,
        };
        self.asks += 1;
        self.asked.insert(self.asks, candidate.clone());
        self.hedge_at = Some(now + patience);
        self.look_again_at = None;
        self.outputs.push_back(Output::Ask(self.asks, candidate));
        true
    }

    fn may_ask(&self) -> bool {
        self.asks < limits::ASKS_MAX as u64
    }

    /// Everybody known is being asked: whoever comes now is found only by another look.
    fn look_again(&mut self, now: Instant) {
        match self.look_again_at {
            None => self.look_again_at = Some(now + limits::LOOK_AGAIN_AFTER),
            Some(at) if at <= now => {
                self.look_again_at = None;
                self.lookup = Lookup::Listing;
                self.outputs.push_back(Output::Begin);
            }
            Some(_) => {}
        }
    }

    fn end_round(&mut self, now: Instant) {
        let again = match self.verdict.as_ref().map(|refusal| refusal.reason) {
            // Nobody offers it now, but somebody did: agents on their way from one gateway to another.
            None | Some(Reason::StoreUnavailable) => self.evidence,
            // The copy of the truth is behind the truth, which does not last.
            Some(Reason::AgentUnreachable) => true,
            Some(_) => false,
        };
        if !again || !self.may_ask() {
            return self.fail();
        }
        self.look_again_at = None;
        let (first, longest) = limits::ROUND_BACKOFF;
        let pause = first.saturating_mul(1 << self.round.min(16)).min(longest);
        self.round += 1;
        self.random = self.random.rotate_left(17).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let half_ms = u64::try_from(pause.as_millis() / 2).expect("a pause is seconds");
        let jittered = Duration::from_millis(half_ms + self.random % (half_ms + 1));
        self.phase = Phase::Pausing(now + jittered);
    }

    /// Keeps the more telling one of two refusals.
    fn note(&mut self, refusal: Refusal) {
        // What a candidate does not know may only mean that the registry is behind: there is somebody who should.
        let refusal = match refusal.reason {
            Reason::ServiceUnknown | Reason::Draining => {
                Refusal { reason: Reason::AgentUnreachable, ..refusal }
            }
            _ => refusal,
        };
        if self.verdict.as_ref().is_none_or(|kept| rank(refusal.reason) > rank(kept.reason)) {
            self.verdict = Some(refusal);
        }
    }

    fn fail(&mut self) {
        let refusal = self.verdict.take().or(self.earlier_verdict.take()).unwrap_or_else(|| {
            if self.evidence {
                let detail =
                    "everybody who should reach an agent for it was asked, and none answered in time";
                Refusal::new(Reason::AgentUnreachable, detail)
            } else if self.lookup == Lookup::Running {
                Refusal::new(Reason::StoreUnavailable, "the registry did not answer in time")
            } else {
                Refusal::new(Reason::ServiceUnknown, "no gateway holds an agent for it")
            }
        });
        self.end(Output::Fail(refusal));
    }

    fn end(&mut self, last: Output) {
        let kept = if let Output::Done(ask) = last { Some(ask) } else { None };
        let others = std::mem::take(&mut self.asked).into_keys().filter(|ask| Some(*ask) != kept);
        self.outputs.extend(others.map(Output::Abandon));
        self.phase = Phase::Over;
        self.outputs.push_back(last);
    }
}

/// How much a refusal tells, compared with others of the same round.
fn rank(reason: Reason) -> u8 {
    match reason {
        // The agent itself answered.
        Reason::ServiceRefused | Reason::ServiceTimeout | Reason::ServiceBroken => 5,
        Reason::Overloaded => 4,
        Reason::TunnelTimeout => 3,
        Reason::AgentUnreachable => 2,
        Reason::StoreUnavailable => 1,
        _ => 0,
    }
}
