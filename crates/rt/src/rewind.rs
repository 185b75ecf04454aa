//! A stream whose first bytes were read before.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Gives the bytes that were read before once more, then those of the stream.
#[derive(Debug)]
pub struct Rewound<S> {
    stream: S,
    before: Bytes,
}

impl<S> Rewound<S> {
    /// `stream`, with `before` in front of it.
    pub fn new(stream: S, before: Bytes) -> Self {
        Self { stream, before }
    }

    /// Puts `bytes` in front of what has not been read yet.
    pub fn put_back(&mut self, bytes: Bytes) {
        if self.before.is_empty() {
            self.before = bytes;
        } else if !bytes.is_empty() {
            let mut both = BytesMut::from(bytes);
            both.extend_from_slice(&self.before);
            self.before = both.freeze();
        }
    }

    /// The stream underneath, to look at.
    #[must_use]
    pub fn inner(&self) -> &S {
        &self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewound<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.before.is_empty() {
            return Pin::new(&mut this.stream).poll_read(context, buffer);
        }
        let length = this.before.len().min(buffer.remaining());
        buffer.put_slice(&this.before[..length]);
        this.before.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rewound<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    #[tokio::test]
    async fn what_was_read_comes_again_in_order() {
        let mut stream = Rewound::new(&b"ef"[..], Bytes::from_static(b"cd"));
        stream.put_back(Bytes::from_static(b"ab"));
        stream.put_back(Bytes::new());
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "abcdef");
    }
}
