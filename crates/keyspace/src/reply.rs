//! Where commands put their replies.
//!
//! A command writes its reply piece by piece into a [`Reply`], so that a value goes from the key space to the output
//! buffer with one copy and no tree in between. [`ReplyTree`] is the other implementation: it keeps the reply as a
//! value, for scripts and tests.

use crate::limits::REPLY_ELEMENT_BYTES;

/// A sink for one reply. An aggregate announces its length; its elements follow.
///
/// Implementations degrade the RESP3 kinds for RESP2 clients as Redis does: a map becomes a flat array, a double a bulk
/// string, a boolean an integer.
pub trait Reply {
    /// Whether the reader understands RESP3. A few replies are shaped differently for it.
    fn resp3(&self) -> bool;
    /// A status line of any bytes: scripts make such.
    fn simple_bytes(&mut self, text: &[u8]);
    /// An error line of any bytes, which start with its code.
    fn error_bytes(&mut self, text: &[u8]);
    /// An integer.
    fn integer(&mut self, value: i64);
    /// A binary-safe string.
    fn bulk(&mut self, bytes: &[u8]);
    /// "No such value".
    fn null(&mut self);
    /// "No such list": differs from [`Reply::null`] in RESP2 only.
    fn null_array(&mut self);
    /// `length` replies follow.
    fn array(&mut self, length: usize);
    /// `pairs` times two replies follow.
    fn map(&mut self, pairs: usize);
    /// `length` replies follow, in no order.
    fn set(&mut self, length: usize);
    /// A floating point number.
    fn double(&mut self, value: f64);
    /// A truth value.
    fn boolean(&mut self, value: bool);
    /// An integer of any size, in decimal.
    fn big_number(&mut self, digits: &[u8]);
    /// Text with its format (`txt`, `mkd`).
    fn verbatim(&mut self, format: [u8; 3], text: &[u8]);

    /// A status line.
    fn simple(&mut self, text: &str) {
        self.simple_bytes(text.as_bytes());
    }

    /// An error line; the text starts with its code.
    fn error(&mut self, text: &str) {
        self.error_bytes(text.as_bytes());
    }

    /// The status `OK`.
    fn ok(&mut self) {
        self.simple("OK");
    }

    /// 1 or 0.
    fn truth(&mut self, value: bool) {
        self.integer(i64::from(value));
    }

    /// A length or a count.
    fn count(&mut self, count: usize) {
        self.integer(i64::try_from(count).unwrap_or(i64::MAX));
    }
}

/// A whole reply as a value.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the kinds are those of the trait Reply")]
pub enum ReplyValue {
    Simple(String),
    Error(String),
    Integer(i64),
    Bulk(Vec<u8>),
    Null,
    NullArray,
    Array(Vec<ReplyValue>),
    Map(Vec<ReplyValue>),
    Set(Vec<ReplyValue>),
    Double(f64),
    Boolean(bool),
    BigNumber(Vec<u8>),
    Verbatim([u8; 3], Vec<u8>),
}

/// Collects a reply as a [`ReplyValue`], up to a number of bytes: who reads it holds all of it in memory.
#[derive(Debug)]
pub struct ReplyTree {
    resp3: bool,
    bytes_left: Option<usize>,
    /// Aggregates that are still open, with the number of elements that they wait for.
    open: Vec<(ReplyValue, usize)>,
    done: Option<ReplyValue>,
}

impl ReplyTree {
    /// An empty collector; `resp3` is what commands see as the reader's protocol.
    #[must_use]
    pub fn new(resp3: bool) -> Self {
        Self::bounded(resp3, usize::MAX)
    }

    /// A collector that drops a reply which takes more than `bytes`, counted with [`REPLY_ELEMENT_BYTES`] for each
    /// element.
    #[must_use]
    pub fn bounded(resp3: bool, bytes: usize) -> Self {
        Self { resp3, bytes_left: Some(bytes), open: Vec::new(), done: None }
    }

    /// Whether the reply was too large. Then there is none.
    #[must_use]
    pub fn overflowed(&self) -> bool {
        self.bytes_left.is_none()
    }

    /// The reply, once it is whole.
    #[must_use]
    pub fn finish(self) -> Option<ReplyValue> {
        self.done
    }

    /// Takes an element's share of the bytes, and makes the element only if there is room for it.
    fn add(&mut self, bytes: usize, value: impl FnOnce() -> ReplyValue) {
        let taken = bytes.saturating_add(REPLY_ELEMENT_BYTES);
        self.bytes_left = self.bytes_left.and_then(|left| left.checked_sub(taken));
        if self.bytes_left.is_some() {
            self.push(value());
        } else {
            self.open = Vec::new();
            self.done = None;
        }
    }

