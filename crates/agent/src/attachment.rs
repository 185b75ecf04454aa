//! Which gateways to be attached to, and when to dial next: the core of the agent, without sockets, tasks or clocks.
//!
//! The join list is a list of *targets*. A *session* is one attempt to be attached to a target and what becomes of it: it
//! is named by its generation, dials, is attached, perhaps is told to move (drains), leaves, and is gone. The shell
//! performs the outputs ([`Output`]) and reports what happens ([`Input`]); everything that is decided is decided here.
//!
//! What holds:
//! - As many sessions as wanted are dialling or attached, at most one of them per target, unless every other target
//!   has to wait for its back-off; then [`Attachment::poll_timeout`] says until when.
//! - A session that was told to move is left only when another one is attached, and at the latest when its gateway ends it:
//!   a draining path is better than none.
//! - A target that failed is not dialled before a random part of its back-off has passed, other targets are dialled at
//!   once. Which one is chosen is random, so that the agents of a dead gateway spread over the others. When the last
//!   session that worked is lost, what is known of the others is old, and all are tried soon.
//! - Two targets that lead to the same gateway count as one: the second is left alone for a while.
//! - When another process logged in with our id, nobody is dialled for a while: two agents that take each other's place at
//!   full speed would leave no gateway with a usable tunnel.
//! - After [`Input::Stop`] nobody is dialled, and every session has ended when its streams have, or its grace.

mod backoff;
pub mod event;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bowline_model::{Epoch, GatewayId, Generation};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

pub use event::{Input, Notice, Output, State, TargetView};

use crate::limits::{DRAIN_JITTER_MAX, SLOW_BACKOFF_MIN};
use crate::settings::Limits;
use backoff::Backoff;

/// The core. See the module.
#[derive(Debug)]
pub struct Attachment {
    epoch: Epoch,
    wanted: usize,
    limits: Limits,
    random: StdRng,
    targets: Vec<Target>,
    sessions: BTreeMap<Generation, Session>,
    last_generation: Generation,
    /// Nobody is dialled before this.
    hold_until: Option<Instant>,
    stopping: bool,
    outputs: VecDeque<Output>,
}

#[derive(Debug, Default)]
struct Target {
    /// Failures in a row.
    failures: u32,
    /// Not to be dialled before this.
    not_before: Option<Instant>,
    gateway: Option<GatewayId>,
    last_error: Option<String>,
}

#[derive(Debug)]
struct Session {
    target: usize,
    /// Who answered; known from the welcome on.
    gateway: Option<GatewayId>,
    phase: Phase,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    Dialling,
    Attached {
        since: Instant,
    },
    /// Told to move, later: still counts as attached.
    Draining {
        since: Instant,
        move_at: Instant,
    },
    /// It is time to move: works, but its successor is being looked for.
    Moving {
        since: Instant,
    },
    Leaving {
        until: Instant,
    },
}

impl Session {
    /// Whether it takes one of the wanted places.
    fn is_kept(&self) -> bool {
        matches!(self.phase, Phase::Dialling | Phase::Attached { .. } | Phase::Draining { .. })
    }

    /// Whether its gateway can use it.
    fn is_established(&self) -> bool {
        matches!(self.phase, Phase::Attached { .. } | Phase::Draining { .. } | Phase::Moving { .. })
    }

    fn is_dialling(&self) -> bool {
        matches!(self.phase, Phase::Dialling)
    }

    fn state(&self) -> State {
        match self.phase {
            Phase::Dialling => State::Dialling,
            Phase::Attached { .. } => State::Attached,
            Phase::Draining { .. } | Phase::Moving { .. } => State::Draining,
            Phase::Leaving { .. } => State::Leaving,
        }
    }
}

impl Attachment {
    /// A core for `targets` gateways that wants `connections` of them, draws its random numbers from `seed`, and is the
    /// incarnation `epoch`. It begins with the first [`Input::Tick`].
    ///
    /// # Panics
    /// Without targets or connections.
    #[must_use]
    pub fn new(epoch: Epoch, targets: usize, connections: usize, limits: Limits, seed: u64) -> Self {
        assert!(targets > 0 && connections > 0, "settings are checked");
        Self {
            epoch,
            wanted: connections.min(targets),
            limits,
            random: StdRng::seed_from_u64(seed),
            targets: (0..targets).map(|_| Target::default()).collect(),
            sessions: BTreeMap::new(),
            last_generation: Generation(0),
            hold_until: None,
            stopping: false,
            outputs: VecDeque::new(),
        }
    }

