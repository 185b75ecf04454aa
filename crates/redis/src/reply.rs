//! What an answer becomes: the caller's own types out of a [`Frame`].
//!
//! A conversion looks at the answer after it was delivered to whom it belongs. It may fail that one call and nothing else, which
//! is why its error is a type of its own ([`ConversionError`]) that no connection ever sees (rule 10 of the driver's design).
//!
//! The two dialects write some values differently: what is a map, a double or a boolean in RESP3 is a flat array, a text or a
//! number in RESP2. Either form gives the same value here, so that a caller need not know which one the server speaks.
//!
//! An error names the type that came and never the content: answers do not belong into logs.

mod collections;
mod scalars;

use std::fmt;

use bowline_resp::Frame;

use crate::batch::Answers;
use crate::error::{CallError, ServerError};

/// A type that an answer can be converted to.
///
/// | type | from |
/// |---|---|
/// | [`Frame`] | anything, unchanged |
/// | [`Bytes`](bytes::Bytes), `String`, `Vec<u8>` | strings of any kind; numbers and booleans as RESP2 writes them |
/// | integers, checked against their range | integers; texts and doubles that are whole numbers; booleans as 1 and 0 |
/// | `f64`, `f32` | doubles, integers, and texts that are numbers, `inf` and `nan` included |
/// | `bool` | booleans, and the integers 1 and 0 |
/// | `()` | the status `OK` |
/// | `Option<T>` | null, or what `T` takes |
/// | `Vec<T>`, sets of `T`, `[T; N]` | arrays and sets; of a map its keys and values in turn, as RESP2 writes it |
/// | `Vec<(K, V)>`, `HashMap<K, V>`, `BTreeMap<K, V>` | maps, flat arrays of even length, and arrays of pairs (scores in RESP3) |
/// | tuples of up to eight | arrays of that length |
/// | `Result<T, ServerError>` | an error among the elements of an answer, or what `T` takes |
///
/// `Bytes` is a slice of the buffer that was read, without a copy, and keeps that whole buffer alive (some 64 KiB): convert to
/// `Vec<u8>` or `String` what is kept for long.
///
/// # Examples
/// ```
/// use bowline_redis::{Frame, FromReply};
///
/// let scores = Frame::Array(vec![Frame::bulk("ann"), Frame::bulk("1.5")]); // RESP2
/// let pairs = Frame::Array(vec![Frame::Array(vec![Frame::bulk("ann"), Frame::Double(1.5)])]); // RESP3
/// let expected = vec![("ann".to_owned(), 1.5)];
/// assert_eq!(Vec::<(String, f64)>::from_reply(scores), Ok(expected.clone()));
/// assert_eq!(Vec::<(String, f64)>::from_reply(pairs), Ok(expected));
///
/// let error = u8::from_reply(Frame::Integer(256)).unwrap_err();
/// assert_eq!(error.to_string(), "the answer is an integer outside of the range of u8");
/// ```
pub trait FromReply: Sized {
    /// Converts an answer.
    ///
    /// # Errors
    /// [`ConversionError`] if the answer is something else.
    fn from_reply(frame: Frame) -> Result<Self, ConversionError>;

    /// Converts an answer to several of these. Types that have a form of their own for that say so: `u8` takes strings,
    /// pairs take maps.
    ///
    /// # Errors
    /// [`ConversionError`] if the answer is something else.
    fn several_from_reply(frame: Frame) -> Result<Vec<Self>, ConversionError> {
        elements(frame, "an array")?.into_iter().map(Self::from_reply).collect()
    }
}

/// Why an answer does not become what the caller asked for. The call has been answered all the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConversionError {
    /// It is of another type.
    #[error("expected {expected}, the answer is {}", Kind(found))]
    Type {
        /// What was asked for.
        expected: &'static str,
        /// The type that came, as RESP calls it.
        found: &'static str,
    },
    /// It is a text of another form.
    #[error("expected {expected}, the answer is {} of another form", Kind(found))]
    Form {
        /// What was asked for.
        expected: &'static str,
        /// The type that came, as RESP calls it.
        found: &'static str,
    },
    /// It is a number that the type cannot hold.
    #[error("the answer is {} outside of the range of {expected}", Kind(found))]
    Range {
        /// The type that was asked for.
        expected: &'static str,
        /// The type that came, as RESP calls it.
        found: &'static str,
    },
    /// It has another number of elements.
    #[error("expected {expected} elements, the answer has {found}")]
    Length {
        /// How many were asked for.
        expected: usize,
        /// How many came.
        found: usize,
    },
    /// It should have consisted of pairs.
    #[error("expected pairs, the answer has {found} elements")]
    Odd {
        /// How many elements came.
        found: usize,
    },
    /// Where a value was expected, the server reports an error.
    #[error("a part of the answer is an error: {0}")]
    Server(#[source] ServerError),
}

impl ConversionError {
    /// The error for an answer of another type.
    #[must_use]
    pub fn unexpected(expected: &'static str, found: &Frame) -> Self {
        match found {
            Frame::Error(text) => Self::Server(ServerError::new(text)),
            found => Self::Type { expected, found: found.kind() },
        }
    }
}

/// A type with its article.
struct Kind<'a>(&'a str);

impl fmt::Display for Kind<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let article = if self.0.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
        if self.0 == "null" { f.write_str("null") } else { write!(f, "{article} {}", self.0) }
    }
}

/// How a call that wants a value of a certain type ends badly. The two cases are kept apart, because only the first says
/// anything about whether the command was executed: after a failed conversion it was, as far as the server's answer goes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// The call brought no value.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The call brought a value of another type.
    #[error("cannot convert the answer of the store: {0}")]
    Conversion(#[source] ConversionError),
}

impl From<ConversionError> for QueryError {
    /// An error that the server reports within an answer is the server's.
    fn from(error: ConversionError) -> Self {
        match error {
            ConversionError::Server(error) => Self::Call(error.into()),
            error => Self::Conversion(error),
        }
    }
}

/// Converts the answers to a batch or a transaction, all at once: `T` is a tuple of one type for each command, or a `Vec` if they
/// are all of one type. A server's error fails the whole, unless its place in `T` is a `Result<_, ServerError>`.
///
/// # Errors
/// [`QueryError`]: the first answer that is an error of the server, or something else than `T` asks for.
///
/// # Examples
/// ```
/// use bowline_redis::{Frame, ServerError, convert};
///
/// let answers = || vec![Ok(Frame::Integer(2)), Ok(Frame::Null)];
/// assert_eq!(convert::<(u32, Option<String>)>(answers()), Ok((2, None)));
/// assert!(convert::<(u32, String)>(answers()).is_err());
/// ```
pub fn convert<T: FromReply>(answers: Answers) -> Result<T, QueryError> {
    let frame =
        |answer: Result<Frame, ServerError>| answer.unwrap_or_else(|error| Frame::error(error.message));
    Ok(T::from_reply(Frame::Array(answers.into_iter().map(frame).collect()))?)
}

/// The elements of an aggregate; of a map its keys and values in turn.
fn elements(frame: Frame, expected: &'static str) -> Result<Vec<Frame>, ConversionError> {
    match frame {
        Frame::Array(elements) | Frame::Set(elements) | Frame::Push(elements) => Ok(elements),
        Frame::Map(pairs) => Ok(pairs.into_iter().flat_map(|(key, value)| [key, value]).collect()),
        other => Err(ConversionError::unexpected(expected, &other)),
    }
}

#[cfg(test)]
#[path = "reply_tests.rs"]
mod tests;
