//! Tests of the reply decoder: a table, and the properties that hold for any bytes and any cut.

use proptest::prelude::*;

use super::*;
use crate::encode::encode;
use crate::frame::Protocol;

fn small_limits() -> DecodeLimits {
    DecodeLimits { line_bytes_max: 64, frame_bytes_max: 4096, elements_max: 64, depth_max: 4 }
}

/// Everything that a stream holds, fed in pieces that end at `cuts`, and the error that ended it.
fn decode_in_pieces(
    bytes: &[u8],
    cuts: &[usize],
    limits: DecodeLimits,
) -> (Vec<Frame>, Option<ProtocolError>, bool) {
    let mut decoder = Decoder::new(limits);
    let mut buffer = BytesMut::new();
    let mut frames = Vec::new();
    let mut start = 0;
    for end in cuts.iter().copied().chain([bytes.len()]) {
        buffer.extend_from_slice(&bytes[start..end]);
        start = end;
        loop {
            match decoder.decode(&mut buffer) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(decoder.decode(&mut buffer), Err(error), "an error stays");
                    return (frames, Some(error), false);
                }
            }
        }
    }
    (frames, None, decoder.is_mid_frame() || !buffer.is_empty())
}

fn check(bytes: &str, expected: Result<Frame, ProtocolError>) {
    let whole = decode_in_pieces(bytes.as_bytes(), &[], small_limits());
    let every_byte: Vec<usize> = (0..bytes.len()).collect();
    assert_eq!(
        decode_in_pieces(bytes.as_bytes(), &every_byte, small_limits()),
        whole,
        "{bytes:?} byte by byte"
    );
    match expected {
        Ok(frame) => assert_eq!(whole, (vec![frame], None, false), "{bytes:?}"),
        Err(error) => assert_eq!(whole, (vec![], Some(error), false), "{bytes:?}"),
    }
}

#[test]
fn every_type_is_read() {
    let bulk = |text: &'static str| Frame::bulk(text);
    check("+OK\r\n", Ok(Frame::ok()));
    check("-ERR no\r\n", Ok(Frame::error("ERR no")));
    check("!6\r\nERR a\n\r\n", Ok(Frame::error("ERR a\n")));
    check(":-12\r\n", Ok(Frame::Integer(-12)));
    check("$4\r\na\r\nb\r\n", Ok(bulk("a\r\nb")));
    check("$0\r\n\r\n", Ok(bulk("")));
    check("$-1\r\n", Ok(Frame::Null));
    check("*-1\r\n", Ok(Frame::Null));
    check("_\r\n", Ok(Frame::Null));
    check("*0\r\n", Ok(Frame::Array(vec![])));
    check(
        "*2\r\n*1\r\n:1\r\n$1\r\na\r\n",
        Ok(Frame::Array(vec![Frame::Array(vec![Frame::Integer(1)]), bulk("a")])),
    );
    check(
        "%1\r\n+a\r\n~1\r\n#t\r\n",
        Ok(Frame::Map(vec![(Frame::Simple("a".into()), Frame::Set(vec![Frame::Boolean(true)]))])),
    );
    check(">2\r\n+a\r\n#f\r\n", Ok(Frame::Push(vec![Frame::Simple("a".into()), Frame::Boolean(false)])));
    check(",1.5\r\n", Ok(Frame::Double(1.5)));
    check(",-inf\r\n", Ok(Frame::Double(f64::NEG_INFINITY)));
    check(
        "(-123456789012345678901234567890\r\n",
        Ok(Frame::BigNumber("-123456789012345678901234567890".into())),
    );
    check("=7\r\ntxt:a\r\n\r\n", Ok(Frame::Verbatim { format: *b"txt", text: "a\r\n".into() }));
}

