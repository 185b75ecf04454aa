//! The parameters of a query, parsed into what they mean. What is not known is refused: a slip must not be silent.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64_URL;

use super::Settings;
use super::key::{self, Owner, SessionKey};
use super::limits::{PAGE_MAX, QUERY_BYTES_MAX, TTL_MIN};
use super::problem::{Code, Problem};

/// Parameters of all requests; which of them a request may have is said by [`Operation`](super::routes::Operation).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Parameters {
    /// How long a session lives without being used, or at all.
    pub ttl: Option<Duration>,
    /// How long it lives at most.
    pub absolute: Option<Duration>,
    /// Whether it lives on when it is used.
    pub sliding: Option<bool>,
    /// Who it belongs to; `Some(None)` for nobody.
    pub owner: Option<Option<Owner>>,
    /// Whether times and owner stay as they are unless they are named.
    pub keep: Option<bool>,
    /// Whether a read lengthens the life of a sliding session.
    pub extend: Option<bool>,
    /// Most sessions of a page.
    pub limit: Option<usize>,
    /// The entry after which the page begins.
    pub cursor: Option<String>,
}

/// Units of a duration, in milliseconds.
pub(super) const UNITS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

impl Parameters {
    /// Reads a query of which the names in `known` may be part.
    pub fn parse(query: Option<&str>, known: &[&str], settings: &Settings) -> Result<Self, Problem> {
        let mut parameters = Self::default();
        let query = query.unwrap_or_default();
        if query.len() > QUERY_BYTES_MAX {
            return Err(invalid(format!("the query has more than {QUERY_BYTES_MAX} bytes")));
        }
        let mut seen = Vec::new();
        for pair in query.split('&').filter(|_| !query.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let Some(name) = known.iter().copied().find(|known| *known == name) else {
                let list = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                return Err(invalid(format!("the query has an unknown parameter; here there is: {list}")));
            };
            if seen.contains(&name) {
                return Err(invalid(format!("{name} comes twice")));
            }
            seen.push(name);
            if value.contains('+') {
                // Half of the world reads it as a space.
                return Err(invalid(format!("{name}: write a plus as %2B, and a space as %20")));
            }
            let value = key::text(value).map_err(|error| invalid(format!("{name}: {error}")))?;
            parameters.set(name, &value, settings).map_err(|text| invalid(format!("{name}: {text}")))?;
        }
        Ok(parameters)
    }

    fn set(&mut self, name: &str, value: &str, settings: &Settings) -> Result<(), String> {
        match name {
            "ttl" => self.ttl = Some(duration(value, settings.lifetime_max)?),
            "absolute" => self.absolute = Some(duration(value, settings.lifetime_max)?),
            "sliding" => self.sliding = Some(flag(value)?),
            "owner" => self.owner = Some(Owner::new(value).map_err(|error| error.to_string())?),
            "keep" => self.keep = Some(flag(value)?),
            "extend" => self.extend = Some(flag(value)?),
            "limit" => {
                let limit = number(value).and_then(|limit| usize::try_from(limit).ok());
                let limit = limit.filter(|limit| (1..=PAGE_MAX).contains(limit));
                self.limit = Some(limit.ok_or_else(|| format!("it is a number from 1 to {PAGE_MAX}"))?);
            }
            "cursor" => {
                let entry = entry_of(value).ok_or("it is `next` of the page before, as it is")?;
                self.cursor = Some(entry);
            }
            _ => unreachable!("operations name only parameters that are read here"),
        }
        Ok(())
    }

    /// Whether something of a session other than its value is named.
    pub fn names_metadata(&self) -> bool {
        self.ttl.is_some() || self.absolute.is_some() || self.sliding.is_some() || self.owner.is_some()
    }
}

fn invalid(text: String) -> Problem {
    Problem::new(Code::ParameterInvalid, text)
}

fn flag(value: &str) -> Result<bool, String> {
    match value {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err("it is true or false".to_owned()),
    }
}

/// A whole number in its one form: no sign, no zeros before it.
fn number(text: &str) -> Option<u64> {
    let number = text.parse::<u64>().ok()?;
    (number.to_string() == text).then_some(number)
}

