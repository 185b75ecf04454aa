//! Lua patterns with a budget.
//!
//! Lua 5.1's own matcher runs in C, where the interpreter's hook cannot stop it: a pattern of four `.-` on 300 bytes
//! takes longer than 20 s. This one follows the reference manual (5.4.1 of Lua 5.1: "Patterns") and counts its steps.

use crate::limits::{PATTERN_CAPTURES_MAX, PATTERN_DEPTH_MAX};

/// Why a match was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PatternError {
    #[error("malformed pattern (ends with '%')")]
    EndsWithPercent,
    #[error("malformed pattern (missing ']')")]
    OpenClass,
    #[error("unbalanced pattern")]
    Unbalanced,
    #[error("missing '[' after '%f' in pattern")]
    Frontier,
    #[error("invalid pattern capture")]
    InvalidCapture,
    #[error("invalid capture index")]
    CaptureIndex,
    #[error("unfinished capture")]
    UnfinishedCapture,
    #[error("too many captures")]
    TooManyCaptures,
    #[error("pattern too complex")]
    TooDeep,
    #[error("pattern matching takes too many steps")]
    TooManySteps,
}

/// A capture: a part of the subject, or only a position in it (from 0).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Capture {
    Open(usize),
    Span(usize, usize),
    Position(usize),
}

/// One subject against one pattern.
pub(crate) struct Matcher<'a> {
    subject: &'a [u8],
    pattern: &'a [u8],
    pub captures: Vec<Capture>,
    steps_left: &'a mut u64,
    depth: u32,
}

type Match = Result<Option<usize>, PatternError>;

impl<'a> Matcher<'a> {
    /// `pattern` is without its anchor.
    pub fn new(subject: &'a [u8], pattern: &'a [u8], steps_left: &'a mut u64) -> Self {
        Self { subject, pattern, captures: Vec::new(), steps_left, depth: 0 }
    }

    /// The end of the match that starts at `start`.
    pub fn match_at(&mut self, start: usize) -> Match {
        self.captures.clear();
        let end = self.rest(start, 0)?;
        let open = |capture: &Capture| matches!(capture, Capture::Open(_));
        if end.is_some() && self.captures.iter().any(open) {
            return Err(PatternError::UnfinishedCapture);
        }
        Ok(end)
    }

    fn step(&mut self) -> Result<(), PatternError> {
        *self.steps_left = self.steps_left.checked_sub(1).ok_or(PatternError::TooManySteps)?;
        Ok(())
    }

    /// Matches the pattern from `at` on, one level deeper.
    fn rest(&mut self, position: usize, at: usize) -> Match {
        if self.depth >= PATTERN_DEPTH_MAX {
            return Err(PatternError::TooDeep);
        }
        self.depth += 1;
        let end = self.items(position, at);
        self.depth -= 1;
        end
    }

    fn items(&mut self, mut position: usize, mut at: usize) -> Match {
        loop {
            self.step()?;
            let Some(&item) = self.pattern.get(at) else { return Ok(Some(position)) };
            match (item, self.pattern.get(at + 1)) {
                (b'(', Some(b')')) => return self.capture(Capture::Position(position), position, at + 2),
                (b'(', _) => return self.capture(Capture::Open(position), position, at + 1),
                (b')', _) => return self.close(position, at + 1),
                (b'$', None) => return Ok((position == self.subject.len()).then_some(position)),
                (b'%', Some(b'b')) => match self.balanced(position, at + 2)? {
                    Some(end) => (position, at) = (end, at + 4),
                    None => return Ok(None),
                },
                (b'%', Some(b'f')) => match self.frontier(position, at + 2)? {
                    Some(next) => at = next,
                    None => return Ok(None),
                },
                (b'%', Some(digit @ b'0'..=b'9')) => match self.again(position, *digit)? {
                    Some(end) => (position, at) = (end, at + 2),
                    None => return Ok(None),
                },
                _ => {
                    let next = self.single_end(at)?;
                    match self.pattern.get(next) {
                        Some(b'?') => {
                            if self.single(position, at, next)
                                && let Some(end) = self.rest(position + 1, next + 1)?
                            {
                                return Ok(Some(end));
                            }
                            at = next + 1;
                        }
                        Some(b'*') => return self.longest(position, at, next, 0),
                        Some(b'+') => return self.longest(position, at, next, 1),
                        Some(b'-') => return self.shortest(position, at, next),
                        _ if self.single(position, at, next) => (position, at) = (position + 1, next),
                        _ => return Ok(None),
                    }
                }
            }
        }
    }

