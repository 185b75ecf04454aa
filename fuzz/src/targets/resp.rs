//! RESP: replies as a client reads them, and requests as a server does.

use bowline_resp::{
    DecodeLimits, Decoder, Frame, Protocol, ProtocolError, RequestDecoder, RequestLimits, encode,
    encode_command,
};
use bytes::{Bytes, BytesMut};

use crate::Target;

/// Replies: any cut gives the same frames, and a frame survives being encoded and decoded.
pub const REPLY: Target = Target {
    name: "resp_reply",
    samples: &[
        b"+OK\r\n-ERR no\r\n:-12\r\n$3\r\nabc\r\n*2\r\n$1\r\na\r\n$-1\r\n*-1\r\n",
        b"%2\r\n+a\r\n,1.5\r\n+b\r\n#t\r\n~1\r\n_\r\n>2\r\n+push\r\n:1\r\n",
        b"=7\r\ntxt:abc\r\n(123456789012345678901234567890\r\n|1\r\n+k\r\n+v\r\n+value\r\n,inf\r\n,nan\r\n",
        b"*1\r\n*1\r\n*1\r\n*0\r\n!5\r\nERR a\r\n",
    ],
    run: reply,
};

/// Requests: any cut gives the same arguments, and limits hold.
pub const REQUEST: Target = Target {
    name: "resp_request",
    samples: &[
        b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$0\r\n\r\n*1\r\n$4\r\nPING\r\n",
        b"a b c d e f g h i j k l m n o p\r\n",
        b"PING\r\nset k \"a\\x41\\n\" 'b\\'c'\r\n\r\nget k\n",
        b"*0\r\n*-1\r\n*1\r\n$-1\r\n",
    ],
    run: request,
};

/// Small, so that inputs of a fuzzer's size reach them.
const LIMITS: DecodeLimits =
    DecodeLimits { line_bytes_max: 256, frame_bytes_max: 1024, elements_max: 64, depth_max: 8 };

/// What came out of a stream: values, and how it ended.
type Outcome<T> = (Vec<T>, Option<ProtocolError>);

fn reply(input: &[u8]) {
    let whole = decode_replies(input, usize::MAX);
    // The first byte also chooses where to cut.
    let cut = usize::from(input.first().copied().unwrap_or(0) % 7) + 1;
    assert_same(&whole, &decode_replies(input, cut));
    for frame in &whole.0 {
        let mut bytes = BytesMut::new();
        encode(frame, Protocol::Resp3, &mut bytes);
        let again = decode_with(&bytes, usize::MAX, DecodeLimits::default());
        assert_eq!(again.1, None, "what we encode, we decode: {frame:?}");
        // Compared as bytes: NaN is not equal to itself.
        let mut twice = BytesMut::new();
        again.0.iter().for_each(|frame| encode(frame, Protocol::Resp3, &mut twice));
        assert_eq!(bytes, twice);
        let mut degraded = BytesMut::new();
        encode(frame, Protocol::Resp2, &mut degraded);
        assert_eq!(decode_with(&degraded, usize::MAX, DecodeLimits::default()).1, None, "{frame:?}");
    }
}

fn decode_replies(input: &[u8], cut: usize) -> Outcome<Frame> {
    decode_with(input, cut, LIMITS)
}

fn decode_with(input: &[u8], cut: usize, limits: DecodeLimits) -> Outcome<Frame> {
    let mut decoder = Decoder::new(limits);
    decode_all(input, cut, |buffer| decoder.decode(buffer))
}

fn request(input: &[u8]) {
    let whole = decode_requests(input, usize::MAX);
    let cut = usize::from(input.first().copied().unwrap_or(0) % 5) + 1;
    assert_same(&whole, &decode_requests(input, cut));
    for arguments in &whole.0 {
        assert!(
            arguments.iter().all(|argument| argument.len() <= RequestLimits::UNAUTHENTICATED.bulk_bytes_max)
        );
        let mut bytes = BytesMut::new();
        encode_command(arguments.iter().map(|argument| argument.as_ref()), &mut bytes);
        // An inline request is bounded in bytes, not in arguments, so more of them may come out than an array may hold
        // before authentication; Redis does the same.
        let again = decode_requests_with(&bytes, usize::MAX, RequestLimits::default());
        // A request of no arguments is skipped by the decoder, as Redis does.
        let expected = if arguments.is_empty() { &[][..] } else { std::slice::from_ref(arguments) };
        assert_eq!((again.0.as_slice(), again.1), (expected, None));
    }
}

fn decode_requests(input: &[u8], cut: usize) -> Outcome<Vec<Bytes>> {
    decode_requests_with(input, cut, RequestLimits::UNAUTHENTICATED)
}

fn decode_requests_with(input: &[u8], cut: usize, limits: RequestLimits) -> Outcome<Vec<Bytes>> {
    let mut decoder = RequestDecoder::new(limits);
    decode_all(input, cut, |buffer| decoder.decode(buffer))
}

/// Feeds a decoder with pieces of `cut` bytes.
fn decode_all<T>(
    input: &[u8],
    cut: usize,
    mut decode: impl FnMut(&mut BytesMut) -> Result<Option<T>, ProtocolError>,
) -> Outcome<T> {
    let mut buffer = BytesMut::new();
    let mut values = Vec::new();
    for piece in input.chunks(cut.min(input.len().max(1))) {
        buffer.extend_from_slice(piece);
        loop {
            match decode(&mut buffer) {
                Ok(Some(value)) => values.push(value),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(decode(&mut buffer).err(), Some(error), "an error stays");
                    return (values, Some(error));
                }
            }
        }
    }
    (values, None)
}

/// Both outcomes are the same, as far as NaN lets one compare.
fn assert_same<T: std::fmt::Debug>(one: &Outcome<T>, other: &Outcome<T>) {
    assert_eq!(format!("{one:?}"), format!("{other:?}"), "how the bytes were cut shows");
}
