//! A store in memory for tests. [`Model`] does what the scripts do, which `script_tests` proves; [`FakeStore`] puts a clock
//! and faults around it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bowline_model::{Epoch, Term};
use bowline_rt::time::{self, Instant};
use tokio::sync::watch;

use crate::backend::{
    Backend, BackendError, ClaimRequest, Claimed, Link, Listing, Pending, ReadRequest, Verdict, WriteRequest,
    Written,
};
use crate::clock::milliseconds;
use crate::layout::{Record, TOMBSTONE};
use crate::limits::{NEIGHBOURS, SWEEP_MAX};

/// When the fake store's clock starts.
pub(crate) const START_UNIX_MS: u64 = 1_700_000_000_000;

/// The operations, exactly as the scripts carry them out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Model {
    claims: BTreeMap<String, (Term, Epoch, u64)>,
    /// Values by key and field.
    pub(crate) hashes: BTreeMap<String, BTreeMap<String, String>>,
}

fn expires_unix_ms(value: &str) -> u64 {
    value.split(' ').nth(4).expect("a record").parse().expect("a number")
}

impl Model {
    pub(crate) fn claim(&mut self, request: &ClaimRequest, now: u64) -> Claimed {
        if now > request.not_after_unix_ms {
            return Claimed { term: Term(0), owner: request.epoch, now_unix_ms: now };
        }
        let held = self.claims.get(&request.key).copied().filter(|(_, _, expires)| *expires > now);
        let expires = now + milliseconds(request.lifetime);
        let (term, owner) = match held {
            Some((term, owner, _)) if owner != request.epoch && request.replaces != Some(term) => {
                return Claimed { term, owner, now_unix_ms: now };
            }
            Some((term, owner, _)) if owner == request.epoch && term >= request.seen => (term, owner),
            _ => {
                let former = held.map_or(0, |(term, _, _)| term.0 + 1);
                (Term(former.max(now * 1_000).max(request.seen.0 + 1)), request.epoch)
            }
        };
        self.claims.insert(request.key.clone(), (term, owner, expires));
        Claimed { term, owner, now_unix_ms: now }
    }

    pub(crate) fn write(&mut self, request: &WriteRequest, now: u64) -> Written {
        let answer = |verdict, before: &str| Written { verdict, now_unix_ms: now, before: before.to_owned() };
        if now > request.not_after_unix_ms {
            return answer(Verdict::Late, "");
        }
        let hash = self.hashes.entry(request.key.clone()).or_default();
        let before = hash.get(&request.field).filter(|value| expires_unix_ms(value) > now).cloned();
        let before = before.unwrap_or_default();
        let fence = &request.fence;
        if Record::parse(&before)
            .is_some_and(|record| (record.term, record.generation) > (fence.term, fence.generation))
        {
            return answer(Verdict::Refused, &before);
        }
        let expires = now + milliseconds(request.lifetime);
        let (term, epoch, generation) = (fence.term, fence.epoch, fence.generation);
        hash.insert(
            request.field.clone(),
            format!("1 {term} {epoch} {generation} {expires} {}", request.payload),
        );
        // A store picks the neighbours at random; the first ones are as good as any.
        let seen: Vec<String> = hash.keys().take(NEIGHBOURS).cloned().collect();
        hash.retain(|field, value| !seen.contains(field) || expires_unix_ms(value) > now);
        answer(Verdict::Applied, &before)
    }

    pub(crate) fn read(&mut self, request: &ReadRequest, now: u64) -> Listing {
        let Some(hash) = self.hashes.get_mut(&request.key) else {
            return Listing { now_unix_ms: now, entries: Vec::new() };
        };
        let looked_at = |field: &String| request.field.as_ref().is_none_or(|wanted| wanted == field);
        let seen: Vec<(String, String)> = hash
            .iter()
            .filter(|(field, _)| looked_at(field))
            .map(|(field, value)| (field.clone(), value.clone()))
            .collect();
        let (expired, live): (Vec<_>, Vec<_>) =
            seen.into_iter().partition(|(_, value)| expires_unix_ms(value) <= now);
        expired.iter().take(SWEEP_MAX).for_each(|(field, _)| drop(hash.remove(field)));
        let is_live = |value: &String| value.split(' ').nth(5) != Some(TOMBSTONE);
        let live: Vec<_> = live.into_iter().filter(|(_, value)| is_live(value)).collect();
        let first = usize::try_from(now / 1_000).expect("64 bits");
        let count = live.len().min(request.entries_max);
        let entries = (0..count).map(|index| live[(first + index) % live.len()].clone()).collect();
        Listing { now_unix_ms: now, entries }
    }
}

/// How the store behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Answers after the latency.
    Well,
    /// Takes requests and answers nothing until it is well again, then carries all of them out.
    Stopped,
    /// Answers reads, and refuses claims and writes, as one without memory or disk does.
    TakesNoWrites,
    /// Refuses the connection.
    Gone,
}

struct Inner {
    model: Model,
    reads: u64,
    writes: u64,
}

/// A store with a clock of its own, for any number of gateways.
pub(crate) struct FakeStore {
    origin: Instant,
    inner: Mutex<Inner>,
    mood: watch::Sender<Mood>,
    /// Writes to this key are never answered.
    hanging_key: Mutex<Option<String>>,
    link: watch::Sender<Link>,
    latency: Duration,
    /// How far the store's clock was stepped.
    clock_step_ms: AtomicI64,
}

impl FakeStore {
    pub(crate) fn start() -> Arc<Self> {
        Self::start_with_latency(Duration::from_millis(1))
    }

