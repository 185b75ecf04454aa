//! What is measured, and how much of it.

/// Threads of the runtime with several.
pub const WORKERS: usize = 2;

/// Slots of the `redis` driver when tuned; it has 50 by itself.
pub const TUNED_SLOTS: usize = 4096;

/// Keys, each with a value of its own.
pub const KEYS: usize = 10_000;

/// Bytes of a value.
pub const VALUE_BYTES: usize = 32;

/// Every so many requests a caller measures the time of one, so that the clock does not become the load.
pub const TIMED_EVERY: u64 = 4;

/// Times that a caller has room for before its list has to grow.
pub const TIMES_RESERVED: usize = 1024;
