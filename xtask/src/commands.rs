//! The commands that hand over to a program of this repository: simulation, fuzzing, incidents, benchmarks, torture.

use std::process::Command;

use anyhow::{Result, ensure};
use clap::Args;

use crate::Output;
use crate::process::{cargo, cargo_sharing_target, run};
use crate::tools;

/// The incidents that this version can replay; see `docs` for what each is.
pub const INCIDENTS: [u8; 2] = [1, 2];

/// Arguments of `sim`.
#[derive(Debug, Args)]
pub struct Sim {
    /// What to simulate; without it the scenarios are listed.
    scenario: Option<String>,
    /// Seed of the first run; the following runs count up from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many runs.
    #[arg(long, default_value_t = 20)]
    runs: u64,
    /// Prints everything that happens in each run, not only the faults.
    #[arg(long)]
    trace: bool,
}

/// Arguments of `fuzz`.
#[derive(Debug, Args)]
pub struct Fuzz {
    /// What to fuzz; without it the targets are listed.
    target: Option<String>,
    /// How long.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
}

/// Arguments of `incident`.
#[derive(Debug, Args)]
pub struct Incident {
    /// Which one; without it all that this version has.
    #[arg(value_parser = clap::value_parser!(u8).range(1..=5))]
    number: Option<u8>,
    /// Runs of each mutant (at most) and of the design.
    #[arg(long)]
    runs: Option<u64>,
    /// Replays it live instead, for about this many seconds: the driver and the session service against real servers that are
    /// stopped, continued and replaced, through proxies that go wrong. Incident 2 only.
    #[arg(long, value_name = "SECONDS", requires = "number", conflicts_with = "runs")]
    live: Option<u64>,
}

/// Builds the Redis drivers that are compared, all with the same profile.
const DRIVER_BUILD: [&str; 6] =
    ["build", "--quiet", "--profile", "driver", "--package", "bowline-bench-driver"];

/// Builds the session service that can also be asked without signatures.
const SESSIONS_BUILD: [&str; 5] = ["build", "--quiet", "--release", "--package", "bowline-bench-sessions"];

/// Arguments of `bench`.
#[derive(Debug, Args)]
pub struct Bench {
    /// `tunnel`, `memory`, `store`, `driver` or `sessions`.
    name: Option<String>,
    /// At most a minute a name, for a first look; the figures scatter more.
    #[arg(long)]
    quick: bool,
    /// A table for people, or one JSON object a line.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// Runs a scenario of the simulator.
///
/// # Errors
/// A run violated an invariant; the program has printed the seed.
pub fn sim(arguments: &Sim) -> Result<()> {
    let mut command = cargo("sim");
    command.args(["run", "--quiet", "--"]);
    if let Some(scenario) = &arguments.scenario {
        command.arg(scenario);
        command.args(["--seed", &arguments.seed.to_string(), "--runs", &arguments.runs.to_string()]);
        if arguments.trace {
            command.arg("--trace");
        }
    }
    run(&mut command)
}

/// Fuzzes a target.
///
/// # Errors
/// A crash was found, or the tools are missing.
pub fn fuzz(arguments: &Fuzz) -> Result<()> {
    let Some(target) = &arguments.target else {
        return run(replay().arg("--list"));
    };
    tools::require_cargo_fuzz()?;
    run(replay().args(["--write-samples", target]))?;
    // cargo-fuzz looks for a folder `fuzz` below the current one.
    run(cargo("")
        .args(["+nightly", "fuzz", "run", "--features", "libfuzzer", target, "--"])
        .args([format!("-max_total_time={}", arguments.seconds).as_str(), "-max_len=4096"]))
}

/// The program that drives fuzz targets on the stable compiler.
fn replay() -> Command {
    let mut command = cargo_sharing_target("fuzz");
    command.args(["run", "--quiet", "--bin", "replay", "--"]);
    command
}

/// Replays an incident.
///
/// # Errors
/// A mutant got away or the design violated an invariant.
pub fn incident(arguments: &Incident) -> Result<()> {
    if let Some(seconds) = arguments.live {
        return live(arguments.number, seconds);
    }
    let numbers = arguments.number.map_or(INCIDENTS.to_vec(), |number| vec![number]);
    for number in numbers {
        let mut command = cargo("");
        command.args(["run", "--quiet", "--package", "bowline-incidents", "--", &number.to_string()]);
        if let Some(runs) = arguments.runs {
            command.args(["--runs", &runs.to_string()]);
        }
        run(&mut command)?;
    }
    Ok(())
}

/// Replays incident 2 against a real server. With the assertions of a debug build: it is about faults and not about speed.
fn live(number: Option<u8>, seconds: u64) -> Result<()> {
    ensure!(number == Some(2), "only incident 2 can be replayed live");
    tools::install_peers()?;
    let mut command = cargo("");
    command.args([
        "run",
        "--quiet",
        "--package",
        "bowline-torture",
        "--bin",
        "driver-torture",
        "--",
        "storm",
    ]);
    run(command.args(["--seconds", &seconds.to_string()]))
}

/// Runs a benchmark, after building what it measures with the profile of a release.
///
/// # Errors
/// The build or the measurement failed.
pub fn bench(arguments: &Bench) -> Result<()> {
    run(cargo("").args(["build", "--quiet", "--release", "--package", "bowline"]))?;
    let measures = |name: &str| arguments.name.as_deref().is_none_or(|wanted| wanted == name);
    if measures("tunnel") {
        tools::install_rathole();
    }
    if measures("driver") {
        run(cargo_sharing_target("bench").args(DRIVER_BUILD))?;
    }
    if measures("sessions") {
        run(cargo_sharing_target("bench").args(SESSIONS_BUILD))?;
    }
    let mut command = cargo_sharing_target("bench");
    command.args(["run", "--quiet", "--release", "--"]);
    command.args(&arguments.name);
    if arguments.quick {
        command.arg("--quick");
    }
    if arguments.output == Output::Json {
        command.args(["--output", "json"]);
    }
    run(&mut command)
}

/// Runs the end-to-end tests.
///
/// # Errors
/// One of them failed.
pub fn torture(filter: Option<&str>) -> Result<()> {
    tools::install_peers()?;
    run(cargo("").args(["test", "--package", "bowline-torture", "--"]).args(filter))
}
