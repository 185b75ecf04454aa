//! Answers on their way out: a peer that does not read them is not waited for, and makes room before others do.

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bowline_rt::time::{Instant, now, sleep_until};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::places::Place;
use crate::limits::{ANSWER_LEAVES_WITHIN, PEER_WAITS_FOR, STALL_TIMEOUT};

/// A stream whose writes fail when the peer takes nothing for too long. Reads are as they are.
pub(super) struct Outward<S> {
    stream: S,
    place: Arc<Place>,
    /// Since when the peer has not taken all that was to be written.
    behind_since: Option<Instant>,
    stall: Option<Stall>,
}

/// A write waits.
struct Stall {
    since: Instant,
    timer: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// The connection waits for its peer, and the next that the timer tells is the end.
    is_long: bool,
}

impl<S> fmt::Debug for Outward<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outward").field("behind_since", &self.behind_since).finish_non_exhaustive()
    }
}

impl<S> Outward<S> {
    pub fn new(stream: S, place: Arc<Place>) -> Self {
        Self { stream, place, behind_since: None, stall: None }
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
        let stall = self.stall.get_or_insert_with(Stall::begin);
        // Whoever reads slowly makes room too, after a time in which everybody can have read.
        if stall.since >= since + ANSWER_LEAVES_WITHIN {
            self.place.waits();
        }
        while stall.timer.as_mut().poll(context).is_ready() {
            if stall.is_long {
                self.stall = None;
                let text = format!("the peer took nothing of the answer for {STALL_TIMEOUT:?}");
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, text)));
            }
            self.place.waits();
            stall.is_long = true;
            stall.timer = Box::pin(sleep_until(stall.since + STALL_TIMEOUT));
        }
        Poll::Pending
    }
}

impl Stall {
    fn begin() -> Self {
        let since = now();
        Self { since, timer: Box::pin(sleep_until(since + PEER_WAITS_FOR)), is_long: false }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Outward<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Outward<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.bounded(context, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.bounded(context, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_flush(context);
        if let Poll::Ready(Ok(())) = outcome {
            self.behind_since = None;
            self.place.has_written();
        }
        self.bounded(context, outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_shutdown(context);
        self.bounded(context, outcome)
    }
}
