//! The gate of the driver for as long as somebody likes: `cargo xtask incident 2 --live SECONDS`. The CI runs the same for
//! seconds, in `tests/driver.rs`.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a tool for the terminal")]

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use bowline_redis::{Protocol, Settings};
use bowline_torture::driver::storm::{FAMILIES, Storm, impatient};
use bowline_torture::driver::{bounds, sleeper};
use clap::{Parser, Subcommand};

/// Drives the driver against a real redis-server through everything that goes wrong.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// All kinds of faults in turn, then a server that stands still under 100 000 callers.
    Storm {
        /// How long in all.
        #[arg(long, default_value_t = 120)]
        seconds: u64,
        /// Seed of the first run; the following runs count up from it.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// A server that stands still under 100 000 callers.
    Bounds {
        /// How long it stands still.
        #[arg(long, default_value_t = 30)]
        seconds: u64,
    },
    /// The load alone, in a process that somebody else stops.
    Load {
        /// Where redis-server is.
        #[arg(long)]
        url: String,
        /// How long.
        #[arg(long)]
        seconds: u64,
        /// Seed of the load.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Storm { seconds, seed } => storm(Duration::from_secs(seconds), seed).await,
        Command::Bounds { seconds } => stand_still(Duration::from_secs(seconds), 1).await,
        Command::Load { url, seconds, seed } => {
            let report = sleeper::run(&url, Duration::from_secs(seconds), seed).await;
            report.map(|report| println!("{report}"))
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A sixth of the time for each family of faults, and for the server that stands still. Every second run is one with the
/// settings that the driver has by default, every third one with fences, and every fifth one in RESP2.
async fn storm(duration: Duration, seed: u64) -> Result<()> {
    let share = duration / (u32::try_from(FAMILIES.len()).expect("a few") + 1);
    for (number, family) in FAMILIES.into_iter().enumerate() {
        let seed = seed + number as u64;
        for (part, settings) in [impatient(), Settings::default()].into_iter().enumerate() {
            let settings = Settings { fence: (number + part) % 3 == 0, ..settings };
            let protocol = if (2 * number + part) % 5 == 1 { Protocol::Resp2 } else { Protocol::Resp3 };
            let storm = Storm { family, seed, duration: share / 2, settings, protocol };
            let (silence_max, fence) = (settings.silence_max, settings.fence);
            println!("{family:?}, seed {seed}, {protocol:?}, silence_max {silence_max:?}, fence {fence}:");
            println!("  {}", storm.run().await?);
        }
    }
    stand_still(share, seed).await
}

async fn stand_still(duration: Duration, seed: u64) -> Result<()> {
    println!("a server that stands still:");
    println!("  {}", bounds::run(duration, seed).await?);
    Ok(())
}
