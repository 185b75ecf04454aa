//! What went wrong in a handshake, in words that say who, what, and what to do.

use std::io;
use std::time::Duration;

use rustls::{AlertDescription, CertificateError, InvalidMessage};

/// Which side of the handshake we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// We accepted.
    Server,
    /// We dialled.
    Client,
}

/// Why there is no TLS connection. The source is the library's error where there is one.
#[derive(Debug, thiserror::Error)]
#[error("no TLS connection with {peer}: {problem}")]
pub struct HandshakeError {
    /// The host that was dialled, or the address that dialled us.
    pub peer: String,
    /// What is wrong and what to do about it.
    pub problem: String,
    /// The library's error.
    #[source]
    pub source: Option<rustls::Error>,
}

/// The handshake took too long.
pub(super) fn too_slow(side: Side, peer: &str, limit: Duration) -> io::Error {
    let problem = match side {
        Side::Server => format!("it sent no complete handshake within {limit:?}"),
        Side::Client => format!("it did not answer the handshake within {limit:?}; is it a TLS port?"),
    };
    io::Error::new(io::ErrorKind::TimedOut, HandshakeError { peer: peer.to_owned(), problem, source: None })
}

/// We refused the peer after the handshake.
pub(super) fn refused(side: Side, peer: &str, problem: &str) -> io::Error {
    let problem = match side {
        Side::Server => format!("{problem}; the client must connect with a new one"),
        Side::Client => format!("{problem}; the server needs a new one"),
    };
    let error = HandshakeError { peer: peer.to_owned(), problem, source: None };
    io::Error::new(io::ErrorKind::PermissionDenied, error)
}

/// A handshake failed with `error`.
pub(super) fn handshake(error: &io::Error, side: Side, peer: &str) -> io::Error {
    let Some(source) = tls_error(error).cloned() else {
        let problem = match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset if side == Side::Client => {
                "it closed the connection during the handshake; is it a TLS port?".to_owned()
            }
            _ => error.to_string(),
        };
        let kind = error.kind();
        return io::Error::new(kind, HandshakeError { peer: peer.to_owned(), problem, source: None });
    };
    let kind = match &source {
        rustls::Error::InvalidCertificate(_)
        | rustls::Error::NoCertificatesPresented
        | rustls::Error::AlertReceived(_) => io::ErrorKind::PermissionDenied,
        _ => io::ErrorKind::InvalidData,
    };
    let problem = describe(&source, side);
    io::Error::new(kind, HandshakeError { peer: peer.to_owned(), problem, source: Some(source) })
}

/// An established connection failed with `error`. With TLS 1.3 that is where a client learns that its certificate
/// was refused.
pub(super) fn running(error: io::Error) -> io::Error {
    let Some(rustls::Error::AlertReceived(alert)) = tls_error(&error) else { return error };
    let source = rustls::Error::AlertReceived(*alert);
    let problem = describe_alert(*alert);
    let error = HandshakeError { peer: "the other side".to_owned(), problem, source: Some(source) };
    io::Error::new(io::ErrorKind::PermissionDenied, error)
}

fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

fn describe(error: &rustls::Error, side: Side) -> String {
    match error {
        rustls::Error::InvalidCertificate(problem) => describe_certificate(problem, side),
        rustls::Error::NoCertificatesPresented => {
            "it presented no certificate, and this port requires one; give it a certificate and a key"
                .to_owned()
        }
        rustls::Error::AlertReceived(alert) => describe_alert(*alert),
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "it does not speak TLS; is one side configured for plain connections?".to_owned()
        }
        rustls::Error::NoApplicationProtocol => {
            "it offered no application protocol that this port serves; is it the right port?".to_owned()
        }
        error => error.to_string(),
    }
}

fn describe_certificate(problem: &CertificateError, side: Side) -> String {
    let whose = match side {
        Side::Server => "the client's certificate",
        Side::Client => "the server's certificate",
    };
    match problem {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            format!("{whose} has expired; issue a new one, or check the clock of this machine")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            format!("{whose} is not valid yet; check the clocks of both machines")
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            format!(
                "{whose} was not issued by an authority that is trusted here; do both sides use the same one?"
            )
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            let held = if presented.is_empty() { "no name".to_owned() } else { presented.join(", ") };
            format!(
                "{whose} is not for {}, it holds {held}; dial one of these, configure the server name, or issue a \
                 certificate with that name",
                expected.to_str()
            )
        }
        CertificateError::NotValidForName => format!("{whose} does not hold the name that was dialled"),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            let role = if side == Side::Server { "a client" } else { "a server" };
            format!("{whose} must not be used by {role}; an agent's certificate cannot serve")
        }
        problem => format!("{whose} is not accepted: {problem}"),
    }
}

/// What the other side says about our certificate, or about us.
fn describe_alert(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateRequired => {
            "it requires a certificate and none was presented; configure a certificate and a key".to_owned()
        }
        AlertDescription::CertificateExpired => {
            "it says that the certificate presented to it has expired; issue a new one".to_owned()
        }
        AlertDescription::UnknownCA => {
            "it does not trust the authority of the certificate presented to it; do both sides use the same one?"
                .to_owned()
        }
        // A bad signature in the chain is reported as a decrypt error.
        AlertDescription::BadCertificate
        | AlertDescription::DecryptError
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::AccessDenied => {
            format!("it refused the certificate presented to it ({alert:?}); its log says why")
        }
        AlertDescription::NoApplicationProtocol => {
            "it serves none of the application protocols that were offered; is it the right port?".to_owned()
        }
        alert => format!("it ended the connection with the alert {alert:?}"),
    }
}
