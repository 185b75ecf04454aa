//! Bytes to replies.

use bytes::{Buf, Bytes, BytesMut};

use crate::error::ProtocolError;
use crate::frame::Frame;
use crate::limits::{DecodeLimits, ELEMENTS_RESERVED};
use crate::line::{LineSearch, parse_integer, parse_length, strip};

/// Takes replies out of a stream of bytes.
///
/// It consumes what it has understood and keeps the open aggregates on a stack of its own, so every byte is looked at once
/// however the stream was cut. Attributes (`|`) are read and dropped.
#[derive(Debug)]
pub struct Decoder {
    limits: DecodeLimits,
    search: LineSearch,
    /// A string whose header was read and whose bytes are awaited.
    bulk: Option<PendingBulk>,
    /// The aggregates that are not complete, the outermost first. At most `depth_max`.
    open: Vec<Open>,
    /// Bytes of the current top-level frame that were consumed.
    consumed_bytes: usize,
    /// Values of the current top-level frame that have begun.
    elements: usize,
    failed: Option<ProtocolError>,
}

/// A string of known length.
#[derive(Debug, Clone, Copy)]
struct PendingBulk {
    kind: BulkKind,
    length: usize,
}

#[derive(Debug, Clone, Copy)]
enum BulkKind {
    String,
    Error,
    Verbatim,
}

/// An aggregate that waits for more values.
#[derive(Debug)]
struct Open {
    kind: AggregateKind,
    /// Values that are still to come; never 0.
    remaining: usize,
    elements: Vec<Frame>,
    pairs: Vec<(Frame, Frame)>,
    key: Option<Frame>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AggregateKind {
    Array,
    Set,
    Push,
    Map,
    Attribute,
}

/// What a header line turned out to be.
enum Header {
    Value(Frame),
    Bulk(PendingBulk),
    /// An aggregate and its number of values (not pairs).
    Aggregate(AggregateKind, usize),
}

/// What the next bytes turned out to be.
enum Item {
    /// A value that is complete.
    Value(Frame),
    /// The beginning of an aggregate.
    Opened,
    /// Something that is not complete.
    Unfinished,
}

impl Decoder {
    /// A decoder at the beginning of a stream.
    #[must_use]
    pub fn new(limits: DecodeLimits) -> Self {
        Self {
            limits,
            search: LineSearch::default(),
            bulk: None,
            open: Vec::new(),
            consumed_bytes: 0,
            elements: 0,
            failed: None,
        }
    }

    /// Takes the next reply out of `buffer`; `None` if more bytes are needed. Call it again with the same buffer, to which
    /// nothing but the next bytes of the stream was appended.
    ///
    /// # Errors
    /// What is wrong with the stream; from then on always the same.
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, ProtocolError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        if let Some(text) = self.whole_string(buffer) {
            return Ok(Some(Frame::Bulk(text)));
        }
        self.advance(buffer).inspect_err(|&error| {
            *self = Self { failed: Some(error), ..Self::new(self.limits) };
        })
    }

    /// Whether a reply has begun and is not complete, apart from what is still in the buffer.
    #[must_use]
    pub const fn is_mid_frame(&self) -> bool {
        self.consumed_bytes != 0
    }

    /// Whether a push has begun and is not complete, apart from what is still in the buffer.
    #[must_use]
    pub fn is_mid_push(&self) -> bool {
        self.open.first().is_some_and(|open| open.kind == AggregateKind::Push)
    }

    /// The quick way for the reply that is asked for most: a short byte string that is there in one piece. Whatever is not that, or
    /// is wrong, is left to the other way.
    fn whole_string(&mut self, buffer: &mut BytesMut) -> Option<Bytes> {
        if self.is_mid_frame() {
            return None;
        }
        let (start, length) = match buffer[..] {
            [b'$', ones @ b'0'..=b'9', b'\r', b'\n', ..] => (4, digits([ones])),
            [b'$', tens @ b'1'..=b'9', ones @ b'0'..=b'9', b'\r', b'\n', ..] => (5, digits([tens, ones])),
            [b'$', hundreds @ b'1'..=b'9', tens @ b'0'..=b'9', ones @ b'0'..=b'9', b'\r', b'\n', ..] => {
                (6, digits([hundreds, tens, ones]))
            }
            _ => return None,
        };
        let end = start + length;
        let DecodeLimits { line_bytes_max, frame_bytes_max, elements_max, .. } = self.limits;
        let is_within_limits = start <= line_bytes_max && end + 2 <= frame_bytes_max && elements_max > 0;
        if !is_within_limits || buffer.get(end..end + 2) != Some(b"\r\n") {
            return None;
        }
        // The line may have been searched in vain while it was not complete.
        self.search = LineSearch::default();
        let mut text = buffer.split_to(end + 2).freeze();
        text.truncate(end);
        text.advance(start);
        Some(text)
    }

