//! What waits for one subscriber: bounded, and with everything that is missing in its place.
//!
//! A subscriber that does not read in time loses the *newest* messages: what has been queued stays. Where they are missing stands
//! how many ([`Item::Lagged`]). The connection is read on all the same. It carries the subscriptions of others, its liveness is
//! measured by what is read, and a server that cannot get rid of messages closes the connection, with a gap for everybody.
//!
//! What is not a message is folded together between two messages, so the size is bounded by that of the messages.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::topic::Message;
use crate::config::Settings;
use crate::error::{Death, ServerError};

/// What comes out of a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// The server has confirmed the subscription: what is published from here on comes, until something else is said.
    Established,
    /// Something was published.
    Message(Message),
    /// What is published from here on may be lost, until the next [`Item::Established`].
    Gap(Gap),
    /// This many messages were thrown away here, because too many waited to be read.
    Lagged(u64),
    /// The server refuses the subscription. It is asked again, with growing pauses, until the subscription is dropped; the same
    /// error is not reported twice in a row.
    Refused(ServerError),
}

/// Why there is a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gap {
    /// The connection was lost. Another one is made.
    Lost(Death),
    /// The server has ended the subscription by itself, because the slot of a shard channel moves to another node. It is
    /// subscribed to there.
    Unsubscribed,
}

/// Everything but messages that was said between two of them.
#[derive(Debug, Default)]
struct Between {
    gap: Option<Gap>,
    refused: Option<ServerError>,
    is_established: bool,
    lagged: u64,
}

impl Between {
    /// The next item. [`Item::Lagged`] comes last: to say it too late is safe, to say it too early is not.
    fn next(&mut self) -> Option<Item> {
        if let Some(gap) = self.gap.take() {
            return Some(Item::Gap(gap));
        }
        if let Some(error) = self.refused.take() {
            return Some(Item::Refused(error));
        }
        if std::mem::take(&mut self.is_established) {
            return Some(Item::Established);
        }
        let lagged = std::mem::take(&mut self.lagged);
        (lagged > 0).then_some(Item::Lagged(lagged))
    }

