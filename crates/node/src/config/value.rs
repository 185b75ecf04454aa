//! Values with a form of their own: durations, addresses, secrets.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use crate::limits::CONFIG_DURATION_MAX;

/// Units of a written duration, the largest first, in milliseconds.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// A duration as people write it: a whole number and a unit (`250ms`, `30s`, `5m`, `2h`, `1d`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HumanDuration(pub Duration);

/// Why a text is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// No number, or no unit, or something else.
    #[error("`{0}` is not a duration; write a whole number and one of ms, s, m, h, d, such as 30s")]
    Form(String),
    /// More than a year.
    #[error("`{0}` is longer than a year")]
    TooLong(String),
}

impl FromStr for HumanDuration {
    type Err = DurationError;
    fn from_str(text: &str) -> Result<Self, DurationError> {
        let form = || DurationError::Form(text.to_owned());
        let unit_at = text.find(|character: char| !character.is_ascii_digit()).ok_or_else(form)?;
        let (number, unit) = text.split_at(unit_at);
        let (_, unit_ms) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(form)?;
        if number.is_empty() {
            return Err(form());
        }
        let too_long = || DurationError::TooLong(text.to_owned());
        let number: u64 = number.parse().map_err(|_| too_long())?;
        let duration = Duration::from_millis(number.checked_mul(*unit_ms).ok_or_else(too_long)?);
        if duration > CONFIG_DURATION_MAX { Err(too_long()) } else { Ok(Self(duration)) }
    }
}

impl TryFrom<String> for HumanDuration {
    type Error = DurationError;
    fn try_from(text: String) -> Result<Self, DurationError> {
        text.parse()
    }
}

impl From<HumanDuration> for String {
    fn from(duration: HumanDuration) -> Self {
        duration.to_string()
    }
}

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        let exact = UNITS.iter().find(|(_, unit_ms)| ms >= *unit_ms && ms.is_multiple_of(*unit_ms));
        let (unit, unit_ms) = exact.unwrap_or(&("s", 1_000));
        write!(f, "{}{unit}", ms / unit_ms)
    }
}

/// The text is not an address to listen on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an address to listen on; write IP:PORT, such as 127.0.0.1:7080 or [::]:7080")]
pub struct ListenError(String);

/// Reads an address to listen on: an IP address and a port, never a name.
///
/// # Errors
/// [`ListenError`].
pub fn listen(text: &str) -> Result<SocketAddr, ListenError> {
    text.parse().map_err(|_| ListenError(text.to_owned()))
}

/// [`listen`] for serde.
pub(super) fn deserialize_listen<'de, D: Deserializer<'de>>(from: D) -> Result<SocketAddr, D::Error> {
    listen(&String::deserialize(from)?).map_err(serde::de::Error::custom)
}

/// [`listen`] for serde, where there need not be one.
pub(super) fn deserialize_listen_option<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<SocketAddr>, D::Error> {
    deserialize_listen(from).map(Some)
}

/// The text is not an address to connect to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an address to connect to; write HOST:PORT, such as gateway.example.com:7100")]
pub struct HostPortError(String);

/// Checks that `text` is a host (a name or an IP address) and a port other than 0.
///
/// # Errors
/// [`HostPortError`].
pub fn host_port(text: &str) -> Result<(), HostPortError> {
    let error = || HostPortError(text.to_owned());
    let (host, port) = text.rsplit_once(':').ok_or_else(error)?;
    let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let host_is_right = match bracketed {
        Some(inner) => inner.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            let of_a_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            !host.is_empty() && host.bytes().all(of_a_name)
        }
    };
    let port_is_right = port.parse::<u16>().is_ok_and(|port| port != 0);
    if host_is_right && port_is_right { Ok(()) } else { Err(error()) }
}

/// Whether `address` can only be reached from this machine.
#[must_use]
pub fn is_loopback(address: &SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// As [`is_loopback`], for `host:port`; of names only `localhost` counts.
#[must_use]
pub fn is_loopback_host(host_port: &str) -> bool {
    let host = host_port.rsplit_once(':').map_or(host_port, |(host, _)| host);
    host == "localhost" || host_port.parse().is_ok_and(|address| is_loopback(&address))
}

/// A text that must not be shown: `Debug` hides it, and there is no `Display`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Takes a secret text.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text, for the one place that needs it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_duration(text: &str, expected: Result<u64, &str>) {
        let got = text.parse::<HumanDuration>().map(|duration| duration.0.as_millis());
        assert_eq!(got.map_err(|error| error.to_string()), expected.map(u128::from).map_err(str::to_owned));
    }

    #[test]
    fn durations_are_a_number_and_a_unit() {
        check_duration("250ms", Ok(250));
        check_duration("30s", Ok(30_000));
        check_duration("0s", Ok(0));
        check_duration("5m", Ok(300_000));
        check_duration("1d", Ok(86_400_000));
        let form = "is not a duration; write a whole number and one of ms, s, m, h, d, such as 30s";
        for text in ["", "30", "s", "-1s", "1.5s", "30 s", "1y"] {
            check_duration(text, Err(&format!("`{text}` {form}")));
        }
        check_duration("99999999999999999999s", Err("`99999999999999999999s` is longer than a year"));
        check_duration("400d", Err("`400d` is longer than a year"));
    }

    #[test]
    fn a_duration_prints_as_it_is_written() {
        for text in ["250ms", "1500ms", "30s", "90s", "5m", "2h", "1d", "0s"] {
            assert_eq!(text.parse::<HumanDuration>().expect(text).to_string(), text);
        }
    }

    #[test]
    fn loopback_is_told_from_the_rest() {
        for (address, expected) in [
            ("127.0.0.1:1", true),
            ("127.9.9.9:1", true),
            ("[::1]:1", true),
            ("[::ffff:127.0.0.1]:1", true),
            ("0.0.0.0:1", false),
            ("[::]:1", false),
            ("10.0.0.1:1", false),
        ] {
            assert_eq!(is_loopback(&address.parse().expect(address)), expected, "{address}");
            assert_eq!(is_loopback_host(address), expected, "{address}");
        }
        assert!(is_loopback_host("localhost:7100"));
        assert!(!is_loopback_host("localhost.example.com:7100"));
    }

    #[test]
    fn a_host_and_a_port_are_both_needed() {
        for text in ["localhost:1", "10.0.0.1:65535", "[::1]:7100", "gw-1.example.com:7100"] {
            assert_eq!(host_port(text), Ok(()), "{text}");
        }
        for text in ["", "localhost", ":7100", "a:0", "a:65536", "::1:7100", "a b:1", "[x]:1", "http://a:1"] {
            assert!(host_port(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_secret_is_not_shown() {
        assert_eq!(format!("{:?}", Secret::new("hunter2".into())), "Secret(hidden)");
    }
}
