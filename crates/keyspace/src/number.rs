//! Numbers as Redis reads and writes them.

use crate::error::CommandError;

/// Reads a decimal integer strictly: no plus sign, no leading zero, no space.
#[must_use]
pub fn parse_integer(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    match digits {
        [b'0'] => return (!negative).then_some(0),
        [b'1'..=b'9', ..] if digits.len() <= 19 => {}
        _ => return None,
    }
    let mut value: i64 = 0;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        // Counting downwards reaches i64::MIN as well.
        value = value.checked_mul(10)?.checked_sub(i64::from(digit - b'0'))?;
    }
    if negative { Some(value) } else { value.checked_neg() }
}

/// An integer argument.
///
/// # Errors
/// [`CommandError::NotAnInteger`].
pub fn integer(text: &[u8]) -> Result<i64, CommandError> {
    parse_integer(text).ok_or(CommandError::NotAnInteger)
}

/// A scan cursor: an unsigned number, or refused.
///
/// # Errors
/// [`CommandError::InvalidCursor`].
pub fn cursor(text: &[u8]) -> Result<u64, CommandError> {
    std::str::from_utf8(text)
        .ok()
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|text| text.parse().ok())
        .ok_or(CommandError::InvalidCursor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_read_strictly() {
        let check = |text: &str, value| assert_eq!(parse_integer(text.as_bytes()), value, "{text:?}");
        check("0", Some(0));
        check("-1", Some(-1));
        check("9223372036854775807", Some(i64::MAX));
        check("-9223372036854775808", Some(i64::MIN));
        for bad in [
            "",
            "-",
            "-0",
            "+1",
            "01",
            " 1",
            "1 ",
            "1.0",
            "9223372036854775808",
            "1x",
            "99999999999999999999",
        ] {
            check(bad, None);
        }
        assert_eq!(cursor(b"18446744073709551615"), Ok(u64::MAX));
        assert!(cursor(b"-1").is_err() && cursor(b"").is_err());
    }
}
