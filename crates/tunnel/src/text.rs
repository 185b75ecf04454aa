//! Texts that go into errors and logs.

use std::error::Error;

use crate::limits;

/// Cuts a text that came from a peer to a length that is fit for errors and logs, and takes control characters out.
pub fn shorten(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(limits::PEER_TEXT_BYTES_MAX));
    text.replace(char::is_control, " ")
}

/// An error and what caused it, in one line.
pub fn explain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Some errors repeat their cause in their own text.
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_cannot_break_the_log() {
        assert_eq!(shorten("a\nb\u{1b}[0m".to_owned()), "a b [0m");
        assert_eq!(shorten("ä".repeat(1_000)).len(), limits::PEER_TEXT_BYTES_MAX);
        assert_eq!(shorten("short".to_owned()), "short");
    }

    #[test]
    fn an_error_is_told_with_its_cause_once() {
        let cause = std::io::Error::other("no route");
        let error = bowline_proto::frame::FrameError::Io(cause);
        assert_eq!(explain(&error), "the connection broke off: no route");
    }
}
