//! A hash table that never stalls, with a scan cursor that never slips.
//!
//! The table is a directory over many small segments (extendible hashing): the top bits of an item's hash select the
//! segment, and a segment that is full is split in two. The longest pause that an insert can see is one split, of a few
//! hundred items, or the doubling of the directory, which copies 4 bytes a segment.
//!
//! A scan cursor is a point in the space of hashes, so it means the same before and after any number of splits. Each
//! call returns whole positions in ascending order; an item that is there during the whole scan is returned exactly
//! once, however the table changes meanwhile. Redis promises "at least once".
//!
//! Segments are not merged again; an emptied one costs 48 bytes until the table is cleared.

use foldhash::quality::FixedState;
use hashbrown::HashTable;
use std::hash::{BuildHasher, Hasher};

use crate::limits::{DIRECTORY_DEPTH_MAX, RANDOM_DRAWS_MAX, SCAN_SEGMENTS_PER_COUNT, SEGMENT_ITEMS_MAX};

/// The time of what never expires.
pub const NEVER: i64 = i64::MAX;

/// Bits of a hash that are its position: few enough for clients that read a cursor as a signed number.
const POSITION_BITS: u32 = 48;
/// One past the last position.
const POSITION_END: u64 = 1 << POSITION_BITS;

/// What a table holds.
pub trait Item {
    /// What identifies the item.
    fn key(&self) -> &[u8];
    /// When the item is due to be removed, in unix milliseconds, or [`NEVER`].
    fn expires_at_ms(&self) -> i64 {
        NEVER
    }
}

/// Hashes keys; its seed is secret, so that nobody outside can choose colliding keys.
#[derive(Debug, Clone)]
pub struct KeyHasher(FixedState);

impl KeyHasher {
    /// A hasher of its own for each seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(FixedState::with_seed(seed))
    }

    /// The hash of `key`.
    #[must_use]
    pub fn hash(&self, key: &[u8]) -> u64 {
        let mut hasher = self.0.build_hasher();
        hasher.write(key);
        hasher.finish()
    }
}

#[derive(Debug)]
struct Segment<T> {
    items: HashTable<T>,
    /// Bits of the hash that all items of this segment share.
    depth: u32,
    /// No item is due before this time.
    earliest_ms: i64,
}

/// The table; see the module.
#[derive(Debug)]
pub struct Table<T> {
    hasher: KeyHasher,
    /// Bits of the hash that select a slot of the directory.
    depth: u32,
    /// Slot → index of its segment. Several slots share a segment of smaller depth.
    directory: Vec<u32>,
    segments: Vec<Segment<T>>,
    len: usize,
}

/// The hash as the segment's own table sees it: its bits must not be those that are equal within a segment.
fn inner(hash: u64) -> u64 {
    hash.rotate_left(32)
}

fn position(hash: u64) -> u64 {
    hash >> (64 - POSITION_BITS)
}

impl<T: Item> Table<T> {
    /// An empty table, which owns no memory yet but a few words.
    #[must_use]
    pub fn new(hasher: KeyHasher) -> Self {
        let segment = Segment { items: HashTable::new(), depth: 0, earliest_ms: NEVER };
        Self { hasher, depth: 0, directory: vec![0], segments: vec![segment], len: 0 }
    }

