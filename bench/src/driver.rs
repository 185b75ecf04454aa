//! Bowline's Redis driver beside `redis`, `fred` and `rustis`: GET of 32 bytes on one connection.
//!
//! The drivers live in a package of their own, `bench/driver`, so that nobody builds four of them who does not measure
//! them. Each sample is a process; in every round they take turns.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use bowline_torture::ports::free_address;
use bowline_torture::process::Process;
use bowline_torture::wait::wait_within;
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_setaffinity};
use serde::Deserialize;

use crate::limits::{DRIVER_CPUS, DRIVER_TASKS, DRIVER_TASKS_ALLOCATIONS, READY_MAX};
use crate::report::{Better, OURS, Report};
use crate::{Effort, program};

/// The drivers, by the names that the package gives them, ours first.
const SUBJECTS: [&str; 5] = [OURS, "redis", "redis-tuned", "fred", "rustis"];

/// One thread pinned to a CPU, the server pinned to another; or two threads, and nothing pinned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Runtime {
    Current,
    Multi,
}

/// What the package prints.
#[derive(Debug, Deserialize)]
struct Sample {
    operations_per_second: f64,
    p50_us: f64,
    p99_us: f64,
    client_cpu_us: f64,
    server_cpu_us: f64,
    allocations: Option<f64>,
}

/// Measures all drivers, round by round.
///
/// # Errors
/// A program is missing, a driver failed, or it gave a wrong answer.
pub async fn measure(effort: Effort) -> Result<Report> {
    let folder = tempfile::tempdir()?;
    let address = free_address();
    let server = server(folder.path(), address).await?;
    let bench = Bench { address, server, effort };
    let mut report = Report::new("driver");
    for _ in 0..effort.driver_rounds() {
        for runtime in [Runtime::Current, Runtime::Multi] {
            bench.place_server(runtime)?;
            for tasks in DRIVER_TASKS {
                for subject in SUBJECTS {
                    let sample = bench.sample(&program("")?, subject, runtime, tasks)?;
                    add(&mut report, subject, runtime, tasks, &sample);
                }
            }
        }
    }
    // Their number does not scatter: once is enough.
    for subject in SUBJECTS {
        let tasks = DRIVER_TASKS_ALLOCATIONS;
        let sample = bench.sample(&program("-allocations")?, subject, Runtime::Current, tasks)?;
        let allocations = sample.allocations.context("the program does not count allocations")?;
        let figure = format!("{tasks} tasks, allocations");
        report.add(&figure, "per operation", Better::Lower, subject, allocations);
    }
    Ok(report)
}

/// redis-server in a session of its own, as whatever starts services does: the system divides the processors among the sessions
/// first, and so not among the threads of client and server.
async fn server(folder: &Path, address: SocketAddr) -> Result<Process> {
    let mut command = Command::new("setsid");
    command.current_dir(folder).args([
        "redis-server",
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--appendonly",
        "no",
    ]);
    command.args(["--port", &address.port().to_string()]);
    let process = Process::start(folder, "redis", &mut command)?;
    wait_within(READY_MAX, "redis listens", || async {
        bowline_rt::net::connect(address, READY_MAX).await.ok()
    })
    .await;
    Ok(process)
}

struct Bench {
    address: SocketAddr,
    server: Process,
    effort: Effort,
}

impl Bench {
    /// Pins the server to the second CPU, or lets it go anywhere.
    fn place_server(&self, runtime: Runtime) -> Result<()> {
        let available = std::thread::available_parallelism().context("cannot count the CPUs")?.get();
        ensure!(available >= DRIVER_CPUS, "this benchmark needs {DRIVER_CPUS} CPUs, there is {available}");
        let mut cpus = CpuSet::new();
        match runtime {
            Runtime::Current => cpus.set(1),
            Runtime::Multi => (0..available).for_each(|cpu| cpus.set(cpu)),
        }
        let server = i32::try_from(self.server.id()).ok().and_then(Pid::from_raw);
        sched_setaffinity(server, &cpus).context("cannot pin the server to a CPU")
    }

    fn sample(&self, program: &Path, subject: &str, runtime: Runtime, tasks: usize) -> Result<Sample> {
        let (address, server, tasks) =
            (self.address.to_string(), self.server.id().to_string(), tasks.to_string());
        let (warm_up, span) = self.effort.driver_times();
        let (warm_up, span) = (warm_up.as_millis().to_string(), span.as_millis().to_string());
        let text = program::run(
            program,
            &[
                subject,
                "--server",
                &address,
                "--server-process",
                &server,
                "--tasks",
                &tasks,
                "--runtime",
                runtime.argument(),
                "--warm-up-ms",
                &warm_up,
                "--span-ms",
                &span,
            ],
        )?;
        serde_json::from_str(&text).with_context(|| format!("not the figures of {subject}: {text}"))
    }
}

impl Runtime {
    const fn argument(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Multi => "multi",
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::Current => "one thread",
            Self::Multi => "two threads",
        }
    }
}

fn add(report: &mut Report, subject: &str, runtime: Runtime, tasks: usize, sample: &Sample) {
    let title = format!("{}, {tasks} task{}", runtime.title(), if tasks == 1 { "" } else { "s" });
    let mut add = |what: &str, unit, better, value| {
        report.add(&format!("{title}{what}"), unit, better, subject, value);
    };
    add("", "GET/s", Better::Higher, sample.operations_per_second);
    add(", p50", "µs", Better::Lower, sample.p50_us);
    add(", p99", "µs", Better::Lower, sample.p99_us);
    add(", client's CPU", "µs per operation", Better::Lower, sample.client_cpu_us);
    add(", server's CPU", "µs per operation", Better::Lower, sample.server_cpu_us);
}

/// A program of the package `bench/driver`, which `cargo xtask bench` has built.
fn program(suffix: &str) -> Result<PathBuf> {
    program::built(&format!("driver/bowline-bench-driver{suffix}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_a_sample_are_reported_under_their_runtime_and_load() {
        let line = r#"{"operations_per_second": 1e6, "p50_us": 60.5, "p99_us": 200, "client_cpu_us": 0.9,
            "server_cpu_us": 0.5, "allocations": null}"#;
        let sample: Sample = serde_json::from_str(line).expect("it is JSON");
        assert_eq!(sample.allocations, None);
        let mut report = Report::new("driver");
        add(&mut report, OURS, Runtime::Multi, 64, &sample);
        let lines = report.json();
        assert_eq!(lines.lines().count(), 5);
        assert!(lines.contains("two threads, 64 tasks, p99"), "{lines}");
    }
}
