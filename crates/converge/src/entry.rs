//! One key: what local truth wants, what the copy is known to hold, and what follows from the two.
//!
//! [`Entry::review`] is the only decision: it looks at the whole state and takes no notice of what changed last. Everything
//! that happens to a key ends in a review, so no edge can be missed.

use std::time::Instant;

use bowline_model::Generation;

use crate::message::{Held, Outcome};
use crate::settings::Settings;

/// What local truth wants of the copy.
#[derive(Debug, Clone)]
pub(crate) enum Desired<V> {
    /// It must hold this value.
    Present(V),
    /// It was told to remove the value, and still holds it until then in case the key is set again.
    Lingering { value: V, until: Instant },
    /// It must hold nothing.
    Absent,
}

/// What the copy is known to hold.
#[derive(Debug, Clone)]
pub(crate) enum Acknowledged<V> {
    /// No write has ever been handed out: whatever is there is not this writer's.
    Untouched,
    /// A write ended without an answer, was refused, or its lease has passed.
    Unknown,
    /// Nothing.
    Absent,
    /// This, by a write that was handed out at `written_at`.
    Present { held: Held<V>, written_at: Instant, renew_at: Option<Instant> },
}

/// The one write of a key that may be on its way.
#[derive(Debug, Clone)]
pub(crate) struct InFlight<V> {
    pub(crate) generation: Generation,
    pub(crate) value: Option<V>,
    pub(crate) sent_at: Instant,
    pub(crate) batch: u64,
}

/// What to do about a key, and when to look again if nothing happens before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Review {
    /// Copy and truth agree.
    Quiet { again_at: Option<Instant> },
    /// A write is on its way, or the key backs off.
    Waits { again_at: Instant },
    /// The key is to be written now.
    Write { again_at: Option<Instant> },
    /// The removal is acknowledged.
    Removed,
    /// The key was never written and is not wanted.
    Forget,
}

/// The state of one key.
#[derive(Debug, Clone)]
pub(crate) struct Entry<V> {
    pub(crate) desired: Desired<V>,
    pub(crate) acknowledged: Acknowledged<V>,
    pub(crate) in_flight: Option<InFlight<V>>,
    /// Failures in a row.
    pub(crate) failures: u32,
    /// End of the back-off.
    pub(crate) retry_at: Option<Instant>,
    /// When the newest question was asked whose answer showed that the copy is as it should be.
    pub(crate) proven_at: Option<Instant>,
    /// The key's place in the queue of keys to write.
    pub(crate) place: Option<u64>,
    /// The time at which it is reviewed by the clock.
    pub(crate) timer: Option<Instant>,
    /// It was counted as pending at its last review.
    pub(crate) pending: bool,
}

impl<V: Eq + Clone> Entry<V> {
    pub(crate) fn new(desired: Desired<V>, acknowledged: Acknowledged<V>) -> Self {
        Self {
            desired,
            acknowledged,
            in_flight: None,
            failures: 0,
            retry_at: None,
            proven_at: None,
            place: None,
            timer: None,
            pending: false,
        }
    }

    /// What the copy should hold now.
    pub(crate) fn wanted(&self) -> Option<&V> {
        match &self.desired {
            Desired::Present(value) | Desired::Lingering { value, .. } => Some(value),
            Desired::Absent => None,
        }
    }

    /// The copy is not known to hold what it should.
    pub(crate) fn is_pending(&self) -> bool {
        // Changed and changed back while a write was on its way: that write is about to make the copy differ.
        if self.in_flight.as_ref().is_some_and(|flight| flight.value.as_ref() != self.wanted()) {
            return true;
        }
        match &self.acknowledged {
            Acknowledged::Untouched => self.wanted().is_some() || self.in_flight.is_some(),
            Acknowledged::Unknown => true,
            Acknowledged::Absent => self.wanted().is_some(),
            Acknowledged::Present { held, .. } => self.wanted() != Some(&held.value),
        }
    }

