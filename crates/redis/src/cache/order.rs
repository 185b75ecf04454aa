//! The order in which entries were used.

use std::collections::BTreeMap;

use bytes::Bytes;

/// Entries by the stamp of their last use; the smallest is the oldest.
#[derive(Debug, Default)]
pub(super) struct Order {
    entries: BTreeMap<u64, (Bytes, Bytes)>,
    next: u64,
}

impl Order {
    /// An entry has come. Returns its stamp.
    pub fn entered(&mut self, key: Bytes, command: Bytes) -> u64 {
        self.next += 1;
        self.entries.insert(self.next, (key, command));
        self.next
    }

    /// The entry with this stamp was used. Returns its new stamp.
    pub fn used(&mut self, stamp: u64) -> u64 {
        match self.entries.remove(&stamp) {
            Some((key, command)) => self.entered(key, command),
            None => stamp,
        }
    }

    /// The entry with this stamp has gone.
    pub fn left(&mut self, stamp: u64) {
        self.entries.remove(&stamp);
    }

    /// Takes out the entry that was used least lately.
    pub fn oldest(&mut self) -> Option<(Bytes, Bytes)> {
        self.entries.pop_first().map(|(_, entry)| entry)
    }
}
