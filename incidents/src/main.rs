//! `bowline-incidents NUMBER [--runs N] [--seed S] [--show]`: replays an incident.
//!
//! Exit status: 0 if every mutant was caught and the design is clean, 1 if not, 2 if the incident cannot be replayed.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a tool for the terminal")]

use std::process::ExitCode;

use bowline_incidents::explore::{Report, Subject, explore, shortest};
use bowline_incidents::{lost_registration, mixed_replies};
use clap::Parser;

/// Runs without `--runs`: a few seconds, built without optimisation.
const RUNS_DEFAULT: u64 = 20_000;

/// Replays an incident: its mutants must be caught, and the design must come out clean.
#[derive(Debug, Parser)]
struct Arguments {
    /// Which incident.
    #[arg(value_parser = clap::value_parser!(u8).range(1..=5))]
    number: u8,
    /// Runs of each mutant (at most) and of the design.
    #[arg(long, default_value_t = RUNS_DEFAULT, value_parser = clap::value_parser!(u64).range(1..))]
    runs: u64,
    /// Seed of the first run; the following runs count up from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Prints the shortest schedule that catches each mutant.
    #[arg(long)]
    show: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let Some(subjects) = subjects(arguments.number) else {
        eprintln!("incident {} cannot be replayed yet; this version has incidents 1 and 2", arguments.number);
        return ExitCode::from(2);
    };
    let mut all_well = true;
    for subject in subjects {
        let report = explore(subject, arguments.runs, arguments.seed);
        println!("{report}");
        all_well &= report.is_as_it_should_be();
        explain(subject, &report, &arguments);
    }
    if all_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn subjects(number: u8) -> Option<&'static [Subject]> {
    match number {
        1 => Some(&lost_registration::SUBJECTS),
        2 => Some(&mixed_replies::SUBJECTS),
        _ => None,
    }
}

/// Shows how a mutant fails, if that was asked for, and how the design does, always.
fn explain(subject: &Subject, report: &Report, arguments: &Arguments) {
    let Some(found) = &report.found else { return };
    if report.is_as_it_should_be() && !arguments.show {
        return;
    }
    let shortest = shortest(subject, arguments.runs, arguments.seed);
    let finding = shortest.as_ref().unwrap_or(found);
    let text = format!(
        "\n{}\n\n{} by the schedule of seed {}: {}\n",
        finding.trace, finding.violation.invariant, finding.seed, finding.violation.how
    );
    if report.is_as_it_should_be() { println!("{text}") } else { eprintln!("{text}") }
}
