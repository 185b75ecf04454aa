//! The life of one connection, without the connection: requests in, bytes out; bytes in, answers out.
//!
//! An [`EpochCore`] owns everything that belongs to one connection: decoder and read buffer, write buffer, the queue of
//! requests in flight, the dialect. It is built whole for a fresh socket and dropped whole with it; no part can be taken out
//! and none can be reset, so nothing of one connection can ever meet the bytes of another.
//!
//! INV-DRV-OWN, INV-DRV-CANCEL and INV-DRV-ONCE are kept here:
//! - The bytes of a request and its entry in the queue are appended in one step.
//! - An answer goes to the head of the queue. Only type and position route it, never content. A push goes past the queue.
//! - A caller who gives up or whose deadline passes switches its entry off; the entry stays until its answer has come.
//! - Whatever proves that requests and answers are out of step, or could be, kills the epoch ([`Death`]). Nothing
//!   resynchronises, and nothing is taken from a dead epoch but its callers.
//!
//! The core knows no clock and no socket: every instant comes as an argument, and [`EpochCore::poll_timeout`] says when it
//! wants to be asked again. `T` stands for a caller.
//!
//! It is public for those who bring their own connection, be it a socket or a schedule of a test. The order of calls:
//! [`EpochCore::append`] what is to be sent; hand [`EpochCore::outgoing`] to the socket and tell with
//! [`EpochCore::handed_over`]; read into [`EpochCore::read_buffer`], tell with [`EpochCore::received`], and take all of
//! [`EpochCore::poll_event`]; [`EpochCore::bury`] it when [`EpochCore::death`] says so, and make another.

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use bowline_model::Epoch;
use bowline_resp::{DecodeLimits, Decoder, Frame, Protocol};
use bytes::{Buf, BytesMut};

use crate::command::Command;
use crate::config::Config;
use crate::error::{Death, is_of_a_replica};
use crate::handshake::{Handshake, HandshakeError, Introduction, Role, ServerInfo};
use crate::limits::{
    DEADLINE_FAR, PUSHES_FOR_SILENCES, READ_BUFFER_KEPT_BYTES, READ_BYTES, READ_BYTES_MIN, SILENCE_CHECKS,
    WRITE_BUFFER_KEPT_BYTES,
};
pub use crate::request::Pending;
use crate::request::{Replies, Request as _};
use crate::table::Shape;

/// What comes out of a core.
#[derive(Debug)]
pub enum Event<T> {
    /// An answer. The room that the request took is free again, whether its caller still waits or not.
    Answer {
        /// `None` if the deadline has passed before.
        caller: Option<T>,
        /// The answer. Those of a batch are the elements of one array.
        frame: Frame,
        /// Bytes of the request.
        size_bytes: usize,
    },
    /// A deadline passed. The answer is still owed, and so the room is not free.
    Expired(T),
    /// The introduction is over; callers may come.
    Ready(ServerInfo),
    /// What the server sent unasked. It stands in the order of the wire: between the answers before and behind it.
    Push(Vec<Frame>),
}

/// What became of a request in flight when its epoch died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// No byte of it was handed to the socket.
    NotSent,
    /// It may have been executed.
    Unknown,
}

/// A caller whose answer was owed by an epoch that died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bereaved<T> {
    /// Who waits.
    pub caller: T,
    /// What became of the request.
    pub fate: Fate,
    /// Until when the caller waits.
    pub deadline: Instant,
}

/// One expected answer.
#[derive(Debug)]
struct Entry<T> {
    expect: Expect<T>,
    /// Position of the request's first byte in the stream of this epoch.
    start: u64,
    /// Silence before this is not the server's: the request was not there yet, or asked for silence. `None` if it asked for
    /// silence without an end.
    silent_from: Option<Instant>,
}

/// What is done with the answer.
#[derive(Debug)]
enum Expect<T> {
    Caller { waiting: Waiting<T>, shape: Shape },
    Batch { waiting: Waiting<T>, parts: Box<Parts> },
    Handshake,
    Probe,
    Fence(u64),
}

/// The answers of a batch, apart because most entries are not one.
#[derive(Debug)]
struct Parts {
    shapes: Box<[Shape]>,
    frames: Vec<Frame>,
}