    fn push(&mut self, mut value: ReplyValue) {
        loop {
            let Some((aggregate, missing)) = self.open.last_mut() else {
                self.done = Some(value);
                return;
            };
            match aggregate {
                ReplyValue::Array(items) | ReplyValue::Map(items) | ReplyValue::Set(items) => {
                    items.push(value);
                }
                _ => unreachable!("only aggregates are opened"),
            }
            *missing -= 1;
            if *missing > 0 {
                return;
            }
            let Some((whole, _)) = self.open.pop() else { return };
            value = whole;
        }
    }

    fn open(&mut self, aggregate: ReplyValue, length: usize) {
        if length == 0 {
            self.add(0, || aggregate);
        } else if !self.overflowed() {
            self.open.push((aggregate, length));
        }
    }
}

impl Reply for ReplyTree {
    fn resp3(&self) -> bool {
        self.resp3
    }
    fn simple_bytes(&mut self, text: &[u8]) {
        self.add(text.len(), || ReplyValue::Simple(String::from_utf8_lossy(text).into_owned()));
    }
    fn error_bytes(&mut self, text: &[u8]) {
        self.add(text.len(), || ReplyValue::Error(String::from_utf8_lossy(text).into_owned()));
    }
    fn integer(&mut self, value: i64) {
        self.add(0, || ReplyValue::Integer(value));
    }
    fn bulk(&mut self, bytes: &[u8]) {
        self.add(bytes.len(), || ReplyValue::Bulk(bytes.to_vec()));
    }
    fn null(&mut self) {
        self.add(0, || ReplyValue::Null);
    }
    fn null_array(&mut self) {
        self.add(0, || ReplyValue::NullArray);
    }
    fn array(&mut self, length: usize) {
        self.open(ReplyValue::Array(Vec::new()), length);
    }
    fn map(&mut self, pairs: usize) {
        // Scripts that speak RESP2 see a map as a flat list, as every RESP2 reader does.
        let empty = if self.resp3 { ReplyValue::Map(Vec::new()) } else { ReplyValue::Array(Vec::new()) };
        self.open(empty, pairs * 2);
    }
    fn set(&mut self, length: usize) {
        let empty = if self.resp3 { ReplyValue::Set(Vec::new()) } else { ReplyValue::Array(Vec::new()) };
        self.open(empty, length);
    }
    fn double(&mut self, value: f64) {
        let resp3 = self.resp3;
        self.add(0, || match resp3 {
            true => ReplyValue::Double(value),
            false => ReplyValue::Bulk(value.to_string().into_bytes()),
        });
    }
    fn boolean(&mut self, value: bool) {
        let resp3 = self.resp3;
        self.add(0, || match resp3 {
            true => ReplyValue::Boolean(value),
            false => ReplyValue::Integer(i64::from(value)),
        });
    }
    fn big_number(&mut self, digits: &[u8]) {
        let resp3 = self.resp3;
        self.add(digits.len(), || match resp3 {
            true => ReplyValue::BigNumber(digits.to_vec()),
            false => ReplyValue::Bulk(digits.to_vec()),
        });
    }
    fn verbatim(&mut self, format: [u8; 3], text: &[u8]) {
        let resp3 = self.resp3;
        self.add(text.len(), || match resp3 {
            true => ReplyValue::Verbatim(format, text.to_vec()),
            false => ReplyValue::Bulk(text.to_vec()),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_aggregates_close_themselves() {
        let mut tree = ReplyTree::new(false);
        tree.array(3);
        tree.array(0);
        tree.map(1);
        tree.bulk(b"a");
        tree.integer(1);
        tree.null();
        assert_eq!(
            tree.finish(),
            Some(ReplyValue::Array(vec![
                ReplyValue::Array(vec![]),
                ReplyValue::Array(vec![ReplyValue::Bulk(b"a".to_vec()), ReplyValue::Integer(1)]),
                ReplyValue::Null,
            ]))
        );
    }
    #[test]
    fn a_reply_that_is_too_large_is_dropped_as_a_whole() {
        let write = |bytes: usize| {
            let mut tree = ReplyTree::bounded(false, bytes);
            tree.array(2);
            tree.bulk(b"0123456789");
            tree.array(1);
            tree.bulk(b"0123456789");
            (tree.overflowed(), tree.finish().is_some())
        };
        let needed = 2 * (10 + REPLY_ELEMENT_BYTES);
        assert_eq!(write(needed), (false, true));
        assert_eq!(write(needed - 1), (true, false));
    }
}
