//! The dialling side.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bowline_rt::net::{self, TcpStream};
use bowline_rt::time::{now, timeout};
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;

use super::explain::{self, Side};
use super::pem::{Credential, Pem, TlsError};
use super::provider::{Clock, provider};
use super::stream::{Encrypted, Stream};
use super::validity::Validity;
use crate::limits::{HANDSHAKE_TIMEOUT, SESSIONS_MAX, TLS_BUFFER_BYTES_MAX};

/// How to dial with TLS.
#[derive(Debug, Clone)]
pub struct ClientSettings {
    /// Authorities whose servers are trusted. A system's own list is a file too
    /// (`/etc/ssl/certs/ca-certificates.crt` on Debian).
    pub authority: Pem,
    /// Certificate and key to show to a server that asks.
    pub credential: Option<Credential>,
    /// The name that the server's certificate must hold, if it is not the host that is dialled.
    pub server_name: Option<String>,
    /// Application protocols to offer.
    pub alpn: Vec<Vec<u8>>,
}

/// Dials. A clone shares what a reload changes, and the sessions that can be resumed.
#[derive(Debug, Clone)]
pub enum Connector {
    /// No encryption.
    Plain,
    /// TLS.
    Tls(TlsConnector),
}

/// The state of a [`Connector`] with TLS.
#[derive(Debug, Clone)]
pub struct TlsConnector {
    shared: Arc<Shared>,
    alpn: Arc<[Vec<u8>]>,
}

#[derive(Debug)]
struct Shared {
    settings: ClientSettings,
    server_name: Option<ServerName<'static>>,
    current: ArcSwap<Current>,
}

/// What was read from the files last.
#[derive(Debug)]
struct Current {
    config: Arc<ClientConfig>,
    validities: Vec<Validity>,
}

impl Connector {
    /// A connector with TLS. Reads the files.
    ///
    /// # Errors
    /// [`TlsError`], which names the file.
    pub fn tls(settings: ClientSettings) -> Result<Self, TlsError> {
        let server_name = settings.server_name.as_deref().map(server_name).transpose()?;
        let current = ArcSwap::from_pointee(build(&settings)?);
        let alpn = settings.alpn.as_slice().into();
        Ok(Self::Tls(TlsConnector { shared: Arc::new(Shared { settings, server_name, current }), alpn }))
    }

    /// The same connector, offering other application protocols.
    #[must_use]
    pub fn with_alpn(&self, protocols: &[&[u8]]) -> Self {
        match self {
            Self::Plain => Self::Plain,
            Self::Tls(tls) => Self::Tls(TlsConnector {
                shared: tls.shared.clone(),
                alpn: protocols.iter().map(|protocol| protocol.to_vec()).collect(),
            }),
        }
    }

    /// Whether streams are encrypted.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// Reads the files again. On an error all stays as it was.
    ///
    /// # Errors
    /// [`TlsError`], which names the file.
    pub fn reload(&self) -> Result<(), TlsError> {
        if let Self::Tls(tls) = self {
            tls.shared.current.store(Arc::new(build(&tls.shared.settings)?));
        }
        Ok(())
    }

    /// How long the files that are in use are valid.
    #[must_use]
    pub fn validities(&self) -> Vec<Validity> {
        match self {
            Self::Plain => Vec::new(),
            Self::Tls(tls) => tls.shared.current.load().validities.clone(),
        }
    }

    /// Connects to `host:port` and shakes hands, within `limit` in all (and [`HANDSHAKE_TIMEOUT`] for the handshake).
    ///
    /// # Errors
    /// Those of [`net::connect_host`]; a failed handshake, with a text that says what to do; a server whose
    /// certificate does not hold the dialled name.
    pub async fn connect(&self, host_port: &str, limit: Duration) -> io::Result<Stream> {
        let started = now();
        let tcp = net::connect_host(host_port, limit).await?;
        let left = limit.saturating_sub(now().saturating_duration_since(started));
        self.wrap(tcp, host_port, left.min(HANDSHAKE_TIMEOUT)).await
    }

    /// Shakes hands over a connection that is already there, as if `host_port` had been dialled.
    ///
    /// # Errors
    /// As [`Connector::connect`].
    pub async fn wrap(&self, tcp: TcpStream, host_port: &str, limit: Duration) -> io::Result<Stream> {
        let Self::Tls(tls) = self else { return Ok(Stream::Plain(tcp)) };
        let name = match &tls.shared.server_name {
            Some(name) => name.clone(),
            None => server_name(host_of(host_port))
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?,
        };
        let connector = tokio_rustls::TlsConnector::from(tls.shared.current.load().config.clone());
        let handshake = connector.with_alpn(tls.alpn.to_vec()).connect_with(name, tcp, |connection| {
            connection.set_buffer_limit(Some(TLS_BUFFER_BYTES_MAX));
        });
        let session = match timeout(limit, handshake).await {
            Err(_) => return Err(explain::too_slow(Side::Client, host_port, limit)),
            Ok(Err(error)) => return Err(explain::handshake(&error, Side::Client, host_port)),
            Ok(Ok(session)) => session,
        };
        Encrypted::new(session.into())
            .map(|encrypted| Stream::Tls(Box::new(encrypted)))
            .map_err(|problem| explain::refused(Side::Client, host_port, problem))
    }
}

/// `host:port` without the port, `[::1]:1` without the brackets.
fn host_of(host_port: &str) -> &str {
    let host = host_port.rsplit_once(':').map_or(host_port, |(host, _)| host);
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

fn server_name(name: &str) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(name.to_owned()).map_err(|_| TlsError::ServerName { name: name.to_owned() })
}

fn build(settings: &ClientSettings) -> Result<Current, TlsError> {
    let (authorities, validity) = settings.authority.authorities()?;
    let mut validities = Vec::from_iter(validity);
    let builder = ClientConfig::builder_with_details(provider(), Arc::new(Clock))
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Setup)?
        .with_root_certificates(authorities);
    let mut config = match &settings.credential {
        None => builder.with_no_client_auth(),
        Some(credential) => {
            let (certified, validity) = credential.load()?;
            validities.extend(validity);
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)))
        }
    };
    config.resumption = Resumption::in_memory_sessions(SESSIONS_MAX);
    validities.iter().for_each(Validity::warn);
    Ok(Current { config: Arc::new(config), validities })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_what_stands_before_the_last_colon() {
        let check = |text, host| assert_eq!(host_of(text), host);
        check("gateway.example:7300", "gateway.example");
        check("10.0.0.1:7300", "10.0.0.1");
        check("[::1]:7300", "::1");
        check("gateway", "gateway");
    }
}
