//! A core, and a server in the test at its other end.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bowline_model::Epoch;
use bowline_resp::{Frame, Protocol, RequestDecoder, RequestLimits, encode};
use bytes::{Bytes, BytesMut};

use super::super::{Event, SubscriberCore};
use crate::config::{Config, Settings};
use crate::subscriber::topic::{Kind, Topic};

pub const SILENCE: Duration = Duration::from_secs(2);
pub const PROBE_INTERVAL: Duration = Duration::from_secs(5);

/// A core, and the server at its other end.
pub struct Pair {
    pub core: SubscriberCore,
    pub now: Instant,
    pub protocol: Protocol,
    pub requests: BytesMut,
    pub decoder: RequestDecoder,
    /// What the server has written and the core has not read.
    pub replies: BytesMut,
    /// What the server holds for this connection.
    pub subscribed: BTreeSet<Topic>,
    /// What the server refuses to subscribe to.
    pub refused: BTreeSet<Topic>,
    pub commands: Vec<String>,
    pub events: Vec<Event>,
}

pub fn topics() -> [Topic; 4] {
    [Topic::channel("a"), Topic::channel("b"), Topic::pattern("a"), Topic::shard("a")]
}

impl Pair {
    pub fn silent(protocol: Protocol) -> Self {
        let mut config = Config::from_url("redis://h").unwrap();
        config.settings =
            Settings { silence_max: SILENCE, probe_interval: PROBE_INTERVAL, ..Settings::default() };
        let now = bowline_rt::time::now();
        Self {
            core: SubscriberCore::new(Epoch::from_bits(7), &config, now),
            now,
            protocol,
            requests: BytesMut::new(),
            decoder: RequestDecoder::new(RequestLimits::default()),
            replies: BytesMut::new(),
            subscribed: BTreeSet::new(),
            refused: BTreeSet::new(),
            commands: Vec::new(),
            events: Vec::new(),
        }
    }

    /// A pair that has shaken hands.
    pub fn new(protocol: Protocol) -> Self {
        let mut pair = Self::silent(protocol);
        pair.run();
        assert!(matches!(&pair.events[..], [Event::Ready(server)] if server.protocol == protocol));
        pair.events.clear();
        pair.commands.clear();
        pair
    }

    pub fn wish(&mut self, topic: &Topic, is_wanted: bool) {
        self.core.wish(topic, is_wanted, self.now);
        self.poll();
    }

    /// Brings everything there and back until nothing moves.
    pub fn run(&mut self) {
        while !self.core.outgoing().is_empty() || !self.replies.is_empty() {
            self.serve(usize::MAX);
            self.receive(usize::MAX);
            if self.core.death().is_some() {
                return;
            }
        }
    }

    /// The server reads up to `count` bytes and answers what is complete.
    pub fn serve(&mut self, count: usize) {
        for request in self.sent(count) {
            let name = String::from_utf8_lossy(&request[0]).into_owned();
            let topic = request.get(1).cloned().unwrap_or_default();
            match name.as_str() {
                "PING" if self.protocol == Protocol::Resp2 && !self.subscribed.is_empty() => {
                    self.say(&Frame::Array(vec![Frame::bulk("pong"), Frame::Bulk(topic)]));
                }
                "PING" => self.say(&Frame::Bulk(topic)),
                "SUBSCRIBE" => self.subscribe(Topic::new(Kind::Channel, topic)),
                "PSUBSCRIBE" => self.subscribe(Topic::new(Kind::Pattern, topic)),
                "SSUBSCRIBE" => self.subscribe(Topic::new(Kind::Shard, topic)),
                "UNSUBSCRIBE" => self.unsubscribe(&Topic::new(Kind::Channel, topic)),
                "PUNSUBSCRIBE" => self.unsubscribe(&Topic::new(Kind::Pattern, topic)),
                "SUNSUBSCRIBE" => self.unsubscribe(&Topic::new(Kind::Shard, topic)),
                "HELLO" if self.protocol == Protocol::Resp2 => self.say(&Frame::error("NOPROTO")),
                "HELLO" => self.say(&Frame::Map(vec![(Frame::bulk("proto"), Frame::Integer(3))])),
                "INFO" => self.say(&Frame::bulk("run_id:1\r\n")),
                "CLIENT" => self.say(&Frame::Integer(1)),
                other => panic!("unexpected {other}"),
            }
            if name.ends_with("SUBSCRIBE") {
                self.commands.push(name);
            }
        }
    }

