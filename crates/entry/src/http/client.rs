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
use crate::limits::{
    CLOSE_LIMIT, FIRST_BYTE_TIMEOUT, HEAD_TIMEOUT, HTTP2_FAREWELL_TIMEOUT, WRITE_STALL_TIMEOUT,
};

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
    /// It has had a request.
    is_used: bool,
    idle_since: Instant,
    /// When the first byte of a request came that is not complete yet.
    head_since: Option<Instant>,
    /// A byte has come; once the connection is closing, since then.
    is_heard: bool,
    /// Something was written that the socket has not taken yet, or not all of it.
    is_unflushed: bool,
    /// When the client was told that the connection is to end.
    closing_since: Option<Instant>,
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
    /// A request, or its first byte, comes too slowly: drop it.
    TooSlow,
    /// It is closing and should have ended by now. Nothing that the client would still take is lost: drop it.
    Over,
}

impl Activity {
    pub fn new(version: Version, slot: Slot) -> Self {
        Self { version, state: Mutex::new(State::new(now())), _slot: slot }
    }

    fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        // The state is a few values that are never half written.
        look(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A request or stream begins; it ends with the value.
    pub fn begin(self: &Arc<Self>) -> Busy {
        self.with(|state| {
            state.requests += 1;
            state.is_used = true;
            state.head_since = None;
        });
        Busy(self.clone())
    }

    /// Bytes came in that belong to no request that is known yet.
    pub fn bytes_came(&self) {
        self.with(|state| {
            state.is_heard = true;
            if state.requests == 0 && state.head_since.is_none() {
                state.head_since = Some(now());
            }
        });
    }

    fn is_unflushed(&self, is_unflushed: bool) {
        self.with(|state| state.is_unflushed = is_unflushed);
    }

    /// The client is told that the connection is to end.
    pub fn closes(&self) {
        self.with(|state| {
            state.closing_since = Some(now());
            state.is_heard = false;
        });
    }

    fn is_broken(&self) -> bool {
        self.with(|state| state.is_broken)
    }

    /// The grace time is over: what is still being sent is broken off.
    pub fn cut(&self) {
        self.with(|state| state.is_broken |= state.requests > 0 || state.is_unflushed);
    }

    /// Judges the connection.
    pub fn verdict(&self, idle_timeout: Duration) -> Verdict {
        let (now, version) = (now(), self.version);
        self.with(|state| state.verdict(now, version, idle_timeout))
    }
}

impl State {
    fn new(now: Instant) -> Self {
        Self {
            requests: 0,
            is_used: false,
            idle_since: now,
            head_since: None,
            is_heard: false,
            is_unflushed: false,
            closing_since: None,
            is_broken: false,
        }
    }

    fn verdict(&self, now: Instant, version: Version, idle_timeout: Duration) -> Verdict {
        // Not later than a first byte from now on would be too old.
        let look_again = now + if self.closing_since.is_some() { CLOSE_LIMIT } else { HEAD_TIMEOUT };
        // hyper lets go of a request when it has the last piece of the response; the client may not have it for long.
        if self.requests > 0 || self.is_unflushed {
            return Verdict::Wait(look_again);
        }
        let (deadline, verdict) = self.deadline(version, idle_timeout);
        if now >= deadline { verdict } else { Verdict::Wait(deadline.min(look_again)) }
    }

    /// How long a connection that serves nothing may stay as it is, and what becomes of it then.
    fn deadline(&self, version: Version, idle_timeout: Duration) -> (Instant, Verdict) {
        match (self.head_since, self.closing_since) {
            // HTTP/2 sends bytes that belong to no request, so only idleness counts there.
            (Some(since), _) if version == Version::Http1 => (since + HEAD_TIMEOUT, Verdict::TooSlow),
            (_, Some(closing_since)) => {
                let limit = self.farewell_limit(version);
                (closing_since.max(self.idle_since) + limit, Verdict::Over)
            }
            (_, None) if !self.is_heard => {
                (self.idle_since + FIRST_BYTE_TIMEOUT.min(idle_timeout), Verdict::TooSlow)
            }
            (_, None) => (self.idle_since + idle_timeout, Verdict::Idle),
        }
    }

