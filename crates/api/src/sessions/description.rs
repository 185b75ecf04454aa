//! The description of the service as it is set up: `openapi.json` with the bounds of its settings.
//!
//! A client that is made from it, or a tester, finds in it exactly what is accepted. Two things JSON Schema cannot say: that keys and
//! owners are measured in bytes, and which cursors were handed out.

use std::time::Duration;

use super::Settings;
use super::clock::milliseconds;
use super::limits::TTL_MIN;
use super::query::{UNITS, written};

/// With words in double braces where something depends on the settings.
const TEMPLATE: &str = include_str!("openapi.json");

/// The description, as JSON.
pub(super) fn description(settings: &Settings) -> String {
    let lifetime = written(milliseconds(settings.lifetime_max));
    TEMPLATE
        .replace("{{lifetime_pattern}}", &lifetimes(settings.lifetime_max))
        .replace("{{lifetime}}", &lifetime)
        .replace("{{ttl}}", &written(milliseconds(settings.ttl)))
        .replace("{{value_bytes}}", &settings.value_bytes_max.to_string())
}

/// A pattern of the durations from [`TTL_MIN`] to `most`, in each unit.
fn lifetimes(most: Duration) -> String {
    let (least, most) = (milliseconds(TTL_MIN), milliseconds(most));
    let of_unit = |(unit, length): &(&str, u64)| {
        let numbers = numbers(digits(least.div_ceil(*length)).len(), most / length);
        numbers.map(|numbers| format!("(?:{numbers}){unit}"))
    };
    format!("^(?:{})$", UNITS.iter().filter_map(of_unit).collect::<Vec<_>>().join("|"))
}

/// A pattern of the numbers that have `least` digits or more, and are `most` at most; `None` if there are none.
fn numbers(least: usize, most: u64) -> Option<String> {
    let most = digits(most);
    let mut patterns = Vec::new();
    if (least..most.len()).next().is_some() {
        patterns.push(format!("[1-9][0-9]{{{},{}}}", least - 1, most.len() - 2));
    }
    if most.len() >= least && most != "0" {
        for (at, digit) in most.bytes().enumerate() {
            // As `most` up to here, then less, then anything.
            let lowest = if at == 0 { b'1' } else { b'0' };
            if digit > lowest {
                let (before, range) = (&most[..at], [lowest, digit - 1].map(char::from));
                let rest = most.len() - at - 1;
                patterns.push(format!("{before}[{}-{}][0-9]{{{rest}}}", range[0], range[1]));
            }
        }
        patterns.push(most);
    }
    (!patterns.is_empty()).then(|| patterns.join("|"))
}

fn digits(number: u64) -> String {
    number.to_string()
}

#[cfg(test)]
mod tests {
    use regex::Regex;

    use super::*;

    #[test]
    fn patterns_of_numbers_hold_for_them_and_no_others() {
        for most in [0, 1, 9, 10, 11, 99, 100, 101, 730, 999, 1_000, 2_592, 4_096] {
            for least in 1..=4 {
                let pattern = numbers(least, most)
                    .map(|pattern| Regex::new(&format!("^(?:{pattern})$")).expect("a pattern"));
                for number in 0..=5_000_u64 {
                    let text = number.to_string();
                    let expected = number > 0 && text.len() >= least && number <= most;
                    let fits = pattern.as_ref().is_some_and(|pattern| pattern.is_match(&text));
                    assert_eq!(fits, expected, "{number}, {least} digits to {most}");
                }
                assert!(!pattern.is_some_and(|pattern| pattern.is_match("01")));
            }
        }
    }

    #[test]
    fn the_shortest_time_is_one_that_digits_can_tell() {
        // In each unit it is 1, or 1 and zeros.
        for (_, length) in UNITS {
            let least = digits(milliseconds(TTL_MIN).div_ceil(length));
            assert!(least.strip_prefix('1').is_some_and(|rest| rest.bytes().all(|digit| digit == b'0')));
        }
    }

    #[test]
    fn nothing_is_left_open() {
        let settings = Settings { value_bytes_max: 123_456, ..Settings::default() };
        let text = description(&settings);
        assert!(!text.contains("{{") && text.contains("123456 bytes"));
    }
}
