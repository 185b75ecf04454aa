//! Copies bytes both ways between two streams until both ways have ended.
//!
//! - **Half-close.** The end of one way is passed on (a TCP FIN, a TLS close-notify) and the other way goes on.
//! - **Back-pressure.** A way reads only when it has written all that it read, so a stalled reader costs at most one
//!   buffer of [`BUFFER_BYTES`], and its sender feels the stall through the sender's own connection.
//! - **Idle streams cost no buffers.** A way holds a buffer only while there are bytes in it. Empty ones are shared by
//!   all relays of a thread.
//! - **A failure is not an end.** After a read error nothing more can be trusted and the relay ends at once. After a write
//!   error the failed leg may still have sent something worth reading (a server that refuses an upload answers,
//!   then resets), so that way goes on for at most [`DRAIN_LIMIT`]. The caller should close what was cut so that its
//!   peer does not take the cut for an end: see [`Ended::is_cut`].
//!
//! There is no time-out on silence: a stream may be quiet for days, and keep-alive notices a dead peer.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Size of the buffer of one way. Copying by 4 KiB costs a factor of nine, by 16 KiB still one of two.
pub const BUFFER_BYTES: usize = 64 * 1024;
/// How long a way goes on after the other way could not write.
pub const DRAIN_LIMIT: Duration = Duration::from_secs(5);
/// Full buffers that one way moves before everything else on this thread gets a turn.
const BUFFERS_PER_TURN: usize = 16;
/// Empty buffers that a thread keeps for the next relay that has something to copy.
const SPARE_BUFFERS_MAX: usize = 64;

/// One of the two streams of a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leg {
    /// The first stream.
    A,
    /// The second stream.
    B,
}

/// A relay broke off.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// A leg could not be read.
    #[error("cannot read from leg {leg:?}")]
    Read {
        /// The leg that failed.
        leg: Leg,
        /// Why.
        source: io::Error,
    },
    /// A leg could not be written to.
    #[error("cannot write to leg {leg:?}")]
    Write {
        /// The leg that failed.
        leg: Leg,
        /// Why.
        source: io::Error,
    },
}

impl RelayError {
    /// The leg that failed.
    #[must_use]
    pub fn leg(&self) -> Leg {
        match self {
            Self::Read { leg, .. } | Self::Write { leg, .. } => *leg,
        }
    }
}

/// How a relay ended.
#[derive(Debug)]
pub struct Ended {
    /// Bytes read from A and written to B.
    pub a_to_b: u64,
    /// Bytes read from B and written to A.
    pub b_to_a: u64,
    /// Whether both ways ended as their senders meant them to.
    pub result: Result<(), RelayError>,
    /// Whether A was told an orderly end.
    a_has_end: bool,
    /// Whether B was told an orderly end.
    b_has_end: bool,
}

impl Ended {
    /// Whether what was sent to `leg` broke off. Closing it in an orderly way would make its peer take the part for the
    /// whole: see [`crate::net::reset_on_close`].
    #[must_use]
    pub fn is_cut(&self, leg: Leg) -> bool {
        match leg {
            Leg::A => !self.a_has_end,
            Leg::B => !self.b_has_end,
        }
    }
}

/// Relays between `a` and `b` until both ways have ended or a leg failed. Dropping the future stops the relay; bytes that
/// were read and not yet written are lost then.
pub async fn relay<A, B>(a: &mut A, b: &mut B) -> Ended
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    relay_with(a, b, |_, _| {}).await
}

/// As [`relay`]; `observe` is told of bytes when they have been written: the leg they came from and how many.
pub async fn relay_with<A, B>(a: &mut A, b: &mut B, mut observe: impl FnMut(Leg, u64)) -> Ended
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let mut a_to_b = Way::new(Leg::A, Leg::B);
    let mut b_to_a = Way::new(Leg::B, Leg::A);
    let mut failure = None;
    let over = poll_fn(|context| {
        let polled = [a_to_b.poll(context, a, b, &mut observe), b_to_a.poll(context, b, a, &mut observe)];
        for error in polled.into_iter().filter_map(failed) {
            let fatal = matches!(error, RelayError::Read { .. });
            failure.get_or_insert(error);
            if fatal {
                return Poll::Ready(true);
            }
        }
        match (a_to_b.is_done() && b_to_a.is_done(), &failure) {
            (true, _) => Poll::Ready(true),
            (false, Some(_)) => Poll::Ready(false),
            (false, None) => Poll::Pending,
        }
    })
    .await;
    if !over {
        drain(&mut a_to_b, &mut b_to_a, a, b, &mut observe).await;
    }
    Ended {
        a_to_b: a_to_b.copied,
        b_to_a: b_to_a.copied,
        result: failure.map_or(Ok(()), Err),
        a_has_end: b_to_a.end_passed_on,
        b_has_end: a_to_b.end_passed_on,
    }
}

fn failed(polled: Poll<Result<(), RelayError>>) -> Option<RelayError> {
    match polled {
        Poll::Ready(Err(error)) => Some(error),
        Poll::Ready(Ok(())) | Poll::Pending => None,
    }
}

/// After a failed write: lets the way that is left go on until it ends, fails too, or the limit has passed.
async fn drain<A, B>(
    a_to_b: &mut Way,
    b_to_a: &mut Way,
    a: &mut A,
    b: &mut B,
    observe: &mut impl FnMut(Leg, u64),
) where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let rest = poll_fn(|context| {
        // The way that failed is done and answers at once. A second failure adds nothing to the first.
        let first = a_to_b.poll(context, a, b, observe);
        let second = b_to_a.poll(context, b, a, observe);
        if first.is_ready() && second.is_ready() { Poll::Ready(()) } else { Poll::Pending }
    });
    // Either way the relay is over; what is lost belongs to a stream that failed.
    let _ = crate::time::timeout(DRAIN_LIMIT, pin!(rest)).await;
}

