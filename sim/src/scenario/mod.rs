//! What can be simulated.

mod driver;
mod echo;
mod registry;
mod sessions;

use crate::phases::Violation;

/// A system under test with its faults and its checkers.
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// One line for people.
    pub about: &'static str,
    /// One run; what happened, for people.
    pub run: fn(seed: u64) -> Result<String, Violation>,
}

/// Every scenario, the simplest first.
pub const ALL: &[Scenario] = &[echo::SCENARIO, driver::SCENARIO, sessions::SCENARIO, registry::SCENARIO];
