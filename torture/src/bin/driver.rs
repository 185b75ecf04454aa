//! The gates of the driver and of the session service for as long as somebody likes: `cargo xtask incident 2 --live SECONDS`. The CI
//! runs the same for seconds, in `tests/driver.rs`, `tests/driver_groups.rs`, `tests/sessions_faults.rs`.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a tool for the terminal")]

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use bowline_redis::{Protocol, Settings};
use bowline_rt::time::now;
use bowline_torture::driver::audience::Audience;
use bowline_torture::driver::group_storm::{self, GroupStorm};
use bowline_torture::driver::storm::{FAMILIES, Storm, Transport, impatient};
use bowline_torture::driver::{bounds, sleeper};
use bowline_torture::sessions::{failover, storm as sessions};
use bowline_torture::zone::StoreKind;
use clap::{Parser, Subcommand};

/// Drives the driver and the session service against real servers through everything that goes wrong.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// All kinds of faults in turn, for the driver, its subscribers, and the session service; failovers; a server that stands still
    /// under 100 000 callers.
    Storm {
        /// About how long in all: each story is told once at least, which takes about two minutes.
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

/// Parts of the time: one for each family of faults, and one for each of the stories after them.
const PARTS: u32 = 11;

async fn storm(duration: Duration, seed: u64) -> Result<()> {
    let part = duration / PARTS;
    one_server(part, seed).await?;
    stand_still(part, seed).await?;
    let (half, families) = (part / 2, FAMILIES.to_vec());
    for (seed, protocol) in (seed..).zip([Protocol::Resp3, Protocol::Resp2]) {
        let families = families.clone();
        let audience = Audience { families, seed, duration: half, settings: impatient(), protocol };
        println!("subscribers, seed {seed}, {protocol:?}:\n  {}", audience.run().await?);
    }
    for kind in [group_storm::Kind::Cluster, group_storm::Kind::Sentinels] {
        let families = families.clone();
        let storm = GroupStorm { kind, families, seed, duration: half, settings: impatient() };
        println!("{kind:?}, seed {seed}:\n  {}", storm.run().await?);
    }
    for (seed, store) in (seed..).zip([StoreKind::Redis, StoreKind::Bowline]) {
        let storm = sessions::Storm { store, families: families.clone(), seed, duration: half };
        println!("sessions in {store:?}, seed {seed}:\n  {}", storm.run().await?);
    }
    // Each takes its time, whatever is given: as many as begin within it.
    let started = now();
    for seed in seed.. {
        println!("sessions under sentinels, seed {seed}:\n  {}", failover::sentinels(seed).await?);
        println!("sessions in a cluster, seed {seed}:\n  {}", failover::cluster(seed).await?);
        if started.elapsed() >= part {
            break;
        }
    }
    Ok(())
}

/// A part of the time for each family of faults. Every second run is one with the settings that the driver has by default, every
/// third one with fences, every fifth one in RESP2, and every fourth one over TLS.
async fn one_server(part: Duration, seed: u64) -> Result<()> {
    for (number, family) in FAMILIES.into_iter().enumerate() {
        let seed = seed + number as u64;
        for (half, settings) in [impatient(), Settings::default()].into_iter().enumerate() {
            let settings = Settings { fence: (number + half) % 3 == 0, ..settings };
            let protocol = if (2 * number + half) % 5 == 1 { Protocol::Resp2 } else { Protocol::Resp3 };
            let transport = if (2 * number + half) % 4 == 3 { Transport::Tls } else { Transport::Plain };
            let storm = Storm { family, seed, duration: part / 2, settings, protocol, transport };
            let (silence_max, fence) = (settings.silence_max, settings.fence);
            println!(
                "{family:?}, seed {seed}, {protocol:?}, {transport:?}, silence_max {silence_max:?}, fence {fence}:"
            );
            println!("  {}", storm.run().await?);
        }
    }
    Ok(())
}

async fn stand_still(duration: Duration, seed: u64) -> Result<()> {
    println!("a server that stands still:");
    println!("  {}", bounds::run(duration, seed).await?);
    Ok(())
}
