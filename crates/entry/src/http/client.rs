//! A client's connection, and what it is up to: which protocol it speaks, whether it is idle, slow or stuck.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bowline_identity::tls;
use bowline_rt::net::reset_on_close;
use bowline_rt::rewind::Rewound;
use bowline_rt::time::{now, sleep};
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use crate::accept::Slot;
use crate::limits::{HEAD_TIMEOUT, WRITE_STALL_TIMEOUT};

/// What an HTTP/2 client sends first (RFC 9113, 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The protocol of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    Http1,
    Http2,
}

/// Reads just enough to tell the protocol; what was read is the second value. Ends with the connection at the latest.
///
/// # Errors
/// The connection's, or its end before the first byte.
pub(super) async fn version(stream: &mut tls::Stream) -> io::Result<(Version, Bytes)> {
    if stream.alpn() == Some(tls::ALPN_HTTP2) {
        return Ok((Version::Http2, Bytes::new()));
    }
    let mut read = BytesMut::with_capacity(HTTP2_PREFACE.len());
    loop {
        if read[..] == *HTTP2_PREFACE {
            return Ok((Version::Http2, read.freeze()));
        }
        if !HTTP2_PREFACE.starts_with(&read) {
            return Ok((Version::Http1, read.freeze()));
        }
        let missing = HTTP2_PREFACE.len() - read.len();
        if (&mut *stream).take(missing as u64).read_buf(&mut read).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// What is known of a connection's use; shared by the connection and its requests.
#[derive(Debug)]
pub(super) struct Activity {
    version: Version,
    state: Mutex<State>,
    /// The place among the listener's connections, which upgraded streams keep as well.
    _slot: Slot,
}

#[derive(Debug)]
struct State {
    requests: usize,
    idle_since: Instant,
    /// When the first byte of a request came that is not complete yet.
    head_since: Option<Instant>,
    /// A response broke off: an orderly end of the connection could pass for the end of the response.
    is_broken: bool,
}

/// What should happen to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Look again then.
    Wait(Instant),
    /// Nothing has come for long: close it politely.
    Idle,
    /// A request comes too slowly: drop it.
    TooSlow,
}

impl Activity {
    pub fn new(version: Version, slot: Slot) -> Self {
        let state = State { requests: 0, idle_since: now(), head_since: None, is_broken: false };
        Self { version, state: Mutex::new(state), _slot: slot }
    }

    fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        // The state is a few values that are never half written.
        look(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A request or stream begins; it ends with the value.
    pub fn begin(self: &Arc<Self>) -> Busy {
        self.with(|state| {
            state.requests += 1;
            state.head_since = None;
        });
        Busy(self.clone())
    }

    /// Bytes came in that belong to no request that is known yet.
    pub fn bytes_came(&self) {
        self.with(|state| {
            if state.requests == 0 && state.head_since.is_none() {
                state.head_since = Some(now());
            }
        });
    }

    /// Whether nothing would be lost if the connection closed now.
    pub fn is_unused(&self) -> bool {
        let is_http2 = self.version == Version::Http2;
        self.with(|state| state.requests == 0 && (state.head_since.is_none() || is_http2))
    }

    fn is_broken(&self) -> bool {
        self.with(|state| state.is_broken)
    }

    /// The grace time is over: what is still being sent is broken off.
    pub fn cut(&self) {
        self.with(|state| state.is_broken |= state.requests > 0);
    }

    /// Judges the connection. HTTP/2 sends bytes that belong to no request, so only idleness counts there.
    pub fn verdict(&self, idle_timeout: Duration) -> Verdict {
        let (now, version) = (now(), self.version);
        self.with(|state| {
            if state.requests > 0 {
                return Verdict::Wait(now + HEAD_TIMEOUT);
            }
            match state.head_since {
                Some(since) if version == Version::Http1 && now >= since + HEAD_TIMEOUT => Verdict::TooSlow,
                Some(since) if version == Version::Http1 => Verdict::Wait(since + HEAD_TIMEOUT),
                _ if now >= state.idle_since + idle_timeout => Verdict::Idle,
                // Not later than a first byte from now on would be too old.
                _ => Verdict::Wait((state.idle_since + idle_timeout).min(now + HEAD_TIMEOUT)),
            }
        })
    }
}

/// Something that a connection is used for.
#[derive(Debug)]
pub(super) struct Busy(Arc<Activity>);

impl Busy {
    /// A response broke off. Over HTTP/2 that is told for the one stream.
    pub fn broke_off(&self) {
        if self.0.version == Version::Http1 {
            self.0.with(|state| state.is_broken = true);
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.with(|state| {
            state.requests -= 1;
            state.idle_since = now();
        });
    }
}

/// Why a [`ClientStream`] has its stream.
const HELD: &str = "the stream is taken only with the whole";

/// A connection as hyper sees it: what was read before comes first, reading is noted, a client that does not read
/// for [`WRITE_STALL_TIMEOUT`] is an error, and a response that broke off ends in a reset.
pub(super) struct ClientStream {
    /// Absent only after [`ClientStream::into_inner`].
    stream: Option<Rewound<tls::Stream>>,
    activity: Arc<Activity>,
    /// Runs while a write waits.
    stalled: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl ClientStream {
    pub fn new(stream: tls::Stream, read_before: Bytes, activity: Arc<Activity>) -> Self {
        if !read_before.is_empty() {
            activity.bytes_came();
        }
        Self { stream: Some(Rewound::new(stream, read_before)), activity, stalled: None }
    }

    /// The connection itself: no longer HTTP, and free to be silent.
    pub fn into_inner(mut self) -> Rewound<tls::Stream> {
        self.stream.take().expect(HELD)
    }

    fn stream(&mut self) -> Pin<&mut Rewound<tls::Stream>> {
        Pin::new(self.stream.as_mut().expect(HELD))
    }

    fn stall<T>(&mut self, context: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.stalled = None;
            return polled;
        }
        let timer = self.stalled.get_or_insert_with(|| Box::pin(sleep(WRITE_STALL_TIMEOUT)));
        match timer.as_mut().poll(context) {
            Poll::Ready(()) => {
                let text = format!("the client read nothing for {WRITE_STALL_TIMEOUT:?}");
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, text)))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl Drop for ClientStream {
    fn drop(&mut self) {
        if let Some(stream) = &self.stream
            && self.activity.is_broken()
        {
            reset_on_close(stream.inner().tcp());
        }
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let polled = this.stream().poll_read(context, buffer);
        if buffer.filled().len() > before {
            this.activity.bytes_came();
        }
        polled
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = this.stream().poll_write(context, bytes);
        this.stall(context, polled)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = this.stream().poll_write_vectored(context, slices);
        this.stall(context, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.as_ref().expect(HELD).is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = this.stream().poll_flush(context);
        this.stall(context, polled)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.activity.is_broken() {
            return Poll::Ready(Ok(()));
        }
        let polled = this.stream().poll_shutdown(context);
        this.stall(context, polled)
    }
}
