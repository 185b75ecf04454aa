//! Instants of the store's clock as text.

use time::OffsetDateTime;

/// An instant, in milliseconds since 1970, in the form of RFC 3339: `2026-11-25T12:00:00.000Z`.
pub(super) fn rfc3339(unix_ms: u64) -> String {
    let nanoseconds = i128::from(unix_ms) * 1_000_000;
    // Beyond the year 9999, where no session lives to.
    let Ok(at) = OffsetDateTime::from_unix_timestamp_nanos(nanoseconds) else {
        return "9999-12-31T23:59:59.999Z".to_owned();
    };
    let (hour, minute, second, millisecond) = at.to_hms_milli();
    let (year, month, day) = (at.year(), u8::from(at.month()), at.day());
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millisecond:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_read_as_people_expect() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(1_795_564_800_007), "2026-11-25T00:00:00.007Z");
        assert_eq!(rfc3339(u64::MAX), "9999-12-31T23:59:59.999Z");
    }
}
