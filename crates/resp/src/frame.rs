//! The values that RESP carries.

use bytes::Bytes;

/// The dialect that a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// What every connection begins with: strings, errors, integers, arrays.
    #[default]
    Resp2,
    /// After `HELLO 3`: maps, sets, doubles, booleans, and pushes that can be told from replies by their type.
    Resp3,
}

/// One value.
///
/// Byte strings are slices of the buffer that was read, without a copy. A slice keeps that whole buffer alive: copy what
/// is kept for long (`Bytes::copy_from_slice`).
#[derive(Debug, Clone, PartialEq)]
pub enum Frame {
    /// A status such as `OK`. Line breaks cannot be carried; the encoder makes spaces of them.
    Simple(Bytes),
    /// An error: a code in capitals, a space, a text. Line breaks as in [`Frame::Simple`].
    Error(Bytes),
    /// A whole number.
    Integer(i64),
    /// A byte string.
    Bulk(Bytes),
    /// Nothing. A decoder also makes this of a null array.
    Null,
    /// Nothing, where RESP2 clients expect an array: `*-1` in RESP2 (an aborted `EXEC`, a `BLPOP` that timed out), the same as
    /// [`Frame::Null`] in RESP3. Only servers write it; no decoder yields it.
    NullArray,
    /// A sequence.
    Array(Vec<Frame>),
    /// Pairs, in the order of the wire. A flat array in RESP2.
    Map(Vec<(Frame, Frame)>),
    /// A sequence without order. An array in RESP2.
    Set(Vec<Frame>),
    /// What a server sends unasked; never inside another value. An array in RESP2.
    Push(Vec<Frame>),
    /// A floating-point number. Its text as a byte string in RESP2.
    Double(f64),
    /// Yes or no. 1 or 0 in RESP2.
    Boolean(bool),
    /// Decimal digits of any length. A byte string in RESP2.
    BigNumber(Bytes),
    /// A text for people with three letters that name its format. A byte string in RESP2.
    Verbatim {
        /// `txt` or `mkd`.
        format: [u8; 3],
        /// The text.
        text: Bytes,
    },
}

impl Frame {
    /// The status `OK`.
    #[must_use]
    pub const fn ok() -> Self {
        Self::Simple(Bytes::from_static(b"OK"))
    }

    /// A byte string.
    #[must_use]
    pub fn bulk(bytes: impl Into<Bytes>) -> Self {
        Self::Bulk(bytes.into())
    }

    /// An error reply, code first.
    #[must_use]
    pub fn error(text: impl Into<Bytes>) -> Self {
        Self::Error(text.into())
    }

    /// The bytes of a string of any kind; errors are no strings.
    #[must_use]
    pub const fn as_bytes(&self) -> Option<&Bytes> {
        match self {
            Self::Simple(bytes)
            | Self::Bulk(bytes)
            | Self::BigNumber(bytes)
            | Self::Verbatim { text: bytes, .. } => Some(bytes),
            _ => None,
        }
    }

    /// A string of any kind that is UTF-8.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        std::str::from_utf8(self.as_bytes()?).ok()
    }

    /// A whole number.
    #[must_use]
    pub const fn as_integer(&self) -> Option<i64> {
        match self {
            Self::Integer(number) => Some(*number),
            _ => None,
        }
    }

    /// Whether this is a null of either kind.
    #[must_use]
    pub const fn is_null(&self) -> bool {
        matches!(self, Self::Null | Self::NullArray)
    }

    /// The elements of an array or set; the frame itself if it is neither.
    ///
    /// # Errors
    /// The frame, unchanged.
    pub fn into_elements(self) -> Result<Vec<Self>, Self> {
        match self {
            Self::Array(elements) | Self::Set(elements) => Ok(elements),
            other => Err(other),
        }
    }

    /// The pairs of a map, or of the flat array that a map is in RESP2.
    ///
    /// # Errors
    /// The frame, unchanged, if it is neither a map nor an array of even length.
    pub fn into_pairs(self) -> Result<Vec<(Self, Self)>, Self> {
        match self {
            Self::Map(pairs) => Ok(pairs),
            Self::Array(elements) if elements.len().is_multiple_of(2) => {
                let mut elements = elements.into_iter();
                Ok(std::iter::from_fn(|| elements.next().zip(elements.next())).collect())
            }
            other => Err(other),
        }
    }

    /// The name of the type, for messages.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Simple(_) => "simple string",
            Self::Error(_) => "error",
            Self::Integer(_) => "integer",
            Self::Bulk(_) => "bulk string",
            Self::Null | Self::NullArray => "null",
            Self::Array(_) => "array",
            Self::Map(_) => "map",
            Self::Set(_) => "set",
            Self::Push(_) => "push",
            Self::Double(_) => "double",
            Self::Boolean(_) => "boolean",
            Self::BigNumber(_) => "big number",
            Self::Verbatim { .. } => "verbatim string",
        }
    }
}
