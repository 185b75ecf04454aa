//! The two mutants that share a counter between threads. The network is perfect here: requests arrive in the order in
//! which they were sent, at once. The schedule alone breaks them.

use crate::checker::{Checker, Decision, Key};
use crate::draw::Draw;
use crate::explore::Run;
use crate::lost_registration::store::{Request, Store};
use crate::trace::Trace;

const AGENT: Key = 1;
const LIFETIME: u64 = 300_000;
/// Time stands still: it plays no part in these flaws.
const NOW: u64 = 1;
/// Most tunnels that come or go in a run, on each thread.
const CHANGES_MAX: usize = 3;

/// The gateway's tracker and the store behind it.
struct Tracker {
    store: Store,
    checker: Checker,
    trace: Trace,
    /// Tunnels of the agent.
    count: usize,
    decision: Decision,
}

impl Tracker {
    /// A gateway that holds one tunnel and has published it.
    fn new(columns: &'static [&'static str]) -> Self {
        let mut tracker = Self {
            store: Store::new(false),
            checker: Checker::default(),
            trace: Trace::new(columns),
            count: 1,
            decision: Decision::default(),
        };
        tracker.decision = tracker.checker.decided(AGENT, true);
        let request = tracker.request(true);
        tracker.send(0, &request);
        tracker
    }

    fn request(&self, present: bool) -> Request {
        let decision = self.decision;
        Request { key: AGENT, present, fence: (0, 0), decision, lifetime: LIFETIME, not_after: u64::MAX }
    }

    /// One tunnel more or less, under the mutex. Returns what has to be written.
    fn count(&mut self, column: usize, more: bool) -> Option<Request> {
        let former = self.count;
        self.count = if more { former + 1 } else { former - 1 };
        let is_edge = (former == 0) != (self.count == 0);
        let note = match (is_edge, more) {
            (false, _) => "",
            (true, true) => ", HSET to be sent",
            (true, false) => ", HDEL to be sent",
        };
        self.trace.step(column, format!("lock, tunnels {former} -> {}, unlock{note}", self.count));
        if !is_edge {
            return None;
        }
        self.decision = self.checker.decided(AGENT, self.count > 0);
        Some(self.request(self.count > 0))
    }

    fn send(&mut self, column: usize, request: &Request) {
        self.trace
            .step(column, format!("{} reaches the store", if request.present { "HSET" } else { "HDEL" }));
        self.store.write(NOW, request, &mut self.checker);
    }

    fn end(mut self) -> Run {
        self.checker.quiet(|key| self.store.live(NOW, key).is_some());
        Run { violation: self.checker.verdict(), trace: self.trace }
    }
}

/// Counts under a mutex, writes after it: two threads, each with tunnels that come and go.
pub(super) fn io_after_unlock(seed: u64) -> Run {
    let mut draw = Draw::new(seed);
    let mut tracker = Tracker::new(&["thread 1", "thread 2"]);
    let mut changes = [1 + draw.below(CHANGES_MAX), 1 + draw.below(CHANGES_MAX)];
    // What a thread that has left the mutex still has to send.
    let mut unsent: [Option<Request>; 2] = [None, None];
    loop {
        let busy: Vec<usize> =
            (0..2).filter(|thread| unsent[*thread].is_some() || changes[*thread] > 0).collect();
        if busy.is_empty() || tracker.checker.is_violated() {
            return tracker.end();
        }
        let thread = busy[draw.below(busy.len())];
        // A thread does its I/O before it takes the next tunnel.
        if let Some(request) = unsent[thread].take() {
            tracker.send(thread, &request);
        } else {
            changes[thread] -= 1;
            let more = tracker.count == 0 || (tracker.count < 2 && draw.once_in(2));
            unsent[thread] = tracker.count(thread, more);
        }
    }
}

/// Registers and unregisters in order, with the I/O under the mutex; only the refresh writes from a snapshot.
pub(super) fn refresh_resurrects(seed: u64) -> Run {
    let mut draw = Draw::new(seed);
    let mut tracker = Tracker::new(&["owner", "refresh"]);
    let mut changes = 1 + draw.below(CHANGES_MAX);
    let mut refreshes = 1 + draw.below(CHANGES_MAX);
    let mut snapshot: Option<Request> = None;
    loop {
        let refresh_can_go = snapshot.is_some() || refreshes > 0;
        if tracker.checker.is_violated() || (changes == 0 && !refresh_can_go) {
            return tracker.end();
        }
        if changes > 0 && (!refresh_can_go || draw.once_in(2)) {
            changes -= 1;
            let more = tracker.count == 0;
            if let Some(request) = tracker.count(0, more) {
                tracker.send(0, &request);
            }
        } else if let Some(request) = snapshot.take() {
            tracker.send(1, &request);
        } else {
            refreshes -= 1;
            let is_held = tracker.count > 0;
            tracker.trace.step(
                1,
                if is_held { "lock, the agent is here, unlock" } else { "lock, nothing here, unlock" },
            );
            snapshot = is_held.then(|| tracker.request(true));
        }
    }
}
