//! When to compare copy and truth, and which keys are still to be asked for.
//!
//! One audit runs at a time and asks in chunks, one chunk at a time, so that its cost is spread and bounded. An answer
//! counts only for keys that were not written since the question: the generation asked at tells.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use bowline_model::Generation;

/// What was asked about a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Question {
    /// Is the write of this generation still there?
    Held(Generation),
    /// Has the removed key come back?
    Removed,
}

/// An observation that is on its way.
#[derive(Debug, Clone)]
pub(crate) struct Asked<K> {
    pub(crate) number: u64,
    pub(crate) asked_at: Instant,
    pub(crate) deadline: Instant,
    pub(crate) questions: BTreeMap<K, Question>,
}

/// The schedule of audits and the progress of the one that runs.
#[derive(Debug, Clone)]
pub(crate) struct Audit<K> {
    /// When the next audit starts, unless one still runs then.
    pub(crate) next_at: Instant,
    /// When the last audit started or the last doubt came up: what a question asked since then has verified need not be
    /// asked for.
    pub(crate) proof_counts_from: Option<Instant>,
    /// Keys of the audit that runs, still to be asked for.
    pub(crate) waiting: VecDeque<K>,
    pub(crate) asked: Option<Asked<K>>,
    last_number: u64,
}

impl<K: Ord + Clone> Audit<K> {
    pub(crate) fn new(first_at: Instant) -> Self {
        Self {
            next_at: first_at,
            proof_counts_from: None,
            waiting: VecDeque::new(),
            asked: None,
            last_number: 0,
        }
    }

    /// An audit runs: it has asked, or has keys to ask for.
    pub(crate) fn runs(&self) -> bool {
        self.asked.is_some() || !self.waiting.is_empty()
    }

    /// The next audit starts at `at`, or earlier if it was to.
    pub(crate) fn hasten(&mut self, at: Instant) {
        self.next_at = self.next_at.min(at);
    }

    /// Notes a new question and returns its number.
    pub(crate) fn ask(
        &mut self,
        questions: BTreeMap<K, Question>,
        asked_at: Instant,
        deadline: Instant,
    ) -> u64 {
        assert!(self.asked.is_none(), "one observation at a time");
        assert!(!questions.is_empty(), "an observation asks for something");
        self.last_number += 1;
        self.asked = Some(Asked { number: self.last_number, asked_at, deadline, questions });
        self.last_number
    }

    /// Takes the observation that the answer with this number is for; `None` if it comes too late.
    pub(crate) fn answered(&mut self, number: u64) -> Option<Asked<K>> {
        assert!(number <= self.last_number, "an answer to a question that was never asked");
        self.asked.take_if(|asked| asked.number == number)
    }

    /// When the clock has to wake the audit; `None` if something else will.
    pub(crate) fn wake_at(&self, open: bool) -> Option<Instant> {
        match &self.asked {
            Some(asked) => Some(asked.deadline),
            None if open && self.waiting.is_empty() => Some(self.next_at),
            None => None,
        }
    }
}
