//! A connection, encrypted or not.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bowline_rt::net::TcpStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsStream;

use super::explain;
use crate::Identity;
use crate::certificate;

/// A TCP connection, encrypted or not.
///
/// Shutting down the writing side lets the other side go on; over TLS it says so to the peer, and an end of the bytes
/// that was not said is an error ([`io::ErrorKind::UnexpectedEof`]), never an end.
#[derive(Debug)]
pub enum Stream {
    /// Bytes as they are.
    Plain(TcpStream),
    /// Under TLS.
    Tls(Box<Encrypted>),
}

/// A connection under TLS and who is at its other end.
#[derive(Debug)]
pub struct Encrypted {
    session: TlsStream<TcpStream>,
    peer: Option<Identity>,
    peer_is_agent: bool,
}

impl Encrypted {
    /// Takes a connection whose handshake is done.
    ///
    /// A resumed session brings the certificate of the first handshake along and rustls does not look at its dates
    /// again, so they are looked at here.
    pub(super) fn new(session: TlsStream<TcpStream>) -> Result<Self, &'static str> {
        let (_, state) = session.get_ref();
        let facts = match state.peer_certificates().and_then(<[_]>::first) {
            None => None,
            Some(der) => Some(certificate::read(der).ok_or("its certificate cannot be read")?),
        };
        if let Some(facts) = &facts
            && facts.not_after < bowline_rt::time::unix_time()
        {
            return Err("its certificate has expired since the session began");
        }
        let peer_is_agent = facts.as_ref().is_some_and(|facts| facts.is_of_agent);
        Ok(Self { peer: facts.and_then(|facts| facts.identity), peer_is_agent, session })
    }
}

impl Stream {
    /// Who is at the other end, as its certificate says. `None` without TLS, without a certificate, or if the
    /// certificate is trusted but names no agent or gateway.
    #[must_use]
    pub fn peer(&self) -> Option<&Identity> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(encrypted) => encrypted.peer.as_ref(),
        }
    }

    /// Whether the certificate of the other end is that of an agent. It may be even if [`Stream::peer`] is nobody: a
    /// certificate with two names is trusted as neither, and it does not make an agent a stranger.
    #[must_use]
    pub fn peer_is_agent(&self) -> bool {
        matches!(self, Self::Tls(encrypted) if encrypted.peer_is_agent)
    }

    /// The application protocol that both sides agreed on.
    #[must_use]
    pub fn alpn(&self) -> Option<&[u8]> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(encrypted) => encrypted.session.get_ref().1.alpn_protocol(),
        }
    }

    /// Whether the session was resumed from an earlier one.
    #[must_use]
    pub fn is_resumed(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(encrypted) => {
                encrypted.session.get_ref().1.handshake_kind() == Some(rustls::HandshakeKind::Resumed)
            }
        }
    }

    /// Whether the bytes are encrypted.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// The TCP connection underneath, to look at.
    #[must_use]
    pub fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(encrypted) => encrypted.session.get_ref().0,
        }
    }

    /// The address of the other end.
    ///
    /// # Errors
    /// The operating system's: the connection is gone.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.tcp().peer_addr()
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(context, buffer),
            // With TLS 1.3 a client learns only here that the server refused its certificate.
            Self::Tls(encrypted) => {
                Pin::new(&mut encrypted.session).poll_read(context, buffer).map_err(explain::running)
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write(context, bytes),
            Self::Tls(encrypted) => Pin::new(&mut encrypted.session).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write_vectored(context, slices),
            Self::Tls(encrypted) => Pin::new(&mut encrypted.session).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(tcp) => tcp.is_write_vectored(),
            Self::Tls(encrypted) => encrypted.session.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_flush(context),
            Self::Tls(encrypted) => Pin::new(&mut encrypted.session).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(context),
            Self::Tls(encrypted) => Pin::new(&mut encrypted.session).poll_shutdown(context),
        }
    }
}
