//! A driver as many were written: its parts live longer than a connection, and each mutant forgets one thing about that.
//!
//! Requests of one batch share an entry in the queue. When no answer comes for long, everybody in the queue gets an error, and
//! a new connection is made: the reaction that was right in the incident, and not complete.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bowline_resp::{DecodeLimits, Decoder, Frame, encode_command};
use bytes::BytesMut;

use crate::explore::Run;
use crate::mixed_replies::checker::{End, Key};
use crate::mixed_replies::world::{Driver, Faults, SILENCE_MAX, run};

/// What the driver does wrong.
#[derive(Debug, Clone, Copy, Default)]
struct Flaws {
    decoder_survives: bool,
    cancel_removes_entry: bool,
    queue_survives: bool,
    error_ends_batch: bool,
    routes_by_content: bool,
    push_takes_turn: bool,
    outgoing_survives: bool,
    sends_again: bool,
}

/// scredis: on a time-out everybody is failed and a new connection made, and what was received stays in the decoder.
pub(super) fn decoder_survives_reconnect(seed: u64) -> Run {
    let faults = Faults { cuts: true, ..Faults::default() };
    naive(seed, faults, Flaws { decoder_survives: true, ..Flaws::default() })
}

/// redis-py #2579 and many others.
pub(super) fn reply_left_after_cancel(seed: u64) -> Run {
    let faults = Faults { cancels: true, ..Faults::default() };
    naive(seed, faults, Flaws { cancel_removes_entry: true, ..Flaws::default() })
}

/// lettuce #253, ioredis #965.
pub(super) fn in_flight_queue_survives(seed: u64) -> Run {
    let faults = Faults { cuts: true, ..Faults::default() };
    naive(seed, faults, Flaws { queue_survives: true, ..Flaws::default() })
}

/// redis-rs #698, redis-py #414.
pub(super) fn miscounts_replies(seed: u64) -> Run {
    let faults = Faults { errors: true, ..Faults::default() };
    naive(seed, faults, Flaws { error_ends_batch: true, ..Flaws::default() })
}

/// dragonfly #5139, node-redis #342.
pub(super) fn routes_by_content(seed: u64) -> Run {
    let faults = Faults { lists: true, ..Faults::default() };
    naive(seed, faults, Flaws { routes_by_content: true, ..Flaws::default() })
}

/// redis-rs 1.8: a subscription's push takes the place of the answer at the head of the queue.
pub(super) fn push_takes_turn(seed: u64) -> Run {
    let faults = Faults { pushes: true, ..Faults::default() };
    naive(seed, faults, Flaws { push_takes_turn: true, ..Flaws::default() })
}

/// node-redis #601.
pub(super) fn outgoing_survives(seed: u64) -> Run {
    let faults = Faults { cuts: true, ..Faults::default() };
    naive(seed, faults, Flaws { outgoing_survives: true, ..Flaws::default() })
}

/// fred 10.1, ioredis #965: what was in flight is sent again on the next connection, idempotent or not.
pub(super) fn sends_again(seed: u64) -> Run {
    let faults = Faults { cuts: true, ..Faults::default() };
    naive(seed, faults, Flaws { sends_again: true, ..Flaws::default() })
}

fn naive(seed: u64, faults: Faults, flaws: Flaws) -> Run {
    run(seed, faults, |_| Naive::new(flaws))
}

/// A batch of requests whose answers are owed.
struct Entry {
    /// Those that have no answer yet.
    keys: VecDeque<Key>,
    asked_at: Instant,
}

struct Naive {
    flaws: Flaws,
    connected: bool,
    outgoing: BytesMut,
    incoming: BytesMut,
    decoder: Decoder,
    in_flight: VecDeque<Entry>,
}

fn decoder() -> Decoder {
    Decoder::new(DecodeLimits::default())
}

impl Naive {
    fn new(flaws: Flaws) -> Self {
        Self {
            flaws,
            connected: false,
            outgoing: BytesMut::new(),
            incoming: BytesMut::new(),
            decoder: decoder(),
            in_flight: VecDeque::new(),
        }
    }

    fn encode(&mut self, key: Key) {
        let key = key.to_string();
        encode_command([&b"GET"[..], key.as_bytes()].into_iter(), &mut self.outgoing);
    }

