//! Bounds of this crate.

use std::time::Duration;

/// Largest configuration file that is read, in bytes.
pub const CONFIG_BYTES_MAX: usize = 1024 * 1024;

/// Longest duration that a configuration may name: longer is a slip, and sums with it must not overflow.
pub const CONFIG_DURATION_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// Most TCP listeners of one gateway.
pub const TCP_LISTENERS_MAX: usize = 256;

/// Most gateways that an agent's `join` may list.
pub const JOIN_MAX: usize = 64;

/// Longest wait for the embedded store to end after everything that uses it has ended.
pub const STORE_STOP_MAX: Duration = Duration::from_secs(5);

/// Longest wait for the embedded store's client to be gone before the store ends.
pub const STORE_CLIENT_MAX: Duration = Duration::from_secs(1);

/// Longest wait of `dev` until the demo answers through the gateway.
pub const DEV_READY_MAX: Duration = Duration::from_secs(20);

/// Pause between two tries of the demo's path.
pub const DEV_PROBE_PERIOD: Duration = Duration::from_millis(50);

/// Longest wait for one try of the demo's path.
pub const DEV_PROBE_MAX: Duration = Duration::from_secs(2);

/// Most connections that the demo service serves at once.
pub const DEMO_CONNECTIONS_MAX: usize = 256;

/// Lines that the demo's `/stream` sends, and the pause between them.
pub const DEMO_STREAM_LINES: u32 = 10;

/// Pause between two lines of the demo's `/stream`.
pub const DEMO_STREAM_PAUSE: Duration = Duration::from_millis(100);

/// Most gateways that an agent is attached to at once.
pub const CONNECTIONS_MAX: usize = 16;

/// Longest domain of services, in bytes: a service and an agent stand before it in a host name of at most 253.
pub const DOMAIN_BYTES_MAX: usize = 253 - 2 * 64;

/// Most hosts that an http entry may list besides those of its domain.
pub const ROUTES_MAX: usize = 1_000;

/// Highest value of a limit that an operator may set: more is a slip, and memory must stay bounded.
pub const LIMIT_MAX: usize = 1_000_000;

/// Shortest life of a registry entry: a renewal has to fail twice before it is over.
pub const REGISTRY_TTL_MIN: Duration = Duration::from_secs(5);

/// Longest life of a registry entry: for so long the others try a gateway that died.
pub const REGISTRY_TTL_MAX: Duration = Duration::from_secs(60 * 60);

/// Longest time for which an agent that went away may stay published.
pub const REGISTRY_LINGER_MAX: Duration = Duration::from_secs(60);

/// Shortest wait for the head of a service's response: without any no request could succeed.
pub const RESPONSE_TIMEOUT_MIN: Duration = Duration::from_millis(1);

/// Longest host name, in bytes (RFC 1035).
pub const HOST_BYTES_MAX: usize = 253;

/// Most databases that a store may have.
pub const DATABASES_MAX: usize = 1_024;

/// What a drain may take beyond its grace: the registry withdraws, and what was cut comes to its end.
pub const DRAIN_SLACK: Duration = Duration::from_secs(5);

/// Pause between two readings of the list of gateways.
pub const GATEWAYS_PERIOD: Duration = Duration::from_secs(10);

/// Pause after a reading that failed: at the start this gateway's own entry is on its way.
pub const GATEWAYS_RETRY: Duration = Duration::from_secs(1);

/// How long the development set-up waits for running streams when it is stopped.
pub const DEV_GRACE: Duration = Duration::from_secs(2);

/// Pause between two warnings about certificates that expire.
pub const EXPIRY_WARNING_PERIOD: Duration = Duration::from_secs(24 * 3600);

/// Pause of the demo after an accept that failed.
pub const DEMO_ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Memory of the embedded store for sessions, unless another is configured.
pub const SESSIONS_MEMORY_BYTES: usize = 256 * 1024 * 1024;

/// Least memory of the embedded store for sessions: room for the largest values.
pub const SESSIONS_MEMORY_BYTES_MIN: usize = 16 * 1024 * 1024;

/// How long requests to the session service may go on when it is shut down: none takes longer.
pub const SESSIONS_GRACE: Duration = Duration::from_secs(8);
