//! Incident 1: the lost registration. A gateway publishes "agent A is reachable through me" in a shared hash, and the copy
//! stops matching the truth.
//!
//! | mutant | its flaw | faults it needs |
//! |---|---|---|
//! | `io-after-unlock` | counts under a mutex, writes after releasing it (the race of 2022) | none but threads |
//! | `refresh-resurrects` | the refresh writes from a snapshot, outside the mutex | none but threads |
//! | `reader-deletes-by-own-clock` | readers remove what is expired by their clock, without a transaction | a fast clock |
//! | `no-fence` | Bowline's core over a store that takes any write | a write that lands after its time-out |
//! | `lost-write-not-retried` | Bowline's core told that a write without an answer succeeded | a lost request |
//!
//! The design is the core that the program runs, over a store that fences as its scripts do, under all of these faults and
//! more: reordering, lost answers, reconnects, a store that forgets everything, and restarts of the gateway.

mod converging;
mod locking;
mod reading;
mod store;

use crate::explore::Subject;

/// The mutants and the design.
pub const SUBJECTS: [Subject; 6] = [
    Subject { mutant: Some("io-after-unlock"), run: locking::io_after_unlock },
    Subject { mutant: Some("refresh-resurrects"), run: locking::refresh_resurrects },
    Subject { mutant: Some("reader-deletes-by-own-clock"), run: reading::reader_deletes_by_own_clock },
    Subject { mutant: Some("no-fence"), run: converging::no_fence },
    Subject { mutant: Some("lost-write-not-retried"), run: converging::lost_write_not_retried },
    Subject { mutant: None, run: converging::design },
];
