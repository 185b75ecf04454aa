//! Inline requests: a line of words, as a person types it into `nc`. The rules of quoting are those of Redis'
//! `sdssplitargs`.

use bytes::Bytes;

use crate::error::ProtocolError;

/// Splits a line into words. A NUL ends the line, as it does in Redis.
pub fn split(line: &[u8]) -> Result<Vec<Bytes>, ProtocolError> {
    let end = memchr::memchr(0, line).unwrap_or(line.len());
    let mut rest = &line[..end];
    let mut words = Vec::new();
    loop {
        let blank = rest.iter().take_while(|&&byte| is_blank(byte)).count();
        rest = &rest[blank..];
        if rest.is_empty() {
            return Ok(words);
        }
        let (word, after) = take_word(rest)?;
        words.push(Bytes::from(word));
        rest = after;
    }
}

/// A space in the sense of C's `isspace`.
const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// One word and what follows it. A quote may begin in the middle of a word; a closing one ends the word.
fn take_word(text: &[u8]) -> Result<(Vec<u8>, &[u8]), ProtocolError> {
    let mut word = Vec::new();
    for (index, &byte) in text.iter().enumerate() {
        match byte {
            b'"' | b'\'' => {
                let rest = take_quoted(byte, &text[index + 1..], &mut word)?;
                let ends_well = rest.first().is_none_or(|&next| is_blank(next));
                return if ends_well { Ok((word, rest)) } else { Err(ProtocolError::UnbalancedQuotes) };
            }
            _ if is_blank(byte) => return Ok((word, &text[index..])),
            _ => word.push(byte),
        }
    }
    Ok((word, &[]))
}

/// Reads up to the closing `quote` and returns what follows it.
fn take_quoted<'a>(quote: u8, text: &'a [u8], word: &mut Vec<u8>) -> Result<&'a [u8], ProtocolError> {
    let mut rest = text;
    loop {
        rest = match (quote, rest) {
            (_, []) => return Err(ProtocolError::UnbalancedQuotes),
            (b'"', [b'\\', b'x', high, low, after @ ..])
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                word.push(hex_value(*high) << 4 | hex_value(*low));
                after
            }
            (b'"', [b'\\', escaped, after @ ..]) => {
                word.push(unescape(*escaped));
                after
            }
            (b'\'', [b'\\', b'\'', after @ ..]) => {
                word.push(b'\'');
                after
            }
            (_, [byte, after @ ..]) if *byte == quote => return Ok(after),
            (_, [byte, after @ ..]) => {
                word.push(*byte);
                after
            }
        };
    }
}

fn hex_value(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => digit.to_ascii_lowercase() - b'a' + 10,
    }
}

const fn unescape(escaped: u8) -> u8 {
    match escaped {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 0x08,
        b'a' => 0x07,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: Result<&[&[u8]], ProtocolError>) {
        let expected =
            expected.map(|words| words.iter().map(|word| Bytes::copy_from_slice(word)).collect::<Vec<_>>());
        assert_eq!(split(line.as_bytes()), expected, "{line:?}");
    }

    #[test]
    fn words_are_split_and_unquoted_as_in_redis() {
        check("", Ok(&[]));
        check("  \t ", Ok(&[]));
        check("PING", Ok(&[b"PING"]));
        check(" SET  k\tv ", Ok(&[b"SET", b"k", b"v"]));
        check(r#"SET k "a b""#, Ok(&[b"SET", b"k", b"a b"]));
        check(r#""\x41\x0a\n\r\t\b\a\q\\\"""#, Ok(&[b"A\n\n\r\t\x08\x07q\\\""]));
        check(r#""\xzz""#, Ok(&[b"xzz"]));
        check(r"'a\n\'b'", Ok(&[b"a\\n'b"]));
        check(r#"a"b c""#, Ok(&[b"ab c"]));
        check(r#""""#, Ok(&[b""]));
        check(r#"'' """#, Ok(&[b"", b""]));
        check("GET a\0 b", Ok(&[b"GET", b"a"]));
        check(r#""a"#, Err(ProtocolError::UnbalancedQuotes));
        check("'a", Err(ProtocolError::UnbalancedQuotes));
        check(r#""a"b"#, Err(ProtocolError::UnbalancedQuotes));
        check(r#""a\"#, Err(ProtocolError::UnbalancedQuotes));
        check("\"a\0\"", Err(ProtocolError::UnbalancedQuotes));
    }
}
