//! Bounds of this crate.

use std::time::Duration;

/// Most connections that are served at once. For one more, one that waits for its peer has to go; where none does, it waits in
/// the kernel's queue.
pub const CONNECTIONS_MAX: usize = 256;

/// Longest wait for a connection's request line and headers, from the end of the answer before. Where places are scarce a
/// connection may have to make room earlier.
pub const HEADERS_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection whose peer takes nothing of an answer for so long is ended.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(20);

/// A connection whose peer does not send the body of a request, or does not read, for so long waits for its peer: it makes room
/// before those that are worked on.
pub const PEER_WAITS_FOR: Duration = Duration::from_secs(1);

/// As [`PEER_WAITS_FOR`], for an answer to somebody known: a peer that reads [`ANSWER_RATE_MIN`] shows it in steps of a third of
/// what the kernel holds, so seldom.
pub const KNOWN_PEER_WAITS_FOR: Duration = Duration::from_millis(5_500);

/// So does one whose peer has not read its answer after this, however steadily it reads.
pub const ANSWER_LEAVES_WITHIN: Duration = Duration::from_secs(10);

/// Bytes per second with which peers that are known are expected to read. What the kernel has of an answer is not with the peer
/// yet: for as long as the peer may need to take it, and for [`ANSWER_LEAVES_WITHIN`] at most, its connection does not wait.
pub const ANSWER_RATE_MIN: usize = 16 * 1024;

/// The last answer of a connection to a peer that is known is given up after this: enough to take all that a kernel holds at
/// [`ANSWER_RATE_MIN`].
pub const LAST_ANSWER_LEAVES_WITHIN: Duration = Duration::from_secs(20);

/// A connection that waits for its peer makes room for another after this at the earliest: a head needs a round trip or two
/// (three with TLS) from when its connection was accepted. It bounds how often a place can change hands.
pub const HEAD_GRACE: Duration = Duration::from_millis(250);

/// So does one of an address that has more than half of all places, or connections that say nothing could come from it
/// faster than places become free: a round trip within a building.
pub const HEAD_GRACE_OF_MOST: Duration = Duration::from_millis(25);

/// Bytes that the kernel may hold of a connection in each direction; with its own records it takes up to twice as much. Enough
/// for 2.5 MB/s over 50 ms; what it does not take waits in the process, where it is counted.
pub const SOCKET_BUFFER_BYTES: usize = 128 * 1024;

/// First pause before the kernel is asked again whether the peer has taken the last answer; it doubles up to
/// [`TAKEN_CHECK_MAX`].
pub const TAKEN_CHECK_MIN: Duration = Duration::from_millis(2);

/// See [`TAKEN_CHECK_MIN`].
pub const TAKEN_CHECK_MAX: Duration = Duration::from_millis(64);

/// How long after its last answer, or after bytes that came since, a connection that ends is kept for its peer to end it too.
/// Closed before, while something that came in is unread, it would be reset, and an answer that the peer has not read could be lost
/// with it.
pub const LINGER: Duration = Duration::from_secs(1);

/// The end of [`LINGER`], however long bytes come.
pub const LINGER_MAX: Duration = Duration::from_secs(5);

/// Longest time to answer a request. A status asks every gateway of the zone, each with a shorter bound.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Time after which a connection is closed when its answer is out, however busy it is. A reader that never reads is cut a
/// grace later.
pub const CONNECTION_LIFETIME_MAX: Duration = Duration::from_secs(300);

/// Bytes buffered for one connection, which bounds the request line and the headers.
pub const HEADER_BYTES_MAX: usize = 16 * 1024;

/// Most header lines of a request.
pub const HEADERS_MAX: usize = 64;

/// Largest request body. No route reads one.
pub const BODY_BYTES_MAX: u64 = 64 * 1024;

/// Longest pause after an accept that failed, for instance for want of file descriptors.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Lines about connections that cannot be accepted, in each [`LOG_PERIOD`].
pub const LOG_LINES: u32 = 5;

/// See [`LOG_LINES`].
pub const LOG_PERIOD: Duration = Duration::from_secs(10);

/// How long answers in flight may go on when the port is shut down.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(1);