fn duration(value: &str, max: Duration) -> Result<Duration, String> {
    let digits = value.bytes().take_while(u8::is_ascii_digit).count();
    let (count, unit) = value.split_at(digits);
    let unit = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, milliseconds)| milliseconds);
    let milliseconds = number(count).zip(unit);
    let duration = milliseconds
        .map(|(number, unit)| Duration::from_millis(number.saturating_mul(*unit)))
        .ok_or("it is a whole number and one of ms, s, m, h, d, such as 30m")?;
    if !(TTL_MIN..=max).contains(&duration) {
        return Err(format!("from {} s to {} s is possible", TTL_MIN.as_secs(), max.as_secs()));
    }
    Ok(duration)
}

/// The cursor of a page that begins after `entry`. It needs no escapes in a query.
pub(super) fn cursor(entry: &str) -> String {
    BASE64_URL.encode(entry)
}

fn entry_of(cursor: &str) -> Option<String> {
    let entry = String::from_utf8(BASE64_URL.decode(cursor).ok()?).ok()?;
    SessionKey::from_entry(&entry).map(|_| entry)
}

/// A duration as a parameter, such as `1800s`.
pub(super) fn written(milliseconds: u64) -> String {
    match milliseconds % 1_000 {
        0 => format!("{}s", milliseconds / 1_000),
        _ => format!("{milliseconds}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [&str; 8] = ["ttl", "absolute", "sliding", "owner", "keep", "extend", "limit", "cursor"];

    fn parse(query: &str) -> Result<Parameters, Problem> {
        Parameters::parse(Some(query), &ALL, &Settings::default())
    }

    #[test]
    fn parameters_read_as_they_are_meant() {
        let all = parse("ttl=90s&absolute=1d&sliding=false&owner=a%20%2Bb%3D%26&keep=true&extend=false&limit=7&cursor=eCUzQXk")
            .expect("parameters");
        let owner = Owner::new("a +b=&").expect("an owner");
        let expected = Parameters {
            ttl: Some(Duration::from_secs(90)),
            absolute: Some(Duration::from_secs(86_400)),
            sliding: Some(false),
            owner: Some(owner),
            keep: Some(true),
            extend: Some(false),
            limit: Some(7),
            cursor: Some("x%3Ay".to_owned()),
        };
        assert_eq!(all, expected);
        assert_eq!(parse("").expect("none"), Parameters::default());
        assert_eq!(parse("owner=").expect("nobody").owner, Some(None));
        assert_eq!(parse("ttl=1500ms").expect("a time").ttl, Some(Duration::from_millis(1_500)));
        assert_eq!((written(1_500), written(1_800_000)), ("1500ms".to_owned(), "1800s".to_owned()));
    }

    #[test]
    fn slips_are_not_silent() {
        let queries = [
            "tll=1s",
            "ttl",
            "ttl=",
            "ttl=30",
            "ttl=30M",
            "ttl=-1s",
            "ttl=1.5h",
            "ttl=0s",
            "ttl=999ms",
            "ttl=31d",
            "ttl=99999999999999999999s",
            "ttl=18446744073709551615d",
            "ttl=1s&ttl=1s",
            "ttl=1s&",
            "&",
            "sliding=yes",
            "sliding=",
            "owner=a+b",
            "owner=%",
            "owner=%FF",
            "owner=%00",
            "keep=1",
            "extend=TRUE",
            "limit=0",
            "limit=101",
            "limit=x",
            "limit=01",
            "limit=%2B1",
            "ttl=01s",
            "cursor=",
            "cursor=x%253Ay",
            "cursor=eCUzQXk%3D",
            "cursor=e30",
            "TTL=1s",
            "%74tl=1s",
            "ttl=%31s&x",
        ];
        for query in queries {
            let problem = parse(query).expect_err(query);
            assert_eq!(problem.code, Code::ParameterInvalid, "{query}");
        }
        let long = format!("owner={}", "x".repeat(QUERY_BYTES_MAX));
        assert!(parse(&long).is_err());
        let few = Parameters::parse(Some("limit=1"), &["extend"], &Settings::default());
        assert!(few.is_err_and(|problem| format!("{problem:?}").contains("extend")));
    }
}
