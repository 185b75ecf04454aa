//! The one checker of incident 1: it watches truth and store, knows nothing of how the two are kept equal, and is the same
//! for the mutants and for the design.

use std::collections::BTreeMap;

use bowline_model::Invariant;

/// What is registered: an agent, by number.
pub type Key = u8;

/// Numbers the decisions about one key in the order in which they were made; 0 is "before the first".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Decision(pub u64);

/// A broken promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub invariant: Invariant,
    /// How it was seen.
    pub how: String,
}

/// What is known about one key.
#[derive(Debug, Clone, Default)]
struct Seen {
    /// Local truth: whether the agent is connected.
    wanted: bool,
    last_decision: Decision,
    /// The newest decision that the store carried out.
    applied: Decision,
}

/// Watches one run.
#[derive(Debug, Clone, Default)]
pub struct Checker {
    keys: BTreeMap<Key, Seen>,
    violation: Option<Violation>,
}

impl Checker {
    /// Local truth decided about a key.
    pub fn decided(&mut self, key: Key, wanted: bool) -> Decision {
        let seen = self.keys.entry(key).or_default();
        seen.wanted = wanted;
        seen.last_decision.0 += 1;
        seen.last_decision
    }

    /// Whether local truth wants the key, and by which decision.
    #[must_use]
    pub fn truth(&self, key: Key) -> (bool, Decision) {
        self.keys.get(&key).map_or((false, Decision::default()), |seen| (seen.wanted, seen.last_decision))
    }

    /// The store carried out what was decided then (INV-REG-ORDER).
    pub fn applied(&mut self, key: Key, decision: Decision) {
        let seen = self.keys.entry(key).or_default();
        let newest = seen.applied;
        seen.applied = newest.max(decision);
        if decision < newest {
            let how = format!("agent {key}: decision {} was applied after decision {}", decision.0, newest.0);
            self.violated(Invariant::RegOrder, how);
        }
    }

    /// Somebody who is not the owner removed an entry (INV-REG-FORGET).
    pub fn removed_by_another(&mut self, key: Key, entry_was_live: bool) {
        if entry_was_live {
            self.violated(
                Invariant::RegForget,
                format!("agent {key}: its live entry was removed by another gateway"),
            );
        }
    }

    /// The store lost everything: what was applied before counts no longer.
    pub fn store_lost_everything(&mut self) {
        self.keys.values_mut().for_each(|seen| seen.applied = Decision::default());
    }

    /// Nothing is on its way any more: the store must hold what truth wants (INV-REG-CONVERGE).
    pub fn quiet(&mut self, holds: impl Fn(Key) -> bool) {
        let wrong = self.keys.iter().find(|(key, seen)| holds(**key) != seen.wanted);
        let Some((key, seen)) = wrong else { return };
        let how = if seen.wanted {
            format!("agent {key} is connected, nothing is on its way, and the store does not know it")
        } else {
            format!("agent {key} is gone, nothing is on its way, and the store still lists it")
        };
        self.violated(Invariant::RegConverge, how);
    }

    /// The writer is still busy although everything answered for long enough (INV-REG-CONVERGE).
    pub fn restless(&mut self, pending: usize) {
        self.violated(Invariant::RegConverge, format!("{pending} keys are still pending"));
    }

    /// The first violation of the run.
    #[must_use]
    pub fn verdict(self) -> Option<Violation> {
        self.violation
    }

    /// Whether there is a violation already.
    #[must_use]
    pub fn is_violated(&self) -> bool {
        self.violation.is_some()
    }

    fn violated(&mut self, invariant: Invariant, how: String) {
        self.violation.get_or_insert(Violation { invariant, how });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(watch: impl FnOnce(&mut Checker)) -> Option<Invariant> {
        let mut checker = Checker::default();
        checker.decided(0, true);
        watch(&mut checker);
        checker.verdict().map(|violation| violation.invariant)
    }

    #[test]
    fn each_promise_is_checked() {
        let last = |checker: &mut Checker| checker.decided(0, false);
        assert_eq!(verdict(|checker| checker.quiet(|_| true)), None);
        assert_eq!(verdict(|checker| checker.quiet(|_| false)), Some(Invariant::RegConverge));
        assert_eq!(verdict(|checker| checker.removed_by_another(0, false)), None);
        assert_eq!(verdict(|checker| checker.removed_by_another(0, true)), Some(Invariant::RegForget));
        let reordered = verdict(|checker| {
            let newer = last(checker);
            checker.applied(0, newer);
            checker.applied(0, Decision(1));
        });
        assert_eq!(reordered, Some(Invariant::RegOrder));
        let after_loss = verdict(|checker| {
            let newer = last(checker);
            checker.applied(0, newer);
            checker.store_lost_everything();
            checker.applied(0, Decision(1));
        });
        assert_eq!(after_loss, None);
    }
}
