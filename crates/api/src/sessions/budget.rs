//! Memory of bodies that come in, and of answers that go out. Each may be large, and is held for as long as its caller likes
//! to send or to read, so all of them together have a bound, and so have those of one namespace.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bowline_identity::signature::Namespace;
use bowline_rt::time::{Duration, timeout};
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What all together may take, and those of each namespace.
#[derive(Debug)]
pub(super) struct Budget {
    all: Arc<Semaphore>,
    of_one_namespace: usize,
    namespaces: Arc<Mutex<Namespaces>>,
}

/// By namespace, for as long as something of it is held. The hash map's order is never looked at.
type Namespaces = HashMap<Namespace, Part>;

/// What one namespace may take.
#[derive(Debug)]
struct Part {
    free: Arc<Semaphore>,
    shares: usize,
}

/// What one body or answer may take. It is given back when it is dropped, or with the bytes that [`hold`](Share::holds) it.
#[derive(Debug)]
pub(super) struct Share {
    of_all: Permits,
    /// Goes first: who waits for it must find room among all.
    of_namespace: Permits,
    _member: Member,
}

/// Permits that can grow.
#[derive(Debug)]
struct Permits {
    semaphore: Arc<Semaphore>,
    held: OwnedSemaphorePermit,
}

/// One share of a namespace.
#[derive(Debug)]
struct Member {
    namespaces: Arc<Mutex<Namespaces>>,
    namespace: Namespace,
}

/// A text, and its share of the memory.
struct Held {
    text: Vec<u8>,
    _share: Share,
}

impl Budget {
    /// `of_one_namespace`: the part of it that one namespace may have, as in one of so many.
    pub fn new(bytes_max: usize, of_one_namespace: usize) -> Self {
        let bytes_max = bytes_max.min(Semaphore::MAX_PERMITS);
        let of_one_namespace = bytes_max / of_one_namespace;
        Self { all: Arc::new(Semaphore::new(bytes_max)), of_one_namespace, namespaces: Arc::default() }
    }

    /// A share of `bytes` for `namespace`, which may grow. Waits until there is as much; `None` after `patience`.
    pub async fn share(&self, namespace: &Namespace, bytes: usize, patience: Duration) -> Option<Share> {
        let (member, free) = self.enter(namespace, bytes);
        let of_namespace = Permits::none(free);
        let mut share = Share { of_all: Permits::none(self.all.clone()), of_namespace, _member: member };
        share.grow(bytes, patience).await.then_some(share)
    }

    /// One more share of `namespace`. A namespace has room for one of `bytes` in any case.
    fn enter(&self, namespace: &Namespace, bytes: usize) -> (Member, Arc<Semaphore>) {
        let mut namespaces = lock(&self.namespaces);
        let part = namespaces.entry(namespace.clone()).or_insert_with(|| {
            let room = self.of_one_namespace.max(bytes);
            Part { free: Arc::new(Semaphore::new(room)), shares: 0 }
        });
        part.shares += 1;
        let member = Member { namespaces: self.namespaces.clone(), namespace: namespace.clone() };
        (member, part.free.clone())
    }
}

impl Permits {
    fn none(semaphore: Arc<Semaphore>) -> Self {
        let held =
            semaphore.clone().try_acquire_many_owned(0).expect("nothing can be had of every semaphore");
        Self { semaphore, held }
    }

    async fn more(&self, count: u32) -> OwnedSemaphorePermit {
        self.semaphore.clone().acquire_many_owned(count).await.expect("the semaphore is never closed")
    }

    fn more_now(&self, count: u32) -> Option<OwnedSemaphorePermit> {
        self.semaphore.clone().try_acquire_many_owned(count).ok()
    }

    fn keep(&mut self, count: usize) {
        drop(self.held.split(self.held.num_permits().saturating_sub(count)));
    }
}

impl Share {
    /// Bytes that it has.
    pub fn bytes(&self) -> usize {
        self.of_all.held.num_permits()
    }

    /// Takes so many bytes more, as soon as there are as many. `false` after `patience`: then it is as it was. Cancel safe.
    pub async fn grow(&mut self, bytes: usize, patience: Duration) -> bool {
        let Ok(count) = u32::try_from(bytes) else { return false };
        let more = timeout(patience, async {
            let of_namespace = self.of_namespace.more(count).await;
            (of_namespace, self.of_all.more(count).await)
        });
        let Ok((of_namespace, of_all)) = more.await else { return false };
        self.merge(of_namespace, of_all);
        true
    }