#[test]
fn attributes_are_dropped_wherever_they_stand() {
    check("|1\r\n+ttl\r\n:1\r\n$1\r\na\r\n", Ok(Frame::bulk("a")));
    check("|0\r\n+OK\r\n", Ok(Frame::ok()));
    check(
        "*2\r\n:1\r\n|1\r\n+a\r\n*1\r\n:9\r\n:2\r\n",
        Ok(Frame::Array(vec![Frame::Integer(1), Frame::Integer(2)])),
    );
}

#[test]
fn what_is_not_resp_is_refused_for_good() {
    check("?\r\n", Err(ProtocolError::UnknownType(b'?')));
    check("\r\n", Err(ProtocolError::UnknownType(b'\r')));
    check("HTTP/1.1 200 OK\r\n", Err(ProtocolError::UnknownType(b'H')));
    check("+OK\n", Err(ProtocolError::LineEnd));
    check("$1\r\nabc\r\n", Err(ProtocolError::LineEnd));
    check("#x\r\n", Err(ProtocolError::LineEnd));
    check("_x\r\n", Err(ProtocolError::LineEnd));
    check(":1x\r\n", Err(ProtocolError::Number));
    check(",one\r\n", Err(ProtocolError::Number));
    check("(1x\r\n", Err(ProtocolError::Number));
    check("$-2\r\n", Err(ProtocolError::Length));
    check("$?\r\n", Err(ProtocolError::Length));
    check("%-1\r\n", Err(ProtocolError::Length));
    check("*01\r\n", Err(ProtocolError::Length));
    check("%9223372036854775807\r\n", Err(ProtocolError::TooManyElements(64)));
    check("=3\r\ntxt\r\n", Err(ProtocolError::Verbatim));
    check("*1\r\n>1\r\n+a\r\n", Err(ProtocolError::PushInside));
}

#[test]
fn every_limit_is_kept() {
    check(&format!("+{}", "a".repeat(64)), Err(ProtocolError::LineTooLong(64)));
    check(&format!("+{}\r\n", "a".repeat(62)), Err(ProtocolError::LineTooLong(64)));
    check("$4095\r\n", Err(ProtocolError::FrameTooLong(4096)));
    check("$9223372036854775807\r\n", Err(ProtocolError::FrameTooLong(4096)));
    check("*64\r\n", Err(ProtocolError::TooManyElements(64)));
    check("*9223372036854775807\r\n", Err(ProtocolError::TooManyElements(64)));
    check(&"*1\r\n".repeat(5), Err(ProtocolError::TooDeep(4)));
    // Attributes count as well, though nothing of them is kept.
    check(&"|0\r\n".repeat(65), Err(ProtocolError::TooManyElements(64)));
}

#[test]
fn nothing_is_allocated_by_an_announced_length() {
    let mut decoder = Decoder::new(DecodeLimits::default());
    let mut buffer = BytesMut::from("*1000000\r\n".repeat(60).as_str());
    buffer.extend_from_slice(b"$500000000\r\n");
    assert_eq!(decoder.decode(&mut buffer), Ok(None));
    assert_eq!(decoder.open.len(), 60);
    assert!(decoder.open.iter().all(|open| open.elements.capacity() <= ELEMENTS_RESERVED));
    assert!(buffer.capacity() < 1024);
}

#[test]
fn counters_begin_anew_with_every_frame() {
    let bytes = "*3\r\n:1\r\n:2\r\n:3\r\n".repeat(100);
    let (frames, error, unfinished) = decode_in_pieces(bytes.as_bytes(), &[], small_limits());
    assert_eq!((frames.len(), error, unfinished), (100, None, false));
}

#[test]
fn an_unfinished_frame_is_reported_as_such() {
    for bytes in ["*2\r\n:1\r\n", "$5\r\nab", "$5\r\n", "|1\r\n:1\r\n:1\r\n", "+O"] {
        assert_eq!(
            decode_in_pieces(bytes.as_bytes(), &[], small_limits()),
            (vec![], None, true),
            "{bytes:?}"
        );
    }
}

