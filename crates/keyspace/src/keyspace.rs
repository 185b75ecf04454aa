//! The databases, and the few operations that all commands are made of.
//!
//! Every change goes through here, so that memory, expiry counts, watched versions and statistics stay true. A key that
//! has expired is as good as gone: whoever looks for it removes it, and the effects log says so.

use crate::effects::Effects;
use crate::hash::{Field, HashLimits};
use crate::limits::{DATABASES_DEFAULT, DATABASES_MAX, RECLAIM_SEGMENTS_PER_STEP};
use crate::random::Random;
use crate::table::{Item, KeyHasher, NEVER, Table};
use crate::value::{Entry, Value, seconds};
use crate::watch::{Watch, Watches};

/// How a key space is made.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Number of databases, at least 1.
    pub databases: usize,
    /// Secret seed of hashes and random choices.
    pub seed: u64,
    /// Bytes of data above which commands that need memory are refused; 0 for no limit.
    pub memory_max_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { databases: DATABASES_DEFAULT, seed: 0, memory_max_bytes: 0 }
    }
}

/// Counters for INFO.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Keys that were removed because their time had come.
    pub expired_keys: u64,
    /// Look-ups of commands that read, which found a key.
    pub hits: u64,
    /// Look-ups of commands that read, which found none.
    pub misses: u64,
    /// Changes since the start.
    pub changes: u64,
}

/// What to do with the expiry of a key that gets a new value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// The key lives for ever.
    Clear,
    /// As it was.
    Keep,
    /// Unix milliseconds.
    At(i64),
}

/// The keys of a database that have an expiry: how many, and the sum of their times.
#[derive(Debug, Default)]
struct Volatile {
    count: usize,
    sum_ms: i128,
}

impl Volatile {
    fn add(&mut self, at_ms: i64) {
        if at_ms != NEVER {
            self.count += 1;
            self.sum_ms += i128::from(at_ms);
        }
    }

    fn remove(&mut self, at_ms: i64) {
        if at_ms != NEVER {
            self.count -= 1;
            self.sum_ms -= i128::from(at_ms);
        }
    }
}

#[derive(Debug)]
pub(crate) struct Database {
    pub table: Table<Entry>,
    volatile: Volatile,
    memory: usize,
    /// Segment that the active expiry visits next.
    expire_at: usize,
}

impl Database {
    fn new(hasher: KeyHasher) -> Self {
        Self { table: Table::new(hasher), volatile: Volatile::default(), memory: 0, expire_at: 0 }
    }
}

#[derive(Debug)]
enum Garbage {
    Entries(Table<Entry>),
    Fields(Table<Field>),
}

/// All databases of one store; see the module. Times are unix milliseconds.
#[derive(Debug)]
pub struct Keyspace {
    pub(crate) databases: Vec<Database>,
    pub(crate) hasher: KeyHasher,
    pub(crate) random: Random,
    /// What the commands did, for replicas and files.
    pub effects: Effects,
    /// Up to where OBJECT ENCODING calls a hash a list.
    pub hash_limits: HashLimits,
    watches: Watches,
    statistics: Statistics,
    memory_max_bytes: usize,
    garbage: Vec<Garbage>,
    /// Memory of what was removed and is not freed yet, about.
    garbage_bytes: usize,
    /// Database that the active expiry visits next.
    expire_database: usize,
}