    /// Requests that the core has sent, and nobody answers.
    pub fn sent(&mut self, count: usize) -> Vec<Vec<Bytes>> {
        let count = count.min(self.core.outgoing().len());
        self.requests.extend_from_slice(&self.core.outgoing()[..count]);
        self.core.handed_over(count);
        std::iter::from_fn(|| self.decoder.decode(&mut self.requests).unwrap()).collect()
    }

    /// The core reads up to `count` bytes.
    pub fn receive(&mut self, count: usize) {
        let count = count.min(self.replies.len());
        let bytes = self.replies.split_to(count);
        if count > 0 && self.core.death().is_none() {
            self.core.read_buffer().extend_from_slice(&bytes);
            self.core.received(self.now);
        }
        self.poll();
    }

    pub fn poll(&mut self) {
        let (core, now) = (&mut self.core, self.now);
        self.events.extend(std::iter::from_fn(|| core.poll_event(now)));
    }

    pub fn pass(&mut self, time: Duration) {
        self.now += time;
        self.core.handle_timeout(self.now);
        self.poll();
    }

    pub fn say(&mut self, frame: &Frame) {
        encode(frame, self.protocol, &mut self.replies);
    }

    /// A push, which is an array in RESP2.
    pub fn push(&mut self, word: &str, rest: Vec<Frame>) {
        let elements = [vec![Frame::bulk(word.to_owned())], rest].concat();
        self.say(&Frame::Push(elements));
    }

    pub fn subscribe(&mut self, topic: Topic) {
        if self.refused.contains(&topic) {
            return self.say(&Frame::error("NOPERM no"));
        }
        self.confirm(topic.kind().subscribe(), &topic);
        self.subscribed.insert(topic);
    }

    pub fn unsubscribe(&mut self, topic: &Topic) {
        self.subscribed.remove(topic);
        self.confirm(topic.kind().unsubscribe(), topic);
    }

    pub fn confirm(&mut self, command: &str, topic: &Topic) {
        let count = Frame::Integer(i64::try_from(self.subscribed.len()).unwrap());
        self.push(&command.to_lowercase(), vec![Frame::Bulk(topic.name().clone()), count]);
    }

    /// Something is published on the channel or shard channel `name`; what comes of it for this connection.
    pub fn publish(&mut self, name: &str, payload: &str, kinds: &[Kind]) {
        let [channel, payload] = [name, payload].map(|text| Frame::bulk(text.to_owned()));
        for topic in self.subscribed.clone() {
            if *topic.name() != name || !kinds.contains(&topic.kind()) {
                continue;
            }
            match topic.kind() {
                Kind::Channel => self.push("message", vec![channel.clone(), payload.clone()]),
                Kind::Shard => self.push("smessage", vec![channel.clone(), payload.clone()]),
                Kind::Pattern => {
                    let pattern = Frame::Bulk(topic.name().clone());
                    self.push("pmessage", vec![pattern, channel.clone(), payload.clone()]);
                }
            }
        }
    }

    /// Takes the fence and the command before it, and answers with `frames`, `TOKEN` standing for the token.
    pub fn answer(&mut self, frames: &[Frame]) {
        let requests = self.sent(usize::MAX);
        let ping = requests.last().expect("a fence was sent");
        assert_eq!(&ping[0][..], b"PING");
        let token = Frame::Bulk(ping[1].clone());
        for frame in frames {
            self.say(if *frame == Frame::bulk("TOKEN") { &token } else { frame });
        }
        self.receive(usize::MAX);
    }
}
