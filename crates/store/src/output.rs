//! The replies of one connection, as bytes on their way out.

use bowline_keyspace::Reply;
use bowline_resp::{Frame, Protocol, encode, encode_array_header, encode_bulk};
use bytes::{BufMut, BytesMut};

use crate::limits::OUTPUT_BYTES_MAX;

/// Collects replies in one dialect. When they pass the limit the rest is dropped, and the client must be cut off.
#[derive(Debug)]
pub(crate) struct Output {
    pub buffer: BytesMut,
    protocol: Protocol,
    overflowed: bool,
}

impl Output {
    pub fn new() -> Self {
        Self { buffer: BytesMut::new(), protocol: Protocol::Resp2, overflowed: false }
    }

    pub fn set_protocol(&mut self, protocol: Protocol) {
        self.protocol = protocol;
    }

    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Whether replies were dropped.
    pub fn overflowed(&self) -> bool {
        self.overflowed
    }

    fn is_full(&mut self, more: usize) -> bool {
        self.overflowed |= self.buffer.len().saturating_add(more) > OUTPUT_BYTES_MAX;
        self.overflowed
    }

    fn frame(&mut self, frame: &Frame) {
        if !self.is_full(0) {
            encode(frame, self.protocol, &mut self.buffer);
        }
    }

    fn header(&mut self, resp3: u8, resp3_length: usize, resp2_length: usize) {
        if self.is_full(0) {
            return;
        }
        if self.protocol == Protocol::Resp2 {
            encode_array_header(resp2_length, &mut self.buffer);
            return;
        }
        self.buffer.put_u8(resp3);
        self.buffer.put_slice(itoa::Buffer::new().format(resp3_length).as_bytes());
        self.buffer.put_slice(b"\r\n");
    }
}

impl Reply for Output {
    fn resp3(&self) -> bool {
        self.protocol == Protocol::Resp3
    }
    fn simple_bytes(&mut self, text: &[u8]) {
        match text {
            _ if self.is_full(text.len()) => {}
            // The two that are sent most need no look for line breaks.
            b"OK" => self.buffer.put_slice(b"+OK\r\n"),
            b"PONG" => self.buffer.put_slice(b"+PONG\r\n"),
            text => encode(&Frame::Simple(text.to_owned().into()), self.protocol, &mut self.buffer),
        }
    }
    fn error_bytes(&mut self, text: &[u8]) {
        self.frame(&Frame::Error(text.to_owned().into()));
    }
    fn integer(&mut self, value: i64) {
        self.frame(&Frame::Integer(value));
    }
    fn bulk(&mut self, bytes: &[u8]) {
        if !self.is_full(bytes.len()) {
            encode_bulk(bytes, &mut self.buffer);
        }
    }
    fn null(&mut self) {
        self.frame(&Frame::Null);
    }
    fn null_array(&mut self) {
        self.frame(&Frame::NullArray);
    }
    fn array(&mut self, length: usize) {
        self.header(b'*', length, length);
    }
    fn map(&mut self, pairs: usize) {
        self.header(b'%', pairs, pairs * 2);
    }
    fn set(&mut self, length: usize) {
        self.header(b'~', length, length);
    }
    fn double(&mut self, value: f64) {
        self.frame(&Frame::Double(value));
    }
    fn boolean(&mut self, value: bool) {
        self.frame(&Frame::Boolean(value));
    }
    fn big_number(&mut self, digits: &[u8]) {
        self.frame(&Frame::BigNumber(digits.to_vec().into()));
    }
    fn verbatim(&mut self, format: [u8; 3], text: &[u8]) {
        self.frame(&Frame::Verbatim { format, text: text.to_vec().into() });
    }
}
