//! Binding ports, with errors that say which port, why not, and what to do.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use bowline_identity::tls::Acceptor;
use bowline_rt::net::Listener;

use crate::plan::Port;

/// A port that could not be listened on.
#[derive(Debug)]
pub struct ListenError {
    /// What the port is for.
    pub name: String,
    /// The address.
    pub address: SocketAddr,
    /// The operating system's answer.
    pub source: io::Error,
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, address, source } = self;
        write!(f, "cannot listen on {address} ({name}): ")?;
        match source.kind() {
            io::ErrorKind::AddrInUse => {
                f.write_str("address in use; another process has this port: end it, or choose another port")
            }
            io::ErrorKind::PermissionDenied => write!(
                f,
                "permission denied; port {} needs rights that this process has not: choose one above 1023",
                address.port()
            ),
            io::ErrorKind::AddrNotAvailable => {
                write!(f, "{} is not an address of this machine; choose one that is", address.ip())
            }
            _ => source.fmt(f),
        }
    }
}

/// The text already holds what the operating system said, so it is not given as a source again.
impl std::error::Error for ListenError {}

/// A port that is listened on.
#[derive(Debug)]
pub struct Bound {
    /// The listener.
    pub listener: Listener,
    /// Where it really listens.
    pub address: SocketAddr,
    /// Whether and how it speaks TLS.
    pub acceptor: Acceptor,
}

/// Listens on `port`.
///
/// # Errors
/// [`ListenError`].
pub async fn bind(port: &Port) -> Result<Bound, ListenError> {
    let error = |source| ListenError { name: port.name.clone(), address: port.listen, source };
    let listener = Listener::bind(port.listen).await.map_err(error)?;
    let address = listener.local_addr().map_err(error)?;
    Ok(Bound { listener, address, acceptor: port.acceptor.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_in_use_is_named_with_its_purpose() {
        let loopback = "127.0.0.1:0".parse().expect("an address");
        let first = bind(&Port::plain("http", loopback)).await.expect("a free port");
        let error = bind(&Port::plain("admin", first.address)).await.expect_err("in use").to_string();
        let start = format!("cannot listen on {} (admin): address in use; ", first.address);
        assert!(error.starts_with(&start), "{error}");
    }

    #[tokio::test]
    async fn a_foreign_address_is_told_from_a_port_in_use() {
        // TEST-NET-1 (RFC 5737) belongs to nobody.
        let port = Port::plain("http", "192.0.2.1:0".parse().expect("an address"));
        let error = bind(&port).await.expect_err("not ours").to_string();
        assert!(error.contains("192.0.2.1 is not an address of this machine"), "{error}");
    }
}
