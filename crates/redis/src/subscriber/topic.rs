//! What can be subscribed to, and what servers say about it.

use std::fmt;

use bowline_resp::{Frame, Protocol};
use bytes::Bytes;

use crate::error::Death;

/// The three kinds of subscription; servers keep them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A channel by its name (`SUBSCRIBE`).
    Channel,
    /// All channels that match a glob pattern (`PSUBSCRIBE`).
    Pattern,
    /// A channel that belongs to the slot of its name (`SSUBSCRIBE`, Redis ≥ 7).
    Shard,
}

impl Kind {
    pub(crate) const fn subscribe(self) -> &'static str {
        match self {
            Self::Channel => "SUBSCRIBE",
            Self::Pattern => "PSUBSCRIBE",
            Self::Shard => "SSUBSCRIBE",
        }
    }

    pub(crate) const fn unsubscribe(self) -> &'static str {
        match self {
            Self::Channel => "UNSUBSCRIBE",
            Self::Pattern => "PUNSUBSCRIBE",
            Self::Shard => "SUNSUBSCRIBE",
        }
    }
}

/// Something that can be subscribed to.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Topic {
    kind: Kind,
    name: Bytes,
}

impl Topic {
    /// A channel.
    #[must_use]
    pub fn channel(name: impl AsRef<[u8]>) -> Self {
        Self::new(Kind::Channel, Bytes::copy_from_slice(name.as_ref()))
    }

    /// All channels that match a glob pattern.
    #[must_use]
    pub fn pattern(pattern: impl AsRef<[u8]>) -> Self {
        Self::new(Kind::Pattern, Bytes::copy_from_slice(pattern.as_ref()))
    }

    /// A shard channel.
    #[must_use]
    pub fn shard(name: impl AsRef<[u8]>) -> Self {
        Self::new(Kind::Shard, Bytes::copy_from_slice(name.as_ref()))
    }

    pub(crate) const fn new(kind: Kind, name: Bytes) -> Self {
        Self { kind, name }
    }

    /// Of which kind it is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// The name or the pattern.
    #[must_use]
    pub const fn name(&self) -> &Bytes {
        &self.name
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({})", self.kind, self.name.escape_ascii())
    }
}

/// What somebody has published.
///
/// The byte strings are slices of a read buffer, without a copy: copy what is kept for long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The channel on which it was published.
    pub channel: Bytes,
    /// The pattern because of which it came; `None` for a subscription to the channel itself.
    pub pattern: Option<Bytes>,
    /// What was published.
    pub payload: Bytes,
}

/// What a frame of a subscriber's connection means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// A subscription holds from now on.
    Subscribed(Topic),
    /// A subscription holds no more.
    Unsubscribed(Topic),
    /// Something was published.
    Message(Topic, Message),
    /// The answer to `PING` with an argument.
    Token(Bytes),
    /// An error: the answer to the command at the head of the queue.
    Error(Bytes),
    /// A push that is no business of ours.
    Other,
}

/// Reads a frame. The dialect decides what is a reply and what is not; no content is looked at to tell them apart but the word
/// that the server itself puts first.
pub(crate) fn read(frame: Frame, protocol: Protocol) -> Result<Said, Death> {
    match (protocol, frame) {
        (_, Frame::Error(text)) => Ok(Said::Error(text)),
        (_, Frame::Bulk(token)) => Ok(Said::Token(token)),
        (Protocol::Resp3, Frame::Push(elements)) => read_elements(elements, Said::Other),
        // Within a subscription everything is an array in RESP2, the answer to PING too.
        (Protocol::Resp2, Frame::Array(elements)) => match &elements[..] {
            [Frame::Bulk(word), Frame::Bulk(token)] if &word[..] == b"pong" => Ok(Said::Token(token.clone())),
            _ => match read_elements(elements, Said::Other)? {
                Said::Other => Err(Death::Unsolicited("array")),
                said => Ok(said),
            },
        },
        (_, frame) => Err(Death::Unsolicited(frame.kind())),
    }
}

/// Reads a push, or what is one in RESP2.
fn read_elements(elements: Vec<Frame>, other: Said) -> Result<Said, Death> {
    const MALFORMED: Death = Death::Unsolicited("a malformed message");
    let mut elements = elements.into_iter();
    let mut string = || match elements.next() {
        Some(Frame::Bulk(bytes)) => Some(bytes),
        _ => None,
    };
    let word = string().ok_or(MALFORMED)?;
    let (kind, is_subscribed) = match &word[..] {
        b"message" => return message(Kind::Channel, string(), None, string(), elements.len()),
        b"smessage" => return message(Kind::Shard, string(), None, string(), elements.len()),
        b"pmessage" => {
            let (pattern, channel) = (string(), string());
            return message(Kind::Pattern, channel, pattern, string(), elements.len());
        }
        b"subscribe" => (Kind::Channel, true),
        b"psubscribe" => (Kind::Pattern, true),
        b"ssubscribe" => (Kind::Shard, true),
        b"unsubscribe" => (Kind::Channel, false),
        b"punsubscribe" => (Kind::Pattern, false),
        b"sunsubscribe" => (Kind::Shard, false),
        _ => return Ok(other),
    };
    let topic = Topic::new(kind, string().ok_or(MALFORMED)?);
    match (elements.next(), elements.next()) {
        (Some(Frame::Integer(_)), None) if is_subscribed => Ok(Said::Subscribed(topic)),
        (Some(Frame::Integer(_)), None) => Ok(Said::Unsubscribed(topic)),
        _ => Err(MALFORMED),
    }
}

