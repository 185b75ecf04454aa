//! Bounds of this crate.

use std::time::Duration;

/// How long an entry outlives its last renewal, by the store's clock.
pub const TTL: Duration = Duration::from_secs(30);

/// How long a withdrawal waits for the agent to come back.
pub const LINGER: Duration = Duration::from_secs(3);

/// Longest wait for one write.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(1);

/// Longest wait for one read.
pub const READ_TIMEOUT: Duration = Duration::from_secs(1);

/// Beyond its time-out a write may reach the store this much later; after that the store refuses it as late.
pub const LATE_SLACK: Duration = Duration::from_secs(1);

/// How long the tombstone of a removal keeps the fence. No write made before the removal can come later than that, because
/// the store refuses late ones after `WRITE_TIMEOUT + LATE_SLACK` by an estimate of its clock that is wrong by an answer's
/// time at most; `Settings::check` compares.
pub const TOMBSTONE_TTL: Duration = Duration::from_secs(10);

/// How long a claim outlives the last time that its gateway was seen.
pub const CLAIM_TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// Upper bound of the random pause before a claim that failed is tried again.
pub const CLAIM_RETRY: Duration = Duration::from_millis(300);

/// Age up to which a looked-up route is used without a question.
pub const ROUTE_FRESH: Duration = Duration::from_secs(2);

/// Age up to which an old route is used while the store is silent.
pub const ROUTE_STALE_MAX: Duration = Duration::from_secs(60 * 60);

/// Pause between two reads for a target that has no holder or could not be read. After an outage of the store gateways have
/// written what is new within half a second, and with this pause others find it within a second.
pub const ABSENT_PAUSE: Duration = Duration::from_millis(500);

/// A route that was just read is not read again sooner than this, however suspect it is.
pub const SUSPECT_PAUSE: Duration = Duration::from_millis(250);

/// Most routes that are remembered.
pub const ROUTES_MAX: usize = 65_536;

/// Most reads for routes at once.
pub const ROUTE_READS_MAX: usize = 1_024;

/// Most holders of one target that are used.
pub const HOLDERS_MAX: usize = 128;

/// Most gateways of one store.
pub const GATEWAYS_MAX: usize = 1_024;

/// Most expired entries that one read removes.
pub const SWEEP_MAX: usize = 64;

/// Entries that one write looks at, at random, and removes if they have expired.
pub const NEIGHBOURS: usize = 8;

/// Pause between two lines in the log about failing writes.
pub(crate) const FAILURE_LOG_PAUSE: Duration = Duration::from_secs(10);

/// Longest address of a peer port, in bytes: a DNS name of 253, a colon and a port, with room to spare.
pub const PEER_ADDRESS_BYTES_MAX: usize = 300;
