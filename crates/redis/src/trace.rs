//! Calls as `tracing` spans, at level debug: which command, and in the end how it went.
//!
//! A span holds the command's name and never an argument. Where nobody listens at that level a call costs one comparison more and
//! no allocation.

use std::fmt;

use bowline_model::Epoch;
use tracing::field::{Empty, display};
use tracing::{Level, Span};

use crate::command::Command;
use crate::error::CallError;
use crate::limits::NAME_BYTES_MAX;

/// The name of the span of a call.
const NAME: &str = "redis_call";

/// A command by its name.
pub(crate) struct Name<'a>(pub &'a Command);

/// The span of a call that is about to begin; a disabled one if nobody listens. Its fields:
/// - `command`: the name; of a script `EVALSHA`, of a batch `batch`, of a transaction `transaction`, of a read for the client-side
///   cache `cached`.
/// - `epoch`: the connection that carried it last.
/// - `resends`: how often it was sent again while its fate was unknown.
/// - `outcome`: `answer`, `error`, `not_sent` or `unknown`, as the metric has it.
///
/// A call that its caller drops has no outcome.
pub(crate) fn span(what: &dyn fmt::Display) -> Span {
    tracing::debug_span!(NAME, command = %what, epoch = Empty, resends = Empty, outcome = Empty)
}

/// Runs `$call`, a future of a call of `$what`, in its span. A macro, because a function would have to move the future, which is
/// not free.
macro_rules! traced {
    ($what:expr, $call:expr) => {{
        let span = $crate::trace::span($what);
        let outcome = match span.is_disabled() {
            true => $call.await,
            false => tracing::Instrument::instrument(Box::pin($call), span.clone()).await,
        };
        $crate::trace::end(&span, &outcome);
        outcome
    }};
}

pub(crate) use traced;

/// The name of a command, for a span. No known one is longer than what is shown of it.
impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.0.name();
        f.write_str(&String::from_utf8_lossy(&name[..name.len().min(NAME_BYTES_MAX)]))
    }
}

/// Notes the connection that carries the current call.
pub(crate) fn sent(epoch: Epoch, resends: u32) {
    if !tracing::enabled!(Level::DEBUG) {
        return;
    }
    let span = Span::current();
    // Where the filter leaves out ours, the current one is the caller's.
    if span.metadata().is_some_and(|metadata| metadata.name() == NAME) {
        span.record("epoch", display(epoch));
        span.record("resends", resends);
    }
}

/// Notes how a call went.
pub(crate) fn end<T>(span: &Span, outcome: &Result<T, CallError>) {
    if !span.is_disabled() {
        span.record("outcome", outcome_label(outcome));
    }
}

const fn outcome_label<T>(outcome: &Result<T, CallError>) -> &'static str {
    match outcome {
        Ok(_) => "answer",
        Err(CallError::Server(_)) => "error",
        Err(CallError::NotSent(_)) => "not_sent",
        Err(CallError::Unknown(_)) => "unknown",
    }
}
