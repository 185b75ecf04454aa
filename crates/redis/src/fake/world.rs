//! What the connections of a fake share: its data, the faults that were ordered, who is connected.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bowline_resp::{Frame, Protocol};
use bowline_rt::random;
use bowline_rt::time::{now, unix_time};
use bytes::Bytes;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::store::{Data, Store};
use super::topics::{Kind, Topics};
use crate::limits::FAKE_COMMANDS_MAX;

/// Stands in for a command.
pub(super) type Answer = Arc<dyn Fn(&mut Data<'_>, &[Bytes]) -> Frame + Send + Sync>;
/// Stands in for a script.
pub(super) type Run = Arc<dyn Fn(&mut Data<'_>, &[Bytes], &[Bytes]) -> Frame + Send + Sync>;

/// See the module. No two of its locks are held at a time, but for the data's, which is always the outer one.
pub(super) struct World {
    pub newest: Protocol,
    pub stalled: watch::Sender<bool>,
    pub refuses: AtomicBool,
    started: Instant,
    started_unix_ms: i64,
    store: Mutex<Store>,
    stand_ins: Mutex<StandIns>,
    orders: Mutex<Orders>,
    topics: Mutex<Topics>,
    process: Mutex<Process>,
}

/// What closures of the test do.
#[derive(Default)]
pub(super) struct StandIns {
    /// By name in lower case.
    pub answers: BTreeMap<String, Answer>,
    /// By digest.
    pub scripts: BTreeMap<String, Run>,
}

/// What was ordered for the next commands, and the commands that have come.
#[derive(Default)]
pub(super) struct Orders {
    errors: VecDeque<String>,
    is_next_lost: bool,
    pub seen: VecDeque<Vec<Bytes>>,
}

/// The server's process, which [`World::restart`] replaces.
struct Process {
    run_id: String,
    /// Digests of the scripts that it has seen.
    scripts: BTreeSet<String>,
    last_number: i64,
    connections: BTreeMap<i64, CancellationToken>,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").field("connections", &self.connections()).finish_non_exhaustive()
    }
}

/// A closure of the test that panics fails its own command; everybody else goes on.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn run_id() -> String {
    format!("{:032x}{:08x}", random::bits128(), random::bits64() >> 32)
}

impl World {
    pub fn new(newest: Protocol) -> Self {
        Self {
            newest,
            stalled: watch::Sender::new(false),
            refuses: AtomicBool::new(false),
            started: now(),
            started_unix_ms: i64::try_from(unix_time().as_millis()).unwrap_or(i64::MAX),
            store: Mutex::new(Store::new()),
            stand_ins: Mutex::default(),
            orders: Mutex::default(),
            topics: Mutex::default(),
            process: Mutex::new(Process {
                run_id: run_id(),
                scripts: BTreeSet::new(),
                last_number: 0,
                connections: BTreeMap::new(),
            }),
        }
    }

    /// Unix milliseconds, by the clock of the runtime, which a test may pause.
    pub fn now_ms(&self) -> i64 {
        let elapsed = now().saturating_duration_since(self.started);
        self.started_unix_ms.saturating_add(i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX))
    }

    pub fn store(&self) -> MutexGuard<'_, Store> {
        lock(&self.store)
    }

    pub fn stand_ins(&self) -> MutexGuard<'_, StandIns> {
        lock(&self.stand_ins)
    }

    pub fn orders(&self) -> MutexGuard<'_, Orders> {
        lock(&self.orders)
    }

    pub fn run_id(&self) -> String {
        lock(&self.process).run_id.clone()
    }

    pub fn connections(&self) -> usize {
        lock(&self.process).connections.len()
    }

    /// A new connection: its number, and what ends it.
    pub fn enter(&self) -> (i64, CancellationToken) {
        let mut process = lock(&self.process);
        process.last_number += 1;
        let (number, end) = (process.last_number, CancellationToken::new());
        process.connections.insert(number, end.clone());
        (number, end)
    }

    pub fn topics(&self) -> MutexGuard<'_, Topics> {
        lock(&self.topics)
    }

    /// Publishes a message and tells how many subscriptions got it. Who has not read for too long is cut off, as Redis does.
    pub fn publish(&self, kind: Kind, channel: &Bytes, payload: &Bytes) -> usize {
        let published = self.topics().publish(kind, channel, payload);
        for number in published.full {
            self.kill(number);
        }
        published.receivers
    }

    /// A connection is gone.
    pub fn leave(&self, number: i64) {
        self.topics().leave(number);
        lock(&self.process).connections.remove(&number);
    }

    /// Ends one connection; false if there is none of this number.
    pub fn kill(&self, number: i64) -> bool {
        let killed = lock(&self.process).connections.remove(&number);
        killed.inspect(CancellationToken::cancel).is_some()
    }

    pub fn cut(&self) {
        let connections = std::mem::take(&mut lock(&self.process).connections);
        connections.values().for_each(CancellationToken::cancel);
    }

    pub fn restart(&self) {
        self.cut();
        let mut process = lock(&self.process);
        process.run_id = run_id();
        process.scripts.clear();
    }

    /// Notes that the server has seen a script.
    pub fn learn(&self, digest: String) {
        lock(&self.process).scripts.insert(digest);
    }

    /// Whether the server has seen a script.
    pub fn knows(&self, digest: &str) -> bool {
        lock(&self.process).scripts.contains(digest)
    }

    pub fn forget_scripts(&self) {
        lock(&self.process).scripts.clear();
    }

    pub fn is_refusing(&self) -> bool {
        self.refuses.load(Ordering::Relaxed)
    }
}

impl Orders {
    pub fn fail(&mut self, error: String) {
        self.errors.push_back(error);
    }

    pub fn lose(&mut self) {
        self.is_next_lost = true;
    }

    /// The error that was ordered for a command that has come now.
    pub fn take_error(&mut self) -> Option<String> {
        self.errors.pop_front()
    }

    /// Whether the answer that would be given now is to be lost.
    pub fn take_loss(&mut self) -> bool {
        std::mem::take(&mut self.is_next_lost)
    }

    /// Notes a command. Its arguments are copied: they are parts of a read buffer, which would stay alive.
    pub fn see(&mut self, request: &[Bytes]) {
        if self.seen.len() == FAKE_COMMANDS_MAX {
            self.seen.pop_front();
        }
        self.seen.push_back(request.iter().map(|argument| Bytes::copy_from_slice(argument)).collect());
    }
}