    fn capture(&mut self, capture: Capture, position: usize, at: usize) -> Match {
        if self.captures.len() >= PATTERN_CAPTURES_MAX {
            return Err(PatternError::TooManyCaptures);
        }
        let before = self.captures.len();
        self.captures.push(capture);
        let end = self.rest(position, at)?;
        if end.is_none() {
            self.captures.truncate(before);
        }
        Ok(end)
    }

    fn close(&mut self, position: usize, at: usize) -> Match {
        let open = |capture: &Capture| matches!(capture, Capture::Open(_));
        let index = self.captures.iter().rposition(open).ok_or(PatternError::InvalidCapture)?;
        let Capture::Open(start) = self.captures[index] else { return Ok(None) };
        self.captures[index] = Capture::Span(start, position);
        let end = self.rest(position, at)?;
        if end.is_none() {
            self.captures[index] = Capture::Open(start);
        }
        Ok(end)
    }

    fn longest(&mut self, position: usize, at: usize, next: usize, least: usize) -> Match {
        let mut count = 0;
        while self.single(position + count, at, next) {
            self.step()?;
            count += 1;
        }
        loop {
            if count < least {
                return Ok(None);
            }
            if let Some(end) = self.rest(position + count, next + 1)? {
                return Ok(Some(end));
            }
            match count.checked_sub(1) {
                Some(fewer) => count = fewer,
                None => return Ok(None),
            }
        }
    }

    fn shortest(&mut self, mut position: usize, at: usize, next: usize) -> Match {
        loop {
            if let Some(end) = self.rest(position, next + 1)? {
                return Ok(Some(end));
            }
            if !self.single(position, at, next) {
                return Ok(None);
            }
            position += 1;
        }
    }

    /// `%bxy`: from an x to the y that balances it.
    fn balanced(&mut self, position: usize, at: usize) -> Match {
        let &[open, close] = self.pattern.get(at..at + 2).ok_or(PatternError::Unbalanced)? else {
            return Err(PatternError::Unbalanced);
        };
        if self.subject.get(position) != Some(&open) {
            return Ok(None);
        }
        let mut level = 1_usize;
        for index in position + 1..self.subject.len() {
            self.step()?;
            let byte = self.subject[index];
            // The closing byte first: it may be the same as the opening one.
            if byte == close {
                level -= 1;
                if level == 0 {
                    return Ok(Some(index + 1));
                }
            } else if byte == open {
                level += 1;
            }
        }
        Ok(None)
    }

    /// `%f[set]`: a place where the set begins to match. The answer is where the pattern goes on.
    fn frontier(&mut self, position: usize, at: usize) -> Match {
        if self.pattern.get(at) != Some(&b'[') {
            return Err(PatternError::Frontier);
        }
        let next = self.single_end(at)?;
        let before = position.checked_sub(1).map_or(0, |index| self.subject[index]);
        let here = self.subject.get(position).copied().unwrap_or(0);
        let begins = !self.in_set(before, at, next - 1) && self.in_set(here, at, next - 1);
        Ok(begins.then_some(next))
    }

    /// `%1`: what the capture matched, again.
    fn again(&mut self, position: usize, digit: u8) -> Match {
        let index = usize::from(digit).checked_sub(usize::from(b'1')).ok_or(PatternError::CaptureIndex)?;
        let Some(&Capture::Span(start, end)) = self.captures.get(index) else {
            return Err(PatternError::CaptureIndex);
        };
        let text = &self.subject[start..end];
        *self.steps_left = self.steps_left.saturating_sub(text.len() as u64);
        Ok(self.subject[position..].starts_with(text).then_some(position + text.len()))
    }

    /// Where the single-byte item at `at` ends.
    fn single_end(&self, at: usize) -> Result<usize, PatternError> {
        match self.pattern[at] {
            b'%' if at + 1 >= self.pattern.len() => Err(PatternError::EndsWithPercent),
            b'%' => Ok(at + 2),
            b'[' => {
                let mut index = at + 1 + usize::from(self.pattern.get(at + 1) == Some(&b'^'));
                // A closing bracket that comes first stands for itself.
                loop {
                    let byte = self.pattern.get(index).ok_or(PatternError::OpenClass)?;
                    index += if *byte == b'%' { 2 } else { 1 };
                    if self.pattern.get(index).ok_or(PatternError::OpenClass)? == &b']' {
                        return Ok(index + 1);
                    }
                }
            }
            _ => Ok(at + 1),
        }
    }