    /// Items in the table.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no item.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The hash of `key`, which the other calls want.
    #[must_use]
    pub fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash(key)
    }

    fn slot(&self, hash: u64) -> usize {
        if self.depth == 0 { 0 } else { usize::try_from(hash >> (64 - self.depth)).unwrap_or(0) }
    }

    fn segment_index(&self, hash: u64) -> usize {
        self.directory[self.slot(hash)] as usize
    }

    /// The item of `key`.
    #[must_use]
    pub fn find(&self, hash: u64, key: &[u8]) -> Option<&T> {
        self.segments[self.segment_index(hash)].items.find(inner(hash), |item| item.key() == key)
    }

    /// The item of `key`, to be changed. Its key must stay; a new expiry wants [`Table::note_expiry`] as well.
    pub fn find_mut(&mut self, hash: u64, key: &[u8]) -> Option<&mut T> {
        let index = self.segment_index(hash);
        self.segments[index].items.find_mut(inner(hash), |item| item.key() == key)
    }

    /// Adds an item whose key is not in the table.
    pub fn insert(&mut self, hash: u64, item: T) {
        debug_assert!(self.find(hash, item.key()).is_none(), "a key is inserted twice");
        let mut index = self.segment_index(hash);
        while self.segments[index].items.len() >= SEGMENT_ITEMS_MAX
            && self.segments[index].depth < DIRECTORY_DEPTH_MAX
        {
            self.split(index, hash);
            index = self.segment_index(hash);
        }
        let segment = &mut self.segments[index];
        segment.earliest_ms = segment.earliest_ms.min(item.expires_at_ms());
        let hasher = &self.hasher;
        segment.items.insert_unique(inner(hash), item, |other| inner(hasher.hash(other.key())));
        self.len += 1;
    }

    /// Takes the item of `key` out.
    pub fn remove(&mut self, hash: u64, key: &[u8]) -> Option<T> {
        let index = self.segment_index(hash);
        let segment = &mut self.segments[index];
        let entry = segment.items.find_entry(inner(hash), |item| item.key() == key).ok()?;
        let (item, _) = entry.remove();
        self.len -= 1;
        shrink(segment, &self.hasher);
        Some(item)
    }

    /// Records that the item with this hash is due at `at_ms`.
    pub fn note_expiry(&mut self, hash: u64, at_ms: i64) {
        let index = self.segment_index(hash);
        let segment = &mut self.segments[index];
        segment.earliest_ms = segment.earliest_ms.min(at_ms);
    }

    /// Splits the segment that holds `hash`.
    fn split(&mut self, index: usize, hash: u64) {
        if self.segments[index].depth == self.depth {
            self.directory = self.directory.iter().flat_map(|&segment| [segment, segment]).collect();
            self.depth += 1;
        }
        let depth = self.segments[index].depth + 1;
        let half = SEGMENT_ITEMS_MAX / 2;
        let old = std::mem::replace(&mut self.segments[index].items, HashTable::with_capacity(half));
        let earliest_ms = self.segments[index].earliest_ms;
        self.segments[index].depth = depth;
        let upper = self.segments.len();
        self.segments.push(Segment { items: HashTable::with_capacity(half), depth, earliest_ms });

        // The slots of the old segment are consecutive; the upper half of them goes to the new one.
        let slots = 1_usize << (self.depth - depth + 1);
        let first = self.slot(hash) & !(slots - 1);
        let new = u32::try_from(upper).expect("a directory has fewer than 2^32 segments");
        self.directory[first + slots / 2..first + slots].fill(new);

        let hasher = &self.hasher;
        for item in old {
            let hash = hasher.hash(item.key());
            let to = if (hash >> (64 - depth)) & 1 == 1 { upper } else { index };
            let rehash = |other: &T| inner(hasher.hash(other.key()));
            self.segments[to].items.insert_unique(inner(hash), item, rehash);
        }
    }

    /// Every item, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.segments.iter().flat_map(|segment| segment.items.iter())
    }

    /// Shows about `count` items to `visit`, from `cursor` on; the answer is the next cursor, 0 at the end. A scan
    /// starts with 0.
    pub fn scan(&self, cursor: u64, count: u64, mut visit: impl FnMut(&T)) -> u64 {
        let mut from = cursor.min(POSITION_END);
        let mut missing = usize::try_from(count.max(1)).unwrap_or(usize::MAX);
        let mut segments_left = count.max(1).saturating_mul(SCAN_SEGMENTS_PER_COUNT);
        while from < POSITION_END && segments_left > 0 {
            let segment = &self.segments[self.segment_index(from << (64 - POSITION_BITS))];
            let width = POSITION_END >> segment.depth;
            let end = (from & !(width - 1)) + width;
            let mut found: Vec<(u64, &T)> = segment
                .items
                .iter()
                .map(|item| (position(self.hasher.hash(item.key())), item))
                .filter(|&(position, _)| position >= from)
                .collect();
            if found.len() > missing {
                found.sort_unstable_by_key(|&(position, _)| position);
                // Items of one position go together, or the cursor could not tell them apart.
                let last = found[missing - 1].0;
                found
                    .iter()
                    .take_while(|&&(position, _)| position <= last)
                    .for_each(|&(_, item)| visit(item));
                return last + 1;
            }
            found.iter().for_each(|&(_, item)| visit(item));
            missing -= found.len();
            from = end;
            segments_left -= 1;
            if missing == 0 {
                break;
            }
        }
        if from >= POSITION_END { 0 } else { from }
    }

    /// An item drawn at random, every one equally likely. `below(n)` draws a number below `n`.
    pub fn random(&self, mut below: impl FnMut(u64) -> u64) -> Option<&T> {
        if self.len == 0 {
            return None;
        }
        for _ in 0..RANDOM_DRAWS_MAX {
            let slot = usize::try_from(below(self.directory.len() as u64)).unwrap_or(0);
            let items = &self.segments[self.directory[slot] as usize].items;
            if items.is_empty() {
                continue;
            }
            // A draw above the number of items in the slot is drawn anew, so that full slots come up more often.
            let in_slot = |item: &&T| self.slot(self.hasher.hash(item.key())) == slot;
            let bound = if self.depth == 0 { items.len() } else { SEGMENT_ITEMS_MAX.max(items.len()) };
            let pick = usize::try_from(below(bound as u64)).unwrap_or(0);
            if let Some(item) = items.iter().filter(in_slot).nth(pick) {
                return Some(item);
            }
        }
        // The table was much larger once, and most draws meet nothing: one walk over the segments finds the item.
        let mut pick = usize::try_from(below(self.len as u64)).unwrap_or(0);
        for segment in &self.segments {
            if pick < segment.items.len() {
                return segment.items.iter().nth(pick);
            }
            pick -= segment.items.len();
        }
        None
    }

    /// As [`Table::random`], among the items that `fits` accepts, with two walks over all.
    pub fn random_among(&self, below: impl FnOnce(u64) -> u64, fits: impl Fn(&T) -> bool) -> Option<&T> {
        let count = self.iter().filter(|item| fits(item)).count();
        let pick = usize::try_from(below(count as u64)).unwrap_or(0);
        self.iter().filter(|item| fits(item)).nth(pick)
    }

    /// Removes what is due at `now_ms` from the segments that follow `*at`, at most `segments` of them, and gives each
    /// to `remove`. `*at` moves on and wraps around.
    pub fn remove_due(&mut self, at: &mut usize, segments: usize, now_ms: i64, mut remove: impl FnMut(T)) {
        for _ in 0..segments.min(self.segments.len()) {
            if *at >= self.segments.len() {
                *at = 0;
            }
            let segment = &mut self.segments[*at];
            *at += 1;
            if segment.earliest_ms > now_ms {
                continue;
            }
            let mut removed = 0;
            segment.items.extract_if(|item| item.expires_at_ms() <= now_ms).for_each(|item| {
                removed += 1;
                remove(item);
            });
            self.len -= removed;
            segment.earliest_ms = segment.items.iter().map(Item::expires_at_ms).min().unwrap_or(NEVER);
            shrink(segment, &self.hasher);
        }
    }

    /// How many segments there are: the work of one pass of [`Table::remove_due`].
    #[must_use]
    pub fn segments(&self) -> usize {
        self.segments.len()
    }

    /// Items that there is room for without a further allocation.
    #[cfg(test)]
    pub(crate) fn allocated(&self) -> usize {
        self.segments.iter().map(|segment| segment.items.capacity()).sum()
    }

    /// Frees at most `segments` segments. Only for a table that is thrown away: it cannot be used any more. True when
    /// nothing is left. `each` sees what goes.
    pub fn dismantle(&mut self, segments: usize, mut each: impl FnMut(&T)) -> bool {
        let keep = self.segments.len().saturating_sub(segments);
        self.segments[keep..].iter().flat_map(|segment| segment.items.iter()).for_each(&mut each);
        self.segments.truncate(keep);
        keep == 0
    }
}