    fn advance(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, ProtocolError> {
        loop {
            let value = match self.next_item(buffer)? {
                Item::Unfinished => return Ok(None),
                Item::Opened => continue,
                Item::Value(value) => value,
            };
            if let Some(frame) = self.fold(value) {
                self.consumed_bytes = 0;
                self.elements = 0;
                return Ok(Some(frame));
            }
        }
    }

    fn next_item(&mut self, buffer: &mut BytesMut) -> Result<Item, ProtocolError> {
        let bulk = match self.bulk {
            Some(bulk) => bulk,
            None => match self.next_header(buffer)? {
                None => return Ok(Item::Unfinished),
                Some(Header::Value(frame)) => return Ok(Item::Value(frame)),
                Some(Header::Bulk(bulk)) => bulk,
                Some(Header::Aggregate(kind, length)) => return self.begin(kind, length),
            },
        };
        self.bulk = Some(bulk);
        if buffer.len() < bulk.length + 2 {
            return Ok(Item::Unfinished);
        }
        self.bulk = None;
        self.consumed_bytes += bulk.length + 2;
        let text = buffer.split_to(bulk.length).freeze();
        if !buffer.starts_with(b"\r\n") {
            return Err(ProtocolError::LineEnd);
        }
        buffer.advance(2);
        bulk.kind.frame(text).map(Item::Value)
    }

    fn next_header(&mut self, buffer: &mut BytesMut) -> Result<Option<Header>, ProtocolError> {
        let line_end = self.search.find(buffer);
        if line_end.unwrap_or(buffer.len()) > self.limits.line_bytes_max {
            return Err(ProtocolError::LineTooLong(self.limits.line_bytes_max));
        }
        let Some(line_end) = line_end else { return Ok(None) };
        self.consumed_bytes += line_end;
        self.elements += 1;
        if self.elements > self.limits.elements_max {
            return Err(ProtocolError::TooManyElements(self.limits.elements_max));
        }
        let Some((&kind, rest)) = strip(&buffer[..line_end]).ok_or(ProtocolError::LineEnd)?.split_first()
        else {
            return Err(ProtocolError::UnknownType(b'\r'));
        };
        let header = match kind {
            b'+' | b'-' | b'(' => None,
            _ => Some(parse_header(kind, rest)?),
        };
        let text_bytes = rest.len();
        let header = match header {
            Some(header) => {
                buffer.advance(line_end);
                header
            }
            None => {
                buffer.advance(1);
                let text = buffer.split_to(text_bytes).freeze();
                buffer.advance(2);
                parse_text(kind, text)?
            }
        };
        self.check_size(&header)?;
        Ok(Some(header))
    }

    /// Refuses what announces more than the limits, before any of it is awaited.
    fn check_size(&self, header: &Header) -> Result<(), ProtocolError> {
        let announced_bytes = match header {
            Header::Bulk(bulk) => bulk.length.saturating_add(2),
            Header::Value(_) | Header::Aggregate(..) => 0,
        };
        if self.consumed_bytes.saturating_add(announced_bytes) > self.limits.frame_bytes_max {
            return Err(ProtocolError::FrameTooLong(self.limits.frame_bytes_max));
        }
        if let &Header::Aggregate(kind, length) = header {
            if self.elements.saturating_add(length) > self.limits.elements_max {
                return Err(ProtocolError::TooManyElements(self.limits.elements_max));
            }
            if kind == AggregateKind::Push && !self.open.is_empty() {
                return Err(ProtocolError::PushInside);
            }
        }
        Ok(())
    }

    /// Opens an aggregate. An empty one is complete at once.
    fn begin(&mut self, kind: AggregateKind, length: usize) -> Result<Item, ProtocolError> {
        if self.open.len() >= self.limits.depth_max {
            return Err(ProtocolError::TooDeep(self.limits.depth_max));
        }
        let open = Open::new(kind, length);
        if length > 0 {
            self.open.push(open);
            return Ok(Item::Opened);
        }
        // An empty attribute leaves nothing, as if it had not been there.
        Ok(open.finish().map_or(Item::Opened, Item::Value))
    }

    /// Puts a complete value where it belongs; the top-level frame if that is complete by it.
    fn fold(&mut self, mut value: Frame) -> Option<Frame> {
        while let Some(mut open) = self.open.pop() {
            open.push(value);
            if open.remaining != 0 {
                self.open.push(open);
                return None;
            }
            // An attribute leaves nothing behind: the value that it describes is still to come.
            value = open.finish()?;
        }
        Some(value)
    }
}

impl BulkKind {
    fn frame(self, mut text: Bytes) -> Result<Frame, ProtocolError> {
        match self {
            Self::String => Ok(Frame::Bulk(text)),
            Self::Error => Ok(Frame::Error(text)),
            Self::Verbatim => {
                let &[first, second, third, b':', ..] = &text[..] else {
                    return Err(ProtocolError::Verbatim);
                };
                text.advance(4);
                Ok(Frame::Verbatim { format: [first, second, third], text })
            }
        }
    }
}

impl Open {
    fn new(kind: AggregateKind, length: usize) -> Self {
        let reserved = length.min(ELEMENTS_RESERVED);
        let (elements, pairs) = match kind {
            AggregateKind::Map => (0, reserved),
            AggregateKind::Attribute => (0, 0),
            AggregateKind::Array | AggregateKind::Set | AggregateKind::Push => (reserved, 0),
        };
        Self {
            kind,
            remaining: length,
            elements: Vec::with_capacity(elements),
            pairs: Vec::with_capacity(pairs),
            key: None,
        }
    }