    /// Whether the item between `at` and `next` matches the byte at `position`.
    fn single(&self, position: usize, at: usize, next: usize) -> bool {
        let Some(&byte) = self.subject.get(position) else { return false };
        match self.pattern[at] {
            b'.' => true,
            b'%' => in_class(byte, self.pattern[at + 1]),
            b'[' => self.in_set(byte, at, next - 1),
            literal => literal == byte,
        }
    }

    /// Whether the set that begins at `at` and whose bracket closes at `close` has the byte.
    fn in_set(&self, byte: u8, at: usize, close: usize) -> bool {
        let negated = self.pattern[at + 1] == b'^';
        let mut items = &self.pattern[at + 1 + usize::from(negated)..close];
        let mut found = false;
        loop {
            items = match items {
                [] => return found != negated,
                [b'%', class, rest @ ..] => {
                    found |= in_class(byte, *class);
                    rest
                }
                [low, b'-', high, rest @ ..] => {
                    found |= (*low..=*high).contains(&byte);
                    rest
                }
                [literal, rest @ ..] => {
                    found |= *literal == byte;
                    rest
                }
            };
        }
    }
}

/// `%a` and its kin; an upper-case letter means the opposite, any other byte itself.
fn in_class(byte: u8, class: u8) -> bool {
    let inside = match class.to_ascii_lowercase() {
        b'a' => byte.is_ascii_alphabetic(),
        b'c' => byte.is_ascii_control(),
        b'd' => byte.is_ascii_digit(),
        b'l' => byte.is_ascii_lowercase(),
        b'p' => byte.is_ascii_punctuation(),
        b's' => byte.is_ascii_whitespace() || byte == 0x0b,
        b'u' => byte.is_ascii_uppercase(),
        b'w' => byte.is_ascii_alphanumeric(),
        b'x' => byte.is_ascii_hexdigit(),
        b'z' => byte == 0,
        _ => return class == byte,
    };
    inside != class.is_ascii_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(subject: &str, pattern: &str) -> Result<Option<(usize, usize)>, PatternError> {
        let mut steps = 10_000_000;
        let (anchored, body) = match pattern.strip_prefix('^') {
            Some(body) => (true, body),
            None => (false, pattern),
        };
        let mut matcher = Matcher::new(subject.as_bytes(), body.as_bytes(), &mut steps);
        for start in 0..=if anchored { 0 } else { subject.len() } {
            if let Some(end) = matcher.match_at(start)? {
                return Ok(Some((start, end)));
            }
        }
        Ok(None)
    }

    /// The results are those of Lua 5.1's own string.find (with its numbers made to count from 0).
    #[test]
    fn matches_as_lua_does() {
        let check =
            |subject, pattern, span| assert_eq!(find(subject, pattern), Ok(span), "{subject:?} {pattern:?}");
        check("hello world", "o w", Some((4, 7)));
        check("hello", "l+", Some((2, 4)));
        check("hello", "l-", Some((0, 0)));
        check("hello", "^h.-o$", Some((0, 5)));
        check("hello", "^e", None);
        check("key = value", "(%w+)%s*=%s*(%w+)", Some((0, 11)));
        check("f(a(b)c)d", "%b()", Some((1, 8)));
        check("THE (quick) fox", "%f[%a]%a+%f[%A]", Some((0, 3)));
        check("say \"hi\" now", "([\"'])(.-)%1", Some((4, 8)));
        check("a]b", "[]]", Some((1, 2)));
        check("a-b", "[a%-]+", Some((0, 2)));
        check("x^y", "[%^x]+", Some((0, 2)));
        check("abc", "[^a-b]", Some((2, 3)));
        check("", "^$", Some((0, 0)));
        check("a.b", "%.", Some((1, 2)));
        check("aaab", "a*ab", Some((0, 4)));
        check("abc", "b?c", Some((1, 3)));
        check("abc", "()b()", Some((1, 2)));
    }

    #[test]
    fn malformed_patterns_are_errors() {
        let check = |pattern: &str, error| assert_eq!(find("abc", pattern), Err(error), "{pattern:?}");
        check("%", PatternError::EndsWithPercent);
        check("[a", PatternError::OpenClass);
        check("[%", PatternError::OpenClass);
        check("(a", PatternError::UnfinishedCapture);
        check("a)", PatternError::InvalidCapture);
        check("%1", PatternError::CaptureIndex);
        check("%fa", PatternError::Frontier);
        check(&"()".repeat(33), PatternError::TooManyCaptures);
        check(&"a*".repeat(300), PatternError::TooDeep);
    }

    #[test]
    fn a_pattern_that_would_run_for_ever_is_stopped() {
        let subject = "a".repeat(300);
        assert_eq!(find(&subject, ".-.-.-.-b"), Err(PatternError::TooManySteps));
    }
}