/// Gives memory back when a segment has become much smaller than it was.
fn shrink<T: Item>(segment: &mut Segment<T>, hasher: &KeyHasher) {
    let (len, capacity) = (segment.items.len(), segment.items.capacity());
    if len == 0 && segment.depth > 0 {
        // One of many: it owns nothing until it is needed again.
        segment.items = HashTable::new();
    } else if capacity > 16 && len < capacity / 8 {
        segment.items.shrink_to(len * 2, |item| inner(hasher.hash(item.key())));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    struct Pair(Vec<u8>, i64);
    impl Item for Pair {
        fn key(&self) -> &[u8] {
            &self.0
        }
        fn expires_at_ms(&self) -> i64 {
            self.1
        }
    }

    fn table(keys: impl Iterator<Item = u32>) -> Table<Pair> {
        let mut table = Table::new(KeyHasher::new(7));
        for key in keys {
            let key = key.to_be_bytes().to_vec();
            table.insert(table.hash(&key), Pair(key, NEVER));
        }
        table
    }

    #[test]
    fn a_scan_returns_what_stays_exactly_once_while_the_table_changes() {
        let mut table = table(0..5_000);
        let mut seen: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
        let (mut cursor, mut fresh) = (0, 1_000_000_u32);
        loop {
            cursor = table.scan(cursor, 10, |item| *seen.entry(item.0.clone()).or_default() += 1);
            if cursor == 0 {
                break;
            }
            for _ in 0..20 {
                let key = fresh.to_be_bytes().to_vec();
                table.insert(table.hash(&key), Pair(key, NEVER));
                fresh += 1;
            }
            // The first thousand comes and goes.
            let key = (fresh % 1_000).to_be_bytes().to_vec();
            let hash = table.hash(&key);
            table.remove(hash, &key);
        }
        for key in 1_000_u32..5_000 {
            assert_eq!(seen.get(key.to_be_bytes().as_slice()), Some(&1), "key {key}");
        }
    }

    #[test]
    fn what_is_due_is_found_whatever_the_segment() {
        let mut table = table(0..10_000);
        for key in (0_u32..10_000).step_by(3) {
            let key = key.to_be_bytes();
            let hash = table.hash(&key);
            table.find_mut(hash, &key).expect("inserted").1 = 50;
            table.note_expiry(hash, 50);
        }
        let (mut at, mut removed) = (0, 0);
        let all = table.segments();
        table.remove_due(&mut at, all, 49, |_| removed += 1);
        assert_eq!(removed, 0);
        table.remove_due(&mut at, all, 50, |_| removed += 1);
        assert_eq!((removed, table.len()), (3_334, 6_666));
        assert_eq!(table.iter().count(), 6_666);
    }

    #[test]
    fn random_items_are_spread_evenly() {
        let table = table(0..2_000);
        let mut state = 1_u64;
        let mut draw = |bound: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % bound
        };
        let mut hits: BTreeMap<&[u8], u32> = BTreeMap::new();
        for _ in 0..40_000 {
            *hits.entry(table.random(&mut draw).expect("not empty").key()).or_default() += 1;
        }
        assert!(hits.len() > 1_990, "{} of 2000 keys came up", hits.len());
        assert!(hits.values().all(|&count| count < 70), "{:?}", hits.values().max());
    }

    proptest! {
        #[test]
        fn behaves_as_a_set(steps in proptest::collection::vec((any::<bool>(), 0_u16..600), 1..2_000)) {
            let mut table = Table::new(KeyHasher::new(3));
            let mut model = BTreeSet::new();
            for (add, key) in steps {
                let key = key.to_le_bytes().to_vec();
                let hash = table.hash(&key);
                if !add {
                    prop_assert_eq!(table.remove(hash, &key).is_some(), model.remove(&key));
                } else if model.insert(key.clone()) {
                    table.insert(hash, Pair(key, NEVER));
                } else {
                    prop_assert!(table.find(hash, &key).is_some());
                }
            }
            prop_assert_eq!(table.len(), model.len());
            let found: BTreeSet<Vec<u8>> = table.iter().map(|item| item.0.clone()).collect();
            prop_assert_eq!(found, model);
        }
    }
}
