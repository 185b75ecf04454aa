//! The stream that an entry gets: a tunnel or a hop, with what is counted while it lives.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bowline_identity::tls;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::metrics::Metrics;
use crate::session::Lease;

/// A stream of bytes both ways that can be boxed.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// The places for streams of one gateway.
#[derive(Debug)]
pub struct Places {
    free: Arc<Semaphore>,
    most: usize,
    /// Those with an open stream; on the others one is being opened.
    open: AtomicU64,
    /// Of these, those that an entry of this gateway uses; the others pass through for other gateways.
    open_of_entry: AtomicU64,
    /// Told when a place is free again.
    pub freed: Notify,
}

impl Places {
    pub fn new(most: usize) -> Arc<Self> {
        let free = Arc::new(Semaphore::new(most));
        let (open, open_of_entry) = (AtomicU64::new(0), AtomicU64::new(0));
        Arc::new(Self { free, most, open, open_of_entry, freed: Notify::new() })
    }

    /// A place, if one is free.
    pub fn take(self: &Arc<Self>, user: User) -> Option<Place> {
        let permit = self.free.clone().try_acquire_owned().ok()?;
        Some(Place { places: self.clone(), user, permit: Some(permit), is_open: false })
    }

    /// Places taken.
    pub fn taken(&self) -> usize {
        self.most - self.free.available_permits()
    }

    /// Streams that are open.
    pub fn open(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    /// Streams that are open and that entries of this gateway use.
    pub fn open_of_entry(&self) -> u64 {
        self.open_of_entry.load(Ordering::Relaxed)
    }

    /// The numbers in which an open stream of `user` counts.
    fn counters(&self, user: User) -> impl Iterator<Item = &AtomicU64> {
        let of_entry = (user == User::Entry).then_some(&self.open_of_entry);
        std::iter::once(&self.open).chain(of_entry)
    }
}

/// Who a stream is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum User {
    /// An entry of this gateway.
    Entry,
    /// Another gateway.
    Hop,
}

/// A place for one stream; dropping it frees it.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    user: User,
    permit: Option<OwnedSemaphorePermit>,
    is_open: bool,
}

impl Place {
    /// The stream for which it was taken is open.
    fn opened(&mut self) {
        assert!(!self.is_open, "a place is for one stream");
        self.is_open = true;
        for counter in self.places.counters(self.user) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.is_open {
            for counter in self.places.counters(self.user) {
                counter.fetch_sub(1, Ordering::Relaxed);
            }
        }
        // First free, then tell: whoever is told looks at the number.
        drop(self.permit.take());
        self.places.freed.notify_waiters();
    }
}

/// See the module's documentation. Dropped before its writing side was shut down, it resets the connection, so that
/// the service at the other end cannot take a part for the whole.
#[derive(Debug)]
pub struct OpenStream {
    stream: tls::Stream,
    shut_down: bool,
    metrics: Arc<Metrics>,
    /// Present on a tunnel of this gateway.
    _lease: Option<Lease>,
    _place: Place,
}

impl OpenStream {
    pub fn new(stream: tls::Stream, lease: Option<Lease>, mut place: Place, metrics: Arc<Metrics>) -> Self {
        place.opened();
        Self { stream, shut_down: false, metrics, _lease: lease, _place: place }
    }

    fn wrote(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(count)) = result {
            self.metrics.bytes_to_services.inc_by(count as u64);
        }
        result
    }
}

impl AsyncRead for OpenStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
        this.metrics.bytes_from_services.inc_by((buffer.filled().len() - before) as u64);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for OpenStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.wrote(result)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_write_vectored(context, slices);
        this.wrote(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.stream).poll_shutdown(context))?;
        this.shut_down = true;
        Poll::Ready(Ok(()))
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        if !self.shut_down {
            bowline_rt::net::reset_on_close(self.stream.tcp());
        }
    }
}
