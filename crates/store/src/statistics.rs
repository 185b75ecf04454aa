//! What INFO says of commands and errors since the start, or since CONFIG RESETSTAT.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::Duration;

use bowline_keyspace::CommandError;

use crate::limits::{ERROR_CODE_BYTES_MAX, ERROR_CODES_MAX};

/// How often a command was called, and how it went.
#[derive(Debug, Default)]
pub(crate) struct CommandStatistics {
    pub calls: Cell<u64>,
    pub took: Cell<Duration>,
    /// Refused before it ran.
    pub rejected: Cell<u64>,
    /// Ran and answered an error.
    pub failed: Cell<u64>,
}

impl CommandStatistics {
    /// Notes a call. Those of scripts have no time of their own: it is a part of the script's.
    pub fn note(&self, failed: bool) {
        self.calls.set(self.calls.get() + 1);
        self.failed.set(self.failed.get() + u64::from(failed));
    }

    pub fn note_time(&self, took: Duration) {
        self.took.set(self.took.get().saturating_add(took));
    }

    pub fn reject(&self) {
        self.rejected.set(self.rejected.get() + 1);
    }

    pub fn reset(&self) {
        self.calls.set(0);
        self.took.set(Duration::ZERO);
        self.rejected.set(0);
        self.failed.set(0);
    }

    /// The line of INFO; `None` if the command was never asked for.
    pub fn describe(&self) -> Option<String> {
        let (calls, rejected, failed) = (self.calls.get(), self.rejected.get(), self.failed.get());
        let micros = self.took.get().as_micros();
        // In hundredths, as two digits behind the point.
        let mean = (micros * 100).checked_div(u128::from(calls)).unwrap_or(0);
        (calls + rejected > 0).then(|| {
            format!(
                "calls={calls},usec={micros},usec_per_call={}.{:02},rejected_calls={rejected},failed_calls={failed}",
                mean / 100,
                mean % 100
            )
        })
    }
}

/// Errors by the code that they start with.
#[derive(Debug, Default)]
pub(crate) struct ErrorStatistics(RefCell<BTreeMap<String, u64>>);

impl ErrorStatistics {
    /// Counts an error. Scripts make codes of their own: past a number of them new ones are not told apart.
    pub fn note(&self, error: &CommandError) {
        let text = error.to_string();
        let code = text.split(' ').next().unwrap_or_default();
        let mut counts = self.0.borrow_mut();
        if let Some(count) = counts.get_mut(code) {
            *count += 1;
            return;
        }
        let plain = code.len() <= ERROR_CODE_BYTES_MAX && code.bytes().all(|byte| byte.is_ascii_graphic());
        let code = if plain && counts.len() < ERROR_CODES_MAX { code } else { "OTHER" };
        *counts.entry(code.to_owned()).or_default() += 1;
    }

    pub fn reset(&self) {
        self.0.borrow_mut().clear();
    }

    /// Each code with its count.
    pub fn counts(&self) -> Vec<(String, u64)> {
        self.0.borrow().iter().map(|(code, &count)| (code.clone(), count)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_errors_are_bounded() {
        let statistics = ErrorStatistics::default();
        statistics.note(&CommandError::Syntax);
        statistics.note(&CommandError::WrongType);
        statistics.note(&CommandError::Syntax);
        assert_eq!(statistics.counts(), [("ERR".to_owned(), 2), ("WRONGTYPE".to_owned(), 1)]);
        for number in 0..1_000 {
            statistics.note(&CommandError::Other(format!("CODE{number} x").into()));
        }
        statistics.note(&CommandError::Other("x".repeat(10_000).into()));
        let counts = statistics.counts();
        assert!(counts.len() <= ERROR_CODES_MAX + 1);
        assert_eq!(counts.iter().map(|(_, count)| count).sum::<u64>(), 1_004);
    }

    #[test]
    fn a_command_is_described_once_it_was_asked_for() {
        let statistics = CommandStatistics::default();
        assert_eq!(statistics.describe(), None);
        statistics.note(true);
        statistics.note(false);
        statistics.note_time(Duration::from_micros(5));
        statistics.reject();
        let line = "calls=2,usec=5,usec_per_call=2.50,rejected_calls=1,failed_calls=1";
        assert_eq!(statistics.describe().as_deref(), Some(line));
    }
}
