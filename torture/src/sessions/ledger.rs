//! The checker. It knows what each request asked and how it was answered, and nothing of connections.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use bowline_rt::time::now;

use super::counter::Counter;
use super::register::Register;
use crate::limits::{SESSION_ANSWER_MAX, SESSION_LATENESS_MAX, VIOLATION_SHOWN_MAX, VIOLATIONS_MAX};

/// Namespaces, each with a key that signs for it; what is called the same in both is not the same.
pub const NAMESPACES: [&str; 2] = ["orders", "billing"];
/// Sessions of each namespace that have one writer each.
pub const OWNED: usize = 4;
/// Documents of each namespace.
pub const DOCUMENTS: usize = 1;
/// Members of each document that have one writer each.
pub const MEMBERS: usize = 2;
/// Counters of each namespace.
pub const COUNTERS: usize = 1;

/// A session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subject {
    /// Index of its namespace.
    pub namespace: usize,
    /// Which one.
    pub kind: Kind,
}

/// A session of a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// With one writer.
    Owned(usize),
    /// Several patch it.
    Document(usize),
    /// Several count in it.
    Counter(usize),
}

impl Subject {
    /// All of one namespace.
    pub fn of_namespace(namespace: usize) -> impl Iterator<Item = Self> {
        let owned = (0..OWNED).map(Kind::Owned);
        let kinds = owned.chain((0..DOCUMENTS).map(Kind::Document)).chain((0..COUNTERS).map(Kind::Counter));
        kinds.map(move |kind| Self { namespace, kind })
    }

    /// All.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..NAMESPACES.len()).flat_map(Self::of_namespace)
    }

    /// Its key.
    #[must_use]
    pub fn key(self) -> String {
        match self.kind {
            Kind::Owned(number) => format!("owned/{number}"),
            Kind::Document(number) => format!("document/{number}"),
            Kind::Counter(number) => format!("counter/{number}"),
        }
    }

    /// Its key with the namespace.
    #[must_use]
    pub fn name(self) -> String {
        format!("{}/{}", NAMESPACES[self.namespace], self.key())
    }

    /// The path of requests about it.
    #[must_use]
    pub fn path(self) -> String {
        format!("/v1/user-sessions/{}", self.key().replace('/', "%2F"))
    }

    /// The owner of an owned session.
    #[must_use]
    pub fn owner(self) -> String {
        format!("owner-of-{}", self.key().replace('/', "-"))
    }
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It was served.
    Served,
    /// Surely not executed.
    NotExecuted,
    /// Perhaps executed.
    Unknown,
    /// It had to be refused, and was.
    Refused,
}

/// Watches all requests of a load.
#[derive(Debug)]
pub struct Ledger {
    owned: Vec<Mutex<Register>>,
    members: Vec<Mutex<Register>>,
    counters: Vec<Mutex<Counter>>,
    endings: [AtomicU64; 4],
    slowest_us: AtomicU64,
    /// From when to when the store may have lost what it had acknowledged.
    lost: Mutex<Vec<(Instant, Option<Instant>)>>,
    violations: Mutex<Vec<String>>,
}

impl Default for Ledger {
    fn default() -> Self {
        fn some<T: Default>(count: usize) -> Vec<Mutex<T>> {
            std::iter::repeat_with(Mutex::default).take(NAMESPACES.len() * count).collect()
        }
        Self {
            owned: some(OWNED),
            members: some(DOCUMENTS * MEMBERS),
            counters: some(COUNTERS),
            endings: Default::default(),
            slowest_us: AtomicU64::new(0),
            lost: Mutex::default(),
            violations: Mutex::default(),
        }
    }
}

/// What all reads that begin at a moment have to find at least.
#[derive(Debug, Clone)]
pub struct Mark {
    at: Instant,
    owned: Vec<usize>,
    members: Vec<usize>,
    counters: Vec<u64>,
}

impl Mark {
    /// Of an owned session.
    #[must_use]
    pub fn owned(&self, namespace: usize, number: usize) -> usize {
        self.owned[namespace * OWNED + number]
    }

    /// Of a member of a document.
    #[must_use]
    pub fn member(&self, namespace: usize, document: usize, member: usize) -> usize {
        self.members[(namespace * DOCUMENTS + document) * MEMBERS + member]
    }

    /// Of a counter.
    #[must_use]
    pub fn counter(&self, namespace: usize, number: usize) -> u64 {
        self.counters[namespace * COUNTERS + number]
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ledger {
    /// What is known of an owned session.
    pub fn owned(&self, namespace: usize, number: usize) -> MutexGuard<'_, Register> {
        lock(&self.owned[namespace * OWNED + number])
    }

    /// What is known of a member of a document.
    pub fn member(&self, namespace: usize, document: usize, member: usize) -> MutexGuard<'_, Register> {
        lock(&self.members[(namespace * DOCUMENTS + document) * MEMBERS + member])
    }

