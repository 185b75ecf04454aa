//! Deterministic simulation of whole zones: `cargo xtask sim [SCENARIO] [--seed S] [--runs N]`.
//!
//! Gateways, agents, stores and clients run as hosts of one turmoil simulation in one thread, with simulated clocks,
//! sockets and random numbers. Everything that happens follows from the seed. A run has three phases:
//! 1. *settle*: the system starts and must work;
//! 2. *faults*: crashes, stalls, partitions and slow links, drawn from the seed and printed; nothing may go wrong that
//!    no fault excuses;
//! 3. *heal*: every fault ends, and the system must converge within a bound.
//!
//! One run is one process: std's hash keys and mad-turmoil's generator are set once for a process. So the program
//! starts itself for each seed. `tests/meta.rs` holds that the same seed gives the same trace, byte for byte.
//!
//! What it cannot show: real TCP retransmission (a partition loses segments for good), disks, other processes' memory.

#![expect(clippy::print_stdout, reason = "a tool for the terminal")]

mod fault;
mod limits;
mod parent;
mod phases;
mod probe;
mod scenario;
mod trace;
mod zone;

use std::process::ExitCode;

use clap::Parser;
use rand::SeedableRng;
use rand::rngs::StdRng;

/// Simulates Bowline under faults that are drawn from a seed.
#[derive(Debug, Parser)]
#[command(name = "bowline-sim", bin_name = "cargo xtask sim")]
pub struct Arguments {
    /// What to simulate; without it the scenarios are listed.
    scenario: Option<String>,
    /// Seed of the first run; the following runs count up from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many runs.
    #[arg(long, default_value_t = 20)]
    runs: u64,
    /// Prints everything that happens, not only the faults.
    #[arg(long)]
    trace: bool,
    /// Runs one seed in this process; used by the program itself.
    #[arg(long, hide = true)]
    single: bool,
}

fn main() -> ExitCode {
    // The seed must be set before anything draws from the operating system, and one std HashMap is enough for that.
    let seed = seed_of(std::env::args());
    mad_turmoil::rand::set_rng(StdRng::seed_from_u64(seed));
    let arguments = Arguments::parse();
    let Some(name) = &arguments.scenario else {
        for scenario in scenario::ALL {
            println!("{:<10} {}", scenario.name, scenario.about);
        }
        return ExitCode::SUCCESS;
    };
    let Some(scenario) = scenario::ALL.iter().find(|scenario| scenario.name == name) else {
        println!("no scenario is called {name:?}; without a name they are listed");
        return ExitCode::FAILURE;
    };
    if arguments.single { single(scenario, &arguments) } else { parent::run(&arguments) }
}

fn single(scenario: &scenario::Scenario, arguments: &Arguments) -> ExitCode {
    let _clocks = mad_turmoil::time::SimClocksGuard::init();
    bowline_rt::random::seed(arguments.seed);
    if arguments.trace {
        trace::print();
    }
    match (scenario.run)(arguments.seed) {
        Ok(summary) => {
            println!("clean: {summary}");
            ExitCode::SUCCESS
        }
        Err(violation) => {
            println!("VIOLATED {violation}");
            ExitCode::FAILURE
        }
    }
}

/// Finds `--seed` without a parser, which may use a hash map.
fn seed_of(mut arguments: impl Iterator<Item = String>) -> u64 {
    while let Some(argument) = arguments.next() {
        let value = match argument.strip_prefix("--seed") {
            Some("") => arguments.next(),
            Some(rest) => rest.strip_prefix('=').map(str::to_owned),
            None => None,
        };
        if let Some(seed) = value.and_then(|value| value.parse().ok()) {
            return seed;
        }
    }
    1
}
