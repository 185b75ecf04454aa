//! Memory of the answers to bulk reads. Each may be large, and is held until its caller has read it, so all of them together
//! have a bound.

use std::sync::Arc;

use bowline_rt::time::{Duration, timeout};
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What all answers together may take.
#[derive(Debug)]
pub(super) struct Answers(Arc<Semaphore>);

/// What one of them may take. It is given back when it is dropped, or with the answer that [`holds`](Share::holds) it.
#[derive(Debug)]
pub(super) struct Share {
    all: Arc<Semaphore>,
    held: OwnedSemaphorePermit,
    used: usize,
}

/// An answer, and its share of the memory.
struct Held {
    text: Vec<u8>,
    _share: Share,
}

impl Answers {
    pub fn new(bytes_max: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes_max.min(Semaphore::MAX_PERMITS))))
    }

    /// A share of `bytes`, which may grow. Waits until there is as much; `None` after `patience`.
    pub async fn share(&self, bytes: usize, patience: Duration) -> Option<Share> {
        let count = u32::try_from(bytes).ok()?;
        let held = timeout(patience, self.0.clone().acquire_many_owned(count)).await.ok()?;
        Some(Share { all: self.0.clone(), held: held.expect("the semaphore is never closed"), used: 0 })
    }
}

impl Share {
    /// Takes so many bytes more, if there are as many.
    pub fn take(&mut self, bytes: usize) -> bool {
        let used = self.used.saturating_add(bytes);
        let missing = used.saturating_sub(self.held.num_permits());
        let more =
            u32::try_from(missing).ok().and_then(|count| self.all.clone().try_acquire_many_owned(count).ok());
        let Some(more) = more else { return false };
        self.held.merge(more);
        self.used = used;
        true
    }

    /// The answer, which holds what it used of the share until it is dropped.
    pub fn holds(mut self, text: Vec<u8>) -> Bytes {
        let spare = self.held.num_permits().saturating_sub(self.used);
        drop(self.held.split(spare));
        Bytes::from_owner(Held { text, _share: self })
    }
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn answers_share_what_there_is_and_give_it_back() {
        const PATIENCE: Duration = Duration::from_secs(1);
        let answers = Answers::new(100);
        let mut first = answers.share(40, PATIENCE).await.expect("there is enough");
        assert!(first.take(30) && first.take(50) && !first.take(21));
        assert!(answers.share(21, PATIENCE).await.is_none());
        let mut second = answers.share(20, PATIENCE).await.expect("there is enough");
        assert!(second.take(5));
        let [first, second] = [first, second].map(|share| share.holds(b"text".to_vec()));
        assert_eq!(answers.0.available_permits(), 15, "what was not used is given back");
        let part = first.slice(1..);
        drop((first, second));
        assert_eq!(answers.0.available_permits(), 20, "a part holds the whole");
        drop(part);
        assert!(answers.share(100, PATIENCE).await.is_some());
    }
}
