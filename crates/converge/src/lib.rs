//! The heart of Bowline: keeps a remote copy of keyed local state equal to the truth.
//!
//! One [`Converge`] is the only writer of its keys. The local side says what should be, at any rate and without waiting
//! ([`Converge::set`], [`Converge::remove`]); a shell carries [`Output`]s to the copy and brings [`Input`]s back. The core
//! holds the five ideas of the design:
//!
//! 1. **One writer per key**: at most one write of a key is in flight.
//! 2. **Latest wins, in order**: a change only marks its key dirty; the writer sends the newest state when it gets there.
//!    What changes five times meanwhile is written once (INV-REG-ORDER, INV-REG-CONVERGE).
//! 3. **Fenced**: every write carries a generation higher than any before. A write without an answer is *unknown*: it may
//!    land at any later time, so it is made again with a higher generation and the copy refuses the old one.
//! 4. **Level-triggered underneath**: leases are renewed, and an audit compares copy and truth, repairs the difference and
//!    counts it ([`Counters::drift`], INV-REG-REPAIR).
//! 5. **Bounded**: keys, batches and remembered removals have limits ([`Settings`]).
//!
//! No key waits for another beyond the patience of a batch, unless thousands hang at once (INV-REG-NOBLOCK).
//!
//! In the order in which to read: `settings` and `message` (what goes in and out), `entry` (the decision about one key),
//! `converge` (all keys together), `audit` (when to compare).
//!
//! This crate does no I/O, reads no clock, and knows nothing of stores, networks, or what is stored.

mod audit;
mod converge;
mod counters;
mod entry;
pub mod limits;
mod message;
mod random;
mod settings;

pub use converge::{Converge, SetError};
pub use counters::{Counters, Drift};
pub use message::{Before, Held, Input, Outcome, Output, Write};
pub use settings::{Settings, SettingsError};
