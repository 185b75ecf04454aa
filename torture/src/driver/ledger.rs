//! The checker. It knows what each call asked and how it ended, and nothing of connections.

use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bowline_redis::{CallError, Client, Command, Frame};

use super::values::{COUNTERS, Values, counter_key, list, partner};
use crate::limits::{SOON, VIOLATIONS_MAX};

/// What a call asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// `GET` of a value.
    Get(usize),
    /// `SET` of a value to what it is.
    Set(usize),
    /// `LRANGE` of a list that reads like a message.
    List(usize),
    /// `ECHO` of a number that nobody else uses.
    Echo(u64),
    /// `INCR` of a counter.
    Increment(usize),
    /// A value, an error, and the next value, as one pipeline.
    Batch(usize),
    /// `INCR` of a counter and the value of that number, as a transaction.
    Transaction(usize),
    /// `BLPOP` of nothing, for a little while.
    Block,
}

/// For how long the command that blocks asks to wait.
const BLOCK: Duration = Duration::from_millis(50);

impl Question {
    /// Time that the command itself asks for.
    #[must_use]
    pub const fn blocks_for(self) -> Duration {
        match self {
            Self::Block => BLOCK,
            _ => Duration::ZERO,
        }
    }

    /// The counter that it increments.
    const fn counter(self) -> Option<usize> {
        match self {
            Self::Increment(counter) | Self::Transaction(counter) => Some(counter),
            _ => None,
        }
    }
}

/// How a call ended, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// An answer.
    Answered,
    /// Surely not executed.
    NotSent,
    /// Perhaps executed.
    Unknown,
    /// The caller gave up.
    Cancelled,
}

#[derive(Debug, Default)]
struct Counter {
    unknown: AtomicU64,
    /// The numbers that were answered; each at most once, whoever asked.
    acknowledged: Mutex<HashSet<i64>>,
}

/// Watches all calls of a load.
#[derive(Debug, Default)]
pub struct Ledger {
    values: Values,
    counters: [Counter; COUNTERS],
    /// Calls by their endings.
    endings: [AtomicU64; 4],
    /// Calls on the shared connection that were answered.
    answered_shared: AtomicU64,
    /// How much later than its deadline a call ended at worst, in microseconds.
    lateness_us: AtomicU64,
    violations: Mutex<Vec<String>>,
}

impl Ledger {
    /// The values that it expects.
    pub const fn values(&self) -> &Values {
        &self.values
    }

    /// Calls that were answered so far.
    pub fn answered(&self) -> u64 {
        self.count(Ending::Answered)
    }

    /// Calls on the shared connection that were answered so far.
    pub fn answered_shared(&self) -> u64 {
        self.answered_shared.load(Ordering::Relaxed)
    }

    /// A call on the shared connection was answered.
    pub fn note_shared(&self) {
        self.answered_shared.fetch_add(1, Ordering::Relaxed);
    }

    /// Calls that ended so.
    pub fn count(&self, ending: Ending) -> u64 {
        self.endings[ending as usize].load(Ordering::Relaxed)
    }

