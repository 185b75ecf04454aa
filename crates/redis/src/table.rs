//! What is known about commands by their names: the types of reply that they can have, whether they only read, and whether
//! they may use a connection that others share.
//!
//! A command that is not listed may have any reply, is not idempotent, and may be sent.

use std::time::Duration;

use bowline_resp::Frame;

use crate::limits::NAME_BYTES_MAX;

/// The types of reply that a command can have. An error is always one of them, a push never.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape(u8);

impl Shape {
    /// A status such as `OK` or `QUEUED`.
    pub const STATUS: Self = Self(1);
    const STRING: Self = Self(1 << 1);
    const INTEGER: Self = Self(1 << 2);
    const NULL: Self = Self(1 << 3);
    const AGGREGATE: Self = Self(1 << 4);
    const OTHER: Self = Self(1 << 5);
    /// Any reply.
    pub const ANY: Self = Self(u8::MAX);
    /// The reply of `EXEC`.
    pub const LIST_OR_NULL: Self = Self::AGGREGATE.or(Self::NULL);
    /// The replies of `PING` and `ECHO`.
    pub const ECHO: Self = Self::STATUS.or(Self::STRING);

    /// What either has.
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether `frame` can be the reply. Only its type is looked at, never its content.
    #[inline]
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

/// Why a command may not use a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    pub command: &'static str,
    pub why: &'static str,
    pub reach: Reach,
}

/// Where a command is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Everywhere.
    Always,
    /// On a connection that others share, within a transaction as well: what it does there outlasts that.
    Shared,
    /// As `Shared`, and within every transaction.
    SharedOrQueued,
    /// On a connection that others share, but not within a transaction, where it does something else.
    SharedUnlessQueued,
}

impl Reach {
    /// Whether it is refused on a connection that others share or not, as part of a transaction or not.
    pub const fn refuses(self, is_shared: bool, is_queued: bool) -> bool {
        match self {
            Self::Always => true,
            Self::Shared => is_shared,
            Self::SharedOrQueued => is_shared || is_queued,
            Self::SharedUnlessQueued => is_shared && !is_queued,
        }
    }
}