    const fn is_empty(&self) -> bool {
        self.gap.is_none() && self.refused.is_none() && !self.is_established && self.lagged == 0
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Mailbox {
    queue: Mutex<Queue>,
    messages_max: usize,
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct Queue {
    /// Each message with what was said before it.
    messages: VecDeque<(Option<Box<Between>>, Message)>,
    /// What was said after the last message.
    tail: Between,
    /// Bytes of the messages.
    bytes: usize,
    waker: Option<Waker>,
}

impl Mailbox {
    pub fn new(settings: &Settings) -> Self {
        Self {
            queue: Mutex::new(Queue::default()),
            messages_max: settings.subscription_messages_max,
            bytes_max: settings.subscription_bytes_max,
        }
    }

    /// Whether there was room for the message.
    pub fn message(&self, message: &Message) -> bool {
        let mut queue = self.lock();
        let bytes = size_of(message);
        let has_room = queue.messages.len() < self.messages_max && queue.bytes + bytes <= self.bytes_max;
        if has_room {
            let tail = std::mem::take(&mut queue.tail);
            queue.bytes += bytes;
            queue.messages.push_back(((!tail.is_empty()).then(|| Box::new(tail)), message.clone()));
        } else {
            queue.tail.lagged += 1;
        }
        wake(queue);
        has_room
    }

    pub fn established(&self) {
        let mut queue = self.lock();
        queue.tail.is_established = true;
        queue.tail.refused = None;
        wake(queue);
    }

    pub fn gap(&self, gap: Gap) {
        let mut queue = self.lock();
        queue.tail.gap = Some(gap);
        queue.tail.is_established = false;
        wake(queue);
    }

    pub fn refused(&self, error: ServerError) {
        let mut queue = self.lock();
        queue.tail.refused = Some(error);
        wake(queue);
    }

    pub fn poll_next(&self, context: &Context<'_>) -> Poll<Item> {
        let mut queue = self.lock();
        let item = queue.next();
        match item {
            Some(item) => Poll::Ready(item),
            None => {
                queue.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    /// The next item if it is no message; `None` if it is one, which stays.
    pub fn poll_next_but_message(&self, context: &Context<'_>) -> Poll<Option<Item>> {
        let is_message = match self.lock().messages.front() {
            Some((before, _)) => before.as_ref().is_none_or(|before| before.is_empty()),
            None => false,
        };
        if is_message { Poll::Ready(None) } else { self.poll_next(context).map(Some) }
    }

    /// Nothing that is done under the lock leaves it half done.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn next(&mut self) -> Option<Item> {
        let Some((before, _)) = self.messages.front_mut() else { return self.tail.next() };
        if let Some(item) = before.as_mut().and_then(|before| before.next()) {
            return Some(item);
        }
        let (_, message) = self.messages.pop_front()?;
        self.bytes -= size_of(&message);
        Some(Item::Message(message))
    }
}

/// Wakes after the lock is free.
fn wake(mut queue: MutexGuard<'_, Queue>) {
    let waker = queue.waker.take();
    drop(queue);
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// Bytes of a message, without the overhead: every message is also counted by itself.
fn size_of(message: &Message) -> usize {
    message.channel.len() + message.payload.len() + message.pattern.as_ref().map_or(0, bytes::Bytes::len)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mailbox(messages_max: usize, bytes_max: usize) -> Mailbox {
        Mailbox::new(&Settings {
            subscription_messages_max: messages_max,
            subscription_bytes_max: bytes_max,
            ..Settings::default()
        })
    }

    fn message(payload: &'static str) -> Message {
        Message { channel: "c".into(), pattern: None, payload: payload.into() }
    }

    fn all(mailbox: &Mailbox) -> Vec<Item> {
        let mut queue = mailbox.lock();
        std::iter::from_fn(|| queue.next()).collect()
    }

    #[test]
    fn what_is_missing_is_said_where_it_is_missing() {
        let mailbox = mailbox(2, 100);
        mailbox.established();
        for (payload, fits) in [("1", true), ("2", true), ("3", false), ("4", false)] {
            assert_eq!(mailbox.message(&message(payload)), fits);
        }
        let first = mailbox.lock().next();
        assert_eq!(first, Some(Item::Established));
        assert_eq!(mailbox.lock().next(), Some(Item::Message(message("1"))));
        assert!(mailbox.message(&message("5")));
        let rest = [Item::Message(message("2")), Item::Lagged(2), Item::Message(message("5"))];
        assert_eq!(all(&mailbox), rest);
        assert_eq!(mailbox.lock().bytes, 0);
    }

    #[test]
    fn bytes_are_bounded_too() {
        let mailbox = mailbox(100, 10);
        assert!(mailbox.message(&message("12345")));
        assert!(!mailbox.message(&message("12345")), "channel names count");
        assert_eq!(all(&mailbox), [Item::Message(message("12345")), Item::Lagged(1)]);
    }

    #[test]
    fn a_connection_that_comes_and_goes_while_nobody_reads_takes_no_memory() {
        let mailbox = mailbox(100, 100);
        let error = ServerError::new(b"NOPERM no");
        for _ in 0..1000 {
            mailbox.gap(Gap::Lost(Death::Closed));
            mailbox.refused(error.clone());
            mailbox.established();
        }
        assert_eq!(all(&mailbox), [Item::Gap(Gap::Lost(Death::Closed)), Item::Established]);
        mailbox.established();
        mailbox.gap(Gap::Unsubscribed);
        mailbox.refused(error.clone());
        assert_eq!(all(&mailbox), [Item::Gap(Gap::Unsubscribed), Item::Refused(error)]);
    }

    #[test]
    fn that_something_is_missing_is_never_said_before_it_is() {
        let mailbox = mailbox(1, 100);
        mailbox.message(&message("1"));
        mailbox.gap(Gap::Lost(Death::Closed));
        mailbox.established();
        mailbox.message(&message("2"));
        let gap = Item::Gap(Gap::Lost(Death::Closed));
        let expected = [Item::Message(message("1")), gap, Item::Established, Item::Lagged(1)];
        assert_eq!(all(&mailbox), expected);
    }
}
