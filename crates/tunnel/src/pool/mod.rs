//! The pool of tunnels of one agent session, as a pure core.
//!
//! A tunnel is dialled with a ticket, waits idle, carries one stream, and is gone. The pool decides how many tickets
//! to hand out, which tunnel or waiter is next, and what has become too old. It performs no I/O: the shell moves
//! tunnels in and out, draws the random numbers, and asks again at [`Pool::poll_timeout`].
//!
//! Invariants, held by assertions and by the property test:
//! - a waiter waits only while no tunnel is idle, and every waiter ends exactly once: served, failed or cancelled;
//! - idle + busy + tickets out never exceed `tunnels_max`;
//! - a ticket is good for one tunnel; afterwards, and after its time, it is refused like any forgery;
//! - only this side closes an idle tunnel for its age: who uses tunnels is who may close them (kas !838).
//!
//! What it does not do: it knows neither agents nor gateways, and it never opens a stream.

#[cfg(test)]
mod tests;
mod ticket;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

pub use ticket::{Secret, Ticket, TicketBook, TicketRefused};

use crate::limits;

/// The pool's part of the settings.
#[derive(Debug, Clone)]
pub struct PoolSettings {
    /// Fewest idle tunnels that are kept.
    pub idle_min: usize,
    /// Most tunnels, whatever their state.
    pub tunnels_max: usize,
    /// Most spare tunnels that are being dialled at a time.
    pub dial_step_max: usize,
    /// Most idle tunnels that demand can make the pool keep.
    pub spare_max: usize,
    /// Most waiters.
    pub waiters_max: usize,
    /// How long a ticket is good for.
    pub ticket_life: Duration,
    /// Age at which an idle tunnel is closed; the shell shortens it by a random part.
    pub age_max: Duration,
}

impl Default for PoolSettings {
    fn default() -> Self {
        Self {
            idle_min: limits::IDLE_MIN_DEFAULT,
            tunnels_max: limits::TUNNELS_PER_AGENT_MAX,
            dial_step_max: limits::DIAL_STEP_MAX,
            spare_max: limits::SPARE_MAX,
            waiters_max: limits::WAITERS_PER_AGENT_MAX,
            ticket_life: limits::TICKET_LIFE,
            age_max: limits::TUNNEL_AGE_MAX,
        }
    }
}

/// Names an idle tunnel within its pool, and a waiter within its pool. Later ones are higher.
pub type Serial = u64;

/// A tunnel and the time at which it is too old to wait for a stream.
#[derive(Debug, PartialEq, Eq)]
pub struct Aged<T> {
    /// The tunnel.
    pub tunnel: T,
    /// When an idle tunnel is closed.
    pub retires_at: Instant,
}

/// What the shell has to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Output<T, W> {
    /// Hand the tunnel, which counts as busy from now on, to the waiter.
    Serve(W, Aged<T>),
    /// Tell the waiter that no tunnel will come, and why.
    Fail(W, Failure),
    /// Close the tunnel: it is too old, or one too many, or the pool is closed.
    Close(T),
}

/// Why a waiter gets no tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The session ended, or its agent is leaving.
    Closed,
    /// Too many wait already.
    Full,
    /// The agent reported that it could not dial.
    DialFailed,
}

/// How many tunnels are in which state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Waiting for a stream.
    pub idle: usize,
    /// Reserved for a stream or carrying one.
    pub busy: usize,
    /// Asked for and not here yet.
    pub dialling: usize,
    /// Requests that wait for a tunnel.
    pub waiting: usize,
}

/// See the module's documentation. `T` is a tunnel, `W` what leads to a waiter.
#[derive(Debug)]
pub struct Pool<T, W> {
    settings: PoolSettings,
    /// By serial; the youngest is used first, so that what demand no longer needs grows old and goes.
    idle: BTreeMap<Serial, Aged<T>>,
    busy: usize,
    tickets: TicketBook,
    waiters: BTreeMap<Serial, W>,
    /// How many idle tunnels more than the minimum recent demand asks for.
    surge: usize,
    surge_halves_at: Option<Instant>,
    dial_failures: u32,
    dial_not_before: Option<Instant>,
    open: bool,
    serial: Serial,
    outputs: VecDeque<Output<T, W>>,
}

