//! The serving side.

use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bowline_rt::net::TcpStream;
use bowline_rt::time::timeout;
use rustls::ServerConfig;
use rustls::server::{ServerSessionMemoryCache, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;

use super::explain::{self, Side};
use super::pem::{Credential, Pem, TlsError};
use super::provider::{Clock, provider, ticketer};
use super::stream::{Encrypted, Stream};
use super::validity::Validity;
use crate::limits::{HANDSHAKE_TIMEOUT, SESSIONS_MAX, TLS_BUFFER_BYTES_MAX};

/// What a server asks of its clients.
#[derive(Debug, Clone)]
pub enum ClientAuthentication {
    /// No certificate is asked for.
    None,
    /// A certificate is asked for. Without one the client is let in with no identity; a bad one is refused.
    Optional(Pem),
    /// A certificate of this authority is required. What it names is for the caller to check.
    Required(Pem),
}

/// How to serve TLS.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// The server's certificate and key.
    pub credential: Credential,
    /// What is asked of clients.
    pub client_authentication: ClientAuthentication,
    /// Application protocols in the order of preference; empty accepts any and answers none.
    pub alpn: Vec<Vec<u8>>,
}

/// Turns accepted TCP connections into streams. A clone shares what a reload changes.
#[derive(Debug, Clone)]
pub enum Acceptor {
    /// No encryption.
    Plain,
    /// TLS.
    Tls(Arc<TlsAcceptor>),
}

/// The state of an [`Acceptor`] with TLS.
#[derive(Debug)]
pub struct TlsAcceptor {
    settings: ServerSettings,
    current: ArcSwap<Current>,
}

/// What was read from the files last.
#[derive(Debug)]
struct Current {
    config: Arc<ServerConfig>,
    validities: Vec<Validity>,
}

impl Acceptor {
    /// An acceptor with TLS. Reads the files.
    ///
    /// # Errors
    /// [`TlsError`], which names the file.
    pub fn tls(settings: ServerSettings) -> Result<Self, TlsError> {
        let current = ArcSwap::from_pointee(build(&settings)?);
        Ok(Self::Tls(Arc::new(TlsAcceptor { settings, current })))
    }

    /// Whether streams are encrypted.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// Reads the files again. New connections use what they hold now; sessions of before cannot be resumed. On an
    /// error all stays as it was.
    ///
    /// # Errors
    /// [`TlsError`], which names the file.
    pub fn reload(&self) -> Result<(), TlsError> {
        if let Self::Tls(tls) = self {
            tls.current.store(Arc::new(build(&tls.settings)?));
        }
        Ok(())
    }

    /// How long the files that are in use are valid.
    #[must_use]
    pub fn validities(&self) -> Vec<Validity> {
        match self {
            Self::Plain => Vec::new(),
            Self::Tls(tls) => tls.current.load().validities.clone(),
        }
    }

    /// Makes a stream of an accepted connection, within [`HANDSHAKE_TIMEOUT`]. Run it in the task of the connection,
    /// never in the loop that accepts: a silent peer holds it up.
    ///
    /// # Errors
    /// A failed handshake, with a text for the log, or [`io::ErrorKind::TimedOut`].
    pub async fn accept(&self, tcp: TcpStream) -> io::Result<Stream> {
        let Self::Tls(tls) = self else { return Ok(Stream::Plain(tcp)) };
        let peer =
            tcp.peer_addr().map_or_else(|_| "a client that is gone".to_owned(), |peer| peer.to_string());
        let handshake = tokio_rustls::TlsAcceptor::from(tls.current.load().config.clone()).accept_with(
            tcp,
            |connection| {
                connection.set_buffer_limit(Some(TLS_BUFFER_BYTES_MAX));
            },
        );
        let session = match timeout(HANDSHAKE_TIMEOUT, handshake).await {
            Err(_) => return Err(explain::too_slow(Side::Server, &peer, HANDSHAKE_TIMEOUT)),
            Ok(Err(error)) => return Err(explain::handshake(&error, Side::Server, &peer)),
            Ok(Ok(session)) => session,
        };
        Encrypted::new(session.into())
            .map(|encrypted| Stream::Tls(Box::new(encrypted)))
            .map_err(|problem| explain::refused(Side::Server, &peer, problem))
    }
}

fn build(settings: &ServerSettings) -> Result<Current, TlsError> {
    let (certified, validity) = settings.credential.load()?;
    let mut validities = Vec::from_iter(validity);
    let builder = ServerConfig::builder_with_details(provider(), Arc::new(Clock))
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Setup)?;
    let mut verifier = |authority: &Pem| {
        let (authorities, validity) = authority.authorities()?;
        validities.extend(validity);
        Ok::<_, TlsError>(WebPkiClientVerifier::builder_with_provider(authorities, provider()))
    };
    let refused = |error: rustls::server::VerifierBuilderError| {
        TlsError::Setup(rustls::Error::General(error.to_string()))
    };
    let builder = match &settings.client_authentication {
        ClientAuthentication::None => builder.with_no_client_auth(),
        ClientAuthentication::Optional(authority) => builder.with_client_cert_verifier(
            verifier(authority)?.allow_unauthenticated().build().map_err(refused)?,
        ),
        ClientAuthentication::Required(authority) => {
            builder.with_client_cert_verifier(verifier(authority)?.build().map_err(refused)?)
        }
    };
    let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.alpn_protocols.clone_from(&settings.alpn);
    config.ticketer = ticketer().map_err(TlsError::Setup)?;
    config.session_storage = ServerSessionMemoryCache::new(SESSIONS_MAX);
    // One ticket for each connection: a client that opens one tunnel after another always has one in hand.
    config.send_tls13_tickets = 1;
    validities.iter().for_each(Validity::warn);
    Ok(Current { config: Arc::new(config), validities })
}
