//! Bodies of requests on their way in: whoever lets them come slowly makes room before others do.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bowline_rt::time::sleep;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::places::Work;
use crate::limits::PEER_WAITS_FOR;

/// A body. Once the peer has had its time for it, the connection waits for the peer until all of it is there.
pub(super) struct Inward {
    body: Incoming,
    work: Arc<Work>,
    timer: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    waits: bool,
}

/// Why a body does not come.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    #[error(transparent)]
    Broken(#[from] hyper::Error),
    #[error("the connection has to make room for another")]
    Evicted,
}

impl Inward {
    pub fn new(body: Incoming, work: Arc<Work>) -> Self {
        Self { body, work, timer: None, waits: false }
    }

    /// The peer is waited for no longer. Whether the connection need not make room.
    fn goes_on(&mut self) -> bool {
        !std::mem::take(&mut self.waits) || self.work.place().goes_on()
    }
}

/// Whoever gives up on a body answers all the same: from now on its peer is not waited for.
impl Drop for Inward {
    fn drop(&mut self) {
        self.goes_on();
    }
}

impl Body for Inward {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        let Poll::Ready(frame) = polled else {
            if !self.waits {
                let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(PEER_WAITS_FOR)));
                self.waits = timer.as_mut().poll(context).is_ready();
                if self.waits {
                    self.work.place().waits();
                }
            }
            return Poll::Pending;
        };
        let is_whole = frame.is_none() || self.body.is_end_stream();
        if is_whole && !self.goes_on() {
            return Poll::Ready(Some(Err(BodyError::Evicted)));
        }
        Poll::Ready(frame.map(|frame| frame.map_err(BodyError::Broken)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
