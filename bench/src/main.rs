//! Benchmarks: `cargo xtask bench [NAME] [--quick] [--output json]`.
//!
//! Absolute figures of a shared machine mean little, so every benchmark measures Bowline and its peers in the same run,
//! in interleaved rounds, and reports the median of each and their ratio. Loads, and the services behind the tunnels,
//! run in this process; what is measured runs as it is released.
//!
//! - [`tunnel`]: throughput and requests/s through gateway and agent, beside the direct connection and `rathole`.
//! - [`memory`]: what an idle agent costs a gateway.
//! - [`driver`]: the Redis driver beside three others, on one connection.
//! - [`sessions`]: the session service beside itself without signatures.
//! - [`store`]: `bowline store` beside `redis-server`, by `redis-benchmark`.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a tool for the terminal")]

mod driver;
mod http;
mod limits;
mod memory;
mod program;
mod report;
mod sessions;
mod store;
mod tunnel;

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Parser, ValueEnum};

use report::Report;

/// Measures Bowline beside other programs.
#[derive(Debug, Parser)]
#[command(name = "bowline-bench", bin_name = "cargo xtask bench")]
struct Arguments {
    /// `tunnel`, `memory`, `store`, `driver` or `sessions`; without a name all of them.
    name: Option<String>,
    /// At most a minute a name; the figures scatter more.
    #[arg(long)]
    quick: bool,
    /// A table for people, or one JSON object a line.
    #[arg(long, value_enum, default_value = "table")]
    output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Table,
    Json,
}

/// How much work goes into a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// Within a minute a name.
    Quick,
    /// For publication.
    Full,
}

const NAMES: [&str; 5] = ["tunnel", "memory", "store", "driver", "sessions"];

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<()> {
    let names = match &arguments.name {
        None => NAMES.to_vec(),
        Some(name) if NAMES.contains(&name.as_str()) => vec![name.as_str()],
        Some(name) => bail!("no benchmark is called {name:?}; there are {}", NAMES.join(", ")),
    };
    let effort = if arguments.quick { Effort::Quick } else { Effort::Full };
    for name in names {
        let report = measure(name, effort).await?;
        match arguments.output {
            Output::Table => println!("{}", report.table()),
            Output::Json => print!("{}", report.json()),
        }
    }
    Ok(())
}

async fn measure(name: &str, effort: Effort) -> Result<Report> {
    match name {
        "tunnel" => tunnel::measure(effort).await,
        "memory" => memory::measure(effort).await,
        "driver" => driver::measure(effort).await,
        "sessions" => sessions::measure(effort).await,
        _ => store::measure(effort).await,
    }
}
