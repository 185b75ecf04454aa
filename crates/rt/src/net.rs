//! TCP sockets.
//!
//! Every connect has a time-out, because a lost SYN would hang for ever. Every socket has Nagle's algorithm off and
//! keep-alive on, because a silent peer must be noticed even where nobody above pings.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::time::timeout;

pub use imp::TcpStream;

/// Longest wait for a name look-up.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Waiting connections that the kernel keeps for a listener.
#[cfg(not(feature = "sim"))]
const BACKLOG: u32 = 4096;

/// A socket that accepts TCP connections.
pub struct Listener(imp::TcpListener);

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Listener").field(&self.0.local_addr()).finish()
    }
}

impl Listener {
    /// Listens on `address`. Port 0 picks a free port; see [`Listener::local_addr`].
    ///
    /// # Errors
    /// The operating system's refusal: address in use, no permission, not an address of this host.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        imp::bind(address).await.map(Self)
    }

    /// The address that is listened on.
    ///
    /// # Errors
    /// The operating system's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Waits for the next connection. Cancel safe.
    ///
    /// # Errors
    /// Passing ones (a peer that gave up, no descriptors left): wait a little and go on.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, peer) = self.0.accept().await?;
        imp::tune(&stream);
        Ok((stream, peer))
    }
}

/// Connects to `address` within `limit`.
///
/// # Errors
/// The operating system's refusal, or [`io::ErrorKind::TimedOut`].
pub async fn connect(address: SocketAddr, limit: Duration) -> io::Result<TcpStream> {
    let stream = timeout(limit, imp::connect(address)).await.map_err(timed_out)??;
    imp::tune(&stream);
    Ok(stream)
}

/// Connects to `host:port`, trying the addresses of the host in turn, within `limit` in all.
///
/// # Errors
/// That of the last address tried, one of name resolution, or [`io::ErrorKind::TimedOut`].
pub async fn connect_host(host: &str, limit: Duration) -> io::Result<TcpStream> {
    let attempt = async {
        let mut last = io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address"));
        for address in resolve(host).await? {
            match connect(address, limit).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    };
    timeout(limit, attempt).await.map_err(timed_out)?
}

/// The addresses of `host:port`.
///
/// # Errors
/// The name is unknown, the text has no port, or the look-up took too long.
pub async fn resolve(host: &str) -> io::Result<Vec<SocketAddr>> {
    timeout(RESOLVE_TIMEOUT, imp::resolve(host)).await.map_err(timed_out)?
}

/// Makes the drop of `stream` a reset instead of an orderly end, so that the peer cannot take what it got for the whole.
/// What was written and not yet sent is discarded. In the simulator the drop stays as it is.
pub fn reset_on_close(stream: &TcpStream) {
    imp::reset_on_close(stream);
}

fn timed_out(elapsed: crate::time::Elapsed) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, elapsed)
}

#[cfg(not(feature = "sim"))]
mod imp {
    use std::io;
    use std::net::SocketAddr;
    use std::time::Duration;

    pub use tokio::net::{TcpListener, TcpStream};

    /// Silence after which the kernel starts to probe, and the time between probes.
    const KEEPALIVE: Duration = Duration::from_secs(15);
    /// Unanswered probes after which the kernel gives the connection up.
    const KEEPALIVE_PROBES: u32 = 4;

    pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
        let socket = match address {
            SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4()?,
            SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6()?,
        };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(super::BACKLOG)
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that connects; the caller has a time-out")]
    pub async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
        TcpStream::connect(address).await
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that resolves names")]
    pub async fn resolve(host: &str) -> io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host(host).await?.collect())
    }

    /// A socket that refuses an option works all the same, only worse; a dead one shows at the next read.
    pub fn tune(stream: &TcpStream) {
        let keepalive = socket2::TcpKeepalive::new()
            .with_time(KEEPALIVE)
            .with_interval(KEEPALIVE)
            .with_retries(KEEPALIVE_PROBES);
        let tuned = stream
            .set_nodelay(true)
            .and_then(|()| socket2::SockRef::from(stream).set_tcp_keepalive(&keepalive));
        if let Err(error) = tuned {
            tracing::debug!(%error, "cannot tune a socket");
        }
    }

    /// The option fails only on a socket that is already dead.
    pub fn reset_on_close(stream: &TcpStream) {
        if let Err(error) = stream.set_zero_linger() {
            tracing::debug!(%error, "cannot arrange for a reset");
        }
    }
}

#[cfg(feature = "sim")]
mod imp {
    use std::io;
    use std::net::SocketAddr;

    pub use turmoil::net::{TcpListener, TcpStream};

    pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
        TcpListener::bind(address).await
    }

    pub async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
        TcpStream::connect(address).await
    }

    pub async fn resolve(host: &str) -> io::Result<Vec<SocketAddr>> {
        let (name, port) = host.rsplit_once(':').ok_or(io::ErrorKind::InvalidInput)?;
        let port = port.parse().map_err(|_| io::ErrorKind::InvalidInput)?;
        Ok(vec![SocketAddr::new(turmoil::lookup(name), port)])
    }

    pub fn tune(_stream: &TcpStream) {}

    pub fn reset_on_close(_stream: &TcpStream) {}
}
