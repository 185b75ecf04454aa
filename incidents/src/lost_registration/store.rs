//! The store of incident 1: one entry per agent, with fence, tombstone and lease, judged by its own clock.

use std::collections::BTreeMap;

use crate::checker::{Checker, Decision, Key};

/// Virtual time in milliseconds.
pub(super) type Milliseconds = u64;

/// Order of writes: the incarnation's term, then the generation.
pub(super) type Fence = (u64, u64);

/// An entry, or the tombstone of one.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) fence: Fence,
    pub(super) present: bool,
    pub(super) expires_at: Milliseconds,
}

/// A write on its way to the store.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) key: Key,
    pub(super) present: bool,
    pub(super) fence: Fence,
    /// The newest decision that was known when the write was made.
    pub(super) decision: Decision,
    pub(super) lifetime: Milliseconds,
    /// The store does not carry it out after this time.
    pub(super) not_after: Milliseconds,
}

/// All entries.
#[derive(Debug, Clone)]
pub(super) struct Store {
    entries: BTreeMap<Key, Entry>,
    /// Whether it refuses what is older and what is late.
    fenced: bool,
}

impl Store {
    pub(super) fn new(fenced: bool) -> Self {
        Self { entries: BTreeMap::new(), fenced }
    }

    /// Carries a write out, or refuses it. Returns whether it was carried out, or `None` if it came too late.
    pub(super) fn write(
        &mut self,
        now: Milliseconds,
        request: &Request,
        checker: &mut Checker,
    ) -> Option<bool> {
        if self.fenced && now > request.not_after {
            return None;
        }
        let held = self.entries.get(&request.key).filter(|entry| entry.expires_at > now);
        if self.fenced && held.is_some_and(|entry| entry.fence > request.fence) {
            return Some(false);
        }
        let expires_at = now + request.lifetime;
        self.entries
            .insert(request.key, Entry { fence: request.fence, present: request.present, expires_at });
        checker.applied(request.key, request.decision);
        Some(true)
    }

    /// The live entry of a key.
    pub(super) fn live(&self, now: Milliseconds, key: Key) -> Option<&Entry> {
        self.entries.get(&key).filter(|entry| entry.present && entry.expires_at > now)
    }

    /// Removes an entry without asking anything, as HDEL does. Returns whether it was live.
    pub(super) fn delete(&mut self, now: Milliseconds, key: Key) -> bool {
        let was_live = self.live(now, key).is_some();
        self.entries.remove(&key);
        was_live
    }

    /// What a reader's script does: removes what has expired by the store's clock, atomically.
    pub(super) fn sweep(&mut self, now: Milliseconds, checker: &mut Checker) {
        let expired = |entry: &Entry| entry.expires_at <= now;
        let over: Vec<Key> =
            self.entries.iter().filter(|(_, entry)| expired(entry)).map(|(key, _)| *key).collect();
        for key in over {
            let was_live = self.delete(now, key);
            checker.removed_by_another(key, was_live);
        }
    }

    /// Loses everything.
    pub(super) fn forget(&mut self, checker: &mut Checker) {
        self.entries.clear();
        checker.store_lost_everything();
    }
}
