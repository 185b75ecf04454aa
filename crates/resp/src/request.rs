//! Bytes to requests: the server's side.
//!
//! A request is an array of bulk strings, or, from a person at a terminal, a line of words. Rules and error texts are those of
//! Redis' `processMultibulkBuffer` and `processInlineBuffer`.

use bytes::{Buf, Bytes, BytesMut};

use crate::error::ProtocolError;
use crate::inline;
use crate::limits::{ELEMENTS_RESERVED, RequestLimits};
use crate::line::{LineSearch, parse_length, strip};

/// Takes requests out of a stream of bytes. See [`Decoder`](crate::Decoder) for how it treats cuts and errors.
#[derive(Debug)]
pub struct RequestDecoder {
    limits: RequestLimits,
    lines: LineSearch,
    /// The array that is not complete.
    partial: Option<Partial>,
    failed: Option<ProtocolError>,
}

/// A request of which the number of arguments is known.
#[derive(Debug)]
struct Partial {
    arguments: Vec<Bytes>,
    /// Arguments in all; at least one.
    count: usize,
    /// Length of the next argument, once its header was read.
    bulk: Option<usize>,
    /// Bytes of the request that were announced or consumed.
    request_bytes: usize,
}

/// What the first line of a request turned out to be.
enum Begun {
    /// The whole request.
    Inline(Vec<Bytes>),
    /// An array follows.
    Array(Partial),
    /// An empty line or array, which asks for nothing.
    Nothing,
}

impl RequestDecoder {
    /// A decoder at the beginning of a stream.
    #[must_use]
    pub fn new(limits: RequestLimits) -> Self {
        Self { limits, lines: LineSearch::default(), partial: None, failed: None }
    }

    /// Changes the limits, for what is not yet read: a client that has authenticated may send more.
    pub fn set_limits(&mut self, limits: RequestLimits) {
        self.limits = limits;
    }

    /// Whether a request has begun and is not complete, apart from what is still in the buffer.
    #[must_use]
    pub const fn is_mid_request(&self) -> bool {
        self.partial.is_some()
    }

