//! Texts for people, kept short and on one line.

use std::error::Error;

use crate::limits::DETAIL_BYTES_MAX;

/// The beginning of `text`, at most `bytes_max` bytes, without control characters.
pub fn cut(text: &str, bytes_max: usize) -> String {
    let mut short = String::new();
    for character in text.chars() {
        if short.len() + character.len_utf8() > bytes_max {
            break;
        }
        short.push(if character.is_control() { ' ' } else { character });
    }
    short
}

/// An error and its causes in one line. A cause that its effect already quotes is not repeated.
pub fn chain(error: &dyn Error) -> String {
    with_causes(error.to_string(), error.source())
}

/// As [`chain`], for an error whose own words are `text`.
pub fn with_causes(mut text: String, mut cause: Option<&(dyn Error + 'static)>) -> String {
    while let Some(error) = cause {
        let detail = error.to_string();
        if !text.contains(&detail) {
            text = format!("{text}: {detail}");
        }
        cause = error.source();
    }
    cut(&text, DETAIL_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_text_stays_whole_characters_on_one_line() {
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("a\nb\u{1b}c", 9), "a b c");
        assert_eq!(cut("aé", 2), "a");
    }

    #[test]
    fn causes_are_named_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot dial")]
        struct Outer(#[source] std::io::Error);
        assert_eq!(chain(&Outer(std::io::Error::other("refused"))), "cannot dial: refused");
    }
}
