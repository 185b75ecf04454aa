//! CPU time of this process and of the server.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bowline_rt::time::now;
use rustix::process::Pid;
use rustix::time::{ClockId, clock_gettime};

/// All meters at one instant.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// When.
    pub at: Instant,
    /// CPU time of this process, user and system, of all its threads.
    pub client: Duration,
    /// CPU time of the server's main thread, which does all the work of Redis.
    pub server: Duration,
    /// Allocations of this process, if they are counted.
    pub allocations: Option<u64>,
}

impl Usage {
    /// Reads the meters.
    ///
    /// # Errors
    /// The server is gone.
    pub fn now(server: Pid, allocations: Option<fn() -> u64>) -> Result<Self> {
        let server = server_time(server)?;
        // What getrusage counts, in nanoseconds.
        let client = clock_gettime(ClockId::ProcessCPUTime);
        let client = Duration::try_from(client).context("CPU time is not negative")?;
        Ok(Self { at: now(), client, server, allocations: allocations.map(|count| count()) })
    }
}

/// The first field of `/proc/PID/schedstat`: nanoseconds on a CPU.
fn server_time(server: Pid) -> Result<Duration> {
    let path = format!("/proc/{}/schedstat", server.as_raw_nonzero());
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let nanoseconds = text.split(' ').next().and_then(|field| field.parse().ok());
    Ok(Duration::from_nanos(nanoseconds.with_context(|| format!("{path} does not begin with a number"))?))
}
