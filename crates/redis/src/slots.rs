//! Where answers are left for their callers: one slot for each call that waits, used again when it has ended.
//!
//! A slot has a generation, and a [`Caller`] names slot and generation: what comes late for a call that has ended cannot
//! reach the next one in the same slot (INV-DRV-OWN). A slot is free again only when its call has ended *and* nothing can be
//! delivered to it any more, so that a generation is a second defence and not the only one.
//!
//! This is plain state; the [`Intake`](crate::intake::Intake) keeps it behind its lock.

use std::mem;
use std::task::{Poll, Waker};

use crate::intake::Delivery;

/// One call that waits, as an epoch knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Caller {
    index: u32,
    generation: u32,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    slots: Vec<Slot>,
    /// The slot that was freed last; each free one names the next.
    free: Option<u32>,
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    state: State,
}

#[derive(Debug)]
enum State {
    Free {
        next: Option<u32>,
    },
    /// Nothing has come yet. Without a waker the call was not polled yet.
    Waiting(Option<Waker>),
    /// Nothing has come yet, and nobody waits for it.
    GivenUp,
    /// It has come and was not fetched yet.
    Delivered(Delivery),
}

impl Slots {
    /// A slot for a new call. There are as many as calls at a time, whose futures the callers hold.
    #[inline]
    pub fn take(&mut self, waker: Option<Waker>) -> Caller {
        let state = State::Waiting(waker);
        if let Some(index) = self.free {
            let slot = &mut self.slots[index as usize];
            let State::Free { next } = mem::replace(&mut slot.state, state) else {
                unreachable!("only free slots are in the list")
            };
            self.free = next;
            return Caller { index, generation: slot.generation };
        }
        let index = u32::try_from(self.slots.len()).expect("there is no memory for so many futures");
        self.slots.push(Slot { generation: 0, state });
        Caller { index, generation: 0 }
    }

    /// Leaves `delivery` for `caller`. Whom to wake comes back, and whether somebody waits at all.
    #[inline]
    pub fn deliver(&mut self, caller: Caller, delivery: Delivery) -> Delivered {
        let Some(slot) = self.of(caller) else { return Delivered::ToNobody };
        match mem::replace(&mut slot.state, State::Delivered(delivery)) {
            State::Waiting(waker) => Delivered::To(waker),
            State::GivenUp => {
                self.free(caller);
                Delivered::ToNobody
            }
            State::Free { .. } | State::Delivered(_) => unreachable!("each call is told exactly once"),
        }
    }

    /// What was left for `caller`, whose call ends with it. Until then `waker` is woken when something comes; the one before it
    /// comes back, so that it is dropped outside the lock.
    #[inline]
    pub fn poll(&mut self, caller: Caller, waker: &Waker) -> (Poll<Delivery>, Option<Waker>) {
        let slot = self.of(caller).expect("a call that waits has its slot");
        match &mut slot.state {
            State::Delivered(_) => {
                let State::Delivered(delivery) = self.free(caller) else { unreachable!("it was looked at") };
                (Poll::Ready(delivery), None)
            }
            State::Waiting(Some(known)) if known.will_wake(waker) => (Poll::Pending, None),
            State::Waiting(known) => (Poll::Pending, known.replace(waker.clone())),
            State::Free { .. } | State::GivenUp => unreachable!("the call has not ended"),
        }
    }

    /// The call has ended without having fetched anything. What was in its slot comes back, so that it is dropped outside the
    /// lock.
    pub fn give_up(&mut self, caller: Caller) -> impl Sized + use<> {
        let slot = self.of(caller).expect("a call that waits has its slot");
        match &slot.state {
            State::Waiting(_) => mem::replace(&mut slot.state, State::GivenUp),
            State::Delivered(_) => self.free(caller),
            State::Free { .. } | State::GivenUp => unreachable!("the call has not ended"),
        }
    }

    #[inline]
    fn of(&mut self, caller: Caller) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(caller.index as usize)?;
        (slot.generation == caller.generation).then_some(slot)
    }

    #[inline]
    fn free(&mut self, caller: Caller) -> State {
        let slot = &mut self.slots[caller.index as usize];
        slot.generation = slot.generation.wrapping_add(1);
        let state = mem::replace(&mut slot.state, State::Free { next: self.free });
        self.free = Some(caller.index);
        state
    }
}

/// What became of a delivery.
#[derive(Debug)]
pub(crate) enum Delivered {
    /// Somebody waits for it.
    To(Option<Waker>),
    /// The caller had given up.
    ToNobody,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::epoch::Fate;
    use crate::error::Death;
    use bowline_rt::time::now;

    fn lost() -> Delivery {
        Delivery::Lost { fate: Fate::NotSent, death: Death::Closed, deadline: now() }
    }

    #[test]
    fn a_slot_is_used_again_when_its_call_has_ended_and_nothing_can_come_any_more() {
        let mut slots = Slots::default();
        let first = slots.take(None);
        drop(slots.give_up(first));
        let second = slots.take(None);
        assert_ne!(first.index, second.index, "the answer to the first is still owed");
        assert!(matches!(slots.deliver(first, lost()), Delivered::ToNobody));
        let third = slots.take(None);
        assert_eq!(first.index, third.index);
        assert_ne!(first, third);
        assert!(matches!(slots.deliver(second, Delivery::Expired), Delivered::To(None)));
        assert!(matches!(slots.poll(second, Waker::noop()).0, Poll::Ready(Delivery::Expired)));
        assert_eq!(slots.take(None).index, second.index);
        assert_eq!(slots.slots.len(), 2);
    }

    #[test]
    fn what_comes_late_reaches_nobody() {
        let mut slots = Slots::default();
        let first = slots.take(None);
        slots.deliver(first, Delivery::Expired);
        drop(slots.give_up(first));
        let second = slots.take(None);
        assert_eq!(first.index, second.index);
        assert!(matches!(slots.deliver(first, lost()), Delivered::ToNobody));
        assert!(slots.poll(second, Waker::noop()).0.is_pending());
    }
}