/// Who waits for an answer, and until when.
#[derive(Debug)]
struct Waiting<T> {
    /// `None` if the deadline has passed.
    caller: Option<T>,
    size_bytes: usize,
    deadline: Instant,
}

impl<T> Expect<T> {
    const fn waiting(&mut self) -> Option<&mut Waiting<T>> {
        match self {
            Self::Caller { waiting, .. } | Self::Batch { waiting, .. } => Some(waiting),
            Self::Handshake | Self::Probe | Self::Fence(_) => None,
        }
    }
}

/// Patience of one epoch.
#[derive(Debug, Clone, Copy)]
struct Patience {
    silence_max: Duration,
    check_interval: Duration,
    probe_interval: Duration,
}

/// See the module.
pub struct EpochCore<T> {
    id: Epoch,
    protocol: Protocol,
    handshake: Option<Handshake>,
    handshake_error: Option<HandshakeError>,
    decoder: Decoder,
    incoming: BytesMut,
    outgoing: BytesMut,
    /// Bytes ever appended to `outgoing`.
    appended_bytes: u64,
    in_flight: VecDeque<Entry<T>>,
    /// Callers whose deadline has passed and who are not told yet.
    expired: Vec<(T, Instant)>,
    /// No deadline in the queue is earlier.
    next_deadline: Option<Instant>,
    /// When the silence is measured next; only while an answer is owed.
    next_check: Option<Instant>,
    /// Silence before this is not the server's: nothing was owed, bytes came, or this process was asleep.
    silent_since: Instant,
    /// As `silent_since`, but pushes are not counted as a sign of life.
    unanswered_since: Instant,
    /// This silence has been excused once with this process being asleep.
    is_excused: bool,
    patience: Patience,
    /// Number of the last fence; `None` if fences are off.
    fence: Option<u64>,
    /// The server is known to be a replica; being one does not end the epoch.
    reads_only: bool,
    death: Option<Death>,
}

impl<T> EpochCore<T> {
    /// The core for a fresh connection. It begins with the introduction: there is something to send at once.
    pub fn new(id: Epoch, config: &Config, now: Instant) -> Self {
        Self::introduced(id, config, Introduction::default(), now)
    }

    /// As [`EpochCore::new`], with more to say in the introduction.
    pub(crate) fn introduced(id: Epoch, config: &Config, introduction: Introduction, now: Instant) -> Self {
        let settings = config.settings.bounded();
        let limits = DecodeLimits { frame_bytes_max: settings.reply_bytes_max, ..DecodeLimits::default() };
        let mut core = Self {
            id,
            protocol: Protocol::Resp2,
            reads_only: introduction.role != Role::Primary,
            handshake: Some(Handshake::new(config, introduction)),
            handshake_error: None,
            decoder: Decoder::new(limits),
            incoming: BytesMut::new(),
            outgoing: BytesMut::new(),
            appended_bytes: 0,
            in_flight: VecDeque::new(),
            expired: Vec::new(),
            next_deadline: None,
            next_check: None,
            silent_since: now,
            unanswered_since: now,
            is_excused: false,
            patience: Patience {
                silence_max: settings.silence_max,
                check_interval: settings.silence_max / SILENCE_CHECKS,
                probe_interval: settings.probe_interval,
            },
            fence: settings.fence.then_some(0),
            death: None,
        };
        core.continue_handshake(now);
        core
    }

    /// The identity of the connection.
    pub const fn id(&self) -> Epoch {
        self.id
    }

    /// Why the epoch is dead, if it is.
    pub const fn death(&self) -> Option<Death> {
        self.death
    }

    /// What the server said, if it refused the introduction.
    pub(crate) fn take_handshake_error(&mut self) -> Option<HandshakeError> {
        self.handshake_error.take()
    }

    /// Kills the epoch; the first cause stays.
    pub fn die(&mut self, death: Death) {
        self.death = self.death.or(Some(death));
    }

    /// Answers that are owed.
    pub fn owed(&self) -> usize {
        self.in_flight.len()
    }

