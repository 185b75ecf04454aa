//! `bowline store` beside Debian's redis-server, by `redis-benchmark`, without persistence on either side.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use bowline_torture::peers;
use bowline_torture::ports::free_address;
use bowline_torture::process::Process;
use bowline_torture::wait::wait_within;

use crate::limits::READY_MAX;
use crate::report::{Better, OURS, Report};
use crate::{Effort, program};

const TESTS: &str = "ping_mbulk,set,get,hset";
/// Connections of the load.
const CONNECTIONS: &str = "50";
/// Requests that a connection sends before it waits.
const PIPELINE: u32 = 16;
/// Random keys, so that neither side serves one line of its cache.
const KEYS: &str = "100000";

/// Measures both, round by round.
///
/// # Errors
/// A program is missing or failed.
pub async fn measure(effort: Effort) -> Result<Report> {
    let folder = tempfile::tempdir()?;
    let (ours, theirs) = (free_address(), free_address());
    let _store = start(folder.path(), ours).await?;
    let _redis = peers::redis(folder.path(), theirs).await?;
    let mut report = Report::new("store");
    let (single, pipelined) = effort.store_requests();
    for _ in 0..effort.rounds() {
        for (requests, pipeline) in [(single, 1), (pipelined, PIPELINE)] {
            for (program, address) in [(OURS, ours), ("redis-server", theirs)] {
                let text = load(address, requests, pipeline)?;
                for line in text.lines() {
                    add(&mut report, program, pipeline, line);
                }
            }
        }
    }
    Ok(report)
}

async fn start(folder: &Path, address: SocketAddr) -> Result<Process> {
    let mut command = Command::new(program::bowline()?);
    command.args(["store", "--listen", &address.to_string()]);
    let process = Process::start(folder, "store", &mut command)?;
    wait_within(READY_MAX, "the store listens", || async {
        bowline_rt::net::connect(address, READY_MAX).await.ok()
    })
    .await;
    Ok(process)
}

fn load(address: SocketAddr, requests: u32, pipeline: u32) -> Result<String> {
    let (port, requests, pipeline) = (address.port().to_string(), requests.to_string(), pipeline.to_string());
    let mut command = Command::new("redis-benchmark");
    command.args([
        "-p",
        &port,
        "-n",
        &requests,
        "-P",
        &pipeline,
        "-c",
        CONNECTIONS,
        "-r",
        KEYS,
        "-t",
        TESTS,
        "--csv",
    ]);
    let output = command.output().context("redis-benchmark is missing: apt-get install redis-tools")?;
    ensure!(output.status.success(), "redis-benchmark failed: {output:?}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A line such as `"SET","81037.28","0.3","0.1","0.3","0.4","0.5","1.1"`: test, requests/s, average, minimum, p50, p95,
/// p99, maximum.
fn add(report: &mut Report, program: &str, pipeline: u32, line: &str) {
    let fields: Vec<&str> = line.split("\",\"").map(|field| field.trim_matches('"')).collect();
    let number = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok());
    let (Some(test), Some(rate), Some(p99)) = (fields.first(), number(1), number(6)) else { return };
    let suffix = if pipeline == 1 { String::new() } else { format!(", pipeline {pipeline}") };
    report.add(&format!("{test}{suffix}"), "requests/s", Better::Higher, program, rate);
    report.add(&format!("{test}{suffix}, p99"), "ms", Better::Lower, program, p99);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_redis_benchmark_are_read() {
        let mut report = Report::new("store");
        add(
            &mut report,
            OURS,
            1,
            "\"test\",\"rps\",\"avg_latency_ms\",\"min\",\"p50\",\"p95\",\"p99\",\"max\"",
        );
        add(&mut report, OURS, 16, "\"SET\",\"81037.28\",\"0.3\",\"0.1\",\"0.3\",\"0.4\",\"0.5\",\"1.1\"");
        assert_eq!(report.json().lines().count(), 2);
        assert!(report.json().contains("81037.28") && report.json().contains("SET, pipeline 16, p99"));
    }
}
