//! A server that stands still under 100 000 callers: memory is flat, everybody has an error in time that says whether the command
//! may run, all is well within a second after it goes on, and nothing runs twice (INV-DRV-BOUND, INV-DRV-ONCE).

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bowline_redis::{CallError, Command, Protocol, Settings};
use bowline_rt::task::{self, JoinSet};
use bowline_rt::time::{self, now};

use super::ledger::{Ending, Question};
use super::storm::{Arena, Report};
use super::values::{COUNTERS, counter_key};
use crate::limits::{BOUNDS_LATENESS_MAX, LOOK_PERIOD, MEMORY_GROWTH_MAX, RECOVERY_MAX};
use crate::process::Signal;

/// Callers that ask at once.
const CALLERS: usize = 100_000;
/// Waves of them at least: 200 000 requests.
const WAVES_MIN: usize = 2;
/// Deadline of each.
const DEADLINE: Duration = Duration::from_secs(1);

/// What was seen.
#[derive(Debug)]
pub struct Bounds {
    /// Requests while the server stood still.
    pub requests: usize,
    /// Memory of this process in RAM at the end of each wave, in MiB.
    pub memory_mib: Vec<u64>,
    /// How much later than its deadline a call ended at worst.
    pub lateness: Duration,
    /// From SIGCONT to the first answer.
    pub recovery: Duration,
    /// The rest.
    pub report: Report,
}

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { requests, memory_mib, lateness, recovery, report } = self;
        write!(
            f,
            "{requests} requests to a stopped server, memory by wave {memory_mib:?} MiB, latest {lateness:.0?} after its \
             deadline, recovered in {recovery:.0?}; {report}"
        )
    }
}

/// Stops the server for at least `standstill`.
///
/// # Errors
/// A promise was broken.
pub async fn run(standstill: Duration, seed: u64) -> Result<Bounds> {
    let arena = Arena::start(seed, Settings::default(), Protocol::Resp3).await?;
    // The connection is up, and memory that only the first wave needs is taken.
    arena.client.call(Command::new("PING")).await.context("the server answers")?;
    arena.server.signal(Signal::Stop)?;
    let stopped = now();
    let mut memory = Vec::new();
    let (peak, watch) = watch_memory();
    while memory.len() < WAVES_MIN || stopped.elapsed() < standstill {
        let starved = starved_for();
        let lateness = wave(&arena).await;
        let allowed = BOUNDS_LATENESS_MAX + starved_for().saturating_sub(starved);
        ensure!(lateness <= allowed, "a call ended {lateness:?} after its deadline, {allowed:?} is allowed");
        memory.push(peak.swap(0, Ordering::Relaxed));
    }
    watch.abort();
    arena.server.signal(Signal::Continue)?;
    let recovery = recover(&arena).await;
    let (requests, lateness) = (memory.len() * CALLERS, arena.ledger.lateness());
    ensure!(arena.ledger.count(Ending::Answered) < 10, "the server stood still");
    let memory_mib: Vec<u64> = memory.iter().map(|bytes| bytes / (1024 * 1024)).collect();
    let first = memory[0];
    ensure!(
        memory.iter().all(|&bytes| bytes <= first + MEMORY_GROWTH_MAX),
        "memory is not flat: {memory_mib:?} MiB by wave"
    );
    ensure!(recovery <= RECOVERY_MAX, "recovered {recovery:?} after SIGCONT");
    let report = arena.settle(1, recovery).await?;
    Ok(Bounds { requests, memory_mib, lateness, recovery, report })
}

/// Everybody asks once, at once. How much later than its deadline the last call ended.
async fn wave(arena: &Arena) -> Duration {
    let mut callers = JoinSet::new();
    for number in 0..CALLERS {
        let (client, ledger) = (arena.client.clone(), arena.ledger.clone());
        callers.spawn(async move {
            let question = Question::Increment(number % COUNTERS);
            let started = now();
            let command = Command::new("INCR").arg(counter_key(number % COUNTERS)).deadline(DEADLINE);
            let outcome = client.call(command).await;
            let lateness = started.elapsed().saturating_sub(DEADLINE);
            ledger.late(lateness);
            ledger.ended(question, Some(&outcome));
            lateness
        });
    }
    let mut latest = Duration::ZERO;
    while let Some(caller) = callers.join_next().await {
        latest = latest.max(caller.expect("no caller panics"));
    }
    latest
}

/// Time for which threads of this process could have run and got no processor: who is late by that is not to blame.
fn starved_for() -> Duration {
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let waited_ns = threads.filter_map(|thread| {
        let statistics = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        statistics.split(' ').nth(1)?.parse::<u64>().ok()
    });
    Duration::from_nanos(waited_ns.sum())
}

/// Asks until there is an answer; how long that took.
async fn recover(arena: &Arena) -> Duration {
    let started = now();
    loop {
        let question = Question::Increment(0);
        let increment = Command::new("INCR").arg(counter_key(0)).deadline(DEADLINE);
        let outcome = arena.client.call(increment).await;
        arena.ledger.ended(question, Some(&outcome));
        match outcome {
            Err(CallError::NotSent(_) | CallError::Unknown(_)) if started.elapsed() < 10 * RECOVERY_MAX => {}
            _ => return started.elapsed(),
        }
    }
}

/// The most memory since the number was last taken.
fn watch_memory() -> (Arc<AtomicU64>, task::JoinHandle<()>) {
    let peak = Arc::new(AtomicU64::new(0));
    let seen = peak.clone();
    let watch = task::spawn("memory", async move {
        loop {
            // Without /proc nothing is measured, and the demand for some memory fails.
            seen.fetch_max(resident_bytes().unwrap_or_default(), Ordering::Relaxed);
            time::sleep(LOOK_PERIOD).await;
        }
    });
    (peak, watch)
}

/// Memory of this process in RAM.
fn resident_bytes() -> Option<u64> {
    const PAGE_BYTES: u64 = 4096;
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    Some(text.split(' ').nth(1)?.parse::<u64>().ok()? * PAGE_BYTES)
}