    /// Takes over requests: `bytes` holds them one behind the other in the order of `requests`. Both are left empty.
    pub fn append(&mut self, bytes: &mut BytesMut, requests: &mut Vec<Pending<T>>, now: Instant) {
        debug_assert_eq!(bytes.len(), requests.iter().map(|request| request.size_bytes).sum());
        self.in_flight.reserve(requests.len() + 1);
        if self.outgoing.is_empty() {
            std::mem::swap(&mut self.outgoing, bytes);
        } else {
            self.outgoing.extend_from_slice(bytes);
        }
        bytes.clear();
        if bytes.capacity() > WRITE_BUFFER_KEPT_BYTES {
            *bytes = BytesMut::new();
        }
        self.expect_answers(now);
        for Pending { caller, size_bytes, replies, limit, blocks_for } in requests.drain(..) {
            let (start, deadline) = (self.appended_bytes, limit.from(now));
            self.appended_bytes += size_bytes as u64;
            self.next_deadline = Some(self.next_deadline.map_or(deadline, |next| next.min(deadline)));
            let waiting = Waiting { caller: Some(caller), size_bytes, deadline };
            let expect = match replies {
                Replies::One(shape) => Expect::Caller { waiting, shape },
                Replies::Each(shapes) => {
                    let frames = Vec::with_capacity(shapes.len());
                    Expect::Batch { waiting, parts: Box::new(Parts { shapes, frames }) }
                }
            };
            self.in_flight.push_back(Entry { expect, start, silent_from: now.checked_add(blocks_for) });
        }
        if let Some(number) = self.fence {
            self.fence = Some(number + 1);
            let token = self.fence_token(number + 1);
            self.append_own(&Command::new("ECHO").arg(token), Expect::Fence(number + 1), now);
        }
    }

    /// The bytes that wait to be sent.
    pub fn outgoing(&self) -> &[u8] {
        &self.outgoing
    }

    /// `count` of the waiting bytes were handed to the socket.
    pub fn handed_over(&mut self, count: usize) {
        self.outgoing.advance(count);
        if self.outgoing.is_empty() && self.outgoing.capacity() > WRITE_BUFFER_KEPT_BYTES {
            self.outgoing = BytesMut::new();
        }
    }

    /// The buffer to read into, with room. Follow it up with [`EpochCore::received`].
    pub fn read_buffer(&mut self) -> &mut BytesMut {
        if self.incoming.is_empty() && self.incoming.capacity() > READ_BUFFER_KEPT_BYTES {
            self.incoming = BytesMut::new();
        }
        if self.incoming.capacity() - self.incoming.len() < READ_BYTES_MIN {
            self.incoming.reserve(READ_BYTES);
        }
        &mut self.incoming
    }

    /// Bytes were read into the buffer.
    pub fn received(&mut self, now: Instant) {
        self.silent_since = now;
        self.is_excused = false;
    }

    /// The next thing that happened. Nothing comes out of a dead epoch.
    pub fn poll_event(&mut self, now: Instant) -> Option<Event<T>> {
        loop {
            if self.death.is_some() {
                return None;
            }
            if let Some((caller, _)) = self.expired.pop() {
                return Some(Event::Expired(caller));
            }
            match self.decoder.decode(&mut self.incoming) {
                Ok(Some(frame)) => {
                    if let Some(event) = self.route(frame, now) {
                        return Some(event);
                    }
                }
                Ok(None) => {
                    self.note_part_of_an_answer(now);
                    return None;
                }
                Err(error) => self.die(Death::Protocol(error)),
            }
        }
    }

    /// A long answer takes its time; a push that has begun is no sign that answers come.
    fn note_part_of_an_answer(&mut self, now: Instant) {
        let is_part = self.decoder.is_mid_frame() || !self.incoming.is_empty();
        let is_push = self.decoder.is_mid_push()
            || (!self.decoder.is_mid_frame() && self.incoming.first() == Some(&b'>'));
        if is_part && !is_push && self.silent_since == now {
            self.unanswered_since = now;
        }
    }

