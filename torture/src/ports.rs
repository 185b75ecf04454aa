//! Free ports on loopback.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU16, Ordering};

use crate::limits::ANSWER_MAX;

/// Ports handed out come from below the range that Linux uses for outgoing connections (32768 and up): there, a port
/// that was free a moment ago may become the near end of somebody's connection.
const FIRST: u16 = 12_000;
const COUNT: u16 = 20_000;
/// Test binaries of one run start at different places, by process id.
const STRIDE: u32 = 97;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// An address on 127.0.0.1 that nobody listens on, and that this process hands out once.
///
/// # Panics
/// When all ports are taken.
#[must_use]
pub fn free_address() -> SocketAddr {
    let start = std::process::id().wrapping_mul(STRIDE) % u32::from(COUNT);
    let start = u16::try_from(start).expect("it is below COUNT");
    for _ in 0..COUNT {
        let offset = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + start.wrapping_add(offset) % COUNT;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        // Asked by connecting: a listener of our own, however short, would be inherited by a child that another test
        // starts at this moment, and keep the port taken until that child has become another program.
        if TcpStream::connect_timeout(&address, ANSWER_MAX).is_err() {
            return address;
        }
    }
    panic!("no port of {COUNT} is free");
}
