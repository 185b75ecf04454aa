//! The future of one command.
//!
//! Nearly every call is sent at once and answered with a value. That way is written out here: the future is small, nothing is
//! moved, nothing is allocated, and the clock is not read. All that other calls need is behind one box.

use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use bowline_resp::Frame;
use bowline_rt::time::now;
use tracing::{Instrument as _, Span};

use crate::client::{Client, Servers};
use crate::cluster::Way;
use crate::command::Command;
use crate::error::{CallError, NotSent};
use crate::intake::{Answer, Delivery};
use crate::request::{Limit, Request as _, after};
use crate::trace::{self, Name};

/// A call of a command; in place of one that names a script which the server does not know, of what `in_full` makes.
///
/// It waits for the first time when it was polled once, and is woken when there is an answer: polling it more often does no harm.
pub(crate) struct Call<'a, F> {
    client: &'a Client,
    /// The command, and what makes the one in its place. `None` when another future has taken them over.
    request: Option<(Command, Option<F>)>,
    /// When it began, if that is known.
    started: Option<Instant>,
    progress: Progress<'a>,
}

enum Progress<'a> {
    New,
    Sent(Answer),
    Otherwise(Pin<Box<dyn Future<Output = Result<Frame, CallError>> + Send + 'a>>),
    Ended,
}

/// How a call has begun.
enum Begun {
    Sent(Answer),
    /// It has to go another way, in this span.
    Otherwise(Span),
}

impl<'a, F: FnOnce() -> Command + Send + Unpin + 'a> Call<'a, F> {
    pub fn new(client: &'a Client, command: Command, in_full: Option<F>) -> Self {
        Self { client, request: Some((command, in_full)), started: None, progress: Progress::New }
    }

    fn advance(&mut self, context: &mut Context<'_>) -> Poll<Result<Frame, CallError>> {
        let (span, first) = match &mut self.progress {
            Progress::New => match self.begin(context.waker())? {
                Begun::Sent(answer) => {
                    self.progress = Progress::Sent(answer);
                    return Poll::Pending;
                }
                Begun::Otherwise(span) => (span, None),
            },
            Progress::Sent(answer) => match ready!(Pin::new(answer).poll(context)) {
                Delivery::Answer(frame) if !matches!(frame, Frame::Error(_)) => {
                    return Poll::Ready(Ok(frame));
                }
                delivery => (Span::none(), Some(delivery)),
            },
            Progress::Otherwise(rest) => return rest.as_mut().poll(context),
            Progress::Ended => unreachable!("nobody polls a call that has ended"),
        };
        let mut rest = self.go_on(span, first);
        let outcome = rest.as_mut().poll(context);
        self.progress = Progress::Otherwise(rest);
        outcome
    }

    fn begin(&mut self, waker: &Waker) -> Result<Begun, NotSent> {
        let (command, in_full) = self.request.as_ref().expect("it has not begun");
        // Two commands have one deadline. With one that is sent at once, nobody needs to know when it began.
        self.started = in_full.as_ref().map(|_| now());
        let span = trace::span(&Name(command));
        let node = match self.client.servers() {
            Servers::One(node) if span.is_disabled() => node,
            Servers::Watched(watched) if span.is_disabled() && watched.is_for_primary(command) => {
                watched.primary()
            }
            _ => return Ok(Begun::Otherwise(span)),
        };
        command.check_shared(self.client.bytes_max())?;
        let limit = command.deadline_or(self.client.settings().call_deadline);
        let limit = self.started.map_or(Limit::In(limit), |started| Limit::At(after(started, limit)));
        let answer = node.try_commit(command, limit, waker);
        Ok(answer.map_or(Begun::Otherwise(span), Begun::Sent))
    }

    /// The way of all other calls. `first` is what became of the command if it was sent already.
    fn go_on(
        &mut self,
        span: Span,
        first: Option<Delivery>,
    ) -> Pin<Box<dyn Future<Output = Result<Frame, CallError>> + Send + 'a>> {
        let (command, in_full) = self.request.take().expect("it goes on once");
        let (client, started) = (self.client, self.started);
        Box::pin(async move {
            let call = client.run_command(command, in_full, Way::default(), started, first);
            let outcome = call.instrument(span.clone()).await;
            trace::end(&span, &outcome);
            outcome
        })
    }
}

impl<'a, F: FnOnce() -> Command + Send + Unpin + 'a> Future for Call<'a, F> {
    type Output = Result<Frame, CallError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = ready!(self.advance(context));
        self.progress = Progress::Ended;
        self.client.metrics().count_call(&outcome);
        Poll::Ready(outcome)
    }
}
