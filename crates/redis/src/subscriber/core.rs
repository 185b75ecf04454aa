//! The life of a subscriber's connection, without the connection. It is to subscriptions what [`epoch`](crate::epoch) is to
//! commands: built whole for a fresh socket, dropped whole with it.
//!
//! What is wanted is compared with what the server has confirmed, topic by topic, and where they differ one command is sent, at
//! most one at a time for each topic. Afterwards they are compared again, so it does not matter in which order wishes came.
//!
//! INV-DRV-OWN. A command about subscriptions has no reply of its own in RESP3 (redis#11784), only pushes, and the server may end
//! a subscription of its own accord, with the same push. So each command is followed by a fence, `PING` with a token, and is over
//! when the token comes back:
//! - `SUBSCRIBE` is answered by one confirmation of this very topic or by one error, and then the token.
//! - `UNSUBSCRIBE` likewise; for a shard channel the server's own `sunsubscribe` may have crossed it, and then there may be an
//!   error or a second confirmation as well.
//! - A `sunsubscribe` that belongs to no command is a loss of that subscription ([`Event::Lost`]), which is tried again.
//! - A message for a topic that is not subscribed to, and anything else, kills the epoch.
//!
//! Both dialects go by these rules; they differ in how confirmations are told from answers (`topic::read`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use bowline_model::Epoch;
use bowline_resp::{DecodeLimits, Decoder, Frame, Protocol};
use bytes::{Buf, Bytes, BytesMut};

use super::silence::Silence;
use super::topic::{Kind, Message, Said, Topic, read};
use crate::command::Command;
use crate::config::Config;
use crate::error::{Death, ServerError};
use crate::handshake::{Handshake, HandshakeError, Introduction, Role, ServerInfo};
use crate::limits::{
    READ_BUFFER_KEPT_BYTES, READ_BYTES_MIN, SUBSCRIBE_PAUSE_MAX, SUBSCRIBE_PAUSE_MIN,
    SUBSCRIBER_IN_FLIGHT_MAX, SUBSCRIBER_READ_BYTES, WRITE_BUFFER_KEPT_BYTES,
};
use crate::request::Request as _;

/// What comes out of a core.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The introduction is over; nothing is subscribed to yet.
    Ready(ServerInfo),
    /// A wanted topic is subscribed to, from this place of the stream on.
    Established(Topic),
    /// Something was published on a wanted topic.
    Message(Topic, Message),
    /// The server has ended a subscription that is wanted.
    Lost(Topic),
    /// The server refuses a subscription that is wanted. It is tried again later.
    Refused(Topic, ServerError),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Subscribe,
    Unsubscribe,
}

/// A request whose answer is owed.
#[derive(Debug)]
struct Owed {
    request: Request,
    sent_at: Instant,
}

#[derive(Debug)]
enum Request {
    Handshake,
    /// `PING` alone.
    Probe(u64),
    /// A command about a topic, and its fence.
    Fenced {
        verb: Verb,
        topic: Topic,
        token: u64,
        confirmations: u8,
        error: Option<Bytes>,
    },
}

/// What is known about a topic on this connection.
#[derive(Debug, Default)]
struct State {
    is_wanted: bool,
    is_confirmed: bool,
    /// The command that is under way.
    under_way: Option<Verb>,
    /// It waits for its turn to be looked at.
    is_waiting: bool,
    /// When it is tried again after a refusal, and the pause that led there.
    retry: Option<(Instant, Duration)>,
}

/// See the module.
pub(crate) struct SubscriberCore {
    id: Epoch,
    protocol: Protocol,
    handshake: Option<Handshake>,
    /// With whom the introduction was made; until the first probe shows that fences work.
    server: Option<ServerInfo>,
    is_ready: bool,
    handshake_error: Option<HandshakeError>,
    decoder: Decoder,
    incoming: BytesMut,
    outgoing: BytesMut,
    in_flight: VecDeque<Owed>,
    topics: BTreeMap<Topic, State>,
    /// Topics that are looked at when there is room.
    waiting: VecDeque<Topic>,
    /// Topics that are tried again, by time.
    retries: BTreeSet<(Instant, Topic)>,
    events: VecDeque<Event>,
    token: u64,
    silence: Silence,
    death: Option<Death>,
}