/// What the arguments that are still to come may reveal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arguments {
    /// Nothing.
    Harmless,
    /// The first one is a subcommand, and these are refused.
    Subcommand(&'static &'static [(&'static str, Refusal)]),
    /// `BLOCK` before `STREAMS`, among other words in any order; the next `skip` arguments belong to the last of them.
    Blockable { skip: u8, refusal: &'static Refusal },
    /// The next one is a time of silence, and then nothing.
    FirstIsTime(Unit),
    /// The last one is a time of silence.
    LastIsTime(Unit),
}

/// In what a time of silence is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Seconds,
    Milliseconds,
}

/// What an argument has revealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Revealed {
    pub refusal: Option<Refusal>,
    /// The time for which the server was asked to be silent.
    pub blocks_for: Option<Duration>,
}

impl Unit {
    /// 0 is for ever. What is no number is for the server to judge, which does so at once.
    fn read(self, argument: &[u8]) -> Revealed {
        let number = std::str::from_utf8(argument).ok().and_then(|text| text.parse::<f64>().ok());
        let seconds = number.map(|number| match self {
            Self::Seconds => number,
            Self::Milliseconds => number / 1000.0,
        });
        let blocks_for = match seconds {
            Some(0.0) => Duration::MAX,
            Some(seconds) => Duration::try_from_secs_f64(seconds).unwrap_or_default(),
            None => Duration::ZERO,
        };
        Revealed { refusal: None, blocks_for: Some(blocks_for) }
    }
}

impl Arguments {
    /// Looks at the next argument.
    pub fn next(&mut self, argument: &[u8]) -> Revealed {
        let refused = |refusal| Revealed { refusal, blocks_for: None };
        match *self {
            Self::Harmless => Revealed::default(),
            Self::Subcommand(subcommands) => {
                *self = Self::Harmless;
                let is_it = |(name, _): &&(&str, Refusal)| argument.eq_ignore_ascii_case(name.as_bytes());
                refused(subcommands.iter().find(is_it).map(|(_, refusal)| *refusal))
            }
            Self::Blockable { skip: skip @ 1.., refusal } => {
                *self = Self::Blockable { skip: skip - 1, refusal };
                Revealed::default()
            }
            Self::Blockable { .. } if argument.eq_ignore_ascii_case(b"STREAMS") => {
                *self = Self::Harmless;
                Revealed::default()
            }
            Self::Blockable { skip: 0, refusal } if argument.eq_ignore_ascii_case(b"BLOCK") => {
                *self = Self::FirstIsTime(Unit::Milliseconds);
                refused(Some(*refusal))
            }
            Self::Blockable { refusal, .. } => {
                let of_its_own = [("GROUP", 2), ("COUNT", 1)];
                let is_it = |(word, _): &&(&str, u8)| argument.eq_ignore_ascii_case(word.as_bytes());
                let skip = of_its_own.iter().find(is_it).map_or(0, |(_, skip)| *skip);
                *self = Self::Blockable { skip, refusal };
                Revealed::default()
            }
            Self::FirstIsTime(unit) => {
                *self = Self::Harmless;
                unit.read(argument)
            }
            Self::LastIsTime(unit) => unit.read(argument),
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

const BLOCKS: &str = "it holds up everybody behind it; use a dedicated connection";

/// A group of commands that may not use a connection.
struct Refused {
    why: &'static str,
    reach: Reach,
    commands: &'static [&'static str],
}

const REFUSED: &[Refused] = &[
    Refused {
        why: "its replies are not answers; use a subscriber",
        reach: Reach::Always,
        commands: &["SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE", "UNSUBSCRIBE", "PUNSUBSCRIBE", "SUNSUBSCRIBE"],
    },
    Refused {
        why: "it changes the protocol",
        reach: Reach::Always,
        commands: &["HELLO", "RESET", "QUIT", "SYNC", "PSYNC", "REPLCONF", "MONITOR"],
    },
    Refused {
        why: "it changes who everybody is; the configuration names the user",
        reach: Reach::Always,
        commands: &["AUTH"],
    },
    Refused {
        why: "it changes what the commands behind it answer; use a transaction",
        reach: Reach::Always,
        commands: &["MULTI", "EXEC", "DISCARD"],
    },
    Refused {
        why: "it changes the database of everybody; the URL names the database",
        reach: Reach::Shared,
        commands: &["SELECT"],
    },
    Refused {
        why: "it changes what everybody's commands do",
        reach: Reach::Shared,
        commands: &["ASKING", "READONLY", "READWRITE"],
    },
    Refused {
        why: "everybody's commands would be part of it; use a dedicated connection, before the transaction",
        reach: Reach::SharedOrQueued,
        commands: &["WATCH", "UNWATCH"],
    },
];

/// Commands that may leave the server silent for a time, with where that time stands.
const BLOCKING: &[(&str, Arguments)] = &[
    ("BLPOP", Arguments::LastIsTime(Unit::Seconds)),
    ("BRPOP", Arguments::LastIsTime(Unit::Seconds)),
    ("BRPOPLPUSH", Arguments::LastIsTime(Unit::Seconds)),
    ("BLMOVE", Arguments::LastIsTime(Unit::Seconds)),
    ("BZPOPMIN", Arguments::LastIsTime(Unit::Seconds)),
    ("BZPOPMAX", Arguments::LastIsTime(Unit::Seconds)),
    ("BLMPOP", Arguments::FirstIsTime(Unit::Seconds)),
    ("BZMPOP", Arguments::FirstIsTime(Unit::Seconds)),
    ("WAIT", Arguments::LastIsTime(Unit::Milliseconds)),
    ("WAITAOF", Arguments::LastIsTime(Unit::Milliseconds)),
];

const fn never(command: &'static str, why: &'static str) -> Refusal {
    Refusal { command, why, reach: Reach::Always }
}

const fn blocks(command: &'static str) -> Refusal {
    Refusal { command, why: BLOCKS, reach: Reach::SharedUnlessQueued }
}

const XREAD_BLOCK: &Refusal = &blocks("XREAD BLOCK");
const XREADGROUP_BLOCK: &Refusal = &blocks("XREADGROUP BLOCK");

const CLIENT: &[(&str, Refusal)] = &[
    ("REPLY", never("CLIENT REPLY", "it changes the number of replies")),
    ("TRACKING", never("CLIENT TRACKING", "it makes the server send what nobody asked for")),
    ("CACHING", never("CLIENT CACHING", "it belongs to the command behind it")),
];
const SCRIPT: &[(&str, Refusal)] = &[("DEBUG", never("SCRIPT DEBUG", "it changes the protocol"))];

/// Finds what is known about the command `name`, in any case.
pub fn look_up(name: &[u8]) -> Row {
    let mut upper = [0; NAME_BYTES_MAX];
    let Some(upper) = upper.get_mut(..name.len()) else { return Row::UNKNOWN };
    upper.copy_from_slice(name);
    upper.make_ascii_uppercase();
    let upper = &*upper;
    known(upper).or_else(|| refused(upper)).or_else(|| blocking(upper)).unwrap_or(Row::UNKNOWN)
}

fn refused(upper: &[u8]) -> Option<Row> {
    REFUSED.iter().find_map(|&Refused { why, reach, commands }| {
        let command = commands.iter().find(|command| command.as_bytes() == upper)?;
        Some(Row { refusal: Some(Refusal { command, why, reach }), ..Row::UNKNOWN })
    })
}

fn blocking(upper: &[u8]) -> Option<Row> {
    let (command, arguments) = BLOCKING.iter().find(|(command, _)| command.as_bytes() == upper)?;
    Some(Row { refusal: Some(blocks(command)), ..Row::with(*arguments) })
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
        b"CLIENT" => Row::with(Arguments::Subcommand(&CLIENT)),
        b"SCRIPT" => Row::with(Arguments::Subcommand(&SCRIPT)),
        b"XREAD" => Row::with(Arguments::Blockable { skip: 0, refusal: XREAD_BLOCK }),
        b"XREADGROUP" => Row::with(Arguments::Blockable { skip: 0, refusal: XREADGROUP_BLOCK }),
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
