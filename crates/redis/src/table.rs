//! What is known about commands by their names: the types of reply that they can have, whether they only read, and whether
//! they may use a connection that others share.
//!
//! A command that is not listed may have any reply, is not idempotent, and may be sent.

use bowline_resp::Frame;

use crate::limits::NAME_BYTES_MAX;

/// The types of reply that a command can have. An error is always one of them, a push never.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape(u8);

impl Shape {
    const STATUS: Self = Self(1);
    const STRING: Self = Self(1 << 1);
    const INTEGER: Self = Self(1 << 2);
    const NULL: Self = Self(1 << 3);
    const AGGREGATE: Self = Self(1 << 4);
    const OTHER: Self = Self(1 << 5);
    /// Any reply.
    pub const ANY: Self = Self(u8::MAX);
    /// The replies of `PING` and `ECHO`.
    pub const ECHO: Self = Self::STATUS.or(Self::STRING);

    const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether `frame` can be the reply. Only its type is looked at, never its content.
    pub const fn allows(self, frame: &Frame) -> bool {
        let kind = match frame {
            Frame::Error(_) => return true,
            Frame::Push(_) => return false,
            Frame::Simple(_) => Self::STATUS,
            Frame::Bulk(_) | Frame::Verbatim { .. } => Self::STRING,
            Frame::Integer(_) => Self::INTEGER,
            // A null array was told from a null in RESP2 only, and the decoder makes one of both.
            Frame::Null | Frame::NullArray => Self::NULL,
            Frame::Array(_) | Frame::Map(_) | Frame::Set(_) => Self::AGGREGATE,
            Frame::Double(_) | Frame::Boolean(_) | Frame::BigNumber(_) => Self::OTHER,
        };
        self.0 & kind.0 != 0
    }
}

/// Why a command may not use a shared connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    pub command: &'static str,
    pub why: &'static str,
}

/// What the arguments that are still to come may reveal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arguments {
    /// Nothing.
    Harmless,
    /// The first one is a subcommand, and these are refused.
    Subcommand(&'static [(&'static str, Refusal)]),
    /// `BLOCK` before `STREAMS`; the first `skip` arguments are something else.
    Blockable { skip: u8, refusal: Refusal },
}

impl Arguments {
    /// Looks at the next argument.
    pub fn next(&mut self, argument: &[u8]) -> Option<Refusal> {
        match *self {
            Self::Harmless => None,
            Self::Subcommand(refused) => {
                *self = Self::Harmless;
                refused
                    .iter()
                    .find(|(name, _)| argument.eq_ignore_ascii_case(name.as_bytes()))
                    .map(|(_, why)| *why)
            }
            Self::Blockable { skip: skip @ 1.., refusal } => {
                *self = Self::Blockable { skip: skip - 1, refusal };
                None
            }
            Self::Blockable { .. } if argument.eq_ignore_ascii_case(b"STREAMS") => {
                *self = Self::Harmless;
                None
            }
            Self::Blockable { skip: 0, refusal } => {
                argument.eq_ignore_ascii_case(b"BLOCK").then_some(refusal)
            }
        }
    }
}

/// What is known about a command.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    pub shape: Shape,
    /// Whether running it twice is as good as once.
    pub idempotent: bool,
    pub refusal: Option<Refusal>,
    pub arguments: Arguments,
}

impl Row {
    const UNKNOWN: Self =
        Self { shape: Shape::ANY, idempotent: false, refusal: None, arguments: Arguments::Harmless };

    const fn read(shape: Shape) -> Self {
        Self { shape, idempotent: true, ..Self::UNKNOWN }
    }

    const fn write(shape: Shape) -> Self {
        Self { shape, ..Self::UNKNOWN }
    }

    const fn with(arguments: Arguments) -> Self {
        Self { arguments, ..Self::UNKNOWN }
    }
}

/// Commands that may not use a shared connection, under the reason why.
const REFUSED: &[(&str, &[&str])] = &[
    (
        "its replies are not answers",
        &["SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE", "UNSUBSCRIBE", "PUNSUBSCRIBE", "SUNSUBSCRIBE", "MONITOR"],
    ),
    ("it changes the protocol", &["HELLO", "RESET", "QUIT", "SYNC", "PSYNC", "REPLCONF"]),
    ("it changes who everybody is", &["AUTH"]),
    ("it changes the database of everybody", &["SELECT"]),
    ("it changes what everybody's commands do", &["ASKING", "READONLY", "READWRITE"]),
    ("everybody's commands would be part of it", &["MULTI", "EXEC", "DISCARD", "WATCH", "UNWATCH"]),
    (
        "it holds up everybody behind it",
        &[
            "BLPOP",
            "BRPOP",
            "BLMOVE",
            "BRPOPLPUSH",
            "BLMPOP",
            "BZPOPMIN",
            "BZPOPMAX",
            "BZMPOP",
            "WAIT",
            "WAITAOF",
        ],
    ),
];

const CLIENT: &[(&str, Refusal)] = &[
    ("REPLY", Refusal { command: "CLIENT REPLY", why: "it changes the number of replies" }),
    (
        "TRACKING",
        Refusal { command: "CLIENT TRACKING", why: "it makes the server send what nobody asked for" },
    ),
    ("CACHING", Refusal { command: "CLIENT CACHING", why: "it belongs to the command behind it" }),
];
const SCRIPT: &[(&str, Refusal)] =
    &[("DEBUG", Refusal { command: "SCRIPT DEBUG", why: "it changes the protocol" })];
