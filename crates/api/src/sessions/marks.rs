//! Since when the store remembers nonces. A store that was emptied, or restarted without its data, has forgotten them, and copies of
//! requests from before would be let in once more.
//!
//! A key of the store says since when: it goes with the nonces. The script that consumes a nonce looks at the key in the same
//! atomic step, writes it anew if it is gone, and refuses what was signed before (`scripts/time.lua`, `scripts/prelude.lua`). What the
//! service knows does not matter for that, and every gateway of a store sees the same.
//!
//! One server has one such key. In a cluster each part of the keys can be lost by itself, so every slot has one; so it is behind a
//! proxy that divides the keys. Which of the two it is shows when the store, or the driver, refuses keys of several slots. The
//! keys stay for ever; there are at most 16,384 of them.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};

use bowline_redis::{CallError, NotSent, RouteError, SLOTS, Slot};

/// The key where there is one.
const ONE: &str = "bowline:{session-nonces}";

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
#[derive(Debug, Default)]
pub(super) struct Marks {
    in_every_slot: AtomicBool,
}

impl Marks {
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
    use super::*;

    #[test]
    fn every_slot_has_a_mark_of_its_own() {
        let marks = Marks::default();
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
}