impl<T, W> Pool<T, W> {
    /// An empty pool, which wants the minimum of idle tunnels.
    pub fn new(settings: PoolSettings) -> Self {
        Self {
            settings,
            idle: BTreeMap::new(),
            busy: 0,
            tickets: TicketBook::default(),
            waiters: BTreeMap::new(),
            surge: 0,
            surge_halves_at: None,
            dial_failures: 0,
            dial_not_before: None,
            open: true,
            serial: 0,
            outputs: VecDeque::new(),
        }
    }

    /// Takes the youngest idle tunnel. It counts as busy until [`Pool::finished`] or [`Pool::give_back`].
    pub fn take(&mut self) -> Option<Aged<T>> {
        let (_, aged) = self.idle.pop_last()?;
        self.busy += 1;
        Some(aged)
    }

    /// Joins the queue for a tunnel; the answer comes as an output.
    ///
    /// # Errors
    /// The pool is closed or the queue is full; the waiter comes back.
    pub fn wait(&mut self, now: Instant, waiter: W) -> Result<Serial, (W, Failure)> {
        assert!(self.idle.is_empty(), "nobody waits while a tunnel is idle");
        if !self.open {
            return Err((waiter, Failure::Closed));
        }
        if self.waiters.len() >= self.settings.waiters_max {
            return Err((waiter, Failure::Full));
        }
        // A request that found nothing is the sign that there are too few spare tunnels.
        self.surge = (self.surge + 1).min(self.settings.spare_max.saturating_sub(self.settings.idle_min));
        self.surge_halves_at = Some(now + limits::SPARE_HALVES_AFTER);
        let serial = self.next_serial();
        self.waiters.insert(serial, waiter);
        Ok(serial)
    }

    /// Leaves the queue; `None` if the waiter has been answered already.
    pub fn cancel(&mut self, waiter: Serial) -> Option<W> {
        self.waiters.remove(&waiter)
    }

    /// A busy tunnel is gone.
    pub fn finished(&mut self) {
        assert!(self.busy > 0, "every busy tunnel was counted once");
        self.busy -= 1;
    }

    /// A reserved tunnel was not used. Answers its serial if it is idle again.
    pub fn give_back(&mut self, now: Instant, aged: Aged<T>) -> Option<Serial> {
        self.finished();
        self.place(now, aged)
    }

    /// How many tunnels should be asked for now, each with a ticket by [`Pool::issue`].
    pub fn wanted(&self, now: Instant) -> usize {
        if !self.open || self.dial_not_before.is_some_and(|at| now < at) {
            return 0;
        }
        let coming = self.dialling();
        let for_waiters = self.waiters.len().saturating_sub(coming);
        let spare_coming = coming.saturating_sub(self.waiters.len());
        let for_spare = self
            .spare_target()
            .saturating_sub(self.idle.len() + spare_coming)
            .min(self.settings.dial_step_max.saturating_sub(spare_coming));
        let room = self.settings.tunnels_max.saturating_sub(self.idle.len() + self.busy + self.tickets.len());
        (for_waiters + for_spare).min(room)
    }

    /// Notes that a ticket with this secret goes out.
    ///
    /// # Panics
    /// If no ticket was [`wanted`](Pool::wanted).
    pub fn issue(&mut self, now: Instant, secret: Secret) {
        assert!(self.wanted(now) > 0, "tickets are issued on demand only");
        self.tickets.issue(secret, now + self.settings.ticket_life);
    }

    /// A tunnel presents a ticket. After success the caller calls [`Pool::arrived`] at once.
    ///
    /// # Errors
    /// The ticket is unknown, used up or too old.
    pub fn redeem(&mut self, now: Instant, secret: &Secret) -> Result<(), TicketRefused> {
        self.tickets.redeem(secret, now)
    }

    /// A tunnel whose ticket was redeemed is here. Answers its serial if it is idle.
    pub fn arrived(&mut self, now: Instant, aged: Aged<T>) -> Option<Serial> {
        self.dial_failures = 0;
        self.dial_not_before = None;
        self.place(now, aged)
    }

    /// An idle tunnel turned out to be dead; `None` if it is no longer idle.
    pub fn remove(&mut self, idle: Serial) -> Option<T> {
        self.idle.remove(&idle).map(|aged| aged.tunnel)
    }