    /// The generation that an observation must find, if the key is quiet and holds a value.
    pub(crate) fn settled(&self) -> Option<&Held<V>> {
        match &self.acknowledged {
            Acknowledged::Present { held, .. } if self.in_flight.is_none() && !self.is_pending() => {
                Some(held)
            }
            _ => None,
        }
    }

    /// A removal before the first write has nothing to remove.
    pub(crate) fn never_written(&self) -> bool {
        matches!(self.acknowledged, Acknowledged::Untouched) && self.in_flight.is_none()
    }

    /// Decides from the whole state. Also lets linger and lease pass.
    pub(crate) fn review(&mut self, now: Instant, settings: &Settings) -> Review {
        let linger_ends = self.pass_linger(now);
        if let Some(flight) = &self.in_flight {
            let deadline = flight.sent_at + settings.write_timeout;
            return Review::Waits { again_at: linger_ends.map_or(deadline, |end| end.min(deadline)) };
        }
        let (lease_ends, renew_at) = self.pass_lease(now, settings);
        if self.wanted().is_none() {
            match self.acknowledged {
                Acknowledged::Untouched => return Review::Forget,
                Acknowledged::Absent => return Review::Removed,
                Acknowledged::Unknown | Acknowledged::Present { .. } => {}
            }
        }
        let renewal_is_due = renew_at.is_some_and(|at| at <= now);
        if !self.is_pending() && !renewal_is_due {
            let again_at = [linger_ends, renew_at].into_iter().flatten().min();
            return Review::Quiet { again_at };
        }
        match self.retry_at.filter(|at| *at > now) {
            Some(at) => Review::Waits { again_at: linger_ends.map_or(at, |end| end.min(at)) },
            None => Review::Write { again_at: [linger_ends, lease_ends].into_iter().flatten().min() },
        }
    }

    /// Ends a linger whose time has come; otherwise says when it ends.
    fn pass_linger(&mut self, now: Instant) -> Option<Instant> {
        let Desired::Lingering { until, .. } = self.desired else { return None };
        if until > now {
            return Some(until);
        }
        self.desired = Desired::Absent;
        None
    }

    /// Forgets what the copy held once its lease may have passed; otherwise says when it ends and when to renew it.
    fn pass_lease(&mut self, now: Instant, settings: &Settings) -> (Option<Instant>, Option<Instant>) {
        let Acknowledged::Present { written_at, renew_at, .. } = self.acknowledged else {
            return (None, None);
        };
        let Some(lease) = settings.lease else { return (None, None) };
        if written_at + lease <= now {
            self.acknowledged = Acknowledged::Unknown;
            return (None, None);
        }
        (Some(written_at + lease), renew_at)
    }

    /// Hands out the one write of this key, with the newest state.
    pub(crate) fn start(&mut self, flight: InFlight<V>) {
        assert!(self.in_flight.is_none(), "one write in flight per key");
        assert!(self.wanted() == flight.value.as_ref(), "a write carries the newest state");
        self.retry_at = None;
        self.in_flight = Some(flight);
    }

    /// Takes the end of the write in flight into account. `renew_at` is used if the write stored a value.
    pub(crate) fn finish(&mut self, flight: InFlight<V>, outcome: &Outcome<V>, renew_at: Option<Instant>) {
        assert!(self.in_flight.is_none(), "the write was taken out of flight");
        match outcome {
            Outcome::Applied { .. } => {
                self.failures = 0;
                self.proven_at = Some(flight.sent_at);
                self.acknowledged = match flight.value {
                    Some(value) => Acknowledged::Present {
                        held: Held { value, generation: flight.generation },
                        written_at: flight.sent_at,
                        renew_at,
                    },
                    None => Acknowledged::Absent,
                };
            }
            Outcome::Refused | Outcome::Unknown => {
                self.failures = self.failures.saturating_add(1);
                self.acknowledged = Acknowledged::Unknown;
            }
            // What was acknowledged before still holds.
            Outcome::Failed => self.failures = self.failures.saturating_add(1),
        }
    }

    /// Clears the back-off: what made the writes fail is over.
    pub(crate) fn forgive(&mut self) {
        self.failures = 0;
        self.retry_at = None;
    }
}