    /// How long a connection that is closing may take to end by itself. HTTP/1 ends when all is written. HTTP/2 ends when
    /// the client has answered the PING that goes with the GOAWAY, and has taken what waits for its windows, which cannot be
    /// seen from here: who answers is alive, and has the time that every reader has.
    fn farewell_limit(&self, version: Version) -> Duration {
        match (version, self.is_used, self.is_heard) {
            (Version::Http1, ..) | (Version::Http2, false, _) => CLOSE_LIMIT,
            (Version::Http2, true, false) => HTTP2_FAREWELL_TIMEOUT,
            (Version::Http2, true, true) => WRITE_STALL_TIMEOUT,
        }
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

    /// Starts or stops the client's time to read, after a write or flush.
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
        this.activity.is_unflushed(true);
        let polled = this.stream().poll_write(context, bytes);
        this.stall(context, polled)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.activity.is_unflushed(true);
        let polled = this.stream().poll_write_vectored(context, slices);
        this.stall(context, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.as_ref().expect(HELD).is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = this.stream().poll_flush(context);
        this.activity.is_unflushed(polled.is_pending());
        this.stall(context, polled)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.activity.is_broken() {
            return Poll::Ready(Ok(()));
        }
        let polled = this.stream().poll_shutdown(context);
        this.activity.is_unflushed(polled.is_pending());
        this.stall(context, polled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use Version::{Http1, Http2};

    const IDLE_TIMEOUT: Duration = Duration::from_secs(75);

    /// What becomes of a connection to which `happens` in its first moment, after a long wait of these many seconds, and that
    /// nothing becomes of it a second before.
    fn check(version: Version, happens: impl Fn(&mut State), expected: Verdict, seconds: u64) {
        let began = now();
        let mut state = State::new(began);
        happens(&mut state);
        let after = |seconds| state.verdict(began + Duration::from_secs(seconds), version, IDLE_TIMEOUT);
        assert!(matches!(after(seconds - 1), Verdict::Wait(_)), "{version:?} {seconds} {state:?}");
        assert_eq!(after(seconds), expected, "{version:?} {seconds} {state:?}");
    }

    fn closing(state: &mut State) {
        state.closing_since = Some(state.idle_since);
    }

    #[test]
    fn every_state_has_its_time() {
        for version in [Http1, Http2] {
            check(version, |_| {}, Verdict::TooSlow, 10);
            check(version, |state| state.is_heard = true, Verdict::Idle, 75);
            check(version, closing, Verdict::Over, 1);
        }
        check(Http1, |state| state.head_since = Some(state.idle_since), Verdict::TooSlow, 10);
        let used = |state: &mut State| {
            closing(state);
            state.is_used = true;
        };
        check(Http1, used, Verdict::Over, 1);
        check(Http2, used, Verdict::Over, 5);
        let used_and_heard = |state: &mut State| {
            used(state);
            state.is_heard = true;
        };
        check(Http2, used_and_heard, Verdict::Over, 120);
    }

    #[test]
    fn what_is_being_served_or_sent_has_no_end() {
        let busy: [fn(&mut State); 2] = [|state| state.requests = 1, |state| state.is_unflushed = true];
        for (version, busy) in [Http1, Http2].into_iter().flat_map(|it| busy.map(|busy| (it, busy))) {
            for is_closing in [false, true] {
                let mut state = State::new(now());
                busy(&mut state);
                state.closing_since = is_closing.then_some(state.idle_since);
                let verdict = state.verdict(now() + IDLE_TIMEOUT * 100, version, IDLE_TIMEOUT);
                assert!(matches!(verdict, Verdict::Wait(_)), "{version:?} {state:?}");
            }
        }
    }
}
