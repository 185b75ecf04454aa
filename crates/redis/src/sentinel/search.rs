//! The search for the primary, as a state machine: whom to ask, and which answer to believe.
//!
//! The sentinels are asked one after the other, and the first good answer ends the search, if it is not older than what was
//! known before: each failover has a number (`config-epoch`), and a sentinel that was cut off from the others still tells of an
//! older one. If all who answer are older, the newest of them is right after all: the numbers began anew.

use std::collections::VecDeque;

use super::answer::{Answer, AskError};
use crate::limits::SEARCH_FAILURES_SHOWN_MAX;

/// One search.
#[derive(Debug)]
pub(crate) struct Search {
    to_ask: VecDeque<String>,
    /// The newest failover that was heard of before.
    newest: Option<u64>,
    /// The newest of the answers that are older.
    older: Option<Found>,
    /// As many as there are sentinels at most.
    failures: Vec<(String, AskError)>,
}

/// The end of a search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// Who said so.
    pub sentinel: String,
    pub answer: Answer,
    /// All who answered know of older failovers only.
    pub overrules: bool,
}

/// Nobody knows the primary.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no sentinel tells who the primary is: {reasons}")]
pub(crate) struct SearchError {
    reasons: String,
}

impl Search {
    /// A search among `sentinels`, in this order.
    pub fn new(sentinels: &[String], newest: Option<u64>) -> Self {
        let to_ask = sentinels.iter().cloned().collect();
        Self { to_ask, newest, older: None, failures: Vec::new() }
    }

    /// Whom to ask next; if there is nobody left, see [`Search::finish`].
    pub fn next(&mut self) -> Option<String> {
        self.to_ask.pop_front()
    }

    /// Takes what `sentinel` has answered; the search is over if that is enough.
    pub fn take(&mut self, sentinel: String, answer: Result<Answer, AskError>) -> Option<Found> {
        let answer = match answer {
            // Its own address would answer like a server without a role.
            Ok(answer) if answer.primary == sentinel => Err(AskError::Itself),
            answer => answer,
        };
        match answer {
            Ok(answer) => {
                let is_older =
                    answer.config_epoch.zip(self.newest).is_some_and(|(epoch, newest)| epoch < newest);
                let found = Found { sentinel, answer, overrules: is_older };
                if !is_older {
                    return Some(found);
                }
                let best = self.older.as_ref().and_then(|found| found.answer.config_epoch);
                if found.answer.config_epoch > best {
                    self.older = Some(found);
                }
            }
            Err(error) => self.failures.push((sentinel, error)),
        }
        None
    }

    /// What the answers come to when everybody was asked.
    ///
    /// # Errors
    /// Nobody knew.
    pub fn finish(mut self) -> Result<Found, SearchError> {
        // In whatever order they were asked: the same failure again has the same text, and is logged once.
        self.failures.sort_by(|(one, _), (other, _)| one.cmp(other));
        self.older.ok_or_else(|| {
            let shown = self.failures.iter().take(SEARCH_FAILURES_SHOWN_MAX);
            let reasons = shown.map(|(sentinel, error)| format!("{sentinel}: {error}"));
            let mut reasons = reasons.collect::<Vec<_>>().join("; ");
            if let Some(more @ 1..) = self.failures.len().checked_sub(SEARCH_FAILURES_SHOWN_MAX) {
                reasons.push_str(&format!("; and {more} more"));
            }
            SearchError { reasons }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(primary: &str, config_epoch: Option<u64>) -> Result<Answer, AskError> {
        Ok(Answer { primary: primary.to_owned(), config_epoch, others: Vec::new(), replicas: None })
    }

    /// Runs a search; what came of it, and how many were asked.
    fn check(
        newest: Option<u64>,
        answers: &[Result<Answer, AskError>],
        expected: Result<(&str, &str, bool), &str>,
        asked_expected: usize,
    ) {
        let sentinels: Vec<String> = (1..=answers.len()).map(|number| format!("s{number}")).collect();
        let mut search = Search::new(&sentinels, newest);
        let mut asked = 0;
        let found = loop {
            let Some(sentinel) = search.next() else { break search.finish() };
            asked += 1;
            if let Some(found) = search.take(sentinel, answers[asked - 1].clone()) {
                break Ok(found);
            }
        };
        let found = found.map(|found| (found.sentinel, found.answer.primary, found.overrules));
        let expected = expected
            .map(|(sentinel, primary, overrules)| (sentinel.to_owned(), primary.to_owned(), overrules))
            .map_err(|reasons| format!("no sentinel tells who the primary is: {reasons}"));
        assert_eq!(found.map_err(|error| error.to_string()), expected);
        assert_eq!(asked, asked_expected);
    }

    #[test]
    fn the_first_good_answer_is_taken() {
        let late = || Err(AskError::Late);
        check(None, &[answer("a", Some(1)), answer("b", Some(2))], Ok(("s1", "a", false)), 1);
        check(None, &[late(), answer("b", None)], Ok(("s2", "b", false)), 2);
        check(Some(3), &[answer("a", None)], Ok(("s1", "a", false)), 1);
        check(None, &[answer("s1", Some(1)), answer("b", Some(1))], Ok(("s2", "b", false)), 2);
    }

    #[test]
    fn an_older_failover_is_believed_only_if_nobody_knows_of_a_newer_one() {
        check(Some(2), &[answer("a", Some(1)), answer("b", Some(2))], Ok(("s2", "b", false)), 2);
        let older = [answer("a", Some(0)), answer("b", Some(1)), answer("c", Some(0))];
        check(Some(2), &older, Ok(("s2", "b", true)), 3);
        check(Some(2), &[answer("a", Some(0)), Err(AskError::Closed)], Ok(("s1", "a", true)), 2);
    }

    #[test]
    fn who_failed_is_named_up_to_a_bound() {
        check(None, &[], Err(""), 0);
        check(
            None,
            &[Err(AskError::Late), answer("s2", None)],
            Err("s1: it answered too late; s2: it names itself as the primary"),
            2,
        );
        let text = |order: [&str; 2]| {
            let mut search = Search::new(&[], None);
            for sentinel in order {
                search.take(sentinel.to_owned(), Err(AskError::Late));
            }
            search.finish().unwrap_err()
        };
        assert_eq!(text(["s1", "s2"]), text(["s2", "s1"]), "the order in which they are asked turns");
        let many: Vec<_> = (0..SEARCH_FAILURES_SHOWN_MAX + 2).map(|_| Err(AskError::Closed)).collect();
        let named = ["s1", "s10", "s2", "s3", "s4", "s5", "s6", "s7"];
        assert_eq!(named.len(), SEARCH_FAILURES_SHOWN_MAX);
        let named = named.map(|name| format!("{name}: it closed the connection; "));
        check(None, &many, Err(&format!("{}and 2 more", named.concat())), many.len());
    }
}
