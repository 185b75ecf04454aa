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

/// Bytes that the proxy reads at once.
pub const PROXY_READ_BYTES: usize = 16 * 1024;

/// Lines that the proxy remembers of what it did.
pub const PROXY_HISTORY_MAX: usize = 200;

/// Violations of one run that are kept.
pub const VIOLATIONS_MAX: usize = 20;

/// Characters that are kept of each.
pub const VIOLATION_SHOWN_MAX: usize = 600;

/// A call may end this much after its deadline, beyond what the runtime itself was late.
pub const LATENESS_MAX: Duration = Duration::from_millis(100);

/// Calls succeed again within this after a fault is healed, and after a stopped server goes on.
pub const RECOVERY_MAX: Duration = Duration::from_secs(1);

/// What a group of servers may need beyond that: each is asked, and all of them share the processors with the load.
pub const GROUP_RECOVERY_MAX: Duration = Duration::from_secs(2);

/// The session service answers within this, whatever becomes of its store (docs/sessions.md).
pub const SESSION_ANSWER_MAX: Duration = Duration::from_secs(2);

/// A session request may end this much after that: two processes and the store share the processors with the load.
pub const SESSION_LATENESS_MAX: Duration = Duration::from_millis(1_500);

/// Session requests succeed again within this after a fault is healed, beyond what the runtime itself was late.
pub const SESSION_RECOVERY_MAX: Duration = Duration::from_secs(3);

/// Writes that were acknowledged less than this before a primary is killed may not have reached its replica.
pub const REPLICATION_LAG_MAX: Duration = Duration::from_secs(1);

/// Nobody is served by an old primary any more within this after all sentinels have named another one.
pub const SWITCH_MAX: Duration = Duration::from_secs(1);

/// Requests that were served and are kept, to be sent once more.
pub const REPLAYS_MAX: usize = 64;

/// Session requests that go over one connection before another is made.
pub const LINE_REQUESTS_MAX: u32 = 50;

/// A connection that was idle for longer is not used again: a gateway ends it after 10 s.
pub const LINE_IDLE_MAX: Duration = Duration::from_secs(2);

/// After a failover every session can be read through every gateway within this, one after the other on a busy machine.
pub const FAILOVER_RECOVERY_MAX: Duration = Duration::from_secs(10);

/// With 100 000 callers on a small machine, a call may end this much after its deadline: they wake up one after the other.
pub const BOUNDS_LATENESS_MAX: Duration = Duration::from_secs(2);

/// Memory that a later wave of callers may need beyond the first: what the allocator has not given back.
pub const MEMORY_GROWTH_MAX: u64 = 32 * 1024 * 1024;