    /// What is known of a counter.
    pub fn counter(&self, namespace: usize, number: usize) -> MutexGuard<'_, Counter> {
        lock(&self.counters[namespace * COUNTERS + number])
    }

    /// Where everything is now.
    pub fn mark(&self) -> Mark {
        Mark {
            at: now(),
            owned: self.owned.iter().map(|register| lock(register).floor()).collect(),
            members: self.members.iter().map(|register| lock(register).floor()).collect(),
            counters: self.counters.iter().map(|counter| lock(counter).floor()).collect(),
        }
    }

    /// From now on, what happened after `mark` to those sessions that `may_lose` names may be lost.
    pub fn begin_loss(&self, mark: &Mark, may_lose: impl Fn(Subject) -> bool) {
        lock(&self.lost).push((mark.at, None));
        for Subject { namespace, kind } in Subject::all().filter(|subject| may_lose(*subject)) {
            match kind {
                Kind::Owned(number) => {
                    self.owned(namespace, number).begin_loss(mark.owned(namespace, number));
                }
                Kind::Document(document) => (0..MEMBERS).for_each(|member| {
                    let floor = mark.member(namespace, document, member);
                    self.member(namespace, document, member).begin_loss(floor);
                }),
                Kind::Counter(number) => {
                    self.counter(namespace, number).begin_loss(mark.counter(namespace, number));
                }
            }
        }
    }

    /// From now on nothing is lost any more.
    pub fn end_loss(&self) {
        if let Some((_, end)) = lock(&self.lost).last_mut() {
            *end = Some(now());
        }
        self.owned.iter().chain(&self.members).for_each(|register| lock(register).end_loss());
        self.counters.iter().for_each(|counter| lock(counter).end_loss());
    }

    /// Whether anything may have been lost so far.
    pub fn has_lost(&self) -> bool {
        !lock(&self.lost).is_empty()
    }

    /// Whether what was acknowledged at this moment may be lost.
    pub fn may_have_lost(&self, at: Instant) -> bool {
        let lost = lock(&self.lost);
        lost.iter().any(|(begin, end)| at >= *begin && end.is_none_or(|end| at <= end))
    }

    /// A request was answered.
    pub fn ended(&self, ending: Ending) {
        self.endings[ending as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Requests that ended so.
    pub fn count(&self, ending: Ending) -> u64 {
        self.endings[ending as usize].load(Ordering::Relaxed)
    }

    /// An answer took this long.
    pub fn took(&self, time: Duration) {
        let time_us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.slowest_us.fetch_max(time_us, Ordering::Relaxed);
    }

    /// The longest time of an answer.
    pub fn slowest(&self) -> Duration {
        Duration::from_micros(self.slowest_us.load(Ordering::Relaxed))
    }

    /// Keeps what went wrong.
    pub fn violated(&self, what: impl Into<String>) {
        let mut violations = lock(&self.violations);
        if violations.len() < VIOLATIONS_MAX {
            violations.push(what.into().chars().take(VIOLATION_SHOWN_MAX).collect());
        }
    }

    /// Keeps what is wrong with the session that is called `name`.
    pub fn demand(&self, name: &str, judgement: Result<(), String>) {
        if let Err(what) = judgement {
            self.violated(format!("{name}: {what}"));
        }
    }

    /// `lag`: how late the runtime itself was at worst.
    ///
    /// # Errors
    /// Everything that went wrong.
    pub fn settle(&self, lag: Duration) -> Result<()> {
        let (slowest, bound) = (self.slowest(), SESSION_ANSWER_MAX + SESSION_LATENESS_MAX + lag);
        if slowest > bound {
            self.violated(format!("an answer took {slowest:.1?}, {bound:.1?} is allowed"));
        }
        let violations = lock(&self.violations);
        if !violations.is_empty() {
            bail!("{} violations:\n{}", violations.len(), violations.join("\n"));
        }
        ensure!(self.count(Ending::Served) > 0, "nothing was served, and so nothing was checked");
        ensure!(self.count(Ending::Refused) > 0, "nothing was refused");
        Ok(())
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [served, not_executed, unknown, refused] =
            [Ending::Served, Ending::NotExecuted, Ending::Unknown, Ending::Refused]
                .map(|ending| self.count(ending));
        write!(
            f,
            "{served} served, {refused} rightly refused, {not_executed} not executed, {unknown} unknown; slowest answer {:.0?}",
            self.slowest()
        )
    }
}
