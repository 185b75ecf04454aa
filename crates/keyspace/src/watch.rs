//! WATCH: versions of the keys that somebody watches, and of no others, so that nobody else pays for them.

use std::collections::BTreeMap;

use bytes::Bytes;

#[derive(Debug)]
struct Watched {
    watchers: usize,
    version: u64,
}

/// A key as one connection watches it. It must be given back with [`crate::Keyspace::unwatch`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a watch that is dropped is counted for ever"]
pub struct Watch {
    pub(crate) database: usize,
    /// Shared with all who watch it.
    pub(crate) key: Bytes,
    version: u64,
}

/// All watched keys, by database.
#[derive(Debug)]
pub(crate) struct Watches {
    databases: Vec<BTreeMap<Bytes, Watched>>,
    keys: usize,
    /// Versions are drawn from one counter: two lives of a watched key never have the same version.
    last_version: u64,
}

impl Watches {
    pub fn new(databases: usize) -> Self {
        Self { databases: (0..databases).map(|_| BTreeMap::new()).collect(), keys: 0, last_version: 0 }
    }

    pub fn watch(&mut self, database: usize, key: &[u8]) -> Watch {
        self.last_version += 1;
        let version = self.last_version;
        let watched = &mut self.databases[database];
        // The copy that others hold is taken, if there is one.
        let known = watched.get_key_value(key).map(|(key, _)| key.clone());
        let key = known.unwrap_or_else(|| Bytes::copy_from_slice(key));
        let watched = watched.entry(key.clone()).or_insert_with(|| {
            self.keys += 1;
            Watched { watchers: 0, version }
        });
        watched.watchers += 1;
        Watch { database, key, version: watched.version }
    }

    pub fn unwatch(&mut self, watch: &Watch) {
        let database = &mut self.databases[watch.database];
        let Some(watched) = database.get_mut(&watch.key) else { return };
        watched.watchers -= 1;
        if watched.watchers == 0 {
            database.remove(&watch.key);
            self.keys -= 1;
        }
    }

    pub fn changed(&self, watch: &Watch) -> bool {
        self.databases[watch.database].get(&watch.key).is_none_or(|watched| watched.version != watch.version)
    }

    /// Somebody changed this key.
    pub fn touch(&mut self, database: usize, key: &[u8]) {
        if self.keys == 0 {
            return;
        }
        if let Some(watched) = self.databases[database].get_mut(key) {
            self.last_version += 1;
            watched.version = self.last_version;
        }
    }

    /// Somebody changed all keys of the database that `exists` knows.
    pub fn touch_all(&mut self, database: usize, exists: impl Fn(&[u8]) -> bool) {
        for (key, watched) in &mut self.databases[database] {
            if exists(key) {
                self.last_version += 1;
                watched.version = self.last_version;
            }
        }
    }
}
