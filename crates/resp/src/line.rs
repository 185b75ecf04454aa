//! Lines and the numbers in them: what every RESP value begins with.

use bytes::BytesMut;

/// How far the search for the end of an unfinished line has come, so that no byte is searched twice.
#[derive(Debug, Default)]
pub struct LineSearch {
    searched: usize,
}

impl LineSearch {
    /// The length of the first line of `buffer` with its line feed, once it is there.
    pub fn find(&mut self, buffer: &BytesMut) -> Option<usize> {
        let searched = self.searched.min(buffer.len());
        if let Some(position) = memchr::memchr(b'\n', &buffer[searched..]) {
            self.searched = 0;
            return Some(searched + position + 1);
        }
        self.searched = buffer.len();
        None
    }
}

/// A line without its CR LF; `None` if it has no CR before the LF.
pub fn strip(line: &[u8]) -> Option<&[u8]> {
    line.strip_suffix(b"\r\n")
}

/// A decimal number with an optional sign.
pub fn parse_integer(digits: &[u8]) -> Option<i64> {
    let (negative, digits) = match digits {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    // Summed below zero, because the smallest number has no positive counterpart.
    let below_zero = digits.iter().try_fold(0_i64, |sum, &digit| {
        let value = digit.is_ascii_digit().then(|| i64::from(digit - b'0'))?;
        sum.checked_mul(10)?.checked_sub(value)
    })?;
    if negative { Some(below_zero) } else { below_zero.checked_neg() }
}

/// A length: as Redis writes it, without plus sign and leading zeros; `-1` and other negative ones are returned as such.
pub fn parse_length(digits: &[u8]) -> Option<i64> {
    let canonical = match digits {
        [b'0'] => true,
        [b'-', first, ..] | [first, ..] => (b'1'..=b'9').contains(first),
        [] => false,
    };
    if canonical { parse_integer(digits) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_cover_their_range_and_nothing_else() {
        let check = |text: &str, expected| assert_eq!(parse_integer(text.as_bytes()), expected, "{text}");
        check("0", Some(0));
        check("-0", Some(0));
        check("+12", Some(12));
        check("9223372036854775807", Some(i64::MAX));
        check("-9223372036854775808", Some(i64::MIN));
        check("9223372036854775808", None);
        check("-9223372036854775809", None);
        check("", None);
        check("-", None);
        check("1 ", None);
        check("0x1", None);
    }

    #[test]
    fn lengths_are_canonical() {
        let check = |text: &str, expected| assert_eq!(parse_length(text.as_bytes()), expected, "{text}");
        check("0", Some(0));
        check("10", Some(10));
        check("-1", Some(-1));
        check("01", None);
        check("+1", None);
        check("-0", None);
        check("--1", None);
        check("?", None);
        check("", None);
    }
}