impl SubscriberCore {
    /// The core for a fresh connection. It begins with the introduction.
    pub fn new(id: Epoch, config: &Config, now: Instant) -> Self {
        let settings = &config.settings;
        let limits = DecodeLimits { frame_bytes_max: settings.reply_bytes_max, ..DecodeLimits::default() };
        // Messages come to replicas too.
        let introduction = Introduction { role: Role::Any, ..Introduction::default() };
        let mut core = Self {
            id,
            protocol: Protocol::Resp2,
            handshake: Some(Handshake::new(config, introduction)),
            server: None,
            is_ready: false,
            handshake_error: None,
            decoder: Decoder::new(limits),
            incoming: BytesMut::new(),
            outgoing: BytesMut::new(),
            in_flight: VecDeque::new(),
            topics: BTreeMap::new(),
            waiting: VecDeque::new(),
            retries: BTreeSet::new(),
            events: VecDeque::new(),
            token: 0,
            silence: Silence::new(settings, now),
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

    /// Kills the epoch; the first cause stays.
    pub fn die(&mut self, death: Death) {
        self.death = self.death.or(Some(death));
    }

    /// What the server said, if it refused the introduction.
    pub fn take_handshake_error(&mut self) -> Option<HandshakeError> {
        self.handshake_error.take()
    }

    /// A topic is wanted, or is not. Only after [`Event::Ready`]. Whoever wants one learns that it is established even if it
    /// was already, and one that was refused is tried again at once.
    pub fn wish(&mut self, topic: &Topic, is_wanted: bool, now: Instant) {
        debug_assert!(self.is_ready);
        let state = self.topics.entry(topic.clone()).or_default();
        state.is_wanted = is_wanted;
        if let Some((at, _)) = state.retry.take() {
            self.retries.remove(&(at, topic.clone()));
        }
        if is_wanted && state.is_confirmed && state.under_way != Some(Verb::Unsubscribe) {
            self.events.push_back(Event::Established(topic.clone()));
        }
        self.look_at(topic, now);
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

    /// The buffer to read into, with room. It is small, because a message that waits keeps the whole buffer in memory.
    pub fn read_buffer(&mut self) -> &mut BytesMut {
        if self.incoming.is_empty() && self.incoming.capacity() > READ_BUFFER_KEPT_BYTES {
            self.incoming = BytesMut::new();
        }
        if self.incoming.capacity() - self.incoming.len() < READ_BYTES_MIN {
            self.incoming.reserve(SUBSCRIBER_READ_BYTES);
        }
        &mut self.incoming
    }

    /// Bytes were read into the buffer.
    pub const fn received(&mut self, now: Instant) {
        self.silence.broken(now);
    }

    /// The next thing that happened. Nothing comes out of a dead epoch.
    pub fn poll_event(&mut self, now: Instant) -> Option<Event> {
        loop {
            if self.death.is_some() {
                return None;
            }
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            match self.decoder.decode(&mut self.incoming) {
                Ok(Some(frame)) => self.take(frame, now),
                Ok(None) => return None,
                Err(error) => self.die(Death::Protocol(error)),
            }
        }
    }

    /// When [`SubscriberCore::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Instant {
        let retry = self.retries.first().map(|(at, _)| *at);
        retry.into_iter().chain([self.silence.poll_timeout()]).min().expect("one is always there")
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.death.is_some() {
            return;
        }
        if let Some(death) = self.silence.check(self.in_flight.front().map(|owed| owed.sent_at), now) {
            self.die(death);
            return;
        }
        while let Some((_, topic)) = self.retries.first().filter(|(at, _)| *at <= now).cloned() {
            self.retries.pop_first();
            self.look_at(&topic, now);
        }
        if self.is_ready && self.silence.wants_probe(now) {
            self.probe(now);
        }
    }

    /// This machine was suspended until now: what the server sent may have been lost on the way, so it is asked at once.
    pub fn woke_up(&mut self, now: Instant) {
        self.silence.broken(now);
        if self.is_ready && self.in_flight.is_empty() && self.death.is_none() {
            self.probe(now);
        }
    }

    fn take(&mut self, frame: Frame, now: Instant) {
        if matches!(self.in_flight.front(), Some(Owed { request: Request::Handshake, .. })) {
            return self.answer_handshake(frame, now);
        }
        let taken = read(frame, self.protocol).and_then(|said| match said {
            Said::Subscribed(topic) => self.subscribed(topic),
            Said::Unsubscribed(topic) => self.unsubscribed(&topic, now),
            Said::Message(topic, message) => self.message(topic, message),
            Said::Token(token) => self.fenced(&token, now),
            Said::Error(text) => self.refused(text),
            Said::Other => Ok(()),
        });
        if let Err(death) = taken {
            self.die(death);
        }
    }

    fn message(&mut self, topic: Topic, message: Message) -> Result<(), Death> {
        let state = self.topics.get(&topic).ok_or(Death::Unsolicited("a message"))?;
        let is_ending = state.under_way == Some(Verb::Unsubscribe);
        // Until the fence behind UNSUBSCRIBE a message is late, and after it impossible.
        if !state.is_confirmed && !is_ending {
            return Err(Death::Unsolicited("a message"));
        }
        if state.is_wanted && !is_ending {
            self.events.push_back(Event::Message(topic, message));
        }
        Ok(())
    }

    /// A confirmation belongs to the command at the head of the queue: commands are run in their order.
    fn subscribed(&mut self, topic: Topic) -> Result<(), Death> {
        const SURPLUS: Death = Death::Unsolicited("a subscription");
        let Some(Owed { request: Request::Fenced { verb, topic: asked, confirmations, error, .. }, .. }) =
            self.in_flight.front_mut()
        else {
            return Err(SURPLUS);
        };
        if *verb != Verb::Subscribe || *asked != topic || *confirmations > 0 || error.is_some() {
            return Err(SURPLUS);
        }
        *confirmations += 1;
        let state = self.topics.get_mut(&topic).ok_or(SURPLUS)?;
        state.is_confirmed = true;
        state.retry = None;
        if state.is_wanted {
            self.events.push_back(Event::Established(topic));
        }
        Ok(())
    }

    /// A subscription has ended: as the answer to the command at the head of the queue, or by itself.
    fn unsubscribed(&mut self, topic: &Topic, now: Instant) -> Result<(), Death> {
        const SURPLUS: Death = Death::Unsolicited("the end of a subscription");
        let state = self.topics.get_mut(topic).ok_or(SURPLUS)?;
        let was_confirmed = std::mem::take(&mut state.is_confirmed);
        let answers = match self.in_flight.front_mut() {
            Some(Owed {
                request: Request::Fenced { verb, topic: asked, confirmations, error, .. }, ..
            }) if *verb == Verb::Unsubscribe && asked == topic => {
                *confirmations += 1;
                let confirmations_max = if topic.kind() == Kind::Shard { 2 } else { 1 };
                let is_crossed = topic.kind() == Kind::Shard && was_confirmed;
                if *confirmations > confirmations_max || error.is_some() && !is_crossed {
                    return Err(SURPLUS);
                }
                true
            }
            _ => false,
        };
        if answers {
            return Ok(());
        }
        if !was_confirmed {
            return Err(SURPLUS);
        }
        if state.is_wanted && state.under_way != Some(Verb::Unsubscribe) {
            self.events.push_back(Event::Lost(topic.clone()));
        }
        self.look_at(topic, now);
        Ok(())
    }

    /// An error answers the command at the head of the queue, never the fence behind it.
    fn refused(&mut self, text: Bytes) -> Result<(), Death> {
        const SURPLUS: Death = Death::Unsolicited("error");
        match self.in_flight.front_mut().map(|owed| &mut owed.request) {
            Some(Request::Fenced { verb, topic, confirmations, error, .. }) => {
                let is_crossed = *verb == Verb::Unsubscribe && topic.kind() == Kind::Shard;
                if error.is_some() || *confirmations > 0 && !is_crossed {
                    return Err(SURPLUS);
                }
                *error = Some(text);
                Ok(())
            }
            Some(Request::Probe(_)) if self.is_ready => {
                // `LOADING` is a sign of life too.
                self.pop();
                Ok(())
            }
            Some(Request::Probe(_)) => {
                self.handshake_error = Some(HandshakeError::of_ping(&text));
                Err(Death::Handshake)
            }
            _ => Err(SURPLUS),
        }
    }

    /// A token has come back: the command before the fence is over.
    fn fenced(&mut self, token: &[u8], now: Instant) -> Result<(), Death> {
        let Some(owed) = self.in_flight.front() else { return Err(Death::Unsolicited("bulk string")) };
        let (Request::Probe(expected) | Request::Fenced { token: expected, .. }) = &owed.request else {
            return Err(Death::Unsolicited("bulk string"));
        };
        if token != self.token_text(*expected).as_bytes() {
            return Err(Death::Fence);
        }
        match self.pop() {
            Some(Request::Fenced { verb, topic, confirmations, error, .. }) => {
                self.settle(verb, &topic, confirmations, error, now)?;
                self.look_at_waiting(now);
            }
            _ if !self.is_ready => {
                self.is_ready = true;
                let server = self.server.take().expect("the introduction comes before the first probe");
                self.events.push_back(Event::Ready(server));
            }
            _ => {}
        }
        Ok(())
    }

    /// Ends a command about a topic.
    fn settle(
        &mut self,
        verb: Verb,
        topic: &Topic,
        confirmations: u8,
        error: Option<Bytes>,
        now: Instant,
    ) -> Result<(), Death> {
        let state = self.topics.get_mut(topic).expect("a topic stays while a command about it is under way");
        state.under_way = None;
        if confirmations == 0 {
            // Neither a confirmation nor an error: something is out of step.
            let error = error.ok_or(Death::Fence)?;
            let has_failed = match verb {
                Verb::Subscribe => state.is_wanted,
                Verb::Unsubscribe => !state.is_wanted && state.is_confirmed,
            };
            if has_failed {
                let pause = state.retry.map_or(SUBSCRIBE_PAUSE_MIN, |(_, pause)| pause * 2);
                let pause = pause.min(SUBSCRIBE_PAUSE_MAX);
                state.retry = Some((now + pause, pause));
                self.retries.insert((now + pause, topic.clone()));
            }
            if verb == Verb::Subscribe && state.is_wanted {
                self.events.push_back(Event::Refused(topic.clone(), ServerError::new(&error)));
            }
        }
        if verb == Verb::Unsubscribe && state.is_wanted && state.is_confirmed {
            self.events.push_back(Event::Established(topic.clone()));
        }
        self.look_at(topic, now);
        Ok(())
    }

    /// Compares what is wanted with what is, and sends a command if they differ.
    fn look_at(&mut self, topic: &Topic, now: Instant) {
        let Some(state) = self.topics.get_mut(topic) else { return };
        if state.under_way.is_some() || state.is_waiting || state.retry.is_some_and(|(at, _)| at > now) {
            return;
        }
        if state.is_wanted == state.is_confirmed {
            if !state.is_wanted {
                self.topics.remove(topic);
            }
            return;
        }
        if self.in_flight.len() >= SUBSCRIBER_IN_FLIGHT_MAX {
            state.is_waiting = true;
            self.waiting.push_back(topic.clone());
            return;
        }
        let verb = if state.is_wanted { Verb::Subscribe } else { Verb::Unsubscribe };
        state.under_way = Some(verb);
        let command = match verb {
            Verb::Subscribe => topic.kind().subscribe(),
            Verb::Unsubscribe => topic.kind().unsubscribe(),
        };
        let token = self.next_token();
        let topic = topic.clone();
        self.send(&Command::new(command).arg(topic.name()));
        self.send(&Command::new("PING").arg(self.token_text(token)));
        self.expect(Request::Fenced { verb, topic, token, confirmations: 0, error: None }, now);
    }

    fn look_at_waiting(&mut self, now: Instant) {
        while self.in_flight.len() < SUBSCRIBER_IN_FLIGHT_MAX
            && let Some(topic) = self.waiting.pop_front()
        {
            if let Some(state) = self.topics.get_mut(&topic) {
                state.is_waiting = false;
            }
            self.look_at(&topic, now);
        }
    }

    fn probe(&mut self, now: Instant) {
        let token = self.next_token();
        self.send(&Command::new("PING").arg(self.token_text(token)));
        self.expect(Request::Probe(token), now);
    }

    fn answer_handshake(&mut self, frame: Frame, now: Instant) {
        self.pop();
        let handshake = self.handshake.as_mut().expect("its requests are in the queue only while it runs");
        if let Err(error) = handshake.answer(frame) {
            self.handshake_error = Some(error);
            self.die(Death::Handshake);
            return;
        }
        self.continue_handshake(now);
    }

    fn continue_handshake(&mut self, now: Instant) {
        let Some(handshake) = self.handshake.take() else { return };
        if let Some(request) = handshake.request() {
            self.handshake = Some(handshake);
            self.send(&request);
            self.expect(Request::Handshake, now);
            return;
        }
        let server = handshake.finish();
        self.protocol = server.protocol;
        self.server = Some(server);
        // A server that refuses PING cannot be fenced; better now than with the first subscription.
        self.probe(now);
    }

    fn send(&mut self, command: &Command) {
        command.write_to(&mut self.outgoing);
    }

    fn expect(&mut self, request: Request, now: Instant) {
        if self.in_flight.is_empty() {
            self.silence.begin(now);
        }
        self.in_flight.push_back(Owed { request, sent_at: now });
    }

    fn pop(&mut self) -> Option<Request> {
        let owed = self.in_flight.pop_front();
        if self.in_flight.is_empty() {
            self.silence.end();
        }
        Some(owed?.request)
    }

    const fn next_token(&mut self) -> u64 {
        self.token += 1;
        self.token
    }

    /// It names the epoch, so that no other connection's can be taken for it.
    fn token_text(&self, token: u64) -> String {
        format!("{}:{token}", self.id)
    }
}

#[cfg(test)]
#[path = "core_tests.rs"]
mod tests;
