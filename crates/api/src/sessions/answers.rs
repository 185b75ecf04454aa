//! Memory of the answers to bulk reads. Each may be large, and is held until its caller has read it, so all of them together
//! have a bound.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bowline_identity::signature::Namespace;
use bowline_rt::time::{Duration, timeout};
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::limits::ANSWERS_OF_ONE_NAMESPACE;

/// What all answers together may take, and those of each namespace.
#[derive(Debug)]
pub(super) struct Answers {
    all: Arc<Semaphore>,
    bytes_max: usize,
    namespaces: Arc<Mutex<Namespaces>>,
}

/// By namespace, for as long as one of its answers is held. The hash map's order is never looked at.
type Namespaces = HashMap<Namespace, Part>;

/// What the answers of one namespace may take.
#[derive(Debug)]
struct Part {
    free: Arc<Semaphore>,
    answers: usize,
}

/// What one of them may take. It is given back when it is dropped, or with the answer that [`holds`](Share::holds) it.
#[derive(Debug)]
pub(super) struct Share {
    of_all: Permits,
    /// Goes first: who waits for it must find room among all.
    of_namespace: Permits,
    used: usize,
    _member: Member,
}

/// Permits that can grow.
#[derive(Debug)]
struct Permits {
    semaphore: Arc<Semaphore>,
    held: OwnedSemaphorePermit,
}

/// One answer of a namespace.
#[derive(Debug)]
struct Member {
    namespaces: Arc<Mutex<Namespaces>>,
    namespace: Namespace,
}

/// An answer, and its share of the memory.
struct Held {
    text: Vec<u8>,
    _share: Share,
}

impl Answers {
    pub fn new(bytes_max: usize) -> Self {
        let bytes_max = bytes_max.min(Semaphore::MAX_PERMITS);
        Self { all: Arc::new(Semaphore::new(bytes_max)), bytes_max, namespaces: Arc::default() }
    }

    /// A share of `bytes` for `namespace`, which may grow. Waits until there is as much; `None` after `patience`.
    pub async fn share(&self, namespace: &Namespace, bytes: usize, patience: Duration) -> Option<Share> {
        let count = u32::try_from(bytes).ok()?;
        let (member, free) = self.enter(namespace, bytes);
        let taken = timeout(patience, async {
            let of_namespace = Permits::take(free, count).await;
            (of_namespace, Permits::take(self.all.clone(), count).await)
        });
        let (of_namespace, of_all) = taken.await.ok()?;
        Some(Share { of_all, of_namespace, used: 0, _member: member })
    }

    /// One more answer of `namespace`. A namespace has room for one of `bytes` in any case.
    fn enter(&self, namespace: &Namespace, bytes: usize) -> (Member, Arc<Semaphore>) {
        let mut namespaces = lock(&self.namespaces);
        let part = namespaces.entry(namespace.clone()).or_insert_with(|| {
            let room = (self.bytes_max / ANSWERS_OF_ONE_NAMESPACE).max(bytes);
            Part { free: Arc::new(Semaphore::new(room)), answers: 0 }
        });
        part.answers += 1;
        let member = Member { namespaces: self.namespaces.clone(), namespace: namespace.clone() };
        (member, part.free.clone())
    }
}

impl Permits {
    async fn take(semaphore: Arc<Semaphore>, count: u32) -> Self {
        let held = semaphore.clone().acquire_many_owned(count).await.expect("the semaphore is never closed");
        Self { semaphore, held }
    }

    /// The permits that are missing to have `count`, if they are there.
    fn missing_to(&self, count: usize) -> Option<OwnedSemaphorePermit> {
        let missing = u32::try_from(count.saturating_sub(self.held.num_permits())).ok()?;
        self.semaphore.clone().try_acquire_many_owned(missing).ok()
    }

    fn keep(&mut self, count: usize) {
        drop(self.held.split(self.held.num_permits().saturating_sub(count)));
    }
}

impl Share {
    /// Takes so many bytes more, if there are as many.
    pub fn take(&mut self, bytes: usize) -> bool {
        let used = self.used.saturating_add(bytes);
        let more = self.of_namespace.missing_to(used).zip(self.of_all.missing_to(used));
        let Some((of_namespace, of_all)) = more else { return false };
        self.of_namespace.held.merge(of_namespace);
        self.of_all.held.merge(of_all);
        self.used = used;
        true
    }

    /// The answer, which holds what it used of the share until it is dropped.
    pub fn holds(mut self, mut text: Vec<u8>) -> Bytes {
        text.shrink_to_fit();
        self.of_namespace.keep(self.used);
        self.of_all.keep(self.used);
        Bytes::from_owner(Held { text, _share: self })
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut namespaces = lock(&self.namespaces);
        let part = namespaces.get_mut(&self.namespace).expect("it has an answer");
        part.answers -= 1;
        if part.answers == 0 {
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
    async fn answers_share_what_there_is_and_give_it_back() {
        let answers = Answers::new(400);
        let one = namespace("one");
        let mut first = answers.share(&one, 40, PATIENCE).await.expect("there is enough");
        assert!(first.take(30) && first.take(50) && !first.take(21));
        assert!(answers.share(&one, 21, PATIENCE).await.is_none());
        let mut second = answers.share(&one, 20, PATIENCE).await.expect("there is enough");
        assert!(second.take(5));
        let [first, second] = [first, second].map(|share| share.holds(b"text".to_vec()));
        assert_eq!(answers.all.available_permits(), 315, "what was not used is given back");
        let part = first.slice(1..);
        drop((first, second));
        assert_eq!(answers.all.available_permits(), 320, "a part holds the whole");
        drop(part);
        assert!(answers.share(&one, 100, PATIENCE).await.is_some());
        assert!(lock(&answers.namespaces).is_empty(), "nothing is kept of who has no answer");
    }

    #[tokio::test(start_paused = true)]
    async fn one_namespace_leaves_room_to_the_others() {
        let answers = Answers::new(400);
        let greedy = answers.share(&namespace("greedy"), 100, PATIENCE).await.expect("there is enough");
        assert!(answers.share(&namespace("greedy"), 1, PATIENCE).await.is_none());
        for _ in 0..2 {
            assert!(answers.share(&namespace("other"), 100, PATIENCE).await.is_some());
        }
        drop(greedy);
        assert!(answers.share(&namespace("greedy"), 100, PATIENCE).await.is_some());
        // One value finds room in any case.
        assert!(answers.share(&namespace("large"), 300, PATIENCE).await.is_some());
    }
}
