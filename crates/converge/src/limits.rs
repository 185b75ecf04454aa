//! Bounds of this crate. They are the defaults of [`crate::Settings`]; tests and the simulator run with tiny ones.

use std::time::Duration;

/// Most keys one core looks after, the lingering ones included.
pub const KEYS_MAX: usize = 262_144;

/// Most removed keys that are remembered, so that an audit can see one come back.
pub const REMOVED_KEYS_MAX: usize = 16_384;

/// Most writes in one batch.
pub const BATCH_WRITES_MAX: usize = 256;

/// Most batches that hold a slot at once.
pub const BATCHES_IN_FLIGHT_MAX: usize = 8;

/// Most writes on their way at once, those of batches that gave their slot back included. It keeps a flood of keys from
/// timing out in the queues before the copy, and is far above what hangs where most things work.
pub const WRITES_IN_FLIGHT_MAX: usize = 8_192;

/// How long a batch may hold its slot: a slow key delays another by no more than this (INV-REG-NOBLOCK).
pub const BATCH_PATIENCE: Duration = Duration::from_millis(20);

/// Most keys that one observation asks for.
pub const AUDIT_KEYS_MAX: usize = 512;

/// Upper end of the first back-off of a key.
pub const BACKOFF_BASE: Duration = Duration::from_millis(50);

/// Upper end of every later back-off: a key is tried again this soon after the copy answers. Where thousands fail it is
/// longer, and the first success ends it for all.
pub const BACKOFF_CAP: Duration = Duration::from_millis(500);

/// Time between two retries where so many keys fail that their back-offs alone would flood the copy: 10 000 a second.
pub(crate) const RETRY_SPACING: Duration = Duration::from_micros(100);

/// Doublings after which the back-off no longer grows, whatever the cap.
pub(crate) const BACKOFF_DOUBLINGS_MAX: u32 = 16;