#[test]
fn strings_are_slices_of_what_was_read() {
    let mut buffer = BytesMut::from(&b"*2\r\n$5\r\nhello\r\n$5\r\nworld\r\n"[..]);
    let range = buffer.as_ptr_range();
    let frame = Decoder::new(DecodeLimits::default()).decode(&mut buffer).unwrap().unwrap();
    for element in frame.into_elements().unwrap() {
        assert!(range.contains(&element.as_bytes().unwrap().as_ptr()));
    }
}

/// Any value that a server may send in RESP3 inside of another.
fn any_frame() -> impl Strategy<Value = Frame> {
    let text = "[ -~]{0,12}".prop_map(Bytes::from);
    let bytes = prop::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from);
    let leaf = prop_oneof![
        text.clone().prop_map(Frame::Simple),
        text.prop_map(Frame::Error),
        any::<i64>().prop_map(Frame::Integer),
        bytes.clone().prop_map(Frame::Bulk),
        Just(Frame::Null),
        prop::num::f64::NORMAL.prop_map(Frame::Double),
        any::<bool>().prop_map(Frame::Boolean),
        "-?[0-9]{1,30}".prop_map(|digits| Frame::BigNumber(digits.into())),
        bytes.prop_map(|text| Frame::Verbatim { format: *b"txt", text }),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Frame::Array),
            prop::collection::vec(inner.clone(), 0..5).prop_map(Frame::Set),
            prop::collection::vec((inner.clone(), inner), 0..3).prop_map(Frame::Map),
        ]
    })
}

fn any_reply() -> impl Strategy<Value = Frame> {
    prop_oneof![4 => any_frame(), 1 => prop::collection::vec(any_frame(), 0..5).prop_map(Frame::Push)]
}

/// What a frame reads back as when it was written in RESP2.
fn degraded(frame: Frame) -> Frame {
    match frame {
        Frame::Array(elements) | Frame::Set(elements) | Frame::Push(elements) => {
            Frame::Array(elements.into_iter().map(degraded).collect())
        }
        Frame::Map(pairs) => Frame::Array(
            pairs.into_iter().flat_map(|(key, value)| [degraded(key), degraded(value)]).collect(),
        ),
        Frame::Boolean(value) => Frame::Integer(i64::from(value)),
        Frame::BigNumber(text) | Frame::Verbatim { text, .. } => Frame::Bulk(text),
        Frame::Double(number) => {
            let mut text = BytesMut::new();
            crate::write_double(number, &mut text);
            Frame::Bulk(text.freeze())
        }
        other => other,
    }
}

proptest! {
    #[test]
    fn what_was_written_reads_back_however_it_is_cut(
        frames in prop::collection::vec(any_reply(), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        for protocol in [Protocol::Resp2, Protocol::Resp3] {
            let mut bytes = BytesMut::new();
            frames.iter().for_each(|frame| encode(frame, protocol, &mut bytes));
            let expected: Vec<Frame> = match protocol {
                Protocol::Resp3 => frames.clone(),
                Protocol::Resp2 => frames.iter().cloned().map(degraded).collect(),
            };
            let expected = (expected, None, false);
            let limits = DecodeLimits::default();
            prop_assert_eq!(&decode_in_pieces(&bytes, &[cut.index(bytes.len())], limits), &expected);
            let every_byte: Vec<usize> = (0..bytes.len()).collect();
            prop_assert_eq!(&decode_in_pieces(&bytes, &every_byte, limits), &expected);
        }
    }

    #[test]
    fn any_bytes_are_read_the_same_in_every_cut_and_without_a_panic(
        bytes in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..200),
            // Bytes that look like RESP get further.
            "([-+:$*%~>|#,(=!_]-?[0-9]{0,3}\r\n|[a-z]{1,3}\r\n|[tf]\r\n){0,30}".prop_map(String::into_bytes),
        ],
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        let whole = decode_in_pieces(&bytes, &[], small_limits());
        prop_assert_eq!(&decode_in_pieces(&bytes, &cuts, small_limits()), &whole);
    }
}
