//! One sample of one Redis driver: many tasks share one connection, and each asks for one value at a time.
//!
//! `cargo xtask bench driver` runs one process a sample, so that no driver inherits the heap, the threads or the luck of
//! another. There are two programs: `bowline-bench-driver` measures time, `bowline-bench-driver-allocations` counts
//! allocations, which costs time.
//!
//! Every answer is checked against its key: a driver that gives a wrong one has no figures.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a tool whose output is its result")]

mod keys;
mod limits;
mod load;
mod subject;
mod usage;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use bowline_rt::task;
use clap::{Parser, ValueEnum};
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_setaffinity};

use load::{Load, Sample};
use subject::{Bowline, Fred, Redis, Rustis};

/// Measures one driver once and prints the figures as JSON.
#[derive(Debug, Parser)]
struct Arguments {
    /// The driver.
    #[arg(value_enum)]
    subject: Subject,
    /// The server, whose keys this program writes itself.
    #[arg(long)]
    server: SocketAddr,
    /// The server's process, whose CPU time is read.
    #[arg(long)]
    server_process: u32,
    /// Callers on the one connection.
    #[arg(long)]
    tasks: usize,
    /// The runtime.
    #[arg(long, value_enum)]
    runtime: Runtime,
    /// Time before the counting begins.
    #[arg(long)]
    warm_up_ms: u64,
    /// Time that is measured.
    #[arg(long)]
    span_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Subject {
    /// Ours, as it is shipped.
    Bowline,
    /// `redis` with RESP3, without time-out, with its 50 slots.
    Redis,
    /// The same with 4096 slots.
    RedisTuned,
    /// `fred` with RESP3.
    Fred,
    /// `rustis` as it is shipped.
    Rustis,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Runtime {
    /// One thread, pinned to the first CPU.
    Current,
    /// Two workers, not pinned.
    Multi,
}

/// The program. `allocations` counts those of this process so far, if this build counts them.
pub fn run(allocations: Option<fn() -> u64>) -> ExitCode {
    match measure(&Arguments::parse(), allocations) {
        Ok(sample) => {
            println!("{}", sample.json());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure(arguments: &Arguments, allocations: Option<fn() -> u64>) -> Result<Sample> {
    let server_process = i32::try_from(arguments.server_process).ok().and_then(Pid::from_raw);
    let load = Load {
        address: arguments.server,
        server: server_process.context("that is no process id")?,
        tasks: arguments.tasks,
        warm_up: Duration::from_millis(arguments.warm_up_ms),
        span: Duration::from_millis(arguments.span_ms),
        allocations,
    };
    let mut runtime = match arguments.runtime {
        Runtime::Current => {
            pin_to_first_cpu()?;
            tokio::runtime::Builder::new_current_thread()
        }
        Runtime::Multi => {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            builder.worker_threads(limits::WORKERS);
            builder
        }
    };
    let runtime = runtime.enable_all().build().context("cannot build a runtime")?;
    // In a task of its own: on the runtime of several threads, the future of `block_on` is none of its tasks.
    let subject = arguments.subject;
    let sample = async move { task::spawn("sample", async move { sample(subject, load).await }).await };
    runtime.block_on(sample).context("the sample panicked")?
}

async fn sample(subject: Subject, load: Load) -> Result<Sample> {
    match subject {
        Subject::Bowline => load.run::<Bowline>(Bowline::connect(load.address)).await,
        Subject::Redis => load.run(Redis::connect(load.address, None)).await,
        Subject::RedisTuned => load.run(Redis::connect(load.address, Some(limits::TUNED_SLOTS))).await,
        Subject::Fred => load.run(Fred::connect(load.address)).await,
        Subject::Rustis => load.run(Rustis::connect(load.address)).await,
    }
}

fn pin_to_first_cpu() -> Result<()> {
    let mut first = CpuSet::new();
    first.set(0);
    sched_setaffinity(None, &first).context("cannot pin this process to a CPU")
}