const BLOCKS: &str = "it holds up everybody behind it";

/// Finds what is known about the command `name`, in any case.
pub fn look_up(name: &[u8]) -> Row {
    let mut upper = [0; NAME_BYTES_MAX];
    let Some(upper) = upper.get_mut(..name.len()) else { return Row::UNKNOWN };
    upper.copy_from_slice(name);
    upper.make_ascii_uppercase();
    let upper = &*upper;
    known(upper).unwrap_or_else(|| Row { refusal: refusal(upper), ..Row::UNKNOWN })
}

fn refusal(upper: &[u8]) -> Option<Refusal> {
    REFUSED.iter().find_map(|&(why, commands)| {
        let command = commands.iter().find(|command| command.as_bytes() == upper)?;
        Some(Refusal { command, why })
    })
}

/// The commands that may be sent and of which something is known.
const fn known(upper: &[u8]) -> Option<Row> {
    const STRING_OR_NULL: Shape = Shape::STRING.or(Shape::NULL);
    Some(match upper {
        b"GET" | b"HGET" | b"LINDEX" | b"RANDOMKEY" => Row::read(STRING_OR_NULL),
        b"GETRANGE" | b"INFO" => Row::read(Shape::STRING),
        b"TYPE" => Row::read(Shape::STATUS),
        b"PING" | b"ECHO" => Row::read(Shape::ECHO),
        b"EXISTS" | b"TTL" | b"PTTL" | b"EXPIRETIME" | b"PEXPIRETIME" | b"STRLEN" | b"GETBIT"
        | b"BITCOUNT" | b"HLEN" | b"HEXISTS" | b"HSTRLEN" | b"LLEN" | b"SCARD" | b"SISMEMBER" | b"ZCARD"
        | b"ZCOUNT" | b"DBSIZE" => Row::read(Shape::INTEGER),
        b"MGET" | b"HMGET" | b"HGETALL" | b"HKEYS" | b"HVALS" | b"HSCAN" | b"SCAN" | b"SSCAN" | b"ZSCAN"
        | b"KEYS" | b"LRANGE" | b"SMEMBERS" | b"ZRANGE" | b"TIME" => Row::read(Shape::AGGREGATE),
        b"EVAL_RO" | b"EVALSHA_RO" | b"COMMAND" | b"ZSCORE" => Row::read(Shape::ANY),
        b"SET" => Row::write(Shape::STATUS.or(STRING_OR_NULL)),
        b"GETSET" | b"GETDEL" | b"GETEX" => Row::write(STRING_OR_NULL),
        b"SETEX" | b"PSETEX" | b"MSET" | b"HMSET" | b"RENAME" | b"FLUSHALL" | b"FLUSHDB" => {
            Row::write(Shape::STATUS)
        }
        b"DEL" | b"UNLINK" | b"EXPIRE" | b"PEXPIRE" | b"EXPIREAT" | b"PEXPIREAT" | b"PERSIST" | b"SETNX"
        | b"MSETNX" | b"INCR" | b"INCRBY" | b"DECR" | b"DECRBY" | b"APPEND" | b"SETRANGE" | b"SETBIT"
        | b"HSET" | b"HSETNX" | b"HDEL" | b"HINCRBY" | b"SADD" | b"SREM" | b"ZREM" | b"RPUSH" | b"LPUSHX"
        | b"RPUSHX" | b"LPUSH" | b"LREM" | b"PUBLISH" => Row::write(Shape::INTEGER),
        b"CLIENT" => Row::with(Arguments::Subcommand(CLIENT)),
        b"SCRIPT" => Row::with(Arguments::Subcommand(SCRIPT)),
        b"XREAD" => Row::with(Arguments::Blockable {
            skip: 0,
            refusal: Refusal { command: "XREAD BLOCK", why: BLOCKS },
        }),
        b"XREADGROUP" => Row::with(Arguments::Blockable {
            skip: 3,
            refusal: Refusal { command: "XREADGROUP BLOCK", why: BLOCKS },
        }),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_any_case() {
        assert!(look_up(b"hgetall").idempotent);
        assert!(!look_up(b"HSET").idempotent);
        assert!(look_up(b"monitor").refusal.is_some());
        assert_eq!(look_up(b"NEW.COMMAND").shape, Shape::ANY);
        assert_eq!(look_up(&[b'A'; 100]).shape, Shape::ANY);
        assert_eq!(look_up(b"").shape, Shape::ANY);
    }

    #[test]
    fn a_shape_is_about_types_and_not_about_content() {
        let check = |name: &str, frame: Frame, allowed| {
            assert_eq!(look_up(name.as_bytes()).shape.allows(&frame), allowed, "{name} {frame:?}");
        };
        check("HLEN", Frame::Simple("PONG".into()), false);
        check("HLEN", Frame::Integer(1), true);
        check("HLEN", Frame::error("WRONGTYPE x"), true);
        check("GET", Frame::Null, true);
        check("GET", Frame::Array(vec![]), false);
        check("HGETALL", Frame::Map(vec![]), true);
        check("HGETALL", Frame::Array(vec![]), true);
        check("EVALSHA", Frame::Double(1.0), true);
        check("EVALSHA", Frame::Push(vec![]), false);
    }
}