    /// The agent says that no tunnels will come for these tickets. Dialling pauses, longer each time in a row, and the
    /// youngest waiters for whom nothing is on its way are told, so that they can try elsewhere. `random` spreads the pause.
    pub fn dial_failed(&mut self, now: Instant, tickets: &[Secret], random: u64) {
        let revoked = tickets.iter().filter(|secret| self.tickets.revoke(secret).is_ok()).count();
        // Tickets that went out together fail together, in several messages: that is one failure.
        if revoked > 0 && self.dial_not_before.is_none_or(|at| at <= now) {
            let (first, longest) = limits::DIAL_BACKOFF;
            let pause = first.saturating_mul(1 << self.dial_failures.min(16)).min(longest);
            self.dial_failures = self.dial_failures.saturating_add(1);
            // Half of the pause is certain, so that an agent that always fails is not asked in a loop.
            let half_ms = u64::try_from(pause.as_millis() / 2).expect("a pause is seconds");
            self.dial_not_before = Some(now + Duration::from_millis(half_ms + random % (half_ms + 1)));
        }
        while self.waiters.len() > self.dialling() {
            let (_, waiter) = self.waiters.pop_last().expect("more than none");
            self.outputs.push_back(Output::Fail(waiter, Failure::DialFailed));
        }
    }

    /// No more tunnels are handed out or taken in; what is busy goes on. Doing it twice does no harm.
    pub fn close(&mut self) {
        self.open = false;
        self.tickets = TicketBook::default();
        let waiters = std::mem::take(&mut self.waiters).into_values();
        self.outputs.extend(waiters.map(|waiter| Output::Fail(waiter, Failure::Closed)));
        let idle = std::mem::take(&mut self.idle).into_values();
        self.outputs.extend(idle.map(|aged| Output::Close(aged.tunnel)));
    }

    /// Lets time act: tickets expire, old and needless idle tunnels are closed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.tickets.expire(now);
        if self.dial_not_before.is_some_and(|at| at <= now) {
            self.dial_not_before = None;
        }
        let old: Vec<Serial> =
            self.idle.iter().filter(|(_, aged)| aged.retires_at <= now).map(|(serial, _)| *serial).collect();
        for serial in old {
            self.close_idle(serial);
        }
        if self.surge_halves_at.is_some_and(|at| at <= now) {
            self.surge /= 2;
            self.surge_halves_at = (self.surge > 0).then(|| now + limits::SPARE_HALVES_AFTER);
            while self.idle.len() > self.spare_target() {
                let oldest = *self.idle.keys().next().expect("more than the target");
                self.close_idle(oldest);
            }
        }
    }

    /// When [`Pool::handle_timeout`] has something to do, or dialling may go on.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let oldest_idle = self.idle.values().map(|aged| aged.retires_at).min();
        [oldest_idle, self.tickets.next_expiry(), self.surge_halves_at, self.dial_not_before]
            .into_iter()
            .flatten()
            .min()
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output<T, W>> {
        self.outputs.pop_front()
    }

    /// Tunnels by state.
    pub fn counts(&self) -> Counts {
        Counts {
            idle: self.idle.len(),
            busy: self.busy,
            dialling: self.dialling(),
            waiting: self.waiters.len(),
        }
    }

    /// The pool's settings.
    pub fn settings(&self) -> &PoolSettings {
        &self.settings
    }

    fn dialling(&self) -> usize {
        self.tickets.len()
    }

    fn spare_target(&self) -> usize {
        self.settings.idle_min + self.surge
    }

    fn close_idle(&mut self, serial: Serial) {
        if let Some(aged) = self.idle.remove(&serial) {
            self.outputs.push_back(Output::Close(aged.tunnel));
        }
    }

    /// Gives a tunnel to the waiter who has waited longest, or lays it up.
    fn place(&mut self, now: Instant, aged: Aged<T>) -> Option<Serial> {
        if !self.open || aged.retires_at <= now && self.waiters.is_empty() {
            self.outputs.push_back(Output::Close(aged.tunnel));
            return None;
        }
        if let Some((_, waiter)) = self.waiters.pop_first() {
            self.busy += 1;
            self.outputs.push_back(Output::Serve(waiter, aged));
            return None;
        }
        let serial = self.next_serial();
        self.idle.insert(serial, aged);
        Some(serial)
    }

    fn next_serial(&mut self) -> Serial {
        self.serial += 1;
        self.serial
    }
}
