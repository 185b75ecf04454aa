//! Runs a subject under many seeds and says what was found.

use std::fmt;

use crate::checker::Violation;
use crate::trace::Trace;

/// One run under one seed.
#[derive(Debug, Clone)]
pub struct Run {
    /// What the checker found.
    pub violation: Option<Violation>,
    /// What happened.
    pub trace: Trace,
}

/// What is run: a faulty design or Bowline's own.
pub struct Subject {
    /// The name of a mutant; `None` is the design.
    pub mutant: Option<&'static str>,
    /// Runs it once.
    pub run: fn(seed: u64) -> Run,
}

/// The run that showed a violation.
#[derive(Debug, Clone)]
pub struct Finding {
    /// Its number, from 1.
    pub number: u64,
    /// Its seed.
    pub seed: u64,
    /// What was found.
    pub violation: Violation,
    /// What happened.
    pub trace: Trace,
}

/// What many runs showed. Prints as one line.
#[derive(Debug, Clone)]
pub struct Report {
    /// The name of the mutant; `None` is the design.
    pub mutant: Option<&'static str>,
    /// How many runs were allowed.
    pub runs: u64,
    /// The first violation.
    pub found: Option<Finding>,
}

impl Report {
    /// A mutant was caught; the design was clean.
    #[must_use]
    pub fn is_as_it_should_be(&self) -> bool {
        self.mutant.is_some() == self.found.is_some()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.mutant, &self.found) {
            (Some(name), Some(Finding { number, seed, .. })) => {
                write!(f, "mutant {name}: caught after {number} runs (seed {seed})")
            }
            (Some(name), None) => write!(f, "mutant {name}: NOT CAUGHT in {} runs", self.runs),
            (None, Some(Finding { seed, violation, .. })) => {
                write!(f, "design: VIOLATED {} (seed {seed})", violation.invariant)
            }
            (None, None) => write!(f, "design: clean in {} runs", self.runs),
        }
    }
}

/// Runs the subject with the seeds `first_seed`, `first_seed + 1`, … until something is found.
#[must_use]
pub fn explore(subject: &Subject, runs: u64, first_seed: u64) -> Report {
    let found = (0..runs).find_map(|index| {
        let seed = first_seed.wrapping_add(index);
        let Run { violation, trace } = (subject.run)(seed);
        violation.map(|violation| Finding { number: index + 1, seed, violation, trace })
    });
    Report { mutant: subject.mutant, runs, found }
}

/// The violation with the fewest steps in these runs: the one to show to a person.
#[must_use]
pub fn shortest(subject: &Subject, runs: u64, first_seed: u64) -> Option<Finding> {
    let mut shortest: Option<Finding> = None;
    for index in 0..runs {
        let seed = first_seed.wrapping_add(index);
        let Run { violation, trace } = (subject.run)(seed);
        let Some(violation) = violation else { continue };
        if shortest.as_ref().is_none_or(|finding| trace.len() < finding.trace.len()) {
            shortest = Some(Finding { number: index + 1, seed, violation, trace });
        }
    }
    shortest
}