    /// When [`EpochCore::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let probe = (self.in_flight.is_empty() && self.handshake.is_none())
            .then(|| self.silent_since + self.patience.probe_interval);
        [self.next_deadline, self.next_check, probe].into_iter().flatten().min()
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.death.is_some() {
            return;
        }
        self.check_silence(now);
        self.expire(now);
        let is_idle = self.in_flight.is_empty() && self.handshake.is_none();
        if is_idle && now >= self.silent_since + self.patience.probe_interval {
            self.append_own(&Command::new("PING"), Expect::Probe, now);
        }
    }

    /// This process or its machine was asleep until now. The server's silence so far proves nothing, and what it sent may have
    /// been lost on the way: it is asked at once.
    pub fn woke_up(&mut self, now: Instant) {
        (self.silent_since, self.unanswered_since) = (now, now);
        if self.in_flight.is_empty() && self.handshake.is_none() && self.death.is_none() {
            self.append_own(&Command::new("PING"), Expect::Probe, now);
        }
    }

    /// Ends the epoch: every caller whose answer was owed, in order.
    pub fn bury(&mut self) -> Vec<Bereaved<T>> {
        self.die(Death::Stopped);
        let handed_over_bytes = self.appended_bytes - self.outgoing.len() as u64;
        let expired = self.expired.drain(..);
        let expired = expired.map(|(caller, deadline)| Bereaved { caller, fate: Fate::Unknown, deadline });
        let owed = self.in_flight.drain(..).filter_map(|mut entry| {
            let waiting = entry.expect.waiting()?;
            let (caller, deadline) = (waiting.caller.take()?, waiting.deadline);
            let fate = if entry.start < handed_over_bytes { Fate::Unknown } else { Fate::NotSent };
            Some(Bereaved { caller, fate, deadline })
        });
        expired.chain(owed).collect()
    }

    /// Routes a frame by its type and by the head of the queue.
    fn route(&mut self, frame: Frame, now: Instant) -> Option<Event<T>> {
        if let Frame::Push(elements) = frame {
            // It answers nobody. RESP2 has no pushes.
            if self.protocol == Protocol::Resp2 {
                self.die(Death::Unsolicited("push"));
                return None;
            }
            return Some(Event::Push(elements));
        }
        self.unanswered_since = now;
        let Some(entry) = self.in_flight.pop_front() else {
            self.die(Death::Unsolicited(frame.kind()));
            return None;
        };
        let event = match entry.expect {
            Expect::Caller { .. } | Expect::Batch { .. } => self.answer_caller(entry, frame),
            Expect::Probe if !Shape::ECHO.allows(&frame) => {
                self.die(Death::Shape(frame.kind()));
                None
            }
            // An error to a probe (`LOADING`, `NOPERM`) is a sign of life too.
            Expect::Probe => None,
            Expect::Fence(number) => {
                self.check_fence(number, &frame);
                None
            }
            Expect::Handshake => self.answer_handshake(frame, now),
        };
        if self.in_flight.is_empty() {
            self.next_check = None;
            self.next_deadline = None;
        }
        event
    }

    /// Takes an answer to a caller's request.
    fn answer_caller(&mut self, mut entry: Entry<T>, frame: Frame) -> Option<Event<T>> {
        let allowed = match &entry.expect {
            Expect::Caller { shape, .. } => shape.allows(&frame),
            Expect::Batch { parts, .. } => parts.shapes[parts.frames.len()].allows(&frame),
            _ => unreachable!("only callers' entries come here"),
        };
        if !allowed {
            // The entry goes back, so that its caller is found when the epoch is buried.
            self.in_flight.push_front(entry);
            self.die(Death::Shape(frame.kind()));
            return None;
        }
        // It stays one until somebody promotes it, and its name may long lead to another server.
        if matches!(&frame, Frame::Error(text) if is_of_a_replica(text)) && !self.reads_only {
            self.die(Death::Demoted);
        }
        match entry.expect {
            Expect::Caller { waiting, .. } => {
                Some(Event::Answer { caller: waiting.caller, frame, size_bytes: waiting.size_bytes })
            }
            Expect::Batch { waiting, mut parts } => {
                parts.frames.push(frame);
                if parts.frames.len() < parts.shapes.len() {
                    entry.expect = Expect::Batch { waiting, parts };
                    self.in_flight.push_front(entry);
                    return None;
                }
                let frame = Frame::Array(parts.frames);
                Some(Event::Answer { caller: waiting.caller, frame, size_bytes: waiting.size_bytes })
            }
            _ => unreachable!("only callers' entries come here"),
        }
    }

    /// An error cannot be told from another's error, but the fences around it can be told from anything.
    fn check_fence(&mut self, number: u64, frame: &Frame) {
        let matches = match frame {
            Frame::Error(_) => true,
            other => other.as_bytes().is_some_and(|bytes| *bytes == self.fence_token(number)),
        };
        if !matches {
            self.die(Death::Fence);
        }
    }

    fn fence_token(&self, number: u64) -> String {
        format!("{}:{number}", self.id)
    }

    fn answer_handshake(&mut self, frame: Frame, now: Instant) -> Option<Event<T>> {
        let handshake = self.handshake.as_mut().expect("its entries are in the queue only while it runs");
        if let Err(error) = handshake.answer(frame) {
            self.handshake_error = Some(error);
            self.die(Death::Handshake);
            return None;
        }
        // Pushes may come from now on, before the introduction is over.
        self.protocol = handshake.protocol();
        self.continue_handshake(now)
    }

    fn continue_handshake(&mut self, now: Instant) -> Option<Event<T>> {
        let handshake = self.handshake.take()?;
        if let Some(request) = handshake.request() {
            self.handshake = Some(handshake);
            self.append_own(&request, Expect::Handshake, now);
            return None;
        }
        Some(Event::Ready(handshake.finish()))
    }

    /// Appends a request of the epoch's own.
    fn append_own(&mut self, command: &Command, expect: Expect<T>, now: Instant) {
        self.in_flight.reserve(1);
        self.expect_answers(now);
        let start = self.appended_bytes;
        command.write_to(&mut self.outgoing);
        self.appended_bytes += command.size_bytes() as u64;
        self.in_flight.push_back(Entry { expect, start, silent_from: Some(now) });
    }

    /// Begins to measure the silence if nothing was owed so far.
    fn expect_answers(&mut self, now: Instant) {
        if self.in_flight.is_empty() {
            self.is_excused = false;
            (self.silent_since, self.unanswered_since) = (now, now);
            self.next_check = Some(now + self.patience.check_interval);
        }
    }

    /// Measures the silence from the last byte read or from the oldest unanswered request, whichever is later: writing more
    /// never renews it. A check that comes much too late means that this process was asleep, and then the server's silence
    /// proves nothing. Once, for a process that is starved for good would otherwise never notice a dead server.
    fn check_silence(&mut self, now: Instant) {
        let Some(check_at) = self.next_check.filter(|&check_at| now >= check_at) else { return };
        let Some(oldest) = self.in_flight.front() else { return };
        if now.saturating_duration_since(check_at) > self.patience.check_interval && !self.is_excused {
            self.is_excused = true;
            (self.silent_since, self.unanswered_since) = (now, now);
        }
        let Some(from) = oldest.silent_from else {
            self.next_check = Some(now + self.patience.check_interval);
            return;
        };
        let with_pushes_max = self.patience.silence_max.saturating_mul(PUSHES_FOR_SILENCES);
        if now.saturating_duration_since(from.max(self.unanswered_since)) >= with_pushes_max {
            self.die(Death::Unanswered(with_pushes_max));
        }
        let silent_since = from.max(self.silent_since);
        if now.saturating_duration_since(silent_since) >= self.patience.silence_max {
            self.die(Death::Silent(self.patience.silence_max));
        }
        let limit = silent_since.checked_add(self.patience.silence_max).unwrap_or(now + DEADLINE_FAR);
        self.next_check = Some(limit.min(now + self.patience.check_interval));
    }

    /// Switches off the entries whose deadline has passed.
    fn expire(&mut self, now: Instant) {
        if self.next_deadline.is_none_or(|next| now < next) {
            return;
        }
        self.next_deadline = None;
        for entry in &mut self.in_flight {
            let Some(waiting) = entry.expect.waiting().filter(|waiting| waiting.caller.is_some()) else {
                continue;
            };
            let deadline = waiting.deadline;
            if deadline <= now {
                self.expired.extend(waiting.caller.take().map(|caller| (caller, deadline)));
            } else {
                self.next_deadline = Some(self.next_deadline.map_or(deadline, |next| next.min(deadline)));
            }
        }
    }
}

/// Without the buffers, which hold secrets.
impl<T> fmt::Debug for EpochCore<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EpochCore")
            .field("id", &self.id)
            .field("owed", &self.owed())
            .field("death", &self.death)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "epoch_tests.rs"]
mod tests;
