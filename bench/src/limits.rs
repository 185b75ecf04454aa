//! How long and how often is measured.

use std::time::Duration;

use crate::Effort;

/// Longest wait for a program to become ready.
pub const READY_MAX: Duration = Duration::from_secs(20);

/// Time before the counting begins, in which connections open and windows grow.
pub const WARM_UP: Duration = Duration::from_millis(100);

/// Bytes that are written or read at a time.
pub const CHUNK_BYTES: usize = 128 * 1024;

/// Body of the HTTP answers.
pub const BODY_BYTES: usize = 1024;

/// Connections of the HTTP load.
pub const HTTP_CONNECTIONS: usize = 64;

/// Longest answer of a service that is asked by HTTP, with its head.
pub const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// Sessions of the session benchmark.
pub const SESSIONS: usize = 1_000;

/// How long its signatures are valid: they are made before the clock runs.
pub const SIGNED_FOR: Duration = Duration::from_secs(120);

/// Agents of the memory benchmark.
pub const AGENTS: usize = 1_000;

/// Agents that start at a time.
pub const AGENTS_AT_A_TIME: usize = 50;

/// Idle tunnels that a gateway keeps per agent.
pub const IDLE_TUNNELS: u64 = 2;

/// Quiet time before memory is read, in which buffers of the start are given back.
pub const SETTLE: Duration = Duration::from_secs(2);

/// Callers that share the one connection of the driver benchmark.
pub const DRIVER_TASKS: [usize; 3] = [1, 64, 1024];

/// Callers while allocations are counted.
pub const DRIVER_TASKS_ALLOCATIONS: usize = 64;

/// CPUs of the driver benchmark: one for the client, one for the server.
pub const DRIVER_CPUS: usize = 2;

impl Effort {
    /// Rounds of every figure; the report has the median.
    pub const fn rounds(self) -> usize {
        match self {
            Self::Quick => 3,
            Self::Full => 7,
        }
    }

    /// How long one figure is measured in one round.
    pub const fn span(self) -> Duration {
        match self {
            Self::Quick => Duration::from_millis(400),
            Self::Full => Duration::from_secs(2),
        }
    }

    /// Rounds of the driver benchmark, which has thirty samples in each.
    pub const fn driver_rounds(self) -> usize {
        match self {
            Self::Quick => 2,
            Self::Full => 3,
        }
    }

    /// Warm-up and measured time of one sample of a driver.
    pub const fn driver_times(self) -> (Duration, Duration) {
        match self {
            Self::Quick => (Duration::from_millis(150), Duration::from_millis(500)),
            Self::Full => (Duration::from_millis(500), Duration::from_secs(2)),
        }
    }

    /// Requests of one sample of the session service.
    pub const fn session_requests(self) -> usize {
        match self {
            Self::Quick => 4_000,
            Self::Full => 30_000,
        }
    }

    /// Requests of one `redis-benchmark`, without and with pipelining.
    pub const fn store_requests(self) -> (u32, u32) {
        match self {
            Self::Quick => (20_000, 100_000),
            Self::Full => (200_000, 1_000_000),
        }
    }
}
