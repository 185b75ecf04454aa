//! Lets the store note since when it remembers nonces, before the first of them comes and after it lost what it had: so the first
//! request for each slot need not be refused and signed again.

use std::time::Duration;

use bowline_redis::{CallError, Frame};
use bowline_rt::random::jitter;
use bowline_rt::time::{sleep, unix_time};
use futures_util::{StreamExt as _, stream};

use super::clock::milliseconds;
use super::key::store_key;
use super::limits::{
    MARK_AHEAD_TOLD, MARK_PAUSE_MAX, MARK_PAUSE_MIN, MARK_REST, PARALLEL_MAX, STORE_DEADLINE,
};
use super::marks::Marks;
use super::store::{Store, shown};

/// What became of a mark.
pub(super) enum Marked {
    There,
    /// It is none of those that the store has: it divides its keys.
    Elsewhere,
    Failed(CallError),
}

impl Store {
    /// Marks, and again whenever a request finds that a mark was lost. It ends only where there are no marks.
    pub async fn keep_marked(&self) {
        let Some(marks) = &self.marks else { return };
        loop {
            self.mark().await;
            // A store that loses its marks all the time is not to be asked for nothing but them.
            sleep(MARK_REST).await;
            marks.lost().await;
        }
    }

    /// Lets the store note since when it remembers nonces, unless it has. It ends when that is done, and tries for ever.
    pub async fn mark(&self) {
        let Some(marks) = &self.marks else { return };
        let (mut left, mut bound, mut is_told) = (marks.all(), MARK_PAUSE_MIN, false);
        loop {
            let (failed, error) = self.mark_each(marks, left).await;
            left = failed;
            let Some(error) = error else {
                match left.is_empty() {
                    true => break,
                    false => continue,
                }
            };
            if !std::mem::replace(&mut is_told, true) {
                let error = shown(&error);
                tracing::warn!(
                    error,
                    missing = left.len(),
                    "the store does not note since when it remembers nonces; this is tried until it does"
                );
            }
            sleep(bound / 2 + jitter(bound / 2)).await;
            bound = (bound * 2).min(MARK_PAUSE_MAX);
        }
        if is_told {
            tracing::info!("the store notes since when it remembers nonces");
        }
    }

    /// Tries each once. Returns which are to be tried again, and an error if it is because of one.
    async fn mark_each(&self, marks: &Marks, which: Vec<String>) -> (Vec<String>, Option<CallError>) {
        let writes = which.into_iter().map(|mark| async move {
            let marked = self.mark_one(marks, &mark, STORE_DEADLINE).await;
            (mark, marked)
        });
        let mut writes = stream::iter(writes).buffer_unordered(PARALLEL_MAX);
        let (mut left, mut last) = (Vec::new(), None);
        while let Some((mark, marked)) = writes.next().await {
            match marked {
                Marked::There => {}
                Marked::Elsewhere => left.extend(marks.all()),
                Marked::Failed(error) => {
                    left.push(mark);
                    last = Some(error);
                }
            }
        }
        (left, last)
    }

    /// Writes it, unless it is there, within `limit`.
    pub(super) async fn mark_one(&self, marks: &Marks, mark: &str, limit: Duration) -> Marked {
        let script = self.scripts.mark.clone().deadline(limit);
        // A single one together with a key that is elsewhere, so that it shows whether that is possible.
        let elsewhere = store_key("");
        let keys: &[&[u8]] = match Marks::is_single(mark) {
            true => &[mark.as_bytes(), elsewhere.as_bytes()],
            false => &[mark.as_bytes()],
        };
        let now = unix_time();
        let [new, latest] =
            [marks.new_one(mark, now), marks.latest(now)].map(|time| milliseconds(time).to_string());
        match self.client.eval(&script, keys, &[new.as_bytes(), latest.as_bytes()]).await {
            Ok(frame) => {
                marks.is_there(mark);
                self.look_at(since(&frame));
                Marked::There
            }
            Err(error) if marks.has_to_be_beside(mark, &error) => Marked::Elsewhere,
            Err(error) => Marked::Failed(error),
        }
    }

    /// Whoever is refused because of a mark that is ahead has done nothing wrong.
    pub(super) fn look_at(&self, since: u64) {
        let ahead = Duration::from_millis(since).saturating_sub(unix_time());
        if ahead >= MARK_AHEAD_TOLD
            && let Some(left_out) = self.ration.admit()
        {
            tracing::warn!(
                ?ahead,
                left_out,
                "the store remembers nonces only from a time on that is ahead of this gateway's clock: what is signed before it is \
                 refused as unremembered; look at the clocks of gateways and clients"
            );
        }
    }
}

/// The script answers with a number.
fn since(frame: &Frame) -> u64 {
    match frame {
        Frame::Bulk(text) | Frame::Simple(text) => {
            std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).unwrap_or_default()
        }
        _ => 0,
    }
}
