//! Times and bounds of a run. All are simulated time unless they say otherwise.

use std::time::Duration;

/// How finely time is cut: each host runs for this long before the next one does.
pub const TICK: Duration = Duration::from_millis(1);

/// Fastest and slowest delivery of a segment on a healthy link.
pub const LATENCY_MIN: Duration = Duration::from_micros(200);
/// See [`LATENCY_MIN`].
pub const LATENCY_MAX: Duration = Duration::from_millis(3);

/// Segments that a simulated connection may hold; a real one is bounded in bytes, far below this.
pub const SEGMENTS_MAX: usize = 1 << 16;

/// Longest time until a fresh system works.
pub const SETTLE_MAX: Duration = Duration::from_secs(30);

/// How long faults are put in.
pub const FAULTS: Duration = Duration::from_secs(40);

/// Shortest and longest fault.
pub const FAULT_MIN: Duration = Duration::from_millis(50);
/// See [`FAULT_MIN`].
pub const FAULT_MAX: Duration = Duration::from_secs(15);

/// Most faults of one run.
pub const FAULTS_MAX: u64 = 8;

/// Delay of every segment on a link that a fault slows down.
pub const SLOW_LINK: Duration = Duration::from_millis(400);

/// After the last fault ended, the system must have converged within this. The longest chain: a half-open control
/// connection is noticed after three heartbeats, and the agent's next attempt waits for its back-off.
pub const CONVERGE_MAX: Duration = Duration::from_secs(60);

/// A connection that a fault has killed silently is noticed within this: three heartbeats of 5 s, and some. Until then the
/// truth itself may still change, however quiet everything looks.
pub const NOTICE_MAX: Duration = Duration::from_secs(20);

/// After convergence the system is watched for this long: what converged must stay so.
pub const STAY: Duration = Duration::from_secs(5);

/// Runs at the same time, in processes of their own.
pub const PROCESSES_MAX: usize = 8;

/// Longest head of a request and longest answer in the simulation.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Longest wait of the client for one answer.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(3);

/// Pause of the client between two requests.
pub const PROBE_PAUSE: Duration = Duration::from_millis(100);
