//! Bounds of the harness.

use std::time::Duration;

/// Longest wait for a process to become ready, or for a state to be reached that should take a fraction of a second.
/// Generous: the machine of a test run may be busy. Tests of a promised time state their own bound.
pub const SOON: Duration = Duration::from_secs(20);

/// How long an entry outlives its gateway in the zones of the tests, in seconds: short, so that forgetting can be seen.
pub const REGISTRY_TTL_SECONDS: u64 = 8;

/// Pause between two looks at a predicate.
pub const LOOK_PERIOD: Duration = Duration::from_millis(20);

/// Longest wait for one answer of an HTTP client.
pub const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Longest wait of the load generator for one answer.
pub const LOAD_ANSWER_MAX: Duration = Duration::from_secs(3);

/// Pause of each worker of the load generator between two requests: the load must not starve what it tests.
pub const LOAD_PAUSE: Duration = Duration::from_millis(5);

/// Lines of its log that a process prints when its test fails.
pub const LOG_LINES_MAX: usize = 60;
