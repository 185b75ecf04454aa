//! Where commands put their replies.
//!
//! A command writes its reply piece by piece into a [`Reply`], so that a value goes from the key space to the output
//! buffer with one copy and no tree in between. [`ReplyTree`] is the other implementation: it keeps the reply as a
//! value, for scripts and tests.

/// A sink for one reply. An aggregate announces its length; its elements follow.
///
/// Implementations degrade the RESP3 kinds for RESP2 clients as Redis does: a map becomes a flat array, a double a bulk
/// string, a boolean an integer.
pub trait Reply {
    /// Whether the reader understands RESP3. A few replies are shaped differently for it.
    fn resp3(&self) -> bool;
    /// A status line.
    fn simple(&mut self, text: &str);
    /// An error line; the text starts with its code.
    fn error(&mut self, text: &str);
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

/// Collects a reply as a [`ReplyValue`].
#[derive(Debug, Default)]
pub struct ReplyTree {
    resp3: bool,
    /// Aggregates that are still open, with the number of elements that they wait for.
    open: Vec<(ReplyValue, usize)>,
    done: Option<ReplyValue>,
}

impl ReplyTree {
    /// An empty collector; `resp3` is what commands see as the reader's protocol.
    #[must_use]
    pub fn new(resp3: bool) -> Self {
        Self { resp3, ..Self::default() }
    }

    /// The reply, once it is whole.
    #[must_use]
    pub fn finish(self) -> Option<ReplyValue> {
        self.done
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
            self.push(aggregate);
        } else {
            self.open.push((aggregate, length));
        }
    }
}

impl Reply for ReplyTree {
    fn resp3(&self) -> bool {
        self.resp3
    }
    fn simple(&mut self, text: &str) {
        self.push(ReplyValue::Simple(text.to_owned()));
    }
    fn error(&mut self, text: &str) {
        self.push(ReplyValue::Error(text.to_owned()));
    }
    fn integer(&mut self, value: i64) {
        self.push(ReplyValue::Integer(value));
    }
    fn bulk(&mut self, bytes: &[u8]) {
        self.push(ReplyValue::Bulk(bytes.to_vec()));
    }
    fn null(&mut self) {
        self.push(ReplyValue::Null);
    }
    fn null_array(&mut self) {
        self.push(ReplyValue::NullArray);
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
        if self.resp3 {
            self.push(ReplyValue::Double(value));
        } else {
            self.push(ReplyValue::Bulk(value.to_string().into_bytes()));
        }
    }
    fn boolean(&mut self, value: bool) {
        if self.resp3 {
            self.push(ReplyValue::Boolean(value));
        } else {
            self.push(ReplyValue::Integer(i64::from(value)));
        }
    }
    fn big_number(&mut self, digits: &[u8]) {
        if self.resp3 {
            self.push(ReplyValue::BigNumber(digits.to_vec()));
        } else {
            self.push(ReplyValue::Bulk(digits.to_vec()));
        }
    }
    fn verbatim(&mut self, format: [u8; 3], text: &[u8]) {
        if self.resp3 {
            self.push(ReplyValue::Verbatim(format, text.to_vec()));
        } else {
            self.push(ReplyValue::Bulk(text.to_vec()));
        }
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
}