    /// Takes an answer to the head of the queue.
    fn route(&mut self, frame: Frame) -> Vec<(Key, End)> {
        let Some(entry) = self.in_flight.front_mut() else { return Vec::new() };
        let key = entry.keys.pop_front().expect("an entry leaves with its last answer");
        let is_error = matches!(frame, Frame::Error(_));
        let mut ends = vec![(key, End::Answered(frame))];
        if is_error && self.flaws.error_ends_batch {
            ends.extend(entry.keys.drain(..).map(|key| (key, End::Unknown)));
        }
        if entry.keys.is_empty() {
            self.in_flight.pop_front();
        }
        ends
    }
}

fn looks_like_a_message(frame: &Frame) -> bool {
    matches!(frame, Frame::Array(elements) if elements.first().and_then(Frame::as_text) == Some("message"))
}

impl Driver for Naive {
    fn connect(&mut self, now: Instant) {
        self.connected = true;
        if self.flaws.sends_again {
            let mut again = std::mem::take(&mut self.in_flight);
            again.iter_mut().for_each(|entry| entry.asked_at = now);
            again.iter().flat_map(|entry| &entry.keys).for_each(|key| self.encode(*key));
            self.in_flight = again;
        }
    }

    fn is_ready(&self) -> bool {
        self.connected
    }

    fn is_down(&self) -> bool {
        !self.connected
    }

    fn ask(&mut self, batch: &[Key], now: Instant) {
        batch.iter().for_each(|key| self.encode(*key));
        self.in_flight.push_back(Entry { keys: batch.iter().copied().collect(), asked_at: now });
    }

    fn cancel(&mut self, key: Key) {
        if self.flaws.cancel_removes_entry {
            self.in_flight.iter_mut().for_each(|entry| entry.keys.retain(|other| *other != key));
            self.in_flight.retain(|entry| !entry.keys.is_empty());
        }
    }

    fn send(&mut self, count: usize) -> Vec<u8> {
        let count = count.min(self.outgoing.len());
        self.outgoing.split_to(count).to_vec()
    }

    fn receive(&mut self, bytes: &[u8], _: Instant) {
        self.incoming.extend_from_slice(bytes);
    }

    fn work(&mut self, now: Instant) -> Vec<(Key, End)> {
        let mut ends = Vec::new();
        loop {
            match self.decoder.decode(&mut self.incoming) {
                Ok(Some(push @ Frame::Push(_))) if self.flaws.push_takes_turn => {
                    ends.extend(self.route(push))
                }
                Ok(Some(Frame::Push(_))) => {}
                Ok(Some(frame)) if self.flaws.routes_by_content && looks_like_a_message(&frame) => {}
                Ok(Some(frame)) => ends.extend(self.route(frame)),
                Ok(None) => break,
                Err(_) => {
                    // Not even the mutants go on with a decoder that has given up.
                    (self.decoder, self.incoming) = (decoder(), BytesMut::new());
                    ends.extend(self.cut());
                    break;
                }
            }
        }
        let patience = Duration::from_millis(SILENCE_MAX);
        let is_over = |entry: &Entry| now.saturating_duration_since(entry.asked_at) >= patience;
        if self.in_flight.front().is_some_and(is_over) {
            ends.extend(self.cut());
        }
        ends
    }

    fn cut(&mut self) -> Vec<(Key, End)> {
        self.connected = false;
        if !self.flaws.outgoing_survives {
            self.outgoing.clear();
        }
        if !self.flaws.decoder_survives {
            (self.decoder, self.incoming) = (decoder(), BytesMut::new());
        }
        if self.flaws.queue_survives || self.flaws.sends_again {
            return Vec::new();
        }
        self.in_flight.drain(..).flat_map(|entry| entry.keys).map(|key| (key, End::Unknown)).collect()
    }

    /// Its reader ends with the connection.
    fn late(&mut self, _: &[u8], _: Instant) -> Option<Key> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The checker blames the flaws and nothing else.
    #[test]
    fn without_a_flaw_the_driver_is_clean() {
        let all = Faults { cuts: true, cancels: true, stalls: true, errors: true, lists: true, pushes: true };
        for seed in 0..3_000 {
            let Run { violation, trace } = naive(seed, all, Flaws::default());
            assert_eq!(violation, None, "seed {seed}\n{trace}");
        }
    }
}
