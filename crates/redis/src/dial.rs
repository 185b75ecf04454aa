//! How streams to servers are made.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bowline_identity::tls::{Connector, Stream};
use bowline_rt::net::{self, UnixStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::sentinel::{DialSentinel, Dialled, Wire};
use crate::topology::Address;

/// How a fresh stream to a server is made.
pub(crate) trait Dial: Clone + Send + Sync + 'static {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Makes one, within `limit`.
    fn dial(
        &self,
        address: &Address,
        limit: Duration,
    ) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl Dial for Connector {
    type Stream = Socket;

    /// A socket of this machine is never encrypted: what is said over it does not leave the kernel.
    async fn dial(&self, address: &Address, limit: Duration) -> io::Result<Socket> {
        match address {
            Address::Host(host) => self.connect(host, limit).await.map(Socket::Host),
            Address::Unix(path) => net::connect_unix(path, limit).await.map(Socket::Unix),
        }
    }
}

/// Dials sentinels as it would servers.
pub(crate) struct ToSentinels<D>(pub D);

impl<D: Dial> DialSentinel for ToSentinels<D> {
    fn dial<'a>(&'a self, address: &'a str, limit: Duration) -> Dialled<'a> {
        Box::pin(async move {
            let stream = self.0.dial(&Address::Host(address.to_owned()), limit).await?;
            Ok(Box::new(stream) as Box<dyn Wire>)
        })
    }
}

/// A stream to a server.
#[derive(Debug)]
pub(crate) enum Socket {
    Host(Stream),
    Unix(UnixStream),
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Host(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Host(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Host(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Host(stream) => stream.is_write_vectored(),
            Self::Unix(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Host(stream) => Pin::new(stream).poll_flush(context),
            Self::Unix(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Host(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
