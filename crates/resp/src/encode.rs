//! Values to bytes.
//!
//! What RESP2 lacks degrades as Redis does it in `networking.c`: a map becomes a flat array, a set and a push an array, a
//! boolean an integer, a double, big number and verbatim text a bulk string, a null a null bulk string.

use bytes::{BufMut, Bytes, BytesMut};

use crate::double::write_double;
use crate::frame::{Frame, Protocol};

/// Room for a type byte, a length and CR LF.
const HEADER_BYTES: usize = 24;

/// Appends `frame` to `out` in the dialect `protocol`.
pub fn encode(frame: &Frame, protocol: Protocol, out: &mut BytesMut) {
    let resp3 = protocol == Protocol::Resp3;
    match frame {
        Frame::Simple(text) => put_line(b'+', text, out),
        Frame::Error(text) => put_line(b'-', text, out),
        Frame::Integer(number) => put_number(b':', *number, out),
        Frame::Bulk(bytes) => encode_bulk(bytes, out),
        Frame::Null => out.put_slice(if resp3 { b"_\r\n" } else { b"$-1\r\n" }),
        Frame::NullArray => out.put_slice(if resp3 { b"_\r\n" } else { b"*-1\r\n" }),
        Frame::Array(elements) => put_elements(b'*', elements, protocol, out),
        Frame::Set(elements) => put_elements(if resp3 { b'~' } else { b'*' }, elements, protocol, out),
        Frame::Push(elements) => put_elements(if resp3 { b'>' } else { b'*' }, elements, protocol, out),
        Frame::Map(pairs) => {
            put_header(
                if resp3 { b'%' } else { b'*' },
                if resp3 { pairs.len() } else { pairs.len() * 2 },
                out,
            );
            for (key, value) in pairs {
                encode(key, protocol, out);
                encode(value, protocol, out);
            }
        }
        Frame::Double(number) => put_double(*number, protocol, out),
        Frame::Boolean(value) if resp3 => out.put_slice(if *value { b"#t\r\n" } else { b"#f\r\n" }),
        Frame::Boolean(value) => put_number(b':', i64::from(*value), out),
        Frame::BigNumber(digits) if resp3 => put_line(b'(', digits, out),
        Frame::BigNumber(digits) => encode_bulk(digits, out),
        Frame::Verbatim { format, text } if resp3 => {
            put_header(b'=', format.len() + 1 + text.len(), out);
            out.put_slice(format);
            out.put_u8(b':');
            put_tail(text, out);
        }
        Frame::Verbatim { text, .. } => encode_bulk(text, out),
    }
}

/// Appends a request: an array of bulk strings.
pub fn encode_command<'a>(arguments: impl ExactSizeIterator<Item = &'a [u8]>, out: &mut BytesMut) {
    encode_array_header(arguments.len(), out);
    for argument in arguments {
        encode_bulk(argument, out);
    }
}

/// Appends the header of an array; `length` values have to follow.
pub fn encode_array_header(length: usize, out: &mut BytesMut) {
    put_header(b'*', length, out);
}

/// Appends one bulk string.
pub fn encode_bulk(bytes: &[u8], out: &mut BytesMut) {
    out.reserve(HEADER_BYTES + bytes.len());
    put_header(b'$', bytes.len(), out);
    put_tail(bytes, out);
}

fn put_elements(kind: u8, elements: &[Frame], protocol: Protocol, out: &mut BytesMut) {
    put_header(kind, elements.len(), out);
    for element in elements {
        encode(element, protocol, out);
    }
}

fn put_double(number: f64, protocol: Protocol, out: &mut BytesMut) {
    match protocol {
        Protocol::Resp3 => {
            out.put_u8(b',');
            write_double(number, out);
            out.put_slice(b"\r\n");
        }
        Protocol::Resp2 => {
            let mut text = BytesMut::with_capacity(HEADER_BYTES);
            write_double(number, &mut text);
            encode_bulk(&text, out);
        }
    }
}

fn put_header(kind: u8, length: usize, out: &mut BytesMut) {
    out.reserve(HEADER_BYTES);
    out.put_u8(kind);
    out.put_slice(itoa::Buffer::new().format(length).as_bytes());
    out.put_slice(b"\r\n");
}

