//! Who has subscribed to what, and what is published.

use std::collections::BTreeMap;

use bowline_keyspace::glob::Glob;
use bowline_resp::Frame;
use bytes::Bytes;
use tokio::sync::mpsc;

/// The three kinds of topics, which servers keep apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Channel,
    Pattern,
    Shard,
}

/// What a command does with topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Verb {
    /// As the confirmations call it.
    pub name: &'static str,
    pub kind: Kind,
    pub subscribes: bool,
}

const VERBS: [Verb; 6] = [
    Verb { name: "subscribe", kind: Kind::Channel, subscribes: true },
    Verb { name: "psubscribe", kind: Kind::Pattern, subscribes: true },
    Verb { name: "ssubscribe", kind: Kind::Shard, subscribes: true },
    Verb { name: "unsubscribe", kind: Kind::Channel, subscribes: false },
    Verb { name: "punsubscribe", kind: Kind::Pattern, subscribes: false },
    Verb { name: "sunsubscribe", kind: Kind::Shard, subscribes: false },
];

impl Verb {
    /// The command of this name in lower case, if it is about topics.
    pub fn of(name: &str) -> Option<Self> {
        VERBS.into_iter().find(|verb| verb.name == name)
    }

    /// What says that it was done to one topic; `count` topics are left.
    pub fn confirmation(self, topic: Option<Bytes>, count: usize) -> Frame {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        let topic = topic.map_or(Frame::Null, Frame::Bulk);
        Frame::Push(vec![Frame::bulk(self.name), topic, Frame::Integer(count)])
    }
}

/// Where the messages of a connection go.
pub(super) type Mailbox = mpsc::Sender<Frame>;

/// All subscriptions, with the number and the mailbox of each connection.
#[derive(Debug, Default)]
pub(super) struct Topics(BTreeMap<(Kind, Bytes), BTreeMap<i64, Mailbox>>);

/// What came of a message.
#[derive(Debug, Default)]
pub(super) struct Published {
    /// How many subscriptions got it.
    pub receivers: usize,
    /// Connections that have not read for so long that their mailboxes are full.
    pub full: Vec<i64>,
}

impl Topics {
    pub fn add(&mut self, kind: Kind, topic: Bytes, number: i64, mailbox: Mailbox) {
        self.0.entry((kind, topic)).or_default().insert(number, mailbox);
    }

    pub fn remove(&mut self, kind: Kind, topic: &Bytes, number: i64) {
        let key = (kind, topic.clone());
        if let Some(mailboxes) = self.0.get_mut(&key) {
            mailboxes.remove(&number);
            if mailboxes.is_empty() {
                self.0.remove(&key);
            }
        }
    }

    /// A connection is gone.
    pub fn leave(&mut self, number: i64) {
        self.0.retain(|_, mailboxes| {
            mailboxes.remove(&number);
            !mailboxes.is_empty()
        });
    }

    /// The topics of a connection.
    pub fn of(&self, kind: Kind, number: i64) -> Vec<Bytes> {
        let mine =
            self.0.iter().filter(|((of, _), mailboxes)| *of == kind && mailboxes.contains_key(&number));
        mine.map(|((_, topic), _)| topic.clone()).collect()
    }

    /// What a confirmation counts: channels and patterns together, shard channels by themselves.
    pub fn count(&self, kind: Kind, number: i64) -> usize {
        match kind {
            Kind::Shard => self.of(Kind::Shard, number).len(),
            _ => self.of(Kind::Channel, number).len() + self.of(Kind::Pattern, number).len(),
        }
    }

    /// Delivers a message to the subscribers of a channel, and to those of the patterns that it matches.
    pub fn publish(&self, kind: Kind, channel: &Bytes, payload: &Bytes) -> Published {
        let mut published = Published::default();
        let said = |first: &'static str, rest: &[&Bytes]| {
            let rest = rest.iter().map(|&part| Frame::Bulk(part.clone()));
            Frame::Push([Frame::bulk(first)].into_iter().chain(rest).collect())
        };
        for ((of, topic), mailboxes) in &self.0 {
            let message = match (of, kind) {
                (Kind::Channel, Kind::Channel) if topic == channel => said("message", &[channel, payload]),
                (Kind::Shard, Kind::Shard) if topic == channel => said("smessage", &[channel, payload]),
                // A pattern that takes too long to match does not.
                (Kind::Pattern, Kind::Channel) if Glob::new(topic).matches(channel, false) == Ok(true) => {
                    said("pmessage", &[topic, channel, payload])
                }
                _ => continue,
            };
            for (number, mailbox) in mailboxes {
                match mailbox.try_send(message.clone()) {
                    Ok(()) => published.receivers += 1,
                    Err(_) => published.full.push(*number),
                }
            }
        }
        published
    }
}
