//! The three phases of a run: settle, faults, heal. A scenario says what runs and what must be true; this drives it.

use std::fmt;
use std::time::{Duration, SystemTime};

use bowline_model::Invariant;
use turmoil::{Builder, Sim};

use crate::fault::Plan;
use crate::limits::{
    CONVERGE_MAX, LATENCY_MAX, LATENCY_MIN, NOTICE_MAX, SEGMENTS_MAX, SETTLE_MAX, STAY, TICK,
};

/// Seconds from 1970 to the beginning of every simulation.
const EPOCH: Duration = Duration::from_secs(1_800_000_000);

/// A promise that was not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Its name; `None` when the system did not even start, or a host ended by itself.
    pub invariant: Option<Invariant>,
    /// What was seen.
    pub detail: String,
}

impl Violation {
    /// A promise that was not kept.
    pub fn of(invariant: Invariant, detail: impl Into<String>) -> Self {
        Self { invariant: Some(invariant), detail: detail.into() }
    }

    /// Something that must not happen and has no name.
    pub fn other(detail: impl Into<String>) -> Self {
        Self { invariant: None, detail: detail.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.invariant {
            Some(invariant) => write!(f, "{invariant}: {}", self.detail),
            None => f.write_str(&self.detail),
        }
    }
}

/// What a scenario watches. All of it is asked between two steps of the simulation, from outside of every host.
pub trait Checker {
    /// Whether the system is as it should be when nothing is wrong: what is missing otherwise.
    ///
    /// # Errors
    /// What is not as it should be.
    fn converged(&self) -> Result<(), Violation>;

    /// All faults have ended: what was seen before does not count as convergence.
    fn healed(&self);

    /// What must hold at any time, under any fault.
    ///
    /// # Errors
    /// What does not hold.
    fn safe(&self) -> Result<(), Violation>;
}

/// An empty simulation, all of whose randomness follows from the seed.
pub fn simulation(seed: u64) -> Sim<'static> {
    Builder::new()
        .rng_seed(seed)
        .epoch(SystemTime::UNIX_EPOCH + EPOCH)
        .tick_duration(TICK)
        .simulation_duration(Duration::from_secs(3600))
        .min_message_latency(LATENCY_MIN)
        .max_message_latency(LATENCY_MAX)
        .tcp_capacity(SEGMENTS_MAX)
        .enable_random_order()
        .build()
}

/// Runs the phases and returns, for people, what happened.
///
/// # Errors
/// The first violation.
pub fn run(sim: &mut Sim<'_>, plan: &Plan, checker: &impl Checker) -> Result<String, Violation> {
    wait(sim, checker, SETTLE_MAX)?;
    for fault in plan.faults() {
        println!("{fault}");
    }
    let beginning = sim.elapsed();
    while sim.elapsed() <= beginning + plan.end() {
        let since = sim.elapsed() - beginning;
        plan.apply(sim, since, since + TICK);
        step(sim, checker)?;
    }
    checker.healed();
    let healed = sim.elapsed();
    wait(sim, checker, CONVERGE_MAX)?;
    let converged = sim.elapsed() - healed;
    while sim.elapsed() < healed + NOTICE_MAX {
        step(sim, checker)?;
    }
    wait(sim, checker, CONVERGE_MAX)?;
    let settled = sim.elapsed();
    while sim.elapsed() < settled + STAY {
        step(sim, checker)?;
        checker.converged()?;
    }
    let faults = plan.faults().len();
    Ok(format!("{faults} faults, converged {} ms after the last one ended", converged.as_millis()))
}

/// Steps until the system is as it should be.
fn wait(sim: &mut Sim<'_>, checker: &impl Checker, limit: Duration) -> Result<(), Violation> {
    let start = sim.elapsed();
    loop {
        step(sim, checker)?;
        match checker.converged() {
            Ok(()) => return Ok(()),
            Err(missing) if sim.elapsed() > start + limit => {
                let detail = format!("{} (after {limit:?} without a fault)", missing.detail);
                return Err(Violation { detail, ..missing });
            }
            Err(_) => {}
        }
    }
}

fn step(sim: &mut Sim<'_>, checker: &impl Checker) -> Result<(), Violation> {
    sim.step().map_err(|error| Violation::other(format!("a host ended by itself: {error}")))?;
    checker.safe()
}
