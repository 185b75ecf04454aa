//! The state of one connection between MULTI and EXEC.
//!
//! ```text
//!            MULTI                    a refused command
//!   Idle ───────────▶ Queueing ──────────────────────────▶ Aborted
//!    ▲                  │ EXEC: run, or null if a watched    │ EXEC: EXECABORT
//!    └──────────────────┴─ key changed; DISCARD ────────────┘ DISCARD
//! ```

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::keyspace::Keyspace;
use crate::limits::{
    TRANSACTION_ARGUMENT_BYTES, TRANSACTION_BYTES_MAX, TRANSACTION_COMMAND_BYTES, TRANSACTION_COMMANDS_MAX,
    WATCH_BYTES, WATCHED_BYTES_MAX, WATCHED_KEYS_MAX,
};
use crate::watch::Watch;

/// A queued command with its arguments.
pub type Queued = Vec<Bytes>;

#[derive(Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Idle,
    Queueing,
    Aborted,
}

/// What EXEC has to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Run these in order and answer with an array.
    Run(Vec<Queued>),
    /// A watched key changed: answer null.
    Changed,
    /// A command was refused while it was queued: answer EXECABORT.
    Aborted,
}

/// The transaction of one connection; see the module.
#[derive(Debug, Default)]
pub struct Transaction {
    state: State,
    queue: Vec<Queued>,
    bytes: usize,
    /// By database and key, which all who watch it share.
    watches: BTreeMap<(usize, Bytes), Watch>,
    watched_bytes: usize,
}

impl Transaction {
    /// Whether commands are being queued.
    #[must_use]
    pub fn open(&self) -> bool {
        self.state != State::Idle
    }

    /// Commands in the queue.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// MULTI; false if it was open already.
    pub fn begin(&mut self) -> bool {
        let fresh = !self.open();
        if fresh {
            self.state = State::Queueing;
        }
        fresh
    }

    /// Queues a command; false if the transaction has become too large, which aborts it.
    pub fn push(&mut self, arguments: Queued) -> bool {
        // Small arguments cost more than their bytes.
        let bytes =
            arguments.iter().map(|argument| argument.len() + TRANSACTION_ARGUMENT_BYTES).sum::<usize>();
        self.bytes += bytes + TRANSACTION_COMMAND_BYTES;
        if self.queue.len() >= TRANSACTION_COMMANDS_MAX || self.bytes > TRANSACTION_BYTES_MAX {
            self.abort();
            return false;
        }
        if self.state == State::Queueing {
            self.queue.push(arguments);
        }
        true
    }

    /// A command was refused: EXEC will not run the rest.
    pub fn abort(&mut self) {
        if self.open() {
            self.state = State::Aborted;
            self.queue = Vec::new();
            self.bytes = 0;
        }
    }

    /// Watches a key until EXEC, DISCARD or UNWATCH; false when there are too many.
    pub fn watch(&mut self, keyspace: &mut Keyspace, database: usize, key: &[u8], now_ms: i64) -> bool {
        let wanted = (database, Bytes::copy_from_slice(key));
        if self.watches.contains_key(&wanted) {
            return true;
        }
        let bytes = self.watched_bytes + key.len() + WATCH_BYTES;
        if self.watches.len() >= WATCHED_KEYS_MAX || bytes > WATCHED_BYTES_MAX {
            return false;
        }
        self.watched_bytes = bytes;
        let watch = keyspace.watch(database, key, now_ms);
        self.watches.insert((database, watch.key.clone()), watch);
        true
    }

    /// Watches nothing any more.
    pub fn unwatch(&mut self, keyspace: &mut Keyspace) {
        self.watched_bytes = 0;
        for watch in std::mem::take(&mut self.watches).into_values() {
            keyspace.unwatch(&watch);
        }
    }

    /// EXEC of an open transaction: closes it and says what to do.
    pub fn finish(&mut self, keyspace: &mut Keyspace, now_ms: i64) -> Outcome {
        let changed = self.watches.values().any(|watch| keyspace.watch_changed(watch, now_ms));
        let queue = std::mem::take(&mut self.queue);
        let aborted = self.state == State::Aborted;
        self.discard(keyspace);
        match (aborted, changed) {
            (true, _) => Outcome::Aborted,
            (false, true) => Outcome::Changed,
            (false, false) => Outcome::Run(queue),
        }
    }

    /// DISCARD, and what must happen when the connection ends: forgets the queue and the watches.
    pub fn discard(&mut self, keyspace: &mut Keyspace) {
        self.unwatch(keyspace);
        self.state = State::Idle;
        self.queue = Vec::new();
        self.bytes = 0;
    }
}
