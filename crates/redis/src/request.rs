//! What is sent as one: a command, or several that stay together.

use std::time::{Duration, Instant};

use bytes::BytesMut;

use crate::command::Command;
use crate::error::NotSent;
use crate::limits::DEADLINE_FAR;
use crate::table::Shape;

/// Until when a caller waits.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Limit {
    /// Until then.
    At(Instant),
    /// For so long from when the connection takes the request over: of a caller who has not waited yet, and so need not look at
    /// the clock.
    In(Duration),
}

impl Limit {
    /// The instant, of a request that is taken over now.
    pub fn from(self, now: Instant) -> Instant {
        match self {
            Self::At(deadline) => deadline,
            Self::In(limit) => after(now, limit),
        }
    }
}

/// So long after `start`, or far away.
pub(crate) fn after(start: Instant, limit: Duration) -> Instant {
    start.checked_add(limit).unwrap_or(start + DEADLINE_FAR)
}

/// The answers that a request is owed.
#[derive(Debug, Clone)]
pub(crate) enum Replies {
    /// One, of these types.
    One(Shape),
    /// One after the other; they are delivered together, as the elements of one array.
    Each(Box<[Shape]>),
}

/// Something that can be put into a connection.
pub(crate) trait Request {
    /// Size on the wire.
    fn size_bytes(&self) -> usize;

    /// Appends the request to `out`. The memory is reserved first: what follows cannot stop half-way.
    fn write_to(&self, out: &mut BytesMut);

    /// The answers that it is owed.
    fn replies(&self) -> Replies;

    /// Whether running it twice is as good as once.
    fn is_idempotent(&self) -> bool;

    /// The time that it may take in all.
    fn deadline_or(&self, default: Duration) -> Duration;

    /// The time for which it asks the server to be silent; [`Duration::MAX`] is for ever.
    fn blocks_for(&self) -> Duration {
        Duration::ZERO
    }
}

/// A request of a caller whose bytes stand in a buffer.
#[derive(Debug)]
pub struct Pending<T> {
    /// Who waits for the answer.
    pub(crate) caller: T,
    /// Bytes of the request.
    pub(crate) size_bytes: usize,
    /// The answers that it is owed.
    pub(crate) replies: Replies,
    /// When the caller stops waiting.
    pub(crate) limit: Limit,
    /// The time for which the server was asked to be silent.
    pub(crate) blocks_for: Duration,
}

impl<T> Pending<T> {
    /// Appends `command` to `bytes`. `caller` waits for the answer until `deadline`.
    ///
    /// # Errors
    /// A command that may not use a shared connection.
    pub fn encode(
        command: &Command,
        caller: T,
        deadline: Instant,
        bytes: &mut BytesMut,
    ) -> Result<Self, NotSent> {
        command.check_shared(usize::MAX)?;
        Ok(Self::write(command, caller, Limit::At(deadline), bytes))
    }

    /// Appends `request`, which was checked, to `bytes`.
    pub(crate) fn write(request: &impl Request, caller: T, limit: Limit, bytes: &mut BytesMut) -> Self {
        request.write_to(bytes);
        Self {
            caller,
            size_bytes: request.size_bytes(),
            replies: request.replies(),
            limit,
            blocks_for: request.blocks_for(),
        }
    }
}