/// One way of a relay: bytes from one leg to the other.
struct Way {
    from: Leg,
    to: Leg,
    /// Holds the bytes `written..filled`; absent when there are none.
    buffer: Option<Box<[u8]>>,
    written: usize,
    filled: usize,
    copied: u64,
    /// Bytes were written since the last flush; a TLS writer may still hold them.
    unflushed: bool,
    end_passed_on: bool,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Copying,
    /// The reader has ended; the writer is being told.
    Ending,
    Done,
}

impl Way {
    fn new(from: Leg, to: Leg) -> Self {
        Self {
            from,
            to,
            buffer: None,
            written: 0,
            filled: 0,
            copied: 0,
            unflushed: false,
            end_passed_on: false,
            phase: Phase::Copying,
        }
    }

    fn is_done(&self) -> bool {
        self.phase == Phase::Done
    }

    fn stop(&mut self) {
        self.phase = Phase::Done;
        self.give_buffer_back();
    }

    /// Moves what can be moved now. Ready when this way is done, which it also is after a failure.
    fn poll<R, W>(
        &mut self,
        context: &mut Context<'_>,
        reader: &mut R,
        writer: &mut W,
        observe: &mut impl FnMut(Leg, u64),
    ) -> Poll<Result<(), RelayError>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let result = ready!(self.poll_steps(context, reader, writer, observe));
        self.stop();
        Poll::Ready(result)
    }

    fn poll_steps<R, W>(
        &mut self,
        context: &mut Context<'_>,
        reader: &mut R,
        writer: &mut W,
        observe: &mut impl FnMut(Leg, u64),
    ) -> Poll<Result<(), RelayError>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        for _ in 0..BUFFERS_PER_TURN {
            match self.phase {
                Phase::Copying => {
                    ready!(self.poll_write(context, writer, observe))?;
                    ready!(self.poll_read(context, reader, writer))?;
                }
                Phase::Ending => {
                    ready!(self.poll_end(context, writer))?;
                    self.end_passed_on = true;
                    self.phase = Phase::Done;
                }
                Phase::Done => return Poll::Ready(Ok(())),
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Fills the buffer, which is empty. When there is nothing to read, what the writer holds back is flushed.
    fn poll_read<R, W>(
        &mut self,
        context: &mut Context<'_>,
        reader: &mut R,
        writer: &mut W,
    ) -> Poll<Result<(), RelayError>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let mut buffer = self.buffer.take().unwrap_or_else(take_buffer);
        let mut space = ReadBuf::new(&mut buffer);
        let polled = Pin::new(reader).poll_read(context, &mut space);
        let filled = space.filled().len();
        if filled > 0 {
            (self.buffer, self.written, self.filled) = (Some(buffer), 0, filled);
        } else {
            give_buffer(buffer);
        }
        match polled {
            Poll::Ready(Ok(())) if filled == 0 => self.phase = Phase::Ending,
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(source)) => return Poll::Ready(Err(RelayError::Read { leg: self.from, source })),
            Poll::Pending => {
                ready!(self.poll_flush(context, writer))?;
                return Poll::Pending;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Empties the buffer.
    fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        writer: &mut (impl AsyncWrite + Unpin),
        observe: &mut impl FnMut(Leg, u64),
    ) -> Poll<Result<(), RelayError>> {
        let Some(buffer) = &self.buffer else { return Poll::Ready(Ok(())) };
        while self.written < self.filled {
            let polled = Pin::new(&mut *writer).poll_write(context, &buffer[self.written..self.filled]);
            let count = match polled {
                Poll::Ready(Ok(0)) => Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(result) => result,
                Poll::Pending => {
                    // A writer that is full because it holds bytes back needs the flush to get on.
                    if self.unflushed && Pin::new(&mut *writer).poll_flush(context).is_ready() {
                        self.unflushed = false;
                    }
                    return Poll::Pending;
                }
            };
            let count = count.map_err(|source| RelayError::Write { leg: self.to, source })?;
            self.written += count;
            self.copied += count as u64;
            self.unflushed = true;
            observe(self.from, count as u64);
        }
        self.give_buffer_back();
        Poll::Ready(Ok(()))
    }

    fn poll_flush(
        &mut self,
        context: &mut Context<'_>,
        writer: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<Result<(), RelayError>> {
        if self.unflushed {
            let flushed = ready!(Pin::new(writer).poll_flush(context));
            flushed.map_err(|source| RelayError::Write { leg: self.to, source })?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Passes the end on. A peer that is gone altogether has nobody left to tell, which is no failure.
    fn poll_end(
        &mut self,
        context: &mut Context<'_>,
        writer: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<Result<(), RelayError>> {
        Poll::Ready(match ready!(Pin::new(writer).poll_shutdown(context)) {
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
            result => result.map_err(|source| RelayError::Write { leg: self.to, source }),
        })
    }

    fn give_buffer_back(&mut self) {
        self.buffer.take().into_iter().for_each(give_buffer);
    }
}

thread_local! {
    static SPARE_BUFFERS: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

fn take_buffer() -> Box<[u8]> {
    let spare = SPARE_BUFFERS.with_borrow_mut(Vec::pop);
    spare.unwrap_or_else(|| vec![0; BUFFER_BYTES].into_boxed_slice())
}

fn give_buffer(buffer: Box<[u8]>) {
    SPARE_BUFFERS.with_borrow_mut(|spare| {
        if spare.len() < SPARE_BUFFERS_MAX {
            spare.push(buffer);
        }
    });
}

#[cfg(test)]
mod tests;