    fn push(&mut self, value: Frame) {
        self.remaining -= 1;
        match self.kind {
            AggregateKind::Map => match self.key.take() {
                Some(key) => self.pairs.push((key, value)),
                None => self.key = Some(value),
            },
            AggregateKind::Attribute => drop(value),
            AggregateKind::Array | AggregateKind::Set | AggregateKind::Push => self.elements.push(value),
        }
    }

    fn finish(self) -> Option<Frame> {
        match self.kind {
            AggregateKind::Array => Some(Frame::Array(self.elements)),
            AggregateKind::Set => Some(Frame::Set(self.elements)),
            AggregateKind::Push => Some(Frame::Push(self.elements)),
            AggregateKind::Map => Some(Frame::Map(self.pairs)),
            AggregateKind::Attribute => None,
        }
    }
}

/// A header line whose text need not be kept.
fn parse_header(kind: u8, rest: &[u8]) -> Result<Header, ProtocolError> {
    let aggregate = |kind, values_per_entry: usize| {
        let length = length_of(rest)?.checked_mul(values_per_entry).ok_or(ProtocolError::Length)?;
        Ok(Header::Aggregate(kind, length))
    };
    let bulk = |kind| Ok(Header::Bulk(PendingBulk { kind, length: length_of(rest)? }));
    match kind {
        b'$' | b'*' if rest == b"-1" => Ok(Header::Value(Frame::Null)),
        b'$' => bulk(BulkKind::String),
        b'!' => bulk(BulkKind::Error),
        b'=' => bulk(BulkKind::Verbatim),
        b'*' => aggregate(AggregateKind::Array, 1),
        b'~' => aggregate(AggregateKind::Set, 1),
        b'>' => aggregate(AggregateKind::Push, 1),
        b'%' => aggregate(AggregateKind::Map, 2),
        b'|' => aggregate(AggregateKind::Attribute, 2),
        b':' => Ok(Header::Value(Frame::Integer(parse_integer(rest).ok_or(ProtocolError::Number)?))),
        b',' => Ok(Header::Value(Frame::Double(parse_double(rest)?))),
        b'_' if rest.is_empty() => Ok(Header::Value(Frame::Null)),
        b'#' if rest == b"t" => Ok(Header::Value(Frame::Boolean(true))),
        b'#' if rest == b"f" => Ok(Header::Value(Frame::Boolean(false))),
        b'_' | b'#' => Err(ProtocolError::LineEnd),
        other => Err(ProtocolError::UnknownType(other)),
    }
}

/// A value that is the text of its own line.
fn parse_text(kind: u8, text: Bytes) -> Result<Header, ProtocolError> {
    match kind {
        b'+' => Ok(Header::Value(Frame::Simple(text))),
        b'-' => Ok(Header::Value(Frame::Error(text))),
        _ => {
            let digits = text.strip_prefix(b"-").or_else(|| text.strip_prefix(b"+")).unwrap_or(&text);
            let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
            is_number.then_some(Header::Value(Frame::BigNumber(text))).ok_or(ProtocolError::Number)
        }
    }
}

/// The number that they write.
fn digits<const COUNT: usize>(digits: [u8; COUNT]) -> usize {
    digits.iter().fold(0, |number, digit| number * 10 + usize::from(digit - b'0'))
}

fn length_of(digits: &[u8]) -> Result<usize, ProtocolError> {
    let length = parse_length(digits).ok_or(ProtocolError::Length)?;
    usize::try_from(length).map_err(|_| ProtocolError::Length)
}

fn parse_double(digits: &[u8]) -> Result<f64, ProtocolError> {
    let text = std::str::from_utf8(digits).map_err(|_| ProtocolError::Number)?;
    text.parse().map_err(|_| ProtocolError::Number)
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