    pub(crate) fn start_with_latency(latency: Duration) -> Arc<Self> {
        Arc::new(Self {
            origin: time::now(),
            inner: Mutex::new(Inner { model: Model::default(), reads: 0, writes: 0 }),
            mood: watch::Sender::new(Mood::Well),
            hanging_key: Mutex::new(None),
            link: watch::Sender::new(Link::Up(bowline_rt::random::epoch())),
            latency,
            clock_step_ms: AtomicI64::new(0),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn now_unix_ms(&self) -> u64 {
        let steady = START_UNIX_MS + milliseconds(time::now() - self.origin);
        steady.saturating_add_signed(self.clock_step_ms.load(Ordering::Relaxed))
    }

    /// Somebody sets the store's clock.
    pub(crate) fn step_clock(&self, milliseconds: i64) {
        self.clock_step_ms.fetch_add(milliseconds, Ordering::Relaxed);
    }

    /// The claims are lost, and nothing else.
    pub(crate) fn forget_claims(&self) {
        self.lock().model.claims.clear();
    }

    /// What a replica would take over now.
    pub(crate) fn snapshot(&self) -> Model {
        self.lock().model.clone()
    }

    /// A replica with this state takes over, and works.
    pub(crate) fn fail_over(&self, replica: Model) {
        self.lock().model = replica;
        self.set_mood(Mood::Well);
        self.reconnect();
    }

    /// Everything is lost; the connections stay.
    pub(crate) fn flush(&self) {
        self.lock().model = Model::default();
    }

    pub(crate) fn set_mood(&self, mood: Mood) {
        let link = if mood == Mood::Gone { Link::Down } else { Link::Up(bowline_rt::random::epoch()) };
        if mood == Mood::Gone || *self.link.borrow() == Link::Down {
            self.link.send_replace(link);
        }
        self.mood.send_replace(mood);
    }

    /// The connections break and come back at once.
    pub(crate) fn reconnect(&self) {
        self.link.send_replace(Link::Up(bowline_rt::random::epoch()));
    }

    pub(crate) fn hang(&self, key: &str) {
        *self.hanging_key.lock().unwrap_or_else(PoisonError::into_inner) = Some(key.to_owned());
    }

    /// Reads of whole hashes: those of the lookup path.
    pub(crate) fn reads(&self) -> u64 {
        self.lock().reads
    }

    pub(crate) fn writes(&self) -> u64 {
        self.lock().writes
    }

    /// The live fields of a hash.
    pub(crate) fn fields(&self, key: &str) -> Vec<String> {
        let now = self.now_unix_ms();
        let is_live = |value: &str| {
            expires_unix_ms(value) > now && value.split(' ').nth(5).is_some_and(|word| word != TOMBSTONE)
        };
        let inner = self.lock();
        let all = inner.model.hashes.get(key).into_iter().flatten();
        all.filter(|(_, value)| is_live(value)).map(|(field, _)| field.clone()).collect()
    }

    /// All fields of a hash, the expired ones that nobody has removed included.
    pub(crate) fn all_fields(&self, key: &str) -> Vec<String> {
        self.lock().model.hashes.get(key).into_iter().flat_map(BTreeMap::keys).cloned().collect()
    }

    /// Waits as the network and the store's mood command, then carries the request out; it is carried out even if the
    /// caller has given up by then.
    async fn serve<T: Send + 'static>(
        self: Arc<Self>,
        limit: Duration,
        changes: bool,
        work: impl FnOnce(&mut Inner, u64) -> T + Send + 'static,
    ) -> Result<T, BackendError> {
        let store = Arc::clone(&self);
        let served = bowline_rt::task::spawn("fake-store", async move {
            time::sleep(store.latency).await;
            let mut mood = store.mood.subscribe();
            let mood = *mood.wait_for(|mood| *mood != Mood::Stopped).await.expect("the store lives");
            let now = store.now_unix_ms();
            let works = mood == Mood::Well || mood == Mood::TakesNoWrites && !changes;
            works.then(|| work(&mut store.lock(), now))
        });
        match time::timeout(limit, served).await {
            Ok(Ok(Some(answer))) => Ok(answer),
            Ok(_) => Err(BackendError { had_no_effect: true, source: "the store refuses".into() }),
            Err(elapsed) => Err(BackendError { had_no_effect: false, source: Box::new(elapsed) }),
        }
    }
}

/// A gateway's connection to the fake store.
pub(crate) struct Connection(pub(crate) Arc<FakeStore>);

const LIMIT: Duration = Duration::from_secs(1);

impl Backend for Connection {
    fn claim(&self, request: ClaimRequest) -> Pending<'_, Claimed> {
        Box::pin(Arc::clone(&self.0).serve(LIMIT, true, move |inner, now| inner.model.claim(&request, now)))
    }

    fn write(&self, request: WriteRequest) -> Pending<'_, Written> {
        Box::pin(async move {
            let hanging = self.0.hanging_key.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if hanging.as_ref() == Some(&request.key) {
                time::sleep(LIMIT).await;
                return Err(BackendError { had_no_effect: false, source: "no answer".into() });
            }
            let work = move |inner: &mut Inner, now| {
                inner.writes += 1;
                inner.model.write(&request, now)
            };
            Arc::clone(&self.0).serve(LIMIT, true, work).await
        })
    }

    fn read(&self, request: ReadRequest) -> Pending<'_, Listing> {
        let work = move |inner: &mut Inner, now| {
            // The audit asks for single fields.
            inner.reads += u64::from(request.field.is_none());
            inner.model.read(&request, now)
        };
        Box::pin(Arc::clone(&self.0).serve(LIMIT, false, work))
    }

    fn link(&self) -> watch::Receiver<Link> {
        self.0.link.subscribe()
    }
}

/// A small generator is enough to draw test cases.
pub(crate) struct Draw(pub(crate) u64);

impl Draw {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}
