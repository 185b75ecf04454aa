//! What a key holds.

use crate::error::CommandError;
use crate::hash::Hash;
use crate::limits::EMBEDDED_STRING_BYTES_MAX;
use crate::number::parse_integer;
use crate::table::{Item, KeyHasher, NEVER};

/// Rough cost of an entry besides its bytes: its place in a table that is two thirds full, and its allocations.
const ENTRY_OVERHEAD_BYTES: usize = 96;

/// A string, kept as a number when it is one: that takes no allocation and makes INCR cheap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StringValue {
    /// The canonical text of this number.
    Integer(i64),
    /// Bytes that are replaced as a whole.
    Fixed(Box<[u8]>),
    /// Bytes that APPEND and SETRANGE changed in place.
    Grown(Vec<u8>),
}

impl StringValue {
    /// A string with these bytes in their most compact form.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        match parse_integer(bytes) {
            Some(number) => Self::Integer(number),
            None => Self::Fixed(bytes.into()),
        }
    }

    /// The bytes; `buffer` lends the room for the digits of a number.
    #[must_use]
    pub fn bytes<'a>(&'a self, buffer: &'a mut itoa::Buffer) -> &'a [u8] {
        match self {
            Self::Integer(number) => buffer.format(*number).as_bytes(),
            Self::Fixed(bytes) => bytes,
            Self::Grown(bytes) => bytes,
        }
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes(&mut itoa::Buffer::new()).len()
    }

    /// Whether this is the empty string.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number that the string is the text of.
    #[must_use]
    pub fn integer(&self) -> Option<i64> {
        match self {
            Self::Integer(number) => Some(*number),
            // A sum of INCRBYFLOAT may be one, although it is kept as text.
            Self::Fixed(bytes) => parse_integer(bytes),
            Self::Grown(bytes) => parse_integer(bytes),
        }
    }

    /// The bytes, to be changed in place.
    pub fn grown(&mut self) -> &mut Vec<u8> {
        if !matches!(self, Self::Grown(_)) {
            *self = Self::Grown(self.bytes(&mut itoa::Buffer::new()).to_vec());
        }
        match self {
            Self::Grown(bytes) => bytes,
            _ => unreachable!("it was just made one"),
        }
    }

    fn encoding(&self) -> &'static str {
        match self {
            Self::Integer(_) => "int",
            Self::Fixed(bytes) if bytes.len() <= EMBEDDED_STRING_BYTES_MAX => "embstr",
            Self::Fixed(_) | Self::Grown(_) => "raw",
        }
    }

    fn memory(&self) -> usize {
        match self {
            Self::Integer(_) => 0,
            Self::Fixed(bytes) => bytes.len(),
            Self::Grown(bytes) => bytes.capacity(),
        }
    }
}

/// What a key holds.
#[derive(Debug)]
pub enum Value {
    /// A string.
    String(StringValue),
    /// A hash.
    Hash(Box<Hash>),
}

impl Value {
    /// What TYPE answers.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::String(_) => "string",
            Self::Hash(_) => "hash",
        }
    }

    /// What OBJECT ENCODING answers.
    #[must_use]
    pub fn encoding(&self) -> &'static str {
        match self {
            Self::String(string) => string.encoding(),
            Self::Hash(hash) => hash.encoding(),
        }
    }

    /// Memory of the value, about.
    #[must_use]
    pub fn memory(&self) -> usize {
        match self {
            Self::String(string) => string.memory(),
            Self::Hash(hash) => size_of::<Hash>() + hash.bytes(),
        }
    }

    /// The string.
    ///
    /// # Errors
    /// [`CommandError::WrongType`]; the same for the other accessors.
    pub fn string(&self) -> Result<&StringValue, CommandError> {
        match self {
            Self::String(string) => Ok(string),
            Self::Hash(_) => Err(CommandError::WrongType),
        }
    }

    /// The string, to be changed.
    ///
    /// # Errors
    /// [`CommandError::WrongType`].
    pub fn string_mut(&mut self) -> Result<&mut StringValue, CommandError> {
        match self {
            Self::String(string) => Ok(string),
            Self::Hash(_) => Err(CommandError::WrongType),
        }
    }

    /// The hash.
    ///
    /// # Errors
    /// [`CommandError::WrongType`].
    pub fn hash(&self) -> Result<&Hash, CommandError> {
        match self {
            Self::Hash(hash) => Ok(hash),
            Self::String(_) => Err(CommandError::WrongType),
        }
    }

    /// The hash, to be changed.
    ///
    /// # Errors
    /// [`CommandError::WrongType`].
    pub fn hash_mut(&mut self) -> Result<&mut Hash, CommandError> {
        match self {
            Self::Hash(hash) => Ok(hash),
            Self::String(_) => Err(CommandError::WrongType),
        }
    }

    /// A copy of its own.
    #[must_use]
    pub fn duplicate(&self, hasher: &KeyHasher) -> Self {
        match self {
            Self::String(string) => Self::String(string.clone()),
            Self::Hash(hash) => Self::Hash(Box::new(hash.duplicate(hasher))),
        }
    }
}

/// A key with its value and its times.
#[derive(Debug)]
pub struct Entry {
    key: Box<[u8]>,
    /// What it holds.
    pub value: Value,
    pub(crate) expires_at_ms: i64,
    /// Seconds since 1970 of the last access, for OBJECT IDLETIME.
    pub(crate) accessed_s: u32,
}

impl Entry {
    pub(crate) fn new(key: &[u8], value: Value, now_ms: i64) -> Self {
        Self { key: key.into(), value, expires_at_ms: NEVER, accessed_s: seconds(now_ms) }
    }

    /// When the key expires, in unix milliseconds.
    #[must_use]
    pub fn expires_at_ms(&self) -> Option<i64> {
        (self.expires_at_ms != NEVER).then_some(self.expires_at_ms)
    }

    /// Memory of the whole entry, about.
    #[must_use]
    pub fn memory(&self) -> usize {
        ENTRY_OVERHEAD_BYTES + self.key.len() + self.value.memory()
    }
}

impl Item for Entry {
    fn key(&self) -> &[u8] {
        &self.key
    }
    fn expires_at_ms(&self) -> i64 {
        self.expires_at_ms
    }
}

/// Unix seconds of a time in milliseconds; a clock before 1970 counts as 1970.
pub(crate) fn seconds(now_ms: i64) -> u32 {
    u32::try_from(now_ms / 1_000).unwrap_or(0)
}