impl Keyspace {
    /// Empty databases.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        let hasher = KeyHasher::new(settings.seed);
        let databases = settings.databases.clamp(1, DATABASES_MAX);
        Self {
            databases: (0..databases).map(|_| Database::new(hasher.clone())).collect(),
            hasher,
            random: Random::new(settings.seed.rotate_left(17)),
            effects: Effects::default(),
            hash_limits: HashLimits::default(),
            watches: Watches::new(databases),
            statistics: Statistics::default(),
            memory_max_bytes: settings.memory_max_bytes,
            garbage: Vec::new(),
            garbage_bytes: 0,
            expire_database: 0,
        }
    }

    /// Number of databases.
    #[must_use]
    pub fn databases(&self) -> usize {
        self.databases.len()
    }

    /// Keys of a database, those included that have expired and were not noticed yet; and how many of them expire.
    #[must_use]
    pub fn sizes(&self, database: usize) -> (usize, usize) {
        let database = &self.databases[database];
        (database.table.len(), database.volatile.count)
    }

    /// How long the keys that expire have to live on average; 0 if there are none.
    #[must_use]
    pub fn mean_ttl_ms(&self, database: usize, now_ms: i64) -> i64 {
        let Volatile { count, sum_ms } = self.databases[database].volatile;
        let mean_ms = sum_ms.checked_div(count as i128).map_or(0, |mean_ms| mean_ms - i128::from(now_ms));
        i64::try_from(mean_ms.max(0)).unwrap_or(i64::MAX)
    }

    /// Memory of all keys and values, about.
    #[must_use]
    pub fn used_bytes(&self) -> usize {
        self.databases.iter().map(|database| database.memory).sum()
    }

    /// What was removed as a whole and is not freed yet: the number of such things, and their memory, about. It is
    /// freed by [`Keyspace::reclaim`], and a little whenever something is added, so that it cannot pile up.
    #[must_use]
    pub fn pending(&self) -> (usize, usize) {
        (self.garbage.len(), self.garbage_bytes)
    }

    /// The limit of [`Keyspace::used_bytes`], or 0.
    #[must_use]
    pub fn memory_max_bytes(&self) -> usize {
        self.memory_max_bytes
    }

    /// Changes the limit; what is stored stays.
    pub fn set_memory_max_bytes(&mut self, bytes: usize) {
        self.memory_max_bytes = bytes;
    }

    /// Whether commands that need memory must be refused.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.memory_max_bytes > 0 && self.used_bytes() > self.memory_max_bytes
    }

    /// The counters.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        self.statistics
    }

    /// Sets the counters back to zero, but for the changes.
    pub fn reset_statistics(&mut self) {
        self.statistics = Statistics { changes: self.statistics.changes, ..Statistics::default() };
    }

    /// Removes the key if it has expired.
    fn expire_if_due(&mut self, database: usize, hash: u64, key: &[u8], now_ms: i64) {
        let target = &self.databases[database];
        // Where nothing expires, nothing is looked up.
        if target.volatile.count > 0
            && target.table.find(hash, key).is_some_and(|entry| entry.expires_at_ms <= now_ms)
        {
            self.remove(database, key);
            self.note_expired(database, key);
        }
    }

    /// The entry of a key that is there and has not expired.
    pub fn find(&mut self, database: usize, key: &[u8], now_ms: i64) -> Option<&mut Entry> {
        let hash = self.hasher.hash(key);
        self.expire_if_due(database, hash, key, now_ms);
        self.databases[database].table.find_mut(hash, key)
    }

    /// As [`Keyspace::find`], for a command that reads: counts the access.
    pub fn read(&mut self, database: usize, key: &[u8], now_ms: i64) -> Option<&Value> {
        let hash = self.hasher.hash(key);
        self.expire_if_due(database, hash, key, now_ms);
        match self.databases[database].table.find_mut(hash, key) {
            None => {
                self.statistics.misses += 1;
                None
            }
            Some(entry) => {
                self.statistics.hits += 1;
                entry.accessed_s = seconds(now_ms);
                Some(&entry.value)
            }
        }
    }

    /// Gives a key a value, whatever it held.
    pub fn set(&mut self, database: usize, key: &[u8], value: Value, expiry: Expiry, now_ms: i64) {
        self.pay_for_growth();
        let target = &mut self.databases[database];
        let hash = target.table.hash(key);
        let mut was_due = false;
        let at_ms = if let Some(entry) = target.table.find_mut(hash, key) {
            let before = entry.memory();
            // What has expired is as good as gone: the new value must not inherit its end.
            was_due = entry.expires_at_ms <= now_ms;
            let at_ms = match expiry {
                Expiry::Keep if !was_due => entry.expires_at_ms,
                Expiry::Clear | Expiry::Keep => NEVER,
                Expiry::At(at_ms) => at_ms,
            };
            target.volatile.remove(entry.expires_at_ms);
            target.volatile.add(at_ms);
            entry.expires_at_ms = at_ms;
            entry.accessed_s = seconds(now_ms);
            let old = std::mem::replace(&mut entry.value, value);
            target.memory = target.memory + entry.memory() - before;
            self.discard(old);
            at_ms
        } else {
            let mut entry = Entry::new(key, value, now_ms);
            if let Expiry::At(at_ms) = expiry {
                entry.expires_at_ms = at_ms;
                target.volatile.add(at_ms);
            }
            let at_ms = entry.expires_at_ms;
            target.memory += entry.memory();
            target.table.insert(hash, entry);
            at_ms
        };
        if at_ms != NEVER {
            self.databases[database].table.note_expiry(hash, at_ms);
        }
        if was_due {
            self.note_expired(database, key);
        }
        self.touched(database, key);
    }

    /// Changes a value in place; the key must be there and alive. The answer is what `change` answers.
    pub fn modify<T>(
        &mut self,
        database: usize,
        key: &[u8],
        now_ms: i64,
        change: impl FnOnce(&mut Value) -> T,
    ) -> Option<T> {
        self.pay_for_growth();
        let target = &mut self.databases[database];
        let entry = target.table.find_mut(target.table.hash(key), key)?;
        entry.accessed_s = seconds(now_ms);
        let before = entry.memory();
        let outcome = change(&mut entry.value);
        target.memory = target.memory + entry.memory() - before;
        Some(outcome)
    }

    /// Sets or clears the expiry of a key that is there.
    pub fn set_expiry(&mut self, database: usize, key: &[u8], at_ms: Option<i64>) {
        let target = &mut self.databases[database];
        let hash = target.table.hash(key);
        let Some(entry) = target.table.find_mut(hash, key) else { return };
        target.volatile.remove(entry.expires_at_ms);
        entry.expires_at_ms = at_ms.unwrap_or(NEVER);
        target.volatile.add(entry.expires_at_ms);
        if let Some(at_ms) = at_ms {
            target.table.note_expiry(hash, at_ms);
        }
        self.touched(database, key);
    }

    /// Removes a key, expired or not, and gives its entry.
    pub fn take(&mut self, database: usize, key: &[u8]) -> Option<Entry> {
        let target = &mut self.databases[database];
        let entry = target.table.remove(target.table.hash(key), key)?;
        target.volatile.remove(entry.expires_at_ms);
        target.memory -= entry.memory();
        self.touched(database, key);
        Some(entry)
    }

    /// Removes a key; false if there was none. A large value is freed later, bit by bit.
    pub fn remove(&mut self, database: usize, key: &[u8]) -> bool {
        let entry = self.take(database, key);
        let found = entry.is_some();
        if let Some(entry) = entry {
            self.discard(entry.value);
        }
        found
    }

    /// Removes all keys of a database.
    pub fn clear(&mut self, database: usize) {
        let old = std::mem::replace(&mut self.databases[database], Database::new(self.hasher.clone()));
        self.watches.touch_all(database, |key| old.table.find(old.table.hash(key), key).is_some());
        self.statistics.changes += old.table.len() as u64;
        if !old.table.is_empty() {
            self.garbage_bytes += old.memory;
            self.garbage.push(Garbage::Entries(old.table));
        }
    }

    /// Exchanges two databases.
    pub fn swap(&mut self, first: usize, second: usize) {
        if first == second {
            return;
        }
        let databases = &self.databases;
        let exists = |key: &[u8]| {
            [first, second].iter().any(|&index| {
                let table = &databases[index].table;
                table.find(table.hash(key), key).is_some()
            })
        };
        self.watches.touch_all(first, exists);
        self.watches.touch_all(second, exists);
        self.databases.swap(first, second);
        self.statistics.changes += 1;
    }

    /// Records that a key has changed: watchers must know, and the change is counted.
    pub(crate) fn touched(&mut self, database: usize, key: &[u8]) {
        self.statistics.changes += 1;
        self.watches.touch(database, key);
    }

    /// Starts to watch a key.
    pub fn watch(&mut self, database: usize, key: &[u8], now_ms: i64) -> Watch {
        // What has expired goes now: its removal later would look like a change.
        self.find(database, key, now_ms);
        self.watches.watch(database, key)
    }

    /// Whether the key has changed since it was watched; expiry is a change.
    pub fn watch_changed(&mut self, watch: &Watch, now_ms: i64) -> bool {
        self.find(watch.database, &watch.key, now_ms);
        self.watches.changed(watch)
    }

    /// Ends a watch.
    pub fn unwatch(&mut self, watch: &Watch) {
        self.watches.unwatch(watch);
    }

    fn note_expired(&mut self, database: usize, key: &[u8]) {
        self.statistics.expired_keys += 1;
        self.effects.push(database, &[b"DEL", key]);
    }

    /// The active expiry: removes what is due, looking at no more than `segments` segments; returns how many keys went.
    /// Calls follow each other around all databases, so calling it often enough finds every key that is due.
    pub fn expire_due(&mut self, now_ms: i64, segments: usize) -> usize {
        let mut left = segments;
        let mut due = Vec::new();
        for _ in 0..self.databases.len() {
            let index = self.expire_database % self.databases.len();
            let database = &mut self.databases[index];
            let unseen = database.table.segments().saturating_sub(database.expire_at);
            if database.volatile.count > 0 && unseen > 0 {
                let visited = left.min(unseen);
                database.table.remove_due(&mut database.expire_at, visited, now_ms, |entry| {
                    database.memory -= entry.memory();
                    database.volatile.remove(entry.expires_at_ms);
                    due.push((index, entry));
                });
                left -= visited;
                if visited < unseen {
                    break;
                }
            }
            // At its end a database gives way to the next one, so that a large one cannot starve the others.
            database.expire_at = 0;
            self.expire_database = (index + 1) % self.databases.len();
        }
        let removed = due.len();
        for (index, entry) in due {
            self.effects.begin();
            self.note_expired(index, entry.key());
            self.touched(index, entry.key());
            self.effects.end();
            self.discard(entry.value);
        }
        removed
    }

    /// Frees a little of what was removed earlier; true if there is more to free.
    pub fn reclaim(&mut self) -> bool {
        self.free(RECLAIM_SEGMENTS_PER_STEP);
        !self.garbage.is_empty()
    }

    fn free(&mut self, segments: usize) {
        let mut freed = 0;
        let done = match self.garbage.last_mut() {
            None => return,
            Some(Garbage::Entries(table)) => table.dismantle(segments, |entry| freed += entry.memory()),
            Some(Garbage::Fields(table)) => table.dismantle(segments, |field| freed += field.bytes()),
        };
        self.garbage_bytes = self.garbage_bytes.saturating_sub(freed);
        if done {
            self.garbage.pop();
        }
        if self.garbage.is_empty() {
            self.garbage_bytes = 0;
        }
    }

    /// Whatever may add memory frees a segment of garbage first: who fills and empties the store in turn, faster than the
    /// housekeeping frees, cannot make it grow.
    fn pay_for_growth(&mut self) {
        if !self.garbage.is_empty() {
            self.free(1);
        }
    }

    /// Drops a value, a large one later.
    fn discard(&mut self, value: Value) {
        let bytes = value.memory();
        if let Value::Hash(hash) = value
            && let Some(table) = hash.into_table()
            && table.segments() > RECLAIM_SEGMENTS_PER_STEP
        {
            self.garbage_bytes += bytes;
            self.garbage.push(Garbage::Fields(table));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::StringValue;

    fn text(bytes: &[u8]) -> Value {
        Value::String(StringValue::new(bytes))
    }

    #[test]
    fn memory_does_not_drift_and_comes_back() {
        let mut keyspace = Keyspace::new(&Settings::default());
        // Many changes over many keys, in an order without a pattern.
        let mut random = Random::new(5);
        for step in 0..400_000_u64 {
            let key = random.below(20_000).to_be_bytes();
            match random.below(4) {
                0 => drop(keyspace.remove(0, &key)),
                1 => keyspace.set(0, &key, text(&key[..random.index(8)]), Expiry::At(i64::MAX - 5), 0),
                _ => keyspace.set(0, &key, text(&vec![b'x'; random.index(60)]), Expiry::Keep, 0),
            }
            if step % 100_000 == 0 {
                let sum: usize = keyspace.databases[0].table.iter().map(Entry::memory).sum();
                assert_eq!(keyspace.used_bytes(), sum);
            }
        }
        for key in 0..20_000_u64 {
            keyspace.remove(0, &key.to_be_bytes());
        }
        assert_eq!((keyspace.used_bytes(), keyspace.sizes(0)), (0, (0, 0)));
        assert_eq!(keyspace.databases[0].table.allocated(), 0, "segments that are empty own nothing");
    }

    #[test]
    fn garbage_does_not_pile_up_without_housekeeping() {
        let mut keyspace = Keyspace::new(&Settings::default());
        for round in 0..20 {
            for key in 0..50_000_u32 {
                keyspace.set(0, &key.to_be_bytes(), text(b"0123456789abcdef"), Expiry::Clear, 0);
            }
            assert_eq!(keyspace.pending(), (0, 0), "round {round}");
            keyspace.clear(0);
            assert!(keyspace.pending().1 > 50_000 * 100);
        }
        while keyspace.reclaim() {}
        assert_eq!(keyspace.pending(), (0, 0));
    }

    #[test]
    fn swapping_a_database_with_itself_changes_nothing() {
        let mut keyspace = Keyspace::new(&Settings::default());
        keyspace.set(0, b"key", text(b"value"), Expiry::Clear, 0);
        let watch = keyspace.watch(0, b"key", 0);
        keyspace.swap(0, 0);
        assert!(!keyspace.watch_changed(&watch, 0));
        keyspace.swap(0, 1);
        assert!(keyspace.watch_changed(&watch, 0));
        keyspace.unwatch(&watch);
    }
}
