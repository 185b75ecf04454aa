//! Why a command was refused. The text is protocol: clients match on its first word, and some on all of it.

use std::borrow::Cow;

use bytes::Bytes;

use crate::reply::Reply;

/// A refusal, whose [`Display`](std::fmt::Display) is exactly what Redis 7.0 answers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the text of each variant says what it is")]
pub enum CommandError {
    #[error("WRONGTYPE Operation against a key holding the wrong kind of value")]
    WrongType,
    #[error("ERR syntax error")]
    Syntax,
    #[error("ERR value is not an integer or out of range")]
    NotAnInteger,
    #[error("ERR value is out of range, must be positive")]
    NotPositive,
    #[error("ERR value is out of range")]
    OutOfRange,
    #[error("ERR value is not a valid float")]
    NotAFloat,
    #[error("ERR hash value is not an integer")]
    HashNotAnInteger,
    #[error("ERR hash value is not a float")]
    HashNotAFloat,
    #[error("ERR increment or decrement would overflow")]
    Overflow,
    #[error("ERR decrement would overflow")]
    DecrementOverflow,
    #[error("ERR increment would produce NaN or Infinity")]
    NotFinite,
    #[error("ERR no such key")]
    NoSuchKey,
    #[error("ERR offset is out of range")]
    Offset,
    #[error("ERR string exceeds maximum allowed size (proto-max-bulk-len)")]
    TooLong,
    #[error("ERR invalid cursor")]
    InvalidCursor,
    #[error("ERR DB index is out of range")]
    DatabaseIndex,
    #[error("ERR source and destination objects are the same")]
    SameObject,
    #[error("OOM command not allowed when used memory > 'maxmemory'.")]
    OutOfMemory,
    #[error("ERR the pattern takes too many steps to match")]
    PatternTooCostly,
    #[error("ERR invalid expire time in '{0}' command")]
    InvalidExpire(&'static str),
    #[error("ERR wrong number of arguments for '{0}' command")]
    Arity(Cow<'static, str>),
    #[error("ERR unknown subcommand '{name}'. Try {container} HELP.")]
    UnknownSubcommand { container: String, name: String },
    /// A text that only one command uses; it starts with its code.
    #[error("{0}")]
    Other(Cow<'static, str>),
    /// What a script says, which need not be text.
    #[error("{}", String::from_utf8_lossy(.0))]
    Raw(Bytes),
}

impl CommandError {
    /// A refusal whose text only one command uses.
    #[must_use]
    pub const fn text(text: &'static str) -> Self {
        Self::Other(Cow::Borrowed(text))
    }

    /// Writes the refusal as a reply.
    pub fn write(&self, reply: &mut dyn Reply) {
        match self {
            Self::Raw(text) => reply.error_bytes(text),
            error => reply.error(&error.to_string()),
        }
    }
}
