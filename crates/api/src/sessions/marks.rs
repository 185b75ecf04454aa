//! Since when the store remembers nonces. A store that was emptied, or restarted without its data, has forgotten them, and copies of
//! requests from before would be let in once more.
//!
//! A key of the store says since when: it goes with the nonces. The script that consumes a nonce looks at the key in the same
//! atomic step, and refuses what was signed before (`scripts/prelude.lua`). If the key is gone it does nothing at all: the gateway
//! writes it anew (`scripts/mark.lua`), and every gateway of a store sees the same.
//!
//! When a request was signed is told by its signer's clock, and judged by the gateway's, which lets it be ahead by the clock skew of
//! the policy. So a mark is a time of the gateway's clock; the store's has no part in it. A new mark says now; and if this gateway
//! knows that there was one before, then behind all that this gateway has sent to the store, so that nothing passes once more which
//! was signed ahead. What was sent counts, and not what was answered: the answer may go with the store. To wait for the whole
//! clock skew would be safer still against what other gateways let in, and would keep everybody out for half a minute whenever a store
//! comes back empty.
//!
//! A clock that was ahead for a while must not keep everybody out until then: no new mark is further ahead than an honest signature
//! can be, and one that is further ahead than that by the clock of any other gateway makes no sense and is written anew.
//!
//! One server has one such key. In a cluster each part of the keys can be lost by itself, so every slot has one; so it is behind a
//! proxy that divides the keys. Which of the two it is shows when the store, or the driver, refuses keys of several slots. The
//! keys stay for ever; there are at most 16,384 of them.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bowline_identity::signature::Policy;
use bowline_redis::{CallError, NotSent, RouteError, SLOTS, Slot};
use tokio::sync::Notify;

/// The key where there is one.
const ONE: &str = "bowline:{session-nonces}";

/// Signatures tell whole seconds: one of the second in which a mark begins is let in. So that it is not, it begins with the next.
const WHOLE_SECOND: Duration = Duration::from_secs(1);

const WORD_BITS: usize = u64::BITS as usize;

/// For every slot a number that is in it, as a text.
static NUMBERS: LazyLock<Vec<u32>> = LazyLock::new(|| {
    let mut numbers = vec![None; usize::from(SLOTS)];
    let mut missing = numbers.len();
    for number in 0.. {
        let found = &mut numbers[usize::from(Slot::of(number.to_string().as_bytes()).number())];
        if found.is_none() {
            *found = Some(number);
            missing -= 1;
        }
        if missing == 0 {
            break;
        }
    }
    numbers.into_iter().flatten().collect()
});

/// Where the store says since when it remembers nonces.
#[derive(Debug)]
pub(super) struct Marks {
    policy: Policy,
    in_every_slot: AtomicBool,
    /// One bit for each slot: whether a mark was seen in it.
    seen: Vec<AtomicU64>,
    /// When the newest request that was sent to the store was signed, in unix s.
    sent: AtomicU64,
    lost: Notify,
}

impl Marks {
    /// `policy`: by which the times of signatures are judged.
    pub fn new(policy: Policy) -> Self {
        let words = usize::from(SLOTS).div_ceil(WORD_BITS);
        let seen = std::iter::repeat_with(AtomicU64::default).take(words).collect();
        Self {
            policy,
            in_every_slot: AtomicBool::new(false),
            seen,
            sent: AtomicU64::new(0),
            lost: Notify::new(),
        }
    }

    /// What `mark` says if it is made now.
    pub fn new_one(&self, mark: &str, unix_now: Duration) -> Duration {
        if !self.is_seen(mark) {
            return unix_now;
        }
        let behind_all = Duration::from_secs(self.sent.load(Ordering::Relaxed)) + WHOLE_SECOND;
        // Nothing later than that can have been let in, unless by a clock that was wrong.
        behind_all.clamp(unix_now, unix_now + self.policy.clock_skew + WHOLE_SECOND)
    }

    /// The latest that a mark can say, if the clocks of gateways differ by no more than those of clients may.
    pub fn latest(&self, unix_now: Duration) -> Duration {
        unix_now + 2 * self.policy.clock_skew + WHOLE_SECOND
    }

    /// A request that was signed at `created`, as time since 1970, and may be let in, is about to be sent.
    pub fn sending(&self, created: Duration) {
        self.sent.fetch_max(created.as_secs(), Ordering::Relaxed);
    }

    /// `mark` is there. If it is not the next time, it was lost.
    pub fn is_there(&self, mark: &str) {
        let (word, bit) = self.place(mark);
        word.fetch_or(bit, Ordering::Relaxed);
    }

    /// `mark` is not there. If it was, the store has lost something, and others of its marks may have gone with this one.
    pub fn is_missing(&self, mark: &str) {
        if self.is_seen(mark) {
            self.lost.notify_one();
        }
    }

    /// Resolves when a mark was lost since the last time, soon or already.
    pub async fn lost(&self) {
        self.lost.notified().await;
    }

    /// Whether it is the one of a store that has no other.
    pub fn is_single(mark: &str) -> bool {
        mark == ONE
    }

    fn is_seen(&self, mark: &str) -> bool {
        let (word, bit) = self.place(mark);
        word.load(Ordering::Relaxed) & bit != 0
    }

