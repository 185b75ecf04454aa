//! Redis' glob patterns: `*`, `?`, `[a-z]`, `[^a]` and `\x` for a literal x.
//!
//! A star only ever needs to fall back to the last star before it, so matching takes at most pattern × text steps. All
//! matches of one command share a budget of steps.

use crate::error::CommandError;
use crate::limits::GLOB_STEPS_MAX;

/// A pattern with its budget.
#[derive(Debug)]
pub struct Glob<'a> {
    pattern: &'a [u8],
    steps_left: u64,
}

impl<'a> Glob<'a> {
    /// A pattern; every byte string is one.
    #[must_use]
    pub fn new(pattern: &'a [u8]) -> Self {
        Self { pattern, steps_left: GLOB_STEPS_MAX }
    }

    /// Whether the pattern matches everything, so that nobody need ask.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.pattern == b"*"
    }

    /// Whether the whole of `text` matches. Letters match in either case if `ignore_case`.
    ///
    /// # Errors
    /// [`CommandError::PatternTooCostly`] when the budget is spent.
    pub fn matches(&mut self, text: &[u8], ignore_case: bool) -> Result<bool, CommandError> {
        let (mut at_pattern, mut at_text) = (0, 0);
        // Where to go on when what follows the last star does not fit: the star takes one byte more.
        let mut retry: Option<(usize, usize)> = None;
        loop {
            self.steps_left = self.steps_left.checked_sub(1).ok_or(CommandError::PatternTooCostly)?;
            let rest = &self.pattern[at_pattern..];
            if rest.first() == Some(&b'*') {
                at_pattern += 1;
                retry = Some((at_pattern, at_text));
                continue;
            }
            let step = match (text.get(at_text), rest.is_empty()) {
                (None, true) => return Ok(true),
                (None, false) => return Ok(false),
                (Some(_), true) => None,
                (Some(&byte), false) => one(rest, byte, ignore_case),
            };
            match (step, &mut retry) {
                (Some(length), _) => {
                    at_pattern += length;
                    at_text += 1;
                }
                (None, Some((star, start))) => {
                    *start += 1;
                    (at_pattern, at_text) = (*star, *start);
                }
                (None, None) => return Ok(false),
            }
        }
    }
}

/// Matches one byte against the first element of `pattern`; the answer is the length of that element.
fn one(pattern: &[u8], byte: u8, ignore_case: bool) -> Option<usize> {
    let fold = |byte: u8| if ignore_case { byte.to_ascii_lowercase() } else { byte };
    let byte = fold(byte);
    match pattern {
        [b'?', ..] => Some(1),
        [b'[', ..] => class(pattern, byte, fold),
        [b'\\', literal, ..] => (fold(*literal) == byte).then_some(2),
        [literal, ..] => (fold(*literal) == byte).then_some(1),
        [] => None,
    }
}

/// Matches a class; one that is not closed ends with the pattern.
fn class(pattern: &[u8], byte: u8, fold: impl Fn(u8) -> u8) -> Option<usize> {
    let negated = pattern.get(1) == Some(&b'^');
    let mut at = if negated { 2 } else { 1 };
    let mut hit = false;
    loop {
        match &pattern[at.min(pattern.len())..] {
            [] => break,
            [b']', ..] => {
                at += 1;
                break;
            }
            [b'\\', literal, ..] => {
                hit |= fold(*literal) == byte;
                at += 2;
            }
            [low, b'-', high, ..] => {
                let (low, high) = (fold(*low), fold(*high));
                hit |= (low.min(high)..=low.max(high)).contains(&byte);
                at += 3;
            }
            [literal, ..] => {
                hit |= fold(*literal) == byte;
                at += 1;
            }
        }
    }
    (hit != negated).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_as_redis_does() {
        let check = |pattern: &str, text: &str, expected: bool| {
            let outcome = Glob::new(pattern.as_bytes()).matches(text.as_bytes(), false);
            assert_eq!(outcome, Ok(expected), "{pattern} on {text}");
        };
        check("*", "", true);
        check("", "", true);
        check("", "a", false);
        check("h?llo", "hello", true);
        check("h*llo", "heeeello", true);
        check("h*llo", "hell", false);
        check("*a*b*c*", "xxaxxbxxcxx", true);
        check("*a*b*c*", "xxaxxcxxbxx", false);
        check("h[ae]llo", "hallo", true);
        check("h[^e]llo", "hello", false);
        check("h[a-c]llo", "hbllo", true);
        check("h[c-a]llo", "hbllo", true);
        check("a\\*b", "a*b", true);
        check("a\\*b", "axb", false);
        check("[\\]]", "]", true);
        check("[abc", "b", true);
        check("**", "anything", true);
        check("a\\", "a\\", true);
        assert_eq!(Glob::new(b"HeL*").matches(b"hElLo", true), Ok(true));
    }

    #[test]
    fn a_hostile_pattern_ends_in_an_error() {
        let pattern = [b"*".as_slice(), &b"a".repeat(1_000), b"b"].concat();
        let text = b"a".repeat(20_000);
        let mut glob = Glob { steps_left: 1_000_000, ..Glob::new(&pattern) };
        assert_eq!(glob.matches(&text, false), Err(CommandError::PatternTooCostly));
    }

    proptest::proptest! {
        #[test]
        fn agrees_with_the_definition(pattern in "[ab*?]{0,8}", text in "[ab]{0,8}") {
            fn definition(pattern: &[u8], text: &[u8]) -> bool {
                match (pattern, text) {
                    ([], text) => text.is_empty(),
                    ([b'*', rest @ ..], _) => (0..=text.len()).any(|taken| definition(rest, &text[taken..])),
                    ([_, ..], []) => false,
                    ([b'?', rest @ ..], [_, tail @ ..]) => definition(rest, tail),
                    ([literal, rest @ ..], [byte, tail @ ..]) => literal == byte && definition(rest, tail),
                }
            }
            let found = Glob::new(pattern.as_bytes()).matches(text.as_bytes(), false);
            proptest::prop_assert_eq!(found, Ok(definition(pattern.as_bytes(), text.as_bytes())));
        }
    }
}