    /// Takes so many bytes more, if there are as many now.
    pub fn grow_now(&mut self, bytes: usize) -> bool {
        let more = u32::try_from(bytes)
            .ok()
            .and_then(|count| self.of_namespace.more_now(count).zip(self.of_all.more_now(count)));
        let Some((of_namespace, of_all)) = more else { return false };
        self.merge(of_namespace, of_all);
        true
    }

    fn merge(&mut self, of_namespace: OwnedSemaphorePermit, of_all: OwnedSemaphorePermit) {
        self.of_namespace.held.merge(of_namespace);
        self.of_all.held.merge(of_all);
    }

    /// Gives back what is more than `bytes`.
    pub fn shrink_to(&mut self, bytes: usize) {
        self.of_namespace.keep(bytes);
        self.of_all.keep(bytes);
    }

    /// The text, which holds as much of the share as it takes until it is dropped.
    pub fn holds(mut self, mut text: Vec<u8>) -> Bytes {
        text.shrink_to_fit();
        self.shrink_to(text.len());
        Bytes::from_owner(Held { text, _share: self })
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut namespaces = lock(&self.namespaces);
        let part = namespaces.get_mut(&self.namespace).expect("it has a share");
        part.shares -= 1;
        if part.shares == 0 {
            namespaces.remove(&self.namespace);
        }
    }
}

fn lock(namespaces: &Mutex<Namespaces>) -> std::sync::MutexGuard<'_, Namespaces> {
    namespaces.lock().unwrap_or_else(PoisonError::into_inner)
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(1);

    fn namespace(name: &str) -> Namespace {
        name.parse().expect("a namespace")
    }

    #[tokio::test(start_paused = true)]
    async fn shares_take_what_there_is_and_give_it_back() {
        let budget = Budget::new(400, 4);
        let one = namespace("one");
        let mut first = budget.share(&one, 40, PATIENCE).await.expect("there is enough");
        assert!(first.grow_now(40) && !first.grow_now(21) && !first.grow(21, PATIENCE).await);
        assert_eq!(first.bytes(), 80, "what could not be had changes nothing");
        assert!(budget.share(&one, 21, PATIENCE).await.is_none());
        let second = budget.share(&one, 20, PATIENCE).await.expect("there is enough");
        first.shrink_to(60);
        assert_eq!(budget.all.available_permits(), 320);
        let [first, second] = [first, second].map(|share| share.holds(b"text".to_vec()));
        assert_eq!(budget.all.available_permits(), 392, "what is not used is given back");
        let part = first.slice(1..);
        drop((first, second));
        assert_eq!(budget.all.available_permits(), 396, "a part holds the whole");
        drop(part);
        assert!(budget.share(&one, 100, PATIENCE).await.is_some());
        assert!(lock(&budget.namespaces).is_empty(), "nothing is kept of who has no share");
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_more_gets_what_others_give_back() {
        let budget = Budget::new(100, 1);
        let one = namespace("one");
        let mut first = budget.share(&one, 60, PATIENCE).await.expect("there is enough");
        let second = budget.share(&one, 40, PATIENCE).await.expect("there is enough");
        let (grew, ()) = tokio::join!(first.grow(40, PATIENCE), async { drop(second) });
        assert!(grew);
        assert_eq!((first.bytes(), budget.all.available_permits()), (100, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn one_namespace_leaves_room_to_the_others() {
        let budget = Budget::new(400, 4);
        let greedy = budget.share(&namespace("greedy"), 100, PATIENCE).await.expect("there is enough");
        assert!(budget.share(&namespace("greedy"), 1, PATIENCE).await.is_none());
        for _ in 0..2 {
            assert!(budget.share(&namespace("other"), 100, PATIENCE).await.is_some());
        }
        drop(greedy);
        assert!(budget.share(&namespace("greedy"), 100, PATIENCE).await.is_some());
        // One that needs more finds room in any case.
        assert!(budget.share(&namespace("large"), 300, PATIENCE).await.is_some());
    }
}
