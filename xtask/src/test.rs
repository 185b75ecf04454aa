//! `cargo xtask test`: the steps of the CI, in the order in which they fail soonest.
//!
//! `sim`, `bench` and `fuzz` are workspaces of their own: `sim` compiles another implementation of the seam and takes
//! tokio's unstable flag; `bench` and `fuzz` have dependencies that nobody else should build. The package `bench/driver` is
//! linted here and its tests run with `cargo test --package bowline-bench-driver` only: building four Redis drivers takes
//! longer than they are worth to every change.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::commands::INCIDENTS;
use crate::process::{self, cargo, cargo_sharing_target, run_watching};
use crate::{tidy, tools};

/// Inputs that each fuzz target gets here. Real fuzzing is `cargo xtask fuzz`; this holds the targets alive.
const REPLAYS: &str = "20000";

/// Runs of each mutant and of the design of an incident.
const INCIDENT_RUNS: &str = "200";

/// One step: its name and what it does. The number of tests that it ran comes back, 0 if it runs none.
struct Step {
    name: &'static str,
    work: fn() -> Result<u64>,
}

const STEPS: [Step; 11] = [
    Step { name: "peers", work: || tools::install_peers().map(|()| 0) },
    Step { name: "format", work: format },
    Step { name: "tidy", work: || tidy::run().map(|()| 0) },
    Step { name: "lint", work: lint },
    Step { name: "documents", work: documents },
    Step { name: "tests", work: tests },
    Step { name: "incidents", work: incidents },
    Step { name: "side lints", work: side_lints },
    Step { name: "sim", work: || count_tests(cargo("sim").arg("test")) },
    Step { name: "bench tests", work: || count_tests(cargo_sharing_target("bench").arg("test")) },
    Step { name: "fuzz replay", work: replay },
];

struct Done {
    name: &'static str,
    duration: Duration,
    tests: u64,
}

/// Prints the names of the steps.
pub fn list() {
    for step in &STEPS {
        println!("{}", step.name);
    }
}

/// Runs the steps whose name contains `only`; all of them without it.
///
/// # Errors
/// The first step that failed; the rest did not run.
pub fn run(only: Option<&str>) -> Result<()> {
    let mut done = Vec::new();
    for step in STEPS.iter().filter(|step| only.is_none_or(|text| step.name.contains(text))) {
        println!("\n==> {}", step.name);
        let start = now();
        let result = (step.work)();
        let duration = start.elapsed();
        match result {
            Ok(tests) => done.push(Done { name: step.name, duration, tests }),
            Err(error) => {
                summarise(&done);
                return Err(error.context(format!("step \"{}\" failed after {duration:.1?}", step.name)));
            }
        }
    }
    if done.is_empty() {
        bail!("no step has that name; --list prints them");
    }
    summarise(&done);
    Ok(())
}

fn summarise(done: &[Done]) {
    println!("\n{:<14} {:>9} {:>7}", "step", "seconds", "tests");
    for step in done {
        let tests = if step.tests == 0 { String::new() } else { step.tests.to_string() };
        println!("{:<14} {:>9.1} {tests:>7}", step.name, step.duration.as_secs_f64());
    }
    let seconds: f64 = done.iter().map(|step| step.duration.as_secs_f64()).sum();
    let tests: u64 = done.iter().map(|step| step.tests).sum();
    println!("{:<14} {seconds:>9.1} {tests:>7}", "in all");
}

#[expect(clippy::disallowed_methods, reason = "a tool outside of the simulation measures real time")]
fn now() -> Instant {
    Instant::now()
}

fn format() -> Result<u64> {
    process::run(cargo("").args(["fmt", "--all", "--check"]))?;
    // In these, --all would format the crates of the main workspace once more.
    for package in ["sim", "bench", "bench/driver", "bench/sessions", "fuzz"] {
        process::run(cargo(package).args(["fmt", "--check"]))?;
    }
    Ok(0)
}

fn lint() -> Result<u64> {
    process::run(cargo("").args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    Ok(0)
}

fn side_lints() -> Result<u64> {
    process::run(cargo("sim").args(["clippy", "--all-targets", "--", "-D", "warnings"]))?;
    for workspace in ["bench", "fuzz"] {
        process::run(cargo_sharing_target(workspace).args([
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ]))?;
    }
    Ok(0)
}

fn documents() -> Result<u64> {
    let mut command = cargo("");
    command.env("RUSTDOCFLAGS", "-D warnings").args(["doc", "--workspace", "--no-deps"]);
    process::run(&mut command)?;
    Ok(0)
}

fn tests() -> Result<u64> {
    count_tests(cargo("").args(["test", "--workspace"]))
}

fn incidents() -> Result<u64> {
    for number in INCIDENTS {
        let number = number.to_string();
        process::run(cargo("").args([
            "run",
            "--quiet",
            "--package",
            "bowline-incidents",
            "--",
            &number,
            "--runs",
            INCIDENT_RUNS,
        ]))?;
    }
    Ok(0)
}

/// Feeds every fuzz target with its corpus and with random inputs of a fixed seed, on the stable compiler.
fn replay() -> Result<u64> {
    process::run(
        cargo_sharing_target("fuzz").args(["run", "--quiet", "--bin", "replay", "--", "--runs", REPLAYS]),
    )?;
    Ok(0)
}

/// Runs a `cargo test` and adds up the tests that it reports.
fn count_tests(command: &mut Command) -> Result<u64> {
    let mut tests = 0;
    run_watching(command, |line| tests += passed(line))?;
    Ok(tests)
}

/// The number in libtest's "test result: ok. 12 passed; …".
fn passed(line: &str) -> u64 {
    let Some(counts) = line.strip_prefix("test result: ok. ") else { return 0 };
    counts.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::passed;

    #[test]
    fn results_of_libtest_are_counted() {
        assert_eq!(passed("test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured"), 12);
        assert_eq!(passed("test result: FAILED. 3 passed; 1 failed"), 0);
        assert_eq!(passed("running 12 tests"), 0);
    }
}
