//! The one door to everything that a person or the CI does with this repository: `cargo xtask --help`.
//!
//! Each command prints the programs that it runs, so that any of them can be repeated by hand. Nothing here is part of
//! the product, and no crate depends on it.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a tool for the terminal")]

mod commands;
mod process;
mod test;
mod tidy;
mod tools;

use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

/// Builds, checks and exercises Bowline.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// All that the CI runs: formatting, lints, tidy, documents, tests, simulation, incidents, fuzz targets.
    ///
    /// Stops at the first step that fails and names it. Installs the real peers of the tests (redis-server, nginx) with
    /// apt-get when they are missing and the user is root.
    Test {
        /// Runs only the steps whose name contains this text.
        #[arg(long, value_name = "TEXT")]
        only: Option<String>,
        /// Prints the names of the steps and runs none.
        #[arg(long)]
        list: bool,
    },
    /// Checks the rules of the house that no compiler knows: direction of dependencies, lengths of files and functions,
    /// banned words.
    Tidy,
    /// Simulates a whole zone in one process, with faults drawn from a seed.
    ///
    /// Without a scenario it lists them.
    Sim(commands::Sim),
    /// Fuzzes one decoder with cargo-fuzz; needs a nightly toolchain. Without a target it lists them.
    Fuzz(commands::Fuzz),
    /// Replays an incident: its mutants must be caught, and the design must come out clean.
    Incident(commands::Incident),
    /// Measures, beside the direct connection and other programs in the same run. Without a name it runs all.
    Bench(commands::Bench),
    /// End-to-end tests: real processes, real peers (redis-server, nginx), real signals.
    Torture {
        /// Runs only the tests whose name contains this text.
        filter: Option<String>,
    },
}

/// How a benchmark prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people.
    Table,
    /// One object a line.
    Json,
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Test { list: true, .. } => {
            test::list();
            Ok(())
        }
        Command::Test { only, .. } => test::run(only.as_deref()),
        Command::Tidy => tidy::run(),
        Command::Sim(arguments) => commands::sim(&arguments),
        Command::Fuzz(arguments) => commands::fuzz(&arguments),
        Command::Incident(arguments) => commands::incident(&arguments),
        Command::Bench(arguments) => commands::bench(&arguments),
        Command::Torture { filter } => commands::torture(filter.as_deref()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
