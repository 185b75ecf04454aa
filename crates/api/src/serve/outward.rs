//! Answers on their way out, to their end: a peer that does not read them is not waited for, and makes room before others do.
//!
//! - While an answer is written, a peer that takes nothing is given up after a time.
//! - When the conversation is over, the stream ends in order only after the peer has taken all of it. A socket that is closed
//!   before lives on in the kernel for as long as the peer likes, with all that is in it, and nobody counts it.
//! - Every other end is a reset: nothing stays behind, and no peer takes a part of an answer for the whole.

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bowline_identity::tls::Stream;
use bowline_rt::net;
use bowline_rt::time::{Duration, Instant, now, sleep_until};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::counters::Cut;
use super::places::Place;
use crate::limits::{
    ANSWER_LEAVES_WITHIN, KNOWN_PEER_WAITS_FOR, LINGER, LINGER_MAX, PEER_WAITS_FOR, STALL_TIMEOUT,
    TAKEN_CHECK_MAX, TAKEN_CHECK_MIN,
};

/// What answers are written to, and what the kernel knows of it.
pub(super) trait Socket: AsyncRead + AsyncWrite + Unpin {
    /// Whether the peer has taken all that was written, but for very little, or is gone. Only when no more is written.
    fn is_taken(&self) -> bool;

    /// Makes the drop a reset.
    fn reset_on_close(&self);
}

impl Socket for Stream {
    fn is_taken(&self) -> bool {
        net::is_taken(self.tcp())
    }

    fn reset_on_close(&self) {
        net::reset_on_close(self.tcp());
    }
}

/// A stream whose writes fail when the peer takes nothing for too long. Reads are as they are.
pub(super) struct Outward<S: Socket> {
    stream: S,
    place: Arc<Place>,
    /// Bytes of the answer that is on its way.
    written: usize,
    /// Since when the peer has not taken all that was to be written.
    behind_since: Option<Instant>,
    stall: Option<Stall>,
    end: End,
}

type Timer = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A write waits.
struct Stall {
    since: Instant,
    timer: Timer,
    /// The connection waits for its peer, and the next that the timer tells is the end.
    is_long: bool,
}

/// How far the end of the conversation is.
enum End {
    /// It goes on.
    Open,
    /// Nothing more is written; the peer has not taken all of it.
    Leaves { until: Instant, pause: Duration, timer: Timer },
    /// All is taken; the end is being told.
    Told,
    /// It was told. A reset, which the kernel makes of a close when something came in that nobody read, could still take away
    /// from the peer what it has not looked at.
    Lingers { timer: Timer, until: Instant },
}

impl<S: Socket> fmt::Debug for Outward<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outward").field("behind_since", &self.behind_since).finish_non_exhaustive()
    }
}

impl<S: Socket> Outward<S> {
    pub fn new(stream: S, place: Arc<Place>) -> Self {
        Self { stream, place, written: 0, behind_since: None, stall: None, end: End::Open }
    }

    fn count(&mut self, written: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(bytes)) = written {
            self.written += bytes;
        }
    }

    /// Goes on with what a write came to.
    fn bounded<T>(&mut self, context: &mut Context<'_>, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            if self.stall.take().is_some() {
                self.place.goes_on();
            }
            return outcome;
        }
        let since = *self.behind_since.get_or_insert_with(now);
        let place = &self.place;
        let stall = self.stall.get_or_insert_with(|| Stall::begin(place.is_known()));
        // Whoever reads slowly makes room too, after a time in which everybody can have read.
        if stall.since >= since + ANSWER_LEAVES_WITHIN {
            self.place.waits();
        }
        while stall.timer.as_mut().poll(context).is_ready() {
            if stall.is_long {
                self.stall = None;
                return Poll::Ready(Err(self.unread(STALL_TIMEOUT)));
            }
            self.place.waits();
            stall.is_long = true;
            stall.timer = at(stall.since + STALL_TIMEOUT);
        }
        Poll::Pending
    }

    fn unread(&self, waited: Duration) -> io::Error {
        self.place.counters().cut(Cut::Unread);
        let text = format!("the peer did not take the answer within {waited:?}");
        io::Error::new(io::ErrorKind::TimedOut, text)
    }

    /// Waits until the peer has taken everything. The kernel does not tell when that is: it has to be asked.
    fn poll_taken(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match &mut self.end {
                End::Open if self.stream.is_taken() => self.end = End::Told,
                End::Open => {
                    let (patience, pause) = (self.place.last_patience(), TAKEN_CHECK_MIN);
                    let (until, timer) = (now() + patience, at(now() + pause));
                    self.end = End::Leaves { until, pause, timer };
                }
                End::Leaves { until, pause, timer } => {
                    ready!(timer.as_mut().poll(context));
                    if self.stream.is_taken() {
                        self.end = End::Told;
                    } else if now() >= *until {
                        return Poll::Ready(Err(self.unread(self.place.last_patience())));
                    } else {
                        *pause = (*pause * 2).min(TAKEN_CHECK_MAX);
                        *timer = at(now() + *pause);
                    }
                }
                End::Told | End::Lingers { .. } => return Poll::Ready(Ok(())),
            }
        }
    }

    /// Reads on until the peer ends it too, but not for long. Without an answer a moment ago there is nothing to lose.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if !matches!(self.end, End::Lingers { .. }) {
            let Some(answered) = self.place.answered().filter(|answered| *answered + LINGER > now()) else {
                return Poll::Ready(());
            };
            self.end = End::Lingers { timer: at(answered + LINGER), until: answered + LINGER_MAX };
        }
        let End::Lingers { timer, until } = &mut self.end else { return Poll::Ready(()) };
        let mut bytes = [0; 1024];
        loop {
            if timer.as_mut().poll(context).is_ready() {
                return Poll::Ready(());
            }
            let mut buffer = ReadBuf::new(&mut bytes);
            match ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => *timer = at((now() + LINGER).min(*until)),
                Ok(()) | Err(_) => return Poll::Ready(()),
            }
        }
    }
}

impl Stall {
    /// Of an answer to somebody known?
    fn begin(is_known: bool) -> Self {
        let (since, patience) = (now(), if is_known { KNOWN_PEER_WAITS_FOR } else { PEER_WAITS_FOR });
        Self { since, timer: at(since + patience), is_long: false }
    }
}

fn at(time: Instant) -> Timer {
    Box::pin(sleep_until(time))
}

impl<S: Socket> Drop for Outward<S> {
    fn drop(&mut self) {
        let is_whole = self.place.is_answered() && self.behind_since.is_none();
        if !is_whole || !self.stream.is_taken() {
            self.stream.reset_on_close();
        }
    }
}

impl<S: Socket> AsyncRead for Outward<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: Socket> AsyncWrite for Outward<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.count(&outcome);
        self.bounded(context, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.count(&outcome);
        self.bounded(context, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_flush(context);
        let outcome = self.bounded(context, outcome);
        if let Poll::Ready(Ok(())) = outcome {
            self.behind_since = None;
            if self.place.has_written(self.written) {
                self.written = 0;
            }
        }
        outcome
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if matches!(self.end, End::Open) {
            self.place.ends();
        }
        ready!(self.poll_taken(context))?;
        if matches!(self.end, End::Told) {
            let outcome = Pin::new(&mut self.stream).poll_shutdown(context);
            ready!(self.bounded(context, outcome))?;
            self.place.has_ended();
        }
        self.poll_linger(context).map(Ok)
    }
}
