//! Client-side caching: answers that are kept here for as long as the server does not say that their key has changed.
//!
//! The server tracks the keys of the reads that ask for it (`CLIENT TRACKING ON OPTIN`, `CLIENT CACHING YES`) and sends a push
//! when one changes. What holds:
//! - A read begins before it is sent ([`Cache::begin`]), and its answer is kept only if no invalidation of its key came since
//!   ([`Cache::keep`]). Pushes and answers come in the order of the wire, so an invalidation that is for the value of that answer
//!   is always seen.
//! - The cache starts cold: the death of a connection empties it and overtakes every read that has begun, before any caller
//!   learns of the death. So without a connection nothing is served from here.
//! - It is bounded in bytes and in entries; what is used least lately goes first. Every entry has a longest life, and none
//!   outlives its key.
//!
//! A server that is cut off without a word cannot send invalidations. Until the connection is given up (a `PING` after
//! [`Settings::probe_interval`](crate::Settings::probe_interval) without an answer within
//! [`Settings::silence_max`](crate::Settings::silence_max)), old values are served.

mod calls;
mod order;

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bowline_model::Epoch;
use bowline_resp::Frame;
use bytes::Bytes;

use self::order::Order;
use crate::limits;
use crate::link::Pushes;
use crate::metrics::CacheMetrics;

/// Bounds of a client-side cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheSettings {
    /// Most bytes of answers, keys and commands.
    pub bytes_max: usize,
    /// Most answers.
    pub entries_max: usize,
    /// Longest life of an answer.
    pub ttl_max: Duration,
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self {
            bytes_max: limits::CACHE_BYTES_MAX,
            entries_max: limits::CACHE_ENTRIES_MAX,
            ttl_max: limits::CACHE_TTL_MAX,
        }
    }
}

/// A read that has begun: what must not have changed when its answer is kept.
#[derive(Debug)]
pub(crate) struct Read {
    key: Bytes,
    command: Bytes,
    changes: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Cache {
    settings: CacheSettings,
    pub metrics: CacheMetrics,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The answers of each key, by command.
    keys: HashMap<Bytes, HashMap<Bytes, Kept>>,
    /// Reads under way of each key, and how often it has changed since the first of them began.
    reads: HashMap<Bytes, Reads>,
    /// Times that everything was emptied.
    emptied: u64,
    order: Order,
    bytes: usize,
    entries: usize,
}

#[derive(Debug, Default)]
struct Reads {
    count: usize,
    changes: u64,
}

#[derive(Debug)]
struct Kept {
    frame: Frame,
    until: Instant,
    bytes: usize,
    /// Its place in the order of use.
    stamp: u64,
}

impl Cache {
    pub fn new(settings: CacheSettings, metrics: CacheMetrics) -> Self {
        Self { settings, metrics, state: Mutex::default() }
    }

    /// The answer to `command` about `key`, if it is kept.
    pub fn look_up(&self, key: &[u8], command: &[u8], now: Instant) -> Option<Frame> {
        let mut state = self.lock();
        let state = &mut *state;
        let kept = state.keys.get_mut(key)?.get_mut(command)?;
        if kept.until <= now {
            return None;
        }
        kept.stamp = state.order.used(kept.stamp);
        Some(kept.frame.clone())
    }

    /// Begins a read. It ends with [`Cache::keep`] or [`Cache::give_up`].
    pub fn begin(&self, key: &[u8], command: &[u8]) -> Read {
        let mut state = self.lock();
        let key = Bytes::copy_from_slice(key);
        let emptied = state.emptied;
        let reads = state.reads.entry(key.clone()).or_default();
        reads.count += 1;
        let changes = reads.changes.wrapping_add(emptied);
        Read { key, command: Bytes::copy_from_slice(command), changes }
    }

    /// Ends a read without keeping anything.
    pub fn give_up(&self, read: &Read) {
        self.lock().end(read);
    }

    /// Ends a read and keeps its answer, unless the key has changed since it began. `lives_for`: what is left of the key's life
    /// from `asked_at` on.
    pub fn keep(&self, read: Read, answer: &Frame, lives_for: Option<Duration>, asked_at: Instant) {
        let mut state = self.lock();
        let is_current = state.end(&read);
        let bytes = size_bytes(answer) + read.key.len() + read.command.len();
        if !is_current || bytes > self.settings.bytes_max / limits::CACHE_SHARE_MIN {
            return;
        }
        let lives_for = lives_for.unwrap_or(Duration::MAX).min(self.settings.ttl_max);
        let Some(until) = asked_at.checked_add(lives_for) else { return };
        let Read { key, command, .. } = read;
        let stamp = state.order.entered(key.clone(), command.clone());
        let kept = Kept { frame: detached(answer), until, bytes, stamp };
        let before = state.keys.entry(key).or_default().insert(command, kept);
        state.bytes += bytes;
        state.entries += 1;
        if let Some(before) = before {
            state.forget(&before);
        }
        while state.bytes > self.settings.bytes_max || state.entries > self.settings.entries_max {
            if !state.evict() {
                break;
            }
            self.metrics.evicted.inc();
        }
        self.metrics.entries.set(i64::try_from(state.entries).unwrap_or(i64::MAX));
    }

    /// Nothing that was read until now can be relied on any more.
    pub fn empty(&self) {
        self.invalidate(None);
    }

    /// A key has changed; `None` is for all of them.
    fn invalidate(&self, key: Option<&[u8]>) {
        let mut state = self.lock();
        let before = state.entries;
        match key {
            Some(key) => state.remove(key),
            None => state.empty(),
        }
        self.metrics.invalidated.inc_by((before - state.entries) as u64);
        self.metrics.entries.set(i64::try_from(state.entries).unwrap_or(i64::MAX));
    }

