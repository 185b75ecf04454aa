//! The one checker of incident 2. It knows which answer each key has, what the server executed, and how each request ended;
//! it knows nothing of connections.

use std::collections::BTreeMap;

use bowline_model::Invariant;
use bowline_resp::Frame;

use crate::checker::Violation;

/// A request, and the key that it names. Every request has its own.
pub type Key = usize;

/// How a request ended.
#[derive(Debug, Clone, PartialEq)]
pub enum End {
    /// With an answer.
    Answered(Frame),
    /// It was not sent.
    NotSent,
    /// Nobody knows whether it was executed.
    Unknown,
}

/// What is known about one request.
#[derive(Debug, Clone, Default)]
struct Seen {
    executed: bool,
    ended: bool,
    /// Its caller has given up, and no longer looks.
    abandoned: bool,
}

/// Watches one run.
#[derive(Debug, Clone, Default)]
pub struct Checker {
    requests: BTreeMap<Key, Seen>,
    violation: Option<Violation>,
}

/// What the server says about a key.
pub fn value(key: Key) -> String {
    format!("value:{key}")
}

/// The key that an answer names: in its text, or in the last element of a list.
pub fn key_of(answer: &Frame) -> Option<Key> {
    let text = match answer {
        Frame::Error(text) => std::str::from_utf8(text).ok(),
        Frame::Array(elements) => elements.last()?.as_text(),
        other => other.as_text(),
    };
    text?.rsplit_once("value:")?.1.parse().ok()
}

impl Checker {
    /// A caller asks.
    pub fn asked(&mut self, key: Key) {
        self.requests.insert(key, Seen::default());
    }

    /// The caller gives up.
    pub fn abandoned(&mut self, key: Key) {
        self.requests.entry(key).or_default().abandoned = true;
    }

    /// The server carries the request out (INV-DRV-ONCE). Nobody has said that it may run twice.
    pub fn executed(&mut self, key: Key) {
        let seen = self.requests.entry(key).or_default();
        if std::mem::replace(&mut seen.executed, true) {
            self.violated(Invariant::DrvOnce, format!("the request for key {key} was executed twice"));
        }
    }

    /// A request ended (INV-DRV-OWN, INV-DRV-ONCE).
    pub fn ended(&mut self, key: Key, end: &End) {
        let seen = self.requests.entry(key).or_default();
        if seen.abandoned {
            return;
        }
        if std::mem::replace(&mut seen.ended, true) {
            return self.violated(Invariant::DrvOnce, format!("the request for key {key} ended twice"));
        }
        match end {
            End::Answered(answer) if key_of(answer) != Some(key) => {
                self.violated(Invariant::DrvOwn, format!("the request for key {key} got {answer:?}"));
            }
            End::NotSent if seen.executed => {
                let how = format!("the request for key {key} was executed and is said not to have been sent");
                self.violated(Invariant::DrvOnce, how);
            }
            _ => {}
        }
    }

    /// Nothing is on its way any more, and all deadlines have passed (INV-DRV-ONCE).
    pub fn quiet(&mut self) {
        let waiting = self.requests.iter().find(|(_, seen)| !seen.ended && !seen.abandoned);
        if let Some((key, _)) = waiting {
            self.violated(Invariant::DrvOnce, format!("the request for key {key} never ended"));
        }
    }

    /// Something was heard from a connection after its end (INV-DRV-OWN).
    pub fn heard_from_the_dead(&mut self, key: Key) {
        self.violated(Invariant::DrvOwn, format!("a dead connection answered the request for key {key}"));
    }

    /// Whether a request waits for its end.
    pub fn waits(&self, key: Key) -> bool {
        self.requests.get(&key).is_some_and(|seen| !seen.ended && !seen.abandoned)
    }

    /// The first violation of the run.
    pub fn verdict(self) -> Option<Violation> {
        self.violation
    }

    fn violated(&mut self, invariant: Invariant, how: String) {
        self.violation.get_or_insert(Violation { invariant, how });
    }
}

#[cfg(test)]
mod tests {
    use super::End::{Answered, NotSent};
    use super::*;

    fn check(executed: bool, ends: &[End], expected: Option<Invariant>) {
        let mut checker = Checker::default();
        checker.asked(5);
        if executed {
            checker.executed(5);
        }
        ends.iter().for_each(|end| checker.ended(5, end));
        checker.quiet();
        assert_eq!(checker.verdict().map(|violation| violation.invariant), expected, "{ends:?}");
    }

    #[test]
    fn each_promise_is_checked() {
        let answer = |key| Answered(Frame::bulk(value(key)));
        check(true, &[answer(5)], None);
        check(true, &[Answered(Frame::error("ERR value:5"))], None);
        check(true, &[Answered(Frame::Array(vec![Frame::bulk("message"), Frame::bulk(value(5))]))], None);
        check(true, &[answer(99)], Some(Invariant::DrvOwn));
        check(true, &[Answered(Frame::Simple("PONG".into()))], Some(Invariant::DrvOwn));
        check(true, &[answer(5), answer(5)], Some(Invariant::DrvOnce));
        check(false, &[NotSent], None);
        check(true, &[NotSent], Some(Invariant::DrvOnce));
        check(true, &[End::Unknown], None);
        check(true, &[], Some(Invariant::DrvOnce));

        let mut checker = Checker::default();
        (0..2).for_each(|_| checker.executed(5));
        assert_eq!(checker.verdict().map(|violation| violation.invariant), Some(Invariant::DrvOnce));
    }
}
