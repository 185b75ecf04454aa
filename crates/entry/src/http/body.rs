//! Bodies on their way: nothing is collected, everything is counted, and a stall has an owner.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bowline_model::Reason;
use bowline_rt::time::now;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::pool::Lease;
use super::proxy::Flight;
use crate::limits::REQUEST_STALL_TIMEOUT;
use crate::metrics::Metrics;

/// Who has to move next while a response is awaited.
#[derive(Debug)]
pub(super) struct Progress(Mutex<Turn>);

#[derive(Debug, Clone, Copy)]
struct Turn {
    since: Instant,
    /// The service wants more of the request and the client has not sent it; else it is the service's turn.
    is_clients: bool,
}

impl Progress {
    pub fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(Turn { since: now(), is_clients: false })))
    }

    /// A request is about to be sent.
    pub fn restart(&self) {
        let mut turn = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *turn = Turn { since: now(), is_clients: false };
    }

    fn set(&self, is_clients: bool) {
        let mut turn = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // While the client is waited for, looking again does not start its time anew.
        if !(turn.is_clients && is_clients) {
            *turn = Turn { since: now(), is_clients };
        }
    }

    /// When the wait has lasted too long, and whose fault it is then.
    pub fn deadline(&self, response_timeout: Duration) -> (Instant, Reason) {
        let turn = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if turn.is_clients {
            (turn.since + REQUEST_STALL_TIMEOUT, Reason::RequestTimeout)
        } else {
            (turn.since + response_timeout, Reason::ResponseTimeout)
        }
    }
}

/// The body of a request on its way to the service.
pub(super) struct Upload {
    body: Option<Incoming>,
    progress: Arc<Progress>,
    metrics: Metrics,
}

impl Upload {
    pub fn new(body: Incoming, progress: Arc<Progress>, metrics: Metrics) -> Self {
        Self { body: Some(body), progress, metrics }
    }

    pub fn empty(progress: Arc<Progress>, metrics: Metrics) -> Self {
        Self { body: None, progress, metrics }
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
    has_ended: bool,
    lease: Option<Lease>,
    metrics: Metrics,
}

impl Download {
    pub fn ready(bytes: Bytes) -> Self {
        Self { content: Content::Ready(bytes), flight: None }
    }

    /// The body of a response that came over the connection of `lease`.
    pub fn relayed(body: Incoming, lease: Lease, metrics: Metrics) -> Self {
        let has_ended = body.is_end_stream();
        let relayed = Relayed { body, has_ended, lease: Some(lease), metrics };
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
        let relayed = match &mut this.content {
            Content::Ready(bytes) if bytes.is_empty() => return Poll::Ready(None),
            Content::Ready(bytes) => return Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Content::Relayed(relayed) => relayed,
        };
        let polled = relayed.poll_frame(context);
        if let (Poll::Ready(Some(Err(_))), Some(flight)) = (&polled, &this.flight) {
            flight.broke_off();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Ready(bytes) => bytes.is_empty(),
            Content::Relayed(relayed) => relayed.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Ready(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Content::Relayed(relayed) => relayed.body.size_hint(),
        }
    }
}

impl Relayed {
    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(Ok(frame)) = &frame {
            self.metrics.counters.bytes_down.inc_by(data_bytes(frame));
        }
        // A body of known length is not asked again after its last byte.
        self.has_ended |= frame.is_none() || self.body.is_end_stream();
        Poll::Ready(frame)
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