    /// Takes the next request out of `buffer`: the command's name and its arguments, at least one word in all. `None` if more
    /// bytes are needed. Empty lines and empty arrays are skipped. The arguments are slices of `buffer`; copy what is kept
    /// beyond the request, or it keeps the whole buffer alive.
    ///
    /// # Errors
    /// What is wrong with the stream; from then on always the same.
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Vec<Bytes>>, ProtocolError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        self.advance(buffer).inspect_err(|&error| {
            *self = Self { failed: Some(error), ..Self::new(self.limits) };
        })
    }

    fn advance(&mut self, buffer: &mut BytesMut) -> Result<Option<Vec<Bytes>>, ProtocolError> {
        let mut partial = loop {
            if let Some(partial) = self.partial.take() {
                break partial;
            }
            match self.begin(buffer)? {
                None => return Ok(None),
                Some(Begun::Inline(words)) => return Ok(Some(words)),
                Some(Begun::Array(partial)) => break partial,
                Some(Begun::Nothing) => {}
            }
        };
        while let Some(argument) = self.next_argument(&mut partial, buffer)? {
            partial.arguments.push(argument);
            if partial.arguments.len() == partial.count {
                return Ok(Some(partial.arguments));
            }
        }
        self.partial = Some(partial);
        Ok(None)
    }

    /// Reads the first line of a request.
    fn begin(&mut self, buffer: &mut BytesMut) -> Result<Option<Begun>, ProtocolError> {
        if buffer.first().is_some_and(|&first| first != b'*') {
            let Some(length) = self.line_length(buffer, ProtocolError::InlineTooLong)? else {
                return Ok(None);
            };
            let words = inline::split(&buffer[..length])?;
            buffer.advance(length);
            return Ok(Some(if words.is_empty() { Begun::Nothing } else { Begun::Inline(words) }));
        }
        let Some(length) = self.line_length(buffer, ProtocolError::CountLineTooLong)? else {
            return Ok(None);
        };
        let digits = strip(&buffer[..length]).ok_or(ProtocolError::LineEnd)?;
        let count = parse_length(&digits[1..]).ok_or(ProtocolError::ArgumentCount)?;
        buffer.advance(length);
        let Ok(count @ 1..) = usize::try_from(count) else { return Ok(Some(Begun::Nothing)) };
        if count > self.limits.arguments_max {
            return Err(match self.limits.authenticated {
                true => ProtocolError::ArgumentCount,
                false => ProtocolError::UnauthenticatedArgumentCount,
            });
        }
        let arguments = Vec::with_capacity(count.min(ELEMENTS_RESERVED));
        Ok(Some(Begun::Array(Partial { arguments, count, bulk: None, request_bytes: length })))
    }

    fn next_argument(
        &mut self,
        partial: &mut Partial,
        buffer: &mut BytesMut,
    ) -> Result<Option<Bytes>, ProtocolError> {
        if partial.bulk.is_none() {
            partial.bulk = self.argument_header(partial, buffer)?;
        }
        let Some(length) = partial.bulk else { return Ok(None) };
        if buffer.len() < length + 2 {
            return Ok(None);
        }
        partial.bulk = None;
        let argument = buffer.split_to(length).freeze();
        if !buffer.starts_with(b"\r\n") {
            return Err(ProtocolError::LineEnd);
        }
        buffer.advance(2);
        Ok(Some(argument))
    }

    /// Reads the header of an argument: its length.
    fn argument_header(
        &mut self,
        partial: &mut Partial,
        buffer: &mut BytesMut,
    ) -> Result<Option<usize>, ProtocolError> {
        // The type is judged before the line is complete: garbage gets its answer at once.
        if let Some(&first) = buffer.first()
            && first != b'$'
        {
            return Err(ProtocolError::ExpectedBulk(first));
        }
        let Some(line) = self.line_length(buffer, ProtocolError::BulkLineTooLong)? else { return Ok(None) };
        let digits = strip(&buffer[..line]).ok_or(ProtocolError::LineEnd)?;
        let length = parse_length(&digits[1..]).ok_or(ProtocolError::BulkLength)?;
        buffer.advance(line);
        let length = usize::try_from(length).map_err(|_| ProtocolError::BulkLength)?;
        if length > self.limits.bulk_bytes_max {
            return Err(match self.limits.authenticated {
                true => ProtocolError::BulkLength,
                false => ProtocolError::UnauthenticatedBulkLength,
            });
        }
        partial.request_bytes = partial.request_bytes.saturating_add(line + length + 2);
        if partial.request_bytes > self.limits.request_bytes_max {
            return Err(ProtocolError::RequestTooLong(self.limits.request_bytes_max));
        }
        Ok(Some(length))
    }

    /// The length of the line that comes next, with its line feed, once it is whole.
    fn line_length(
        &mut self,
        buffer: &BytesMut,
        too_long: ProtocolError,
    ) -> Result<Option<usize>, ProtocolError> {
        let line_end = self.lines.find(buffer);
        if line_end.unwrap_or(buffer.len()) > self.limits.inline_bytes_max {
            return Err(too_long);
        }
        Ok(line_end)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::encode::encode_command;

    type Outcome = (Vec<Vec<Bytes>>, Option<ProtocolError>);

    fn small_limits() -> RequestLimits {
        RequestLimits {
            inline_bytes_max: 64,
            arguments_max: 8,
            bulk_bytes_max: 100,
            request_bytes_max: 200,
            authenticated: true,
        }
    }

    /// Every request of a stream that is fed in pieces which end at `cuts`, and the error that ended it.
    fn decode_in_pieces(bytes: &[u8], cuts: &[usize], limits: RequestLimits) -> Outcome {
        let mut decoder = RequestDecoder::new(limits);
        let mut buffer = BytesMut::new();
        let mut requests = Vec::new();
        let mut start = 0;
        for end in cuts.iter().copied().chain([bytes.len()]) {
            buffer.extend_from_slice(&bytes[start..end]);
            start = end;
            loop {
                match decoder.decode(&mut buffer) {
                    Ok(Some(request)) => requests.push(request),
                    Ok(None) => break,
                    Err(error) => {
                        assert_eq!(decoder.decode(&mut buffer), Err(error), "an error stays");
                        return (requests, Some(error));
                    }
                }
            }
        }
        (requests, None)
    }

    fn check(bytes: &str, requests: &[&[&'static str]], error: Option<ProtocolError>) {
        let words = |request: &&[&'static str]| request.iter().copied().map(Bytes::from).collect();
        let expected = (requests.iter().map(words).collect(), error);
        let every_byte: Vec<usize> = (0..bytes.len()).collect();
        assert_eq!(decode_in_pieces(bytes.as_bytes(), &[], small_limits()), expected, "{bytes:?}");
        assert_eq!(
            decode_in_pieces(bytes.as_bytes(), &every_byte, small_limits()),
            expected,
            "{bytes:?} byte by byte"
        );
    }

    #[test]
    fn arrays_and_lines_are_requests_and_may_follow_each_other() {
        check("*1\r\n$4\r\nPING\r\n", &[&["PING"]], None);
        check(
            "*2\r\n$3\r\nGET\r\n$0\r\n\r\nPING\r\n*1\r\n$4\r\nPING\r\n",
            &[&["GET", ""], &["PING"], &["PING"]],
            None,
        );
        check("PING\nSET a 'b c'\r\n", &[&["PING"], &["SET", "a", "b c"]], None);
        check("\r\n  \r\n*0\r\n*-1\r\nPING\r\n", &[&["PING"]], None);
        check("*2\r\n$3\r\nGET\r\n$1\r\n", &[], None);
    }

    #[test]
    fn bad_requests_are_refused_with_the_texts_of_redis() {
        check("PING\r\n*x\r\n", &[&["PING"]], Some(ProtocolError::ArgumentCount));
        check("*9\r\n", &[], Some(ProtocolError::ArgumentCount));
        check("*1\r\nPING\r\n", &[], Some(ProtocolError::ExpectedBulk(b'P')));
        check("*1\r\n$-1\r\n", &[], Some(ProtocolError::BulkLength));
        check("*1\r\n$101\r\n", &[], Some(ProtocolError::BulkLength));
        check("*1\r\n$1\r\nabc", &[], Some(ProtocolError::LineEnd));
        check("*1\n", &[], Some(ProtocolError::LineEnd));
        check("\"a\r\n", &[], Some(ProtocolError::UnbalancedQuotes));
        check(&"a".repeat(65), &[], Some(ProtocolError::InlineTooLong));
        check(&format!("*{}", "1".repeat(64)), &[], Some(ProtocolError::CountLineTooLong));
        check(&format!("*1\r\n${}", "1".repeat(64)), &[], Some(ProtocolError::BulkLineTooLong));
        let argument = format!("$95\r\n{}\r\n", "a".repeat(95));
        check(&format!("*3\r\n{argument}{argument}"), &[], Some(ProtocolError::RequestTooLong(200)));
        assert_eq!(ProtocolError::ExpectedBulk(b'P').to_string(), "expected '$', got 'P'");
    }

    #[test]
    fn who_has_not_authenticated_may_send_little_until_the_limits_change() {
        let mut decoder = RequestDecoder::new(RequestLimits::UNAUTHENTICATED);
        let mut buffer = BytesMut::from("*2\r\n$4\r\nAUTH\r\n$1\r\nx\r\n*11\r\n");
        assert!(decoder.decode(&mut buffer).unwrap().is_some());
        decoder.set_limits(RequestLimits::default());
        assert_eq!(decoder.decode(&mut buffer), Ok(None));
        assert!(decoder.is_mid_request());

        let refused = |bytes: &str| {
            RequestDecoder::new(RequestLimits::UNAUTHENTICATED)
                .decode(&mut BytesMut::from(bytes))
                .unwrap_err()
                .to_string()
        };
        assert_eq!(refused("*11\r\n"), "unauthenticated multibulk length");
        assert_eq!(refused("*1\r\n$16385\r\n"), "unauthenticated bulk length");
    }

    #[test]
    fn nothing_is_allocated_by_an_announced_length() {
        let mut decoder = RequestDecoder::new(RequestLimits::default());
        let mut buffer = BytesMut::from("*1048576\r\n$536870912\r\n");
        assert_eq!(decoder.decode(&mut buffer), Ok(None));
        let partial = decoder.partial.unwrap();
        assert!(partial.arguments.capacity() <= ELEMENTS_RESERVED);
        assert!(buffer.capacity() < 1024);
    }

    proptest! {
        #[test]
        fn what_a_client_writes_reads_back_however_it_is_cut(
            requests in prop::collection::vec(prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 1..6), 1..4),
        ) {
            let mut bytes = BytesMut::new();
            for request in &requests {
                encode_command(request.iter().map(Vec::as_slice), &mut bytes);
            }
            let expected: Vec<Vec<Bytes>> =
                requests.into_iter().map(|request| request.into_iter().map(Bytes::from).collect()).collect();
            for cut in 0..bytes.len() {
                let outcome = decode_in_pieces(&bytes, &[cut], RequestLimits::default());
                prop_assert_eq!(&outcome, &(expected.clone(), None));
            }
        }

        #[test]
        fn any_bytes_are_read_the_same_in_every_cut_and_without_a_panic(
            bytes in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..200),
                "([*$]-?[0-9]{0,3}\r\n|[a-z\"' ]{1,9}\r?\n){0,30}".prop_map(String::into_bytes),
            ],
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.sort_unstable();
            let whole = decode_in_pieces(&bytes, &[], small_limits());
            prop_assert_eq!(&decode_in_pieces(&bytes, &cuts, small_limits()), &whole);
        }
    }
}