    /// Takes note of what happened. Words about a session that is gone are too late and change nothing.
    pub fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::Tick => {}
            Input::Welcome { session, gateway } => self.welcome(now, session, gateway),
            Input::Drain { session, jitter } => self.drain(now, session, jitter),
            Input::Superseded { session, by } => self.superseded(now, session, by),
            Input::Refused { session, reason } => self.refused(now, session, reason),
            Input::Lost { session, error } => self.lost(now, session, error),
            Input::Quiet { session } => {
                let left = |session: &Session| matches!(session.phase, Phase::Leaving { .. });
                if self.sessions.get(&session).is_some_and(left) {
                    self.close(session);
                }
            }
            Input::Stop => self.stop(),
        }
        self.advance(now);
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Input::Tick`] is due, if ever.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let phases = self.sessions.values().filter_map(|session| match session.phase {
            Phase::Dialling | Phase::Attached { .. } | Phase::Moving { .. } => None,
            Phase::Draining { move_at, .. } => Some(move_at),
            Phase::Leaving { until } => Some(until),
        });
        phases.chain(self.next_dial()).min()
    }

    /// Whether everybody has been left after [`Input::Stop`].
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.stopping && self.sessions.is_empty()
    }

    /// How each target stands, in the order of the join list.
    #[must_use]
    pub fn view(&self) -> Vec<TargetView> {
        let state = |index| self.sessions_of(index).map(Session::state).max().unwrap_or(State::Detached);
        let view = |(index, target): (usize, &Target)| TargetView {
            state: state(index),
            gateway: target.gateway.clone(),
            last_error: target.last_error.clone(),
        };
        self.targets.iter().enumerate().map(view).collect()
    }

    fn welcome(&mut self, now: Instant, name: Generation, gateway: GatewayId) {
        let Some(session) = self.sessions.get_mut(&name).filter(|session| session.is_dialling()) else {
            return;
        };
        session.phase = Phase::Attached { since: now };
        session.gateway = Some(gateway.clone());
        let target = session.target;
        self.targets[target].gateway = Some(gateway.clone());
        self.targets[target].last_error = None;
        self.close_doubles(now, name, &gateway);
        self.tell(Notice::Attached { target, gateway });
    }

    /// The gateway keeps one control connection per agent, the newest. An older session of ours there is over, and its
    /// target leads to where we are already.
    fn close_doubles(&mut self, now: Instant, newest: Generation, gateway: &GatewayId) {
        let here = self.sessions[&newest].target;
        let older = |(name, session): (&Generation, &Session)| {
            let is_double = *name != newest && session.gateway.as_ref() == Some(gateway);
            is_double.then_some((*name, session.target))
        };
        let doubles: Vec<_> = self.sessions.iter().filter_map(older).collect();
        for (name, target) in doubles {
            self.close(name);
            if target != here && self.is_free(target) {
                let retry_after = self.postpone(now, target);
                self.tell(Notice::SameGateway { target, gateway: gateway.clone(), retry_after });
            }
        }
    }

    fn drain(&mut self, now: Instant, name: Generation, jitter: Duration) {
        let Some(Phase::Attached { since }) = self.sessions.get(&name).map(|session| session.phase) else {
            return;
        };
        let after = backoff::below(jitter.min(DRAIN_JITTER_MAX), &mut self.random);
        let session = self.sessions.get_mut(&name).expect("it was just looked at");
        session.phase = Phase::Draining { since, move_at: now + after };
        let (target, gateway) = (session.target, session.gateway.clone());
        if let Some(gateway) = gateway {
            self.tell(Notice::Moving { target, gateway, after });
        }
    }

    fn superseded(&mut self, now: Instant, name: Generation, by: Epoch) {
        let Some(session) = self.sessions.remove(&name) else { return };
        let target = session.target;
        if by == self.epoch {
            // Only another target of ours that leads to the same gateway can do that.
            if self.is_free(target) {
                self.postpone(now, target);
            }
            return;
        }
        let hold = self.limits.id_taken_hold;
        let retry_after = hold + backoff::below(hold, &mut self.random);
        self.hold_until = self.hold_until.max(Some(now + retry_after));
        self.targets[target].last_error =
            Some(format!("another process with this agent's id took over ({by})"));
        self.tell(Notice::IdTaken { target, by, retry_after });
    }

    fn refused(&mut self, now: Instant, name: Generation, reason: String) {
        let Some(Session { target, .. }) = self.sessions.remove(&name) else { return };
        let retry_after = self.fail(now, target, self.slow_backoff());
        self.targets[target].last_error = Some(reason.clone());
        self.tell(Notice::Refused { target, reason, retry_after });
    }

    fn lost(&mut self, now: Instant, name: Generation, error: String) {
        let Some(session) = self.sessions.remove(&name) else { return };
        let worked = session.is_established();
        let Session { target, phase, .. } = session;
        match phase {
            // A gateway that ends what we have left does as it should.
            Phase::Leaving { .. } => return,
            Phase::Attached { since } | Phase::Draining { since, .. } | Phase::Moving { since } => {
                self.forgive_if_stable(now, target, since);
            }
            Phase::Dialling => {}
        }
        let backoff = Backoff::full(self.limits.backoff_min, self.limits.backoff_max);
        if worked && self.count(Session::is_established) == 0 {
            self.hurry(now);
        }
        let retry_after = self.fail(now, target, backoff);
        self.targets[target].last_error = Some(error.clone());
        self.tell(Notice::Lost { target, error, failures: self.targets[target].failures, retry_after });
    }

    /// Ends what was only dialled. The rest is left by [`Attachment::advance`].
    fn stop(&mut self) {
        self.stopping = true;
        for name in self.names_where(Session::is_dialling) {
            self.close(name);
        }
    }

    /// Does what is due.
    fn advance(&mut self, now: Instant) {
        for name in
            self.names_where(|session| matches!(session.phase, Phase::Leaving { until } if until <= now))
        {
            self.close(name);
        }
        let is_due =
            |session: &Session| matches!(session.phase, Phase::Draining { move_at, .. } if move_at <= now);
        for name in self.names_where(is_due) {
            self.move_away(now, name);
        }
        while let Some(target) = self.choose(now) {
            self.dial(target);
        }
        self.leave_moving(now);
    }

    fn move_away(&mut self, now: Instant, name: Generation) {
        let session = self.sessions.get_mut(&name).expect("only sessions that are there are moved");
        let Phase::Draining { since, .. } = session.phase else { return };
        session.phase = Phase::Moving { since };
        let target = session.target;
        self.forgive_if_stable(now, target, since);
        // The same address may lead to a fresh gateway soon, but not at once.
        self.fail(now, target, self.slow_backoff());
    }

    fn dial(&mut self, target: usize) {
        self.last_generation = self.last_generation.next();
        let session = self.last_generation;
        self.sessions.insert(session, Session { target, gateway: None, phase: Phase::Dialling });
        self.outputs.push_back(Output::Dial { session, target });
    }

    /// A target to dial now, if one more session is wanted and a target is free.
    fn choose(&mut self, now: Instant) -> Option<usize> {
        if !self.is_short() || self.hold_until.is_some_and(|until| until > now) {
            return None;
        }
        let is_due = |index: usize| self.targets[index].not_before.is_none_or(|instant| instant <= now);
        // A gateway that asks us to move is the last to be asked again.
        let rank = |index: usize| (self.sessions_of(index).count(), self.targets[index].failures);
        let ready = (0..self.targets.len()).filter(|index| self.is_free(*index) && is_due(*index));
        let ready: Vec<_> = ready.map(|index| (rank(index), index)).collect();
        let (best, _) = *ready.iter().min()?;
        let equals: Vec<_> = ready.into_iter().filter(|(rank, _)| *rank == best).collect();
        Some(equals[self.random.random_range(0..equals.len())].1)
    }

    /// When the next dial is due, if more sessions are wanted than there are.
    fn next_dial(&self) -> Option<Instant> {
        let free = (0..self.targets.len()).filter(|index| self.is_short() && self.is_free(*index));
        free.filter_map(|index| self.targets[index].not_before.max(self.hold_until)).min()
    }

    /// Leaves sessions that were told to move as far as others have taken their place, and all after [`Input::Stop`].
    fn leave_moving(&mut self, now: Instant) {
        if self.stopping {
            for name in self.names_where(Session::is_established) {
                self.leave(now, name);
            }
        }
        let attached = self.count(|session| matches!(session.phase, Phase::Attached { .. }));
        if attached == 0 {
            return;
        }
        let mut established = self.count(Session::is_established);
        // A dial at a target that has not failed may give us one more soon. Without one there is nothing to wait for.
        let hope = self.count(|session| session.is_dialling() && self.targets[session.target].failures == 0);
        for name in self.names_where(|session| matches!(session.phase, Phase::Moving { .. })) {
            if established > self.wanted || hope == 0 {
                self.leave(now, name);
                established -= 1;
            }
        }
    }

    fn leave(&mut self, now: Instant, name: Generation) {
        let until = now + self.limits.drain_grace;
        let session = self.sessions.get_mut(&name).expect("only sessions that are there are left");
        session.phase = Phase::Leaving { until };
        self.outputs.push_back(Output::Leave { session: name });
    }

    fn close(&mut self, name: Generation) {
        self.sessions.remove(&name);
        self.outputs.push_back(Output::Close { session: name });
    }

    /// Leaves `target` alone for a part of its back-off, which grows with each failure.
    fn fail(&mut self, now: Instant, target: usize, backoff: Backoff) -> Duration {
        let wait = backoff.draw(self.targets[target].failures, &mut self.random);
        let target = &mut self.targets[target];
        target.failures = target.failures.saturating_add(1);
        target.not_before = Some(now + wait);
        wait
    }

    /// Nobody can reach this agent any more: every target may be tried within the shortest back-off, once. One that
    /// still fails goes on with the long back-off that it had.
    fn hurry(&mut self, now: Instant) {
        for target in &mut self.targets {
            let soon = now + backoff::below(self.limits.backoff_min, &mut self.random);
            target.not_before = target.not_before.map(|instant| instant.min(soon));
        }
    }

    /// Leaves `target` alone for long though nothing is wrong with it.
    fn postpone(&mut self, now: Instant, target: usize) -> Duration {
        let wait = self.slow_backoff().draw(u32::MAX, &mut self.random);
        self.targets[target].not_before = Some(now + wait);
        wait
    }

    fn forgive_if_stable(&mut self, now: Instant, target: usize, since: Instant) {
        if now.saturating_duration_since(since) >= self.limits.stable_after {
            self.targets[target].failures = 0;
        }
    }

    fn slow_backoff(&self) -> Backoff {
        Backoff::half(SLOW_BACKOFF_MIN, self.limits.refused_backoff_max)
    }

    /// Whether more sessions are wanted than there are.
    fn is_short(&self) -> bool {
        !self.stopping && self.count(Session::is_kept) < self.wanted
    }

    /// Whether `target` may be dialled: no session is being made there or holds a place.
    fn is_free(&self, target: usize) -> bool {
        !self.sessions_of(target).any(Session::is_kept)
    }

    fn sessions_of(&self, target: usize) -> impl Iterator<Item = &Session> {
        self.sessions.values().filter(move |session| session.target == target)
    }

    fn count(&self, is_meant: impl Fn(&Session) -> bool) -> usize {
        self.sessions.values().filter(|session| is_meant(session)).count()
    }

    fn names_where(&self, is_meant: impl Fn(&Session) -> bool) -> Vec<Generation> {
        self.sessions.iter().filter(|(_, session)| is_meant(session)).map(|(name, _)| *name).collect()
    }

    fn tell(&mut self, notice: Notice) {
        self.outputs.push_back(Output::Tell(notice));
    }
}