    /// Nothing that is done under the lock leaves it half done, so a panic elsewhere in a task does not matter.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pushes for Cache {
    fn push(&self, _: Epoch, elements: Vec<Frame>) {
        let [kind, what] = elements.as_slice() else { return };
        if kind.as_text() != Some("invalidate") {
            return;
        }
        match what {
            Frame::Array(keys) if keys.iter().all(|key| key.as_bytes().is_some()) => {
                keys.iter().filter_map(Frame::as_bytes).for_each(|key| self.invalidate(Some(key)));
            }
            // A null is for everything, and so is what is not understood: keeping less is always right.
            _ => self.invalidate(None),
        }
    }

    fn died(&self, _: Epoch) {
        self.invalidate(None);
    }
}

impl State {
    /// Whether nothing has changed since the read began.
    fn end(&mut self, read: &Read) -> bool {
        let Some(reads) = self.reads.get_mut(&read.key) else { return false };
        let is_current = reads.changes.wrapping_add(self.emptied) == read.changes;
        reads.count -= 1;
        if reads.count == 0 {
            self.reads.remove(&read.key);
        }
        is_current
    }

    fn remove(&mut self, key: &[u8]) {
        if let Some(reads) = self.reads.get_mut(key) {
            reads.changes += 1;
        }
        for kept in self.keys.remove(key).into_iter().flat_map(HashMap::into_values) {
            self.forget(&kept);
        }
    }

    fn empty(&mut self) {
        self.emptied += 1;
        self.keys.clear();
        self.order = Order::default();
        (self.bytes, self.entries) = (0, 0);
    }

    /// Removes what was used least lately. Whether there was anything.
    fn evict(&mut self) -> bool {
        let Some((key, command)) = self.order.oldest() else { return false };
        let Some(commands) = self.keys.get_mut(&key) else { return true };
        let kept = commands.remove(&command);
        if commands.is_empty() {
            self.keys.remove(&key);
        }
        if let Some(kept) = kept {
            self.bytes -= kept.bytes;
            self.entries -= 1;
        }
        true
    }

    fn forget(&mut self, kept: &Kept) {
        self.order.left(kept.stamp);
        self.bytes -= kept.bytes;
        self.entries -= 1;
    }
}

/// What a frame takes in memory, about.
fn size_bytes(frame: &Frame) -> usize {
    let content = match frame {
        Frame::Array(elements) | Frame::Set(elements) | Frame::Push(elements) => {
            elements.iter().map(size_bytes).sum()
        }
        Frame::Map(pairs) => pairs.iter().map(|(key, value)| size_bytes(key) + size_bytes(value)).sum(),
        other => match other {
            Frame::Error(bytes) => bytes.len(),
            other => other.as_bytes().map_or(0, Bytes::len),
        },
    };
    size_of::<Frame>() + content
}

/// The same frame with bytes of its own: those of an answer keep a whole read buffer alive.
fn detached(frame: &Frame) -> Frame {
    let copy = |bytes: &Bytes| Bytes::copy_from_slice(bytes);
    let all = |elements: &[Frame]| elements.iter().map(detached).collect();
    match frame {
        Frame::Simple(bytes) => Frame::Simple(copy(bytes)),
        Frame::Error(bytes) => Frame::Error(copy(bytes)),
        Frame::Bulk(bytes) => Frame::Bulk(copy(bytes)),
        Frame::BigNumber(bytes) => Frame::BigNumber(copy(bytes)),
        Frame::Verbatim { format, text } => Frame::Verbatim { format: *format, text: copy(text) },
        Frame::Array(elements) => Frame::Array(all(elements)),
        Frame::Set(elements) => Frame::Set(all(elements)),
        Frame::Push(elements) => Frame::Push(all(elements)),
        Frame::Map(pairs) => {
            Frame::Map(pairs.iter().map(|(key, value)| (detached(key), detached(value))).collect())
        }
        Frame::Integer(_) | Frame::Null | Frame::NullArray | Frame::Double(_) | Frame::Boolean(_) => {
            frame.clone()
        }
    }
}

/// The commands whose answer depends on nothing but one key: not on the clock, and not on chance.
pub(crate) fn is_cacheable(name: &[u8]) -> bool {
    static NAMES: std::sync::LazyLock<HashSet<&'static [u8]>> =
        std::sync::LazyLock::new(|| CACHEABLE.split_ascii_whitespace().map(str::as_bytes).collect());
    NAMES.contains(&*name.to_ascii_uppercase())
}

const CACHEABLE: &str = "GET STRLEN GETRANGE SUBSTR GETBIT BITCOUNT BITPOS EXISTS TYPE EXPIRETIME PEXPIRETIME \
    HGET HMGET HGETALL HLEN HKEYS HVALS HEXISTS HSTRLEN \
    LRANGE LLEN LINDEX LPOS SMEMBERS SISMEMBER SMISMEMBER SCARD \
    ZRANGE ZRANGEBYSCORE ZRANGEBYLEX ZREVRANGE ZREVRANGEBYSCORE ZREVRANGEBYLEX ZSCORE ZMSCORE ZCARD ZCOUNT ZLEXCOUNT \
    ZRANK ZREVRANK XLEN XRANGE XREVRANGE GEOPOS GEODIST GEOHASH PFCOUNT MGET";

#[cfg(test)]
#[path = "cache/tests.rs"]
mod tests;