fn put_number(kind: u8, number: i64, out: &mut BytesMut) {
    out.reserve(HEADER_BYTES);
    out.put_u8(kind);
    out.put_slice(itoa::Buffer::new().format(number).as_bytes());
    out.put_slice(b"\r\n");
}

/// A line cannot hold line breaks: they would end it early and everything after them would be taken for the next reply.
fn put_line(kind: u8, text: &Bytes, out: &mut BytesMut) {
    out.reserve(HEADER_BYTES + text.len());
    out.put_u8(kind);
    if memchr::memchr2(b'\r', b'\n', text).is_none() {
        out.put_slice(text);
    } else {
        out.extend(text.iter().map(|&byte| if byte == b'\r' || byte == b'\n' { b' ' } else { byte }));
    }
    out.put_slice(b"\r\n");
}

fn put_tail(bytes: &[u8], out: &mut BytesMut) {
    out.put_slice(bytes);
    out.put_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(frame: &Frame, resp2: &str, resp3: &str) {
        for (protocol, expected) in [(Protocol::Resp2, resp2), (Protocol::Resp3, resp3)] {
            let mut out = BytesMut::new();
            encode(frame, protocol, &mut out);
            assert_eq!(String::from_utf8_lossy(&out), expected, "{frame:?} in {protocol:?}");
        }
    }

    #[test]
    fn every_type_degrades_as_in_redis() {
        let bulk = |text: &'static str| Frame::bulk(text);
        check(&Frame::ok(), "+OK\r\n", "+OK\r\n");
        check(&Frame::error("ERR a\r\nb"), "-ERR a  b\r\n", "-ERR a  b\r\n");
        check(&Frame::Integer(i64::MIN), ":-9223372036854775808\r\n", ":-9223372036854775808\r\n");
        check(&bulk(""), "$0\r\n\r\n", "$0\r\n\r\n");
        check(&bulk("a\r\nb"), "$4\r\na\r\nb\r\n", "$4\r\na\r\nb\r\n");
        check(&Frame::Null, "$-1\r\n", "_\r\n");
        check(&Frame::NullArray, "*-1\r\n", "_\r\n");
        check(&Frame::Array(vec![]), "*0\r\n", "*0\r\n");
        check(
            &Frame::Map(vec![(bulk("a"), Frame::Integer(1))]),
            "*2\r\n$1\r\na\r\n:1\r\n",
            "%1\r\n$1\r\na\r\n:1\r\n",
        );
        check(&Frame::Set(vec![bulk("a")]), "*1\r\n$1\r\na\r\n", "~1\r\n$1\r\na\r\n");
        check(&Frame::Push(vec![bulk("a")]), "*1\r\n$1\r\na\r\n", ">1\r\n$1\r\na\r\n");
        check(&Frame::Double(0.1), "$3\r\n0.1\r\n", ",0.1\r\n");
        check(&Frame::Double(f64::NEG_INFINITY), "$4\r\n-inf\r\n", ",-inf\r\n");
        check(&Frame::Boolean(true), ":1\r\n", "#t\r\n");
        check(&Frame::Boolean(false), ":0\r\n", "#f\r\n");
        check(&Frame::BigNumber("123".into()), "$3\r\n123\r\n", "(123\r\n");
        check(&Frame::Verbatim { format: *b"txt", text: "hi".into() }, "$2\r\nhi\r\n", "=6\r\ntxt:hi\r\n");
        check(
            &Frame::Array(vec![Frame::Map(vec![(bulk("k"), Frame::Set(vec![]))]), Frame::NullArray]),
            "*2\r\n*2\r\n$1\r\nk\r\n*0\r\n*-1\r\n",
            "*2\r\n%1\r\n$1\r\nk\r\n~0\r\n_\r\n",
        );
    }

    #[test]
    fn a_command_is_an_array_of_bulk_strings() {
        let mut out = BytesMut::new();
        encode_command([b"GET".as_slice(), b"k"].into_iter(), &mut out);
        assert_eq!(&out[..], b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n");
    }
}