    fn place(&self, mark: &str) -> (&AtomicU64, u64) {
        let slot = usize::from(Slot::of(mark.as_bytes()).number());
        (&self.seen[slot / WORD_BITS], 1 << (slot % WORD_BITS))
    }

    /// The key that goes with `key`.
    pub fn beside(&self, key: &str) -> String {
        match self.in_every_slot.load(Ordering::Relaxed) {
            false => ONE.to_owned(),
            true => in_slot(Slot::of(key.as_bytes())),
        }
    }

    /// All of them.
    pub fn all(&self) -> Vec<String> {
        match self.in_every_slot.load(Ordering::Relaxed) {
            false => vec![ONE.to_owned()],
            true => (0..SLOTS).filter_map(Slot::new).map(in_slot).collect(),
        }
    }

    /// Whether a call with this mark was not carried out because all its keys have to be in one slot. From then on marks are.
    pub fn has_to_be_beside(&self, mark: &str, error: &CallError) -> bool {
        let is_refused = match error {
            CallError::Server(error) => error.code == "CROSSSLOT",
            CallError::NotSent(NotSent::Route(RouteError::CrossSlot { .. })) => true,
            _ => false,
        };
        let has_to = is_refused && mark == ONE;
        if has_to && !self.in_every_slot.swap(true, Ordering::Relaxed) {
            if self.is_seen(ONE) {
                // Another store has come in the place of one that had a mark.
                self.seen.iter().for_each(|word| word.store(u64::MAX, Ordering::Relaxed));
            }
            tracing::info!(
                "the store divides its keys into slots: each tells for itself since when it remembers nonces"
            );
        }
        has_to
    }
}

fn in_slot(slot: Slot) -> String {
    format!("bowline:{{{}}}:session-nonces", NUMBERS[usize::from(slot.number())])
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn every_slot_has_a_mark_of_its_own() {
        let marks = Marks::new(Policy::default());
        assert_eq!((marks.beside("a"), marks.all().len()), (ONE.to_owned(), 1));
        marks.in_every_slot.store(true, Ordering::Relaxed);
        let all = marks.all();
        for (number, mark) in all.iter().enumerate() {
            assert_eq!(usize::from(Slot::of(mark.as_bytes()).number()), number, "{mark}");
        }
        assert_eq!(all.len(), 16_384);
        for key in
            ["bowline:{session:orders/42}", "bowline:{session-owner:orders/x}", "bowline:{session-nonce:k:n}"]
        {
            assert_eq!(Slot::of(marks.beside(key).as_bytes()), Slot::of(key.as_bytes()));
        }
    }

    #[test]
    fn a_mark_that_was_seen_begins_behind_all_that_was_sent_when_it_is_made_again() {
        let marks = Marks::new(Policy::default());
        marks.in_every_slot.store(true, Ordering::Relaxed);
        let (now, all) = (Duration::from_secs(1_000), marks.all());
        for mark in &all {
            marks.sending(now);
            assert_eq!(marks.new_one(mark, now), now, "it never was: {mark}");
            marks.is_there(mark);
            assert_eq!(marks.new_one(mark, now), now + WHOLE_SECOND, "{mark}");
        }
        for ahead in (0..=30).rev() {
            marks.sending(now + Duration::from_secs(ahead));
            assert_eq!(marks.new_one(ONE, now), Duration::from_secs(1_031), "{ahead}");
        }
        assert_eq!(marks.new_one(ONE, 2 * now), 2 * now);
    }

    #[test]
    fn a_clock_that_was_ahead_keeps_nobody_out_for_longer_than_the_clock_skew() {
        let marks = Marks::new(Policy::default());
        let now = Duration::from_secs(1_000);
        marks.is_there(ONE);
        marks.sending(now + Duration::from_secs(3_600));
        let limit = now + Policy::default().clock_skew + WHOLE_SECOND;
        assert_eq!(marks.new_one(ONE, now), limit);
        // That of another gateway is believed as long as their clocks do not differ by more.
        assert_eq!(marks.latest(now), limit + Policy::default().clock_skew);
    }

    #[test]
    fn only_a_mark_that_was_there_can_be_lost() {
        let marks = Marks::new(Policy::default());
        let is_lost = || marks.lost().now_or_never().is_some();
        marks.is_missing(ONE);
        assert!(!is_lost());
        marks.is_there(ONE);
        assert!(!is_lost());
        marks.is_missing(ONE);
        marks.is_missing(ONE);
        assert!(is_lost());
        assert!(!is_lost());
    }

    #[test]
    fn what_was_seen_of_a_single_server_counts_for_the_slots_that_follow_it() {
        let error = || {
            CallError::NotSent(NotSent::Route(RouteError::CrossSlot {
                first: Slot::of(b"a"),
                other: Slot::of(b"b"),
            }))
        };
        for is_seen in [false, true] {
            let marks = Marks::new(Policy::default());
            if is_seen {
                marks.is_there(ONE);
            }
            assert!(marks.has_to_be_beside(ONE, &error()));
            assert!(marks.all().iter().all(|mark| marks.is_seen(mark) == is_seen));
        }
    }
}
