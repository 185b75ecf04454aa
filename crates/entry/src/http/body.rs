//! Bodies on their way: nothing is collected, everything is counted, and a stall has an owner.

use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bowline_model::Reason;
use bowline_rt::time::{now, sleep_until};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio_util::sync::CancellationToken;

use super::client::{Activity, Busy};
use super::pool::Lease;
use super::proxy::Flight;
use super::stall;
use crate::limits::REQUEST_STALL_TIMEOUT;
use crate::metrics::Metrics;

/// Who has to move next while a request is sent and its response awaited.
#[derive(Debug)]
pub(super) struct Progress {
    turn: Mutex<Turn>,
    /// The request's body is no longer needed.
    over: CancellationToken,
}

#[derive(Debug, Clone, Copy)]
struct Turn {
    since: Instant,
    /// The service wants more of the request and the client has not sent it; else it is the service's turn.
    is_clients: bool,
}

impl Progress {
    pub fn new() -> Arc<Self> {
        let turn = Turn { since: now(), is_clients: false };
        Arc::new(Self { turn: Mutex::new(turn), over: CancellationToken::new() })
    }

    fn with<T>(&self, look: impl FnOnce(&mut Turn) -> T) -> T {
        // Two values that are never half written.
        look(&mut self.turn.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A request is about to be sent.
    pub fn restart(&self) {
        self.with(|turn| *turn = Turn { since: now(), is_clients: false });
    }

    /// Who has to move next has all of his time again.
    pub fn extend(&self) {
        self.with(|turn| turn.since = now());
    }

    fn set(&self, is_clients: bool) {
        self.with(|turn| {
            // While the client is waited for, looking again does not start its time anew.
            if !(turn.is_clients && is_clients) {
                *turn = Turn { since: now(), is_clients };
            }
        });
    }

    /// Whether nothing more is to come of the request's body.
    pub fn is_over(&self) -> bool {
        self.over.is_cancelled()
    }

    /// Waits until nothing more is to come of the request's body. Cancel safe.
    pub async fn over(&self) {
        self.over.cancelled().await;
    }

    /// Runs `future` to its end, as long as something moves.
    ///
    /// # Errors
    /// Whose fault it is if nothing did: the service has `service_timeout` for each move.
    pub async fn watch<F: Future>(&self, service_timeout: Duration, future: F) -> Result<F::Output, Reason> {
        let mut future = pin!(future);
        loop {
            let (deadline, _) = self.deadline(service_timeout);
            tokio::select! {
                biased;
                output = &mut future => return Ok(output),
                () = sleep_until(deadline) => {}
            }
            // Something may have moved in the meantime; then there is a new deadline.
            let (deadline, reason) = self.deadline(service_timeout);
            if deadline <= now() {
                return Err(reason);
            }
        }
    }

    /// When the wait has lasted too long, and whose fault it is then.
    fn deadline(&self, service_timeout: Duration) -> (Instant, Reason) {
        let turn = self.with(|turn| *turn);
        if turn.is_clients {
            (turn.since + REQUEST_STALL_TIMEOUT, Reason::RequestTimeout)
        } else {
            (turn.since + service_timeout, Reason::ResponseTimeout)
        }
    }
}

/// The body of a request on its way to the service. It may take longer than the response.
pub(super) struct Upload {
    body: Option<Incoming>,
    progress: Arc<Progress>,
    metrics: Metrics,
    /// The client's connection is in use as long as there is more to come.
    _busy: Option<Busy>,
}

impl Upload {
    pub fn new(body: Incoming, progress: Arc<Progress>, metrics: Metrics, activity: &Arc<Activity>) -> Self {
        let busy = (!body.is_end_stream()).then(|| activity.begin());
        Self { body: Some(body), progress, metrics, _busy: busy }
    }

    pub fn empty(progress: Arc<Progress>, metrics: Metrics) -> Self {
        Self { body: None, progress, metrics, _busy: None }
    }

    pub fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.progress.over.cancel();
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        let polled = Pin::new(body).poll_frame(context);
        this.progress.set(polled.is_pending());
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            this.metrics.counters.bytes_up.inc_by(data_bytes(frame));
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

/// The body of a response on its way to the client. The request is over when it is dropped.
pub(super) struct Download {
    content: Content,
    flight: Option<Flight>,
}

enum Content {
    /// One of our own.
    Ready(Bytes),
    /// A service's.
    Relayed(Box<Relayed>),
}

struct Relayed {
    body: Incoming,
    /// What has come and was not handed on yet.
    rest: Bytes,
    /// Most bytes that are handed on at a time.
    piece_bytes_max: usize,
    has_ended: bool,
    lease: Option<Lease>,
    metrics: Metrics,
}

impl Download {
    pub fn ready(bytes: Bytes) -> Self {
        Self { content: Content::Ready(bytes), flight: None }
    }

    /// The body of a response that came over the connection of `lease`, in pieces of at most so many bytes.
    pub fn relayed(body: Incoming, lease: Lease, metrics: Metrics, piece_bytes_max: usize) -> Self {
        let (rest, has_ended) = (Bytes::new(), body.is_end_stream());
        let relayed = Relayed { body, rest, piece_bytes_max, has_ended, lease: Some(lease), metrics };
        Self { content: Content::Relayed(Box::new(relayed)), flight: None }
    }

    /// Ties the end of the request to the end of this body.
    pub fn carry(&mut self, flight: Flight) {
        self.flight = Some(flight);
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let polled = match &mut this.content {
            Content::Ready(bytes) if bytes.is_empty() => Poll::Ready(None),
            Content::Ready(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Content::Relayed(relayed) => relayed.poll_frame(context),
        };
        if let (Poll::Ready(Some(Err(_))), Some(flight)) = (&polled, &this.flight) {
            flight.broke_off();
        }
        stall::note(matches!(polled, Poll::Ready(Some(Ok(_)))));
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Ready(bytes) => bytes.is_empty(),
            Content::Relayed(relayed) => relayed.rest.is_empty() && relayed.body.is_end_stream(),
        }
    }

    /// Asked before the first frame only.
    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Ready(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Content::Relayed(relayed) => relayed.body.size_hint(),
        }
    }
}

impl Relayed {
    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if !self.rest.is_empty() {
            return Poll::Ready(Some(Ok(self.next_piece())));
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(Ok(frame)) = &frame {
            self.metrics.counters.bytes_down.inc_by(data_bytes(frame));
        }
        // A body of known length is not asked again after its last byte.
        self.has_ended |= frame.is_none() || self.body.is_end_stream();
        Poll::Ready(frame.map(|frame| frame.map(|frame| self.first_piece(frame))))
    }

    fn first_piece(&mut self, frame: Frame<Bytes>) -> Frame<Bytes> {
        match frame.into_data() {
            Ok(data) => self.rest = data,
            Err(trailers) => return trailers,
        }
        self.next_piece()
    }

    fn next_piece(&mut self) -> Frame<Bytes> {
        Frame::data(self.rest.split_to(self.rest.len().min(self.piece_bytes_max)))
    }
}

impl Drop for Relayed {
    /// A connection whose response was read to its end can serve again; any other is closed with the lease.
    fn drop(&mut self) {
        if let Some(lease) = self.lease.take()
            && self.has_ended
        {
            lease.give_back();
        }
    }
}

fn data_bytes(frame: &Frame<Bytes>) -> u64 {
    frame.data_ref().map_or(0, |data| data.len() as u64)
}
