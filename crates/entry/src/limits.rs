//! The bounds of this crate.

use std::time::Duration;

/// Connections that one listener serves at once. One more is reset at once, so that no backlog of them builds up.
pub const CONNECTIONS_MAX: usize = 16_384;

/// Requests that one HTTP entry serves at once; one more is answered with `overloaded`.
pub const REQUESTS_MAX: usize = 16_384;

/// Wait after an accept that failed, most likely for want of file descriptors.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Largest head of a request or response, in bytes.
pub const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Most bytes that one direction of an HTTP/1 connection reads or holds back at a time. hyper's own limit is 400 KiB, and
/// buffers of that size cost an allocator that keeps freed memory for a while about 100 MB under one large transfer.
pub const HTTP1_BUFFER_BYTES_MAX: usize = 128 * 1024;

/// Most header fields of a request or response.
pub const HEADERS_MAX: usize = 128;

/// Longest time from the begin of a connection to its first byte, and until that says which protocol it is.
pub const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest time from the first byte of a request to the end of its head.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection without a request is closed after this long.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(75);

/// A connection that is closing, serves nothing and has sent everything is dropped after this long.
pub const CLOSE_LIMIT: Duration = Duration::from_secs(1);

/// HTTP/2: as [`CLOSE_LIMIT`], for a client that does not answer and may not have all of its responses yet.
pub const HTTP2_FAREWELL_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest wait for the head of a response, counted from the last byte of the request that the service took.
pub const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);

/// Longest pause of a client that has announced more of its request.
pub const REQUEST_STALL_TIMEOUT: Duration = Duration::from_secs(60);

/// Longest time for which a client may read nothing of a response that waits for it.
pub const WRITE_STALL_TIMEOUT: Duration = Duration::from_secs(120);

/// An unused connection to a service is closed after this long. It is less than the shortest keep-alive time in wide
/// use (5 s: Apache, Node.js), so that the service rarely closes first; a new tunnel costs little more than an old one.
pub const UPSTREAM_IDLE_TIMEOUT: Duration = Duration::from_secs(4);

/// A connection to a service takes no request after this long; shortened by up to a quarter at random. A gateway or an
/// agent that drains waits for the streams through it, and without this a busy connection would keep it waiting.
pub const UPSTREAM_AGE_MAX: Duration = Duration::from_secs(5);

/// Unused connections that are kept for one service.
pub const UPSTREAM_IDLE_PER_SERVICE_MAX: usize = 64;

/// Unused connections that are kept in all.
pub const UPSTREAM_IDLE_MAX: usize = 1_024;

/// Longest pause of a service that has answered and that still gets the rest of its request.
pub const UPSTREAM_SETTLE_LIMIT: Duration = Duration::from_secs(60);

/// Both ends of an upgrade have to be handed over within this time.
pub const UPGRADE_LIMIT: Duration = Duration::from_secs(10);

/// HTTP/2: streams of one client connection at once.
pub const HTTP2_STREAMS_MAX: u32 = 256;

/// HTTP/2: bytes that one stream may have in flight.
pub const HTTP2_STREAM_WINDOW_BYTES: u32 = 1024 * 1024;

/// HTTP/2: bytes that all streams of a connection may have in flight.
pub const HTTP2_CONNECTION_WINDOW_BYTES: u32 = 2 * 1024 * 1024;

/// HTTP/2: bytes of one stream that wait to be sent.
pub const HTTP2_SEND_BUFFER_BYTES: usize = 256 * 1024;

/// HTTP/2: most bytes of a response that are handed over at a time. A client that takes less of one than this within
/// [`WRITE_STALL_TIMEOUT`] counts as one that reads nothing; a frame of HTTP/2 is no larger by default.
pub const HTTP2_PIECE_BYTES_MAX: usize = 16 * 1024;

/// HTTP/2: silence after which the peer is asked whether it is alive, and how long it may take to answer.
pub const HTTP2_PING: Duration = Duration::from_secs(20);

/// How long running requests and streams are served after a shutdown was asked for.
pub const GRACE_DEFAULT: Duration = Duration::from_secs(30);

/// `forward`: longest wait for the gateway to open a stream. The gateway itself gives up after 20 s and says why.
pub const FORWARD_TIMEOUT: Duration = Duration::from_secs(30);

/// `forward`: largest error message of a gateway that is read, in bytes.
pub const FORWARD_ERROR_BYTES_MAX: usize = 16 * 1024;

/// Lines that the log gets about failures per [`WARNING_PERIOD`], for each entry; the rest are counted.
pub const WARNINGS_MAX: u32 = 50;

/// See [`WARNINGS_MAX`].
pub const WARNING_PERIOD: Duration = Duration::from_secs(10);
