//! Sockets: TCP, and those within one machine.
//!
//! Every connect has a time-out, because a lost SYN would hang for ever. Every socket has Nagle's algorithm off and
//! keep-alive on, because a silent peer must be noticed even where nobody above pings.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use crate::time::{Instant, now, timeout};

pub use imp::{TcpStream, UnixStream};

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

    /// Waits for the next connection. Cancel safe. A peer that came over IPv4 has an IPv4 address, whatever is listened on.
    ///
    /// # Errors
    /// Passing ones (a peer that gave up, no descriptors left): wait a little and go on.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, peer) = self.0.accept().await?;
        imp::tune(&stream);
        Ok((stream, canonical(peer)))
    }
}

/// A socket for both families shows IPv4 peers as `::ffff:192.0.2.7`, by which nobody knows them.
fn canonical(peer: SocketAddr) -> SocketAddr {
    match peer.ip().to_canonical() {
        address @ IpAddr::V4(_) => SocketAddr::new(address, peer.port()),
        // With its scope, which a link-local one needs.
        IpAddr::V6(_) => peer,
    }
}

/// Who stands behind an address, as far as it tells: of IPv6, everybody has a network of 64 bits.
#[must_use]
pub fn who(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address @ IpAddr::V4(_) => address,
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

/// Connects to `host:port`, trying the addresses of the host in turn, within `limit` in all. An address that does not answer
/// leaves time for those behind it.
///
/// # Errors
/// That of the last address tried, one of name resolution, or [`io::ErrorKind::TimedOut`].
pub async fn connect_host(host: &str, limit: Duration) -> io::Result<TcpStream> {
    let deadline = now() + limit;
    let addresses = timeout(limit, resolve(host)).await.map_err(timed_out)??;
    connect_any(host, &addresses, deadline, connect).await
}

/// Tries the addresses in turn; each may use an equal share of the time that is left.
async fn connect_any<T, F: Future<Output = io::Result<T>>>(
    host: &str,
    addresses: &[SocketAddr],
    deadline: Instant,
    connect: impl Fn(SocketAddr, Duration) -> F,
) -> io::Result<T> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address"));
    for (tried, address) in addresses.iter().enumerate() {
        let shares = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        match connect(*address, deadline.saturating_duration_since(now()) / shares).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Connects to the socket at `path` of this machine within `limit`. In the simulator there are none:
/// [`io::ErrorKind::Unsupported`].
///
/// # Errors
/// The operating system's refusal, which names no path: the caller should; or [`io::ErrorKind::TimedOut`].
pub async fn connect_unix(path: &Path, limit: Duration) -> io::Result<UnixStream> {
    timeout(limit, imp::connect_unix(path)).await.map_err(timed_out)?
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

/// Takes [`reset_on_close`] back.
pub fn end_on_close(stream: &TcpStream) {
    imp::end_on_close(stream);
}

/// Bounds what the kernel holds of `stream` in each direction: bytes that were written and that the peer has not taken, and
/// bytes that came and were not read. Without it the kernel goes up to some MiB for a peer that seems fast. The kernel
/// counts its own records too, and allows twice as much for them. In the simulator nothing is held by a kernel.
pub fn bound_buffers(stream: &TcpStream, bytes: usize) {
    imp::bound_buffers(stream, bytes);
}

/// Whether the peer has taken all that was written, but for some KiB at most, or is gone. For a stream to which no more is
/// written: from then on its buffer is as small as can be. In the simulator everything is taken at once.
#[must_use]
pub fn is_taken(stream: &TcpStream) -> bool {
    imp::is_taken(stream)
}

/// Whether an operation failed for want of file descriptors, of this process or of the machine.
#[must_use]
pub fn lacks_descriptors(error: &io::Error) -> bool {
    let codes = [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE].map(|code| Some(code.raw_os_error()));
    codes.contains(&error.raw_os_error())
}

fn timed_out(elapsed: crate::time::Elapsed) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, elapsed)
}

#[cfg(not(feature = "sim"))]
mod imp {
    use std::io;
    use std::net::SocketAddr;
    use std::path::Path;
    use std::time::Duration;

    pub use tokio::net::{TcpListener, TcpStream, UnixStream};

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

    #[expect(clippy::disallowed_methods, reason = "the one place that connects; the caller has a time-out")]
    pub async fn connect_unix(path: &Path) -> io::Result<UnixStream> {
        UnixStream::connect(path).await
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

    pub fn end_on_close(stream: &TcpStream) {
        if let Err(error) = socket2::SockRef::from(stream).set_linger(None) {
            tracing::debug!(%error, "cannot arrange for an orderly end");
        }
    }

    /// As in [`tune`], a socket that refuses works all the same.
    pub fn bound_buffers(stream: &TcpStream, bytes: usize) {
        let socket = socket2::SockRef::from(stream);
        let bounded = socket.set_send_buffer_size(bytes).and_then(|()| socket.set_recv_buffer_size(bytes));
        if let Err(error) = bounded {
            tracing::debug!(%error, "cannot bound the buffers of a socket");
        }
    }

    /// The kernel calls a stream writable when a third of its buffer is free. With the smallest buffer that there can be
    /// (4.5 KiB, its records included) that is when next to nothing is left in it. A stream that is dead is writable, too.
    pub fn is_taken(stream: &TcpStream) -> bool {
        let no_time = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        let mut asked = [rustix::event::PollFd::new(stream, rustix::event::PollFlags::OUT)];
        let taken = socket2::SockRef::from(stream)
            .set_send_buffer_size(1)
            .and_then(|()| Ok(rustix::event::poll(&mut asked, Some(&no_time))?));
        match taken {
            Ok(ready) => ready > 0,
            Err(error) => {
                tracing::debug!(%error, "cannot ask how much of a stream is taken");
                false
            }
        }
    }
}

#[cfg(feature = "sim")]
mod imp {
    use std::io;
    use std::net::SocketAddr;
    use std::path::Path;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
    pub use turmoil::net::{TcpListener, TcpStream};

    /// There is none in the simulator, so that there is nothing to do with one.
    #[derive(Debug)]
    pub enum UnixStream {}

    impl AsyncRead for UnixStream {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            match *self.get_mut() {}
        }
    }

    impl AsyncWrite for UnixStream {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
            match *self.get_mut() {}
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            match *self.get_mut() {}
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            match *self.get_mut() {}
        }
    }

    pub async fn connect_unix(_: &Path) -> io::Result<UnixStream> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "the simulator has no sockets in the file system"))
    }

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

    pub fn end_on_close(_stream: &TcpStream) {}

    pub fn bound_buffers(_stream: &TcpStream, _bytes: usize) {}

    pub fn is_taken(_stream: &TcpStream) -> bool {
        true
    }
}