fn message(
    kind: Kind,
    channel: Option<Bytes>,
    pattern: Option<Bytes>,
    payload: Option<Bytes>,
    surplus: usize,
) -> Result<Said, Death> {
    let (Some(channel), Some(payload), 0) = (channel, payload, surplus) else {
        return Err(Death::Unsolicited("a malformed message"));
    };
    let topic = match (kind, &pattern) {
        (Kind::Pattern, None) => return Err(Death::Unsolicited("a malformed message")),
        (_, Some(pattern)) => Topic::new(kind, pattern.clone()),
        (_, None) => Topic::new(kind, channel.clone()),
    };
    Ok(Said::Message(topic, Message { channel, pattern, payload }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "it reads better where it is called")]
    fn check(protocol: Protocol, frame: Frame, expected: Result<Said, Death>) {
        let text = format!("{frame:?}");
        assert_eq!(read(frame, protocol), expected, "{protocol:?} {text}");
    }

    fn words(words: &[&str]) -> Vec<Frame> {
        words.iter().map(|&word| Frame::bulk(word.to_owned())).collect()
    }

    fn counted(word: &str, name: &str) -> Vec<Frame> {
        let mut elements = words(&[word, name]);
        elements.push(Frame::Integer(1));
        elements
    }

    #[test]
    fn the_word_in_front_and_the_dialect_decide_and_never_a_payload() {
        for protocol in [Protocol::Resp2, Protocol::Resp3] {
            let wrap = |elements| match protocol {
                Protocol::Resp2 => Frame::Array(elements),
                Protocol::Resp3 => Frame::Push(elements),
            };
            for payload in ["unsubscribe", "message", "pong", "subscribe", ""] {
                let message = |pattern: Option<&'static str>| Message {
                    channel: "c".into(),
                    pattern: pattern.map(Into::into),
                    payload: Bytes::copy_from_slice(payload.as_bytes()),
                };
                let topic = Topic::channel("c");
                check(
                    protocol,
                    wrap(words(&["message", "c", payload])),
                    Ok(Said::Message(topic, message(None))),
                );
                let topic = Topic::pattern("p*");
                let said = Said::Message(topic, message(Some("p*")));
                check(protocol, wrap(words(&["pmessage", "p*", "c", payload])), Ok(said));
                let said = Said::Message(Topic::shard("c"), message(None));
                check(protocol, wrap(words(&["smessage", "c", payload])), Ok(said));
            }
            check(protocol, wrap(counted("psubscribe", "a")), Ok(Said::Subscribed(Topic::pattern("a"))));
            check(protocol, wrap(counted("sunsubscribe", "a")), Ok(Said::Unsubscribed(Topic::shard("a"))));
            check(protocol, Frame::bulk("t"), Ok(Said::Token("t".into())));
            check(protocol, Frame::error("ERR"), Ok(Said::Error("ERR".into())));
            check(protocol, Frame::Integer(1), Err(Death::Unsolicited("integer")));
        }
    }

    #[test]
    fn what_makes_no_sense_is_poison() {
        const MALFORMED: Death = Death::Unsolicited("a malformed message");
        let wrong = [
            vec![],
            words(&["message", "c"]),
            words(&["message", "c", "d", "e"]),
            words(&["pmessage", "c", "d"]),
            words(&["subscribe", "c", "d"]),
            words(&["unsubscribe"]),
            vec![Frame::bulk("message"), Frame::bulk("c"), Frame::Array(vec![])],
            // The answer to UNSUBSCRIBE without a name, which is never sent.
            vec![Frame::bulk("unsubscribe"), Frame::Null, Frame::Integer(0)],
        ];
        for elements in wrong {
            check(Protocol::Resp3, Frame::Push(elements.clone()), Err(MALFORMED));
            check(Protocol::Resp2, Frame::Array(elements), Err(MALFORMED));
        }
        check(Protocol::Resp3, Frame::Push(words(&["invalidate", "k"])), Ok(Said::Other));
        check(Protocol::Resp2, Frame::Array(words(&["invalidate", "k"])), Err(Death::Unsolicited("array")));
        check(Protocol::Resp2, Frame::Array(words(&["pong", "t"])), Ok(Said::Token("t".into())));
        check(Protocol::Resp3, Frame::Array(words(&["pong", "t"])), Err(Death::Unsolicited("array")));
        check(Protocol::Resp2, Frame::Push(words(&["pong", "t"])), Err(Death::Unsolicited("push")));
    }
}
