//! Why a stream of bytes is not RESP.

/// What made a stream undecodable. The texts of request errors are those that Redis puts behind `-ERR Protocol error: `.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// A reply begins with a byte that no RESP type has.
    #[error("unknown type byte 0x{0:02x}")]
    UnknownType(u8),
    /// A line ends in a line feed without a carriage return, or a string is not followed by both.
    #[error("a line does not end in CR LF")]
    LineEnd,
    /// A line is longer than the limit.
    #[error("a line is longer than {0} bytes")]
    LineTooLong(usize),
    /// A number is malformed or out of range.
    #[error("malformed number")]
    Number,
    /// A length is malformed, negative where it must not be, or announces a stream, which no server sends.
    #[error("malformed length")]
    Length,
    /// A verbatim string is shorter than its own prefix.
    #[error("malformed verbatim string")]
    Verbatim,
    /// The reply is longer than the limit.
    #[error("a reply is longer than {0} bytes")]
    FrameTooLong(usize),
    /// The reply has more values than the limit.
    #[error("a reply has more than {0} values")]
    TooManyElements(usize),
    /// The reply is nested deeper than the limit.
    #[error("a reply is nested deeper than {0} levels")]
    TooDeep(usize),
    /// A push stands inside another value, where the grammar has no place for it (Redis 6.0 does that: redis#8935).
    #[error("a push inside a reply")]
    PushInside,

    /// An inline request is longer than the limit.
    #[error("too big inline request")]
    InlineTooLong,
    /// A quoted argument of an inline request is not closed, or is followed by something other than a space.
    #[error("unbalanced quotes in request")]
    UnbalancedQuotes,
    /// The header of a request is longer than the limit.
    #[error("too big mbulk count string")]
    CountLineTooLong,
    /// The number of arguments is malformed or over the limit.
    #[error("invalid multibulk length")]
    ArgumentCount,
    /// The header of an argument is longer than the limit.
    #[error("too big bulk count string")]
    BulkLineTooLong,
    /// An argument does not begin with `$`.
    #[error("expected '$', got '{}'", char::from(*.0))]
    ExpectedBulk(u8),
    /// The length of an argument is malformed or over the limit.
    #[error("invalid bulk length")]
    BulkLength,
    /// The request is longer than the limit in all.
    #[error("a request is longer than {0} bytes")]
    RequestTooLong(usize),
    /// A request has more arguments than a client may send before it has authenticated.
    #[error("unauthenticated multibulk length")]
    UnauthenticatedArgumentCount,
    /// An argument is longer than a client may send before it has authenticated.
    #[error("unauthenticated bulk length")]
    UnauthenticatedBulkLength,
}