#[cfg(all(test, not(feature = "sim")))]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// Both ends of a connection.
    async fn pair() -> (TcpStream, TcpStream) {
        let listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (near, far) = tokio::join!(connect(address, RESOLVE_TIMEOUT), listener.accept());
        (near.expect("connected"), far.expect("accepted").0)
    }

    /// As much as the kernels of both sides take.
    async fn fill(stream: &TcpStream) -> usize {
        let (piece, mut written) = ([7; 16 * 1024], 0);
        loop {
            stream.writable().await.expect("it lives");
            match stream.try_write(&piece) {
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return written,
                Err(error) => panic!("it lives: {error}"),
            }
        }
    }

    #[tokio::test]
    async fn what_a_kernel_holds_is_bounded_and_seen_to_be_taken() {
        const BYTES: usize = 32 * 1024;
        let (near, mut far) = pair().await;
        bound_buffers(&near, BYTES);
        bound_buffers(&far, BYTES);
        assert!(is_taken(&near), "nothing was written");
        bound_buffers(&near, BYTES);
        let written = fill(&near).await;
        assert!(written < 8 * BYTES, "{written}");
        assert!(!is_taken(&near), "the peer reads nothing");
        let mut got = vec![0; written];
        far.read_exact(&mut got).await.expect("all of it");
        let began = now();
        while !is_taken(&near) {
            assert!(now() - began < RESOLVE_TIMEOUT, "never taken");
            tokio::task::yield_now().await;
        }
        fill(&near).await;
        drop(far);
        while !is_taken(&near) {
            assert!(now() - began < 2 * RESOLVE_TIMEOUT, "a peer that is gone takes it all");
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_reset_tells_the_peer_that_it_did_not_get_the_whole() {
        let (mut near, mut far) = pair().await;
        near.write_all(b"half").await.expect("written");
        far.read_exact(&mut [0; 4]).await.expect("it came");
        reset_on_close(&near);
        drop(near);
        let error = far.read(&mut [0; 4]).await.expect_err("no orderly end");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);

        let (near, mut far) = pair().await;
        reset_on_close(&near);
        end_on_close(&near);
        drop(near);
        assert_eq!(far.read(&mut [0; 4]).await.expect("an orderly end"), 0);
    }

    #[test]
    fn want_of_descriptors_is_told_from_other_failures() {
        let check = |error: io::Error, expected| assert_eq!(lacks_descriptors(&error), expected, "{error}");
        check(rustix::io::Errno::MFILE.into(), true);
        check(rustix::io::Errno::NFILE.into(), true);
        check(rustix::io::Errno::CONNABORTED.into(), false);
        check(io::Error::other("no number"), false);
    }

    #[test]
    fn a_peer_has_the_address_that_it_is_known_by() {
        let check = |peer: &str, expected: &str| {
            assert_eq!(canonical(peer.parse().unwrap()), expected.parse().unwrap(), "{peer}");
        };
        check("192.0.2.7:80", "192.0.2.7:80");
        check("[::ffff:192.0.2.7]:80", "192.0.2.7:80");
        check("[2001:db8::7]:80", "[2001:db8::7]:80");
        check("[fe80::7%2]:80", "[fe80::7%2]:80");
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_that_do_not_answer_leave_time_for_the_others() {
        let limit = Duration::from_secs(1);
        let addresses: Vec<SocketAddr> =
            (1..=3).map(|port| SocketAddr::from(([127, 0, 0, 1], port))).collect();
        let check = async |answers: u16, expected: Option<u16>| {
            let connect = async |address: SocketAddr, limit: Duration| {
                let answer = async {
                    if address.port() != answers {
                        std::future::pending::<()>().await;
                    }
                    address.port()
                };
                timeout(limit, answer).await.map_err(timed_out)
            };
            let started = now();
            let connected = connect_any("h", &addresses, started + limit, connect).await;
            assert_eq!(connected.ok(), expected);
            assert!(now() - started <= limit + Duration::from_millis(3));
        };
        for port in 1..=3 {
            check(port, Some(port)).await;
        }
        check(4, None).await;
    }

    #[test]
    fn an_address_is_who_stands_behind_it() {
        let check = |one: &str, other: &str, same: bool| {
            let [one, other] = [one, other].map(|text| who(text.parse().expect("an address")));
            assert_eq!(one == other, same, "{one} {other}");
        };
        check("192.0.2.1", "192.0.2.2", false);
        check("::ffff:192.0.2.1", "192.0.2.1", true);
        check("2001:db8::1", "2001:db8::2:1", true);
        check("2001:db8::1", "2001:db8:0:1::1", false);
    }
}