    /// A call ended; `None` if its caller gave up.
    pub fn ended(&self, question: Question, outcome: Option<&Result<Frame, CallError>>) {
        let ending = match outcome {
            None => Ending::Cancelled,
            Some(Ok(answer)) => {
                self.check(question, answer);
                Ending::Answered
            }
            Some(Err(CallError::NotSent(_))) => Ending::NotSent,
            Some(Err(CallError::Unknown(_))) => Ending::Unknown,
            Some(Err(CallError::Server(error))) => {
                self.violated(format!("{question:?} got an error of somebody else: {error}"));
                Ending::Answered
            }
        };
        self.endings[ending as usize].fetch_add(1, Ordering::Relaxed);
        if let (Some(counter), Ending::Unknown | Ending::Cancelled) = (question.counter(), ending) {
            self.counters[counter].unknown.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A call ended this much after its deadline.
    pub fn late(&self, lateness: Duration) {
        let lateness_us = u64::try_from(lateness.as_micros()).unwrap_or(u64::MAX);
        self.lateness_us.fetch_max(lateness_us, Ordering::Relaxed);
    }

    /// How much later than its deadline a call ended at worst.
    pub fn lateness(&self) -> Duration {
        Duration::from_micros(self.lateness_us.load(Ordering::Relaxed))
    }

    /// INV-DRV-OWN.
    fn check(&self, question: Question, answer: &Frame) {
        let value = |key: usize| Frame::Bulk(self.values.of(key).clone());
        let is_own = match question {
            Question::Get(key) => *answer == value(key),
            Question::Block => *answer == Frame::Null,
            Question::Batch(key) => match answer {
                Frame::Array(frames) => matches!(&frames[..], [first, Frame::Error(text), last]
                    if *first == value(key) && *last == value(partner(key)) && text.starts_with(b"WRONGTYPE ")),
                _ => false,
            },
            Question::Transaction(counter) => match answer {
                Frame::Array(frames) if frames.len() == 2 && frames[1] == value(counter) => {
                    return self.check_increment(counter, &frames[0]);
                }
                _ => false,
            },
            Question::Set(_) => answer == &Frame::ok(),
            Question::List(number) => *answer == list(number),
            Question::Echo(number) => *answer == Frame::bulk(number.to_string()),
            Question::Increment(counter) => return self.check_increment(counter, answer),
        };
        if !is_own {
            let owner = answer.as_bytes().and_then(|value| self.values.owner(value));
            let shown: String = format!("{answer:?}").chars().take(200).collect();
            self.violated(format!("{question:?} got the answer of somebody else (key {owner:?}): {shown}"));
        }
    }

    fn check_increment(&self, counter: usize, answer: &Frame) {
        let acknowledged = &self.counters[counter].acknowledged;
        let is_new = answer.as_integer().is_some_and(|number| {
            number > 0 && acknowledged.lock().unwrap_or_else(PoisonError::into_inner).insert(number)
        });
        if !is_new {
            let shown: String = format!("{answer:?}").chars().take(200).collect();
            self.violated(format!("INCR of counter {counter} got {shown}, which it cannot be"));
        }
    }

    /// Keeps what went wrong.
    pub fn violated(&self, what: String) {
        let mut violations = self.violations.lock().unwrap_or_else(PoisonError::into_inner);
        if violations.len() < VIOLATIONS_MAX {
            violations.push(what);
        }
    }

    /// INV-DRV-ONCE, exactly: no caller asks any more, and the server has executed all that will ever reach it. `direct` leads
    /// to the server itself that has a key.
    ///
    /// # Errors
    /// Everything that went wrong, and the driver's errors.
    pub async fn settle<'a>(&self, direct: impl Fn(&str) -> &'a Client) -> Result<()> {
        for (number, counter) in self.counters.iter().enumerate() {
            let key = counter_key(number);
            let get = Command::new("INCRBY").arg(&key).arg("0").deadline(SOON);
            let executed = direct(&key).call(get).await.context("cannot read a counter")?;
            let executed = executed.as_integer().context("a counter is a number")?;
            let acknowledged = counter.acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
            let unknown = counter.unknown.load(Ordering::Relaxed);
            let count = acknowledged.len() as u64;
            if !(count..=count + unknown).contains(&executed.unsigned_abs()) {
                self.violated(format!(
                    "counter {number} is {executed}: {count} were acknowledged, and the fate of {unknown} is unknown"
                ));
            }
            if let Some(beyond) = acknowledged.iter().find(|&&number| number > executed) {
                self.violated(format!("counter {number} is {executed}, and {beyond} was acknowledged"));
            }
        }
        let violations = self.violations.lock().unwrap_or_else(PoisonError::into_inner);
        if !violations.is_empty() {
            bail!("{} violations:\n{}", violations.len(), violations.join("\n"));
        }
        ensure!(self.answered() > 0, "nothing was answered, and so nothing was checked");
        Ok(())
    }

    /// Increments whose fate is unknown, and those that were acknowledged.
    pub fn increments(&self) -> (u64, usize) {
        let unknown = self.counters.iter().map(|counter| counter.unknown.load(Ordering::Relaxed)).sum();
        let acknowledged = self.counters.iter();
        let acknowledged = acknowledged
            .map(|counter| counter.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).len());
        (unknown, acknowledged.sum())
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unknown, acknowledged) = self.increments();
        write!(
            f,
            "{} answered, {} cancelled, {} unknown, {} not sent; INCR {acknowledged} acknowledged, {unknown} unknown; \
             latest {:.0?} after its deadline",
            self.answered(),
            self.count(Ending::Cancelled),
            self.count(Ending::Unknown),
            self.count(Ending::NotSent),
            self.lateness(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::values::KEYS;
    use super::*;

    /// A checker that has never caught anything proves nothing.
    #[test]
    fn wrong_answers_are_seen() {
        let check = |question, answer: Frame, is_wrong: bool| {
            let ledger = Ledger::default();
            ledger.ended(question, Some(&Ok(answer.clone())));
            let violations = ledger.violations.lock().unwrap();
            assert_eq!(!violations.is_empty(), is_wrong, "{question:?}: {violations:?}");
        };
        let values = Values::default();
        let value = |key| Frame::Bulk(values.of(key).clone());
        check(Question::Get(7), value(7), false);
        check(Question::Get(7), value(8), true);
        check(Question::Get(7), Frame::Null, true);
        check(Question::Set(7), Frame::ok(), false);
        check(Question::Set(7), value(7), true);
        check(Question::List(3), list(3), false);
        check(Question::List(3), list(2), true);
        check(Question::Echo(5), Frame::bulk("5"), false);
        check(Question::Echo(5), Frame::bulk("6"), true);
        check(Question::Increment(0), Frame::Integer(1), false);
        check(Question::Increment(0), Frame::Integer(0), true);
        check(Question::Increment(0), value(1), true);
        check(Question::Block, Frame::Null, false);
        check(Question::Block, Frame::Integer(1), true);
        let array = Frame::Array;
        let error = || Frame::error("WRONGTYPE x");
        check(Question::Batch(499), array(vec![value(499), error(), value(498)]), false);
        check(Question::Batch(499), array(vec![error(), value(498), value(499)]), true);
        check(Question::Transaction(1), array(vec![Frame::Integer(5), value(1)]), false);
        check(Question::Transaction(1), array(vec![Frame::Integer(5), value(2)]), true);
        check(Question::Transaction(1), Frame::Null, true);
    }

    #[test]
    fn a_number_is_acknowledged_once() {
        let ledger = Ledger::default();
        for _ in 0..2 {
            ledger.ended(Question::Increment(3), Some(&Ok(Frame::Integer(9))));
        }
        assert_eq!(ledger.violations.lock().unwrap().len(), 1);
    }

    #[test]
    fn every_value_names_its_key_and_no_other() {
        let values = Values::default();
        for key in 0..KEYS {
            assert_eq!(values.owner(values.of(key)), Some(key));
        }
    }
}
