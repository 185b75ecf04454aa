//! How a call can end badly. The type says what is known about the command, because that decides whether it may be sent
//! again (INV-DRV-ONCE).

use std::io;
use std::time::Duration;

use bowline_identity::tls::Connector;
use bowline_resp::ProtocolError;

use crate::cluster::RouteError;
use crate::credentials::CredentialError;
use crate::sentinel::SearchError;
use crate::topology::Address;

/// A call that brought no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The command was not executed and never will be. It may always be sent again.
    #[error(transparent)]
    NotSent(#[from] NotSent),
    /// The command may have been executed, may be executed yet, or may be lost. Only an idempotent one may be sent again.
    #[error(transparent)]
    Unknown(#[from] Unknown),
    /// The server answered with an error.
    #[error(transparent)]
    Server(#[from] ServerError),
}

impl CallError {
    /// Whether the command surely had no effect, so that any command may be sent again.
    #[must_use]
    pub fn had_no_effect(&self) -> bool {
        match self {
            Self::NotSent(_) => true,
            Self::Unknown(_) => false,
            Self::Server(error) => error.is_refusal(),
        }
    }
}

/// Why a command was not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotSent {
    /// The command would change what every other user of the connection gets.
    #[error("{command} cannot use a shared connection: {why}")]
    Refused {
        /// The command, with its subcommand where that decides.
        command: &'static str,
        /// What it would do.
        why: &'static str,
    },
    /// The command is larger than what may ever be in flight.
    #[error("the command has {bytes} bytes, the limit is {bytes_max}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// Too many callers wait already.
    #[error("too many calls wait for the store")]
    Overloaded,
    /// There was no connection until the deadline.
    #[error("no connection to the store within {:?}: {}", rounded(.waited), last_error.as_deref().unwrap_or("still connecting"))]
    Down {
        /// How long the call waited.
        waited: Duration,
        /// What the newest attempt to connect met.
        last_error: Option<String>,
    },
    /// There was a connection, but too much was in flight on it until the deadline.
    #[error("the connection to the store was full for {:?}", rounded(.waited))]
    Full {
        /// How long the call waited.
        waited: Duration,
    },
    /// A former call on this dedicated connection was given up before its answer came, so that what the connection holds is not
    /// known any more. Make another.
    #[error("a former call on this dedicated connection was given up; make another connection")]
    GivenUp,
    /// The dedicated connection is gone, and with it what the server kept for it. Make another.
    #[error("the dedicated connection was lost; make another")]
    Gone(#[source] Death),
    /// It has no place to go to in a cluster.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// The client was stopped.
    #[error("the client was stopped")]
    Stopped,
}

/// A time as people want to read it: to the millisecond.
pub(crate) fn rounded(time: &Duration) -> Duration {
    let rounded = Duration::new(time.as_secs(), time.subsec_millis() * 1_000_000);
    if rounded.is_zero() { *time } else { rounded }
}

/// Why the fate of a command is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// No answer came before the deadline. The command is still under way.
    #[error("no answer from the store before the deadline")]
    Deadline,
    /// The connection was lost after the command was handed to the operating system.
    #[error("the connection to the store was lost before the answer came")]
    Lost(#[source] Death),
    /// The server did not run a transaction as one: it refused `MULTI`, so that each command was run by itself or not at all.
    #[error("the store did not run the transaction as a whole")]
    Torn,
}

/// An error reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the store answered: {message}")]
pub struct ServerError {
    /// The first word: `ERR`, `WRONGTYPE`, `NOSCRIPT`.
    pub code: String,
    /// The whole text, the code included.
    pub message: String,
}

impl ServerError {
    /// Reads the text of an error reply.
    pub(crate) fn new(text: &[u8]) -> Self {
        let message = String::from_utf8_lossy(text).into_owned();
        let code = message.split(' ').next().unwrap_or_default().to_owned();
        Self { code, message }
    }

    /// Whether the server declined to run the command now, without judging it: it had no effect and may succeed later.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        const CODES: [&str; 9] = [
            "LOADING",
            "BUSY",
            "CLUSTERDOWN",
            "TRYAGAIN",
            "MOVED",
            "ASK",
            "MASTERDOWN",
            "READONLY",
            "NOREPLICAS",
        ];
        CODES.contains(&self.code.as_str())
    }
}

/// Whether an error says that the server is a replica and takes no writes. Redis 6.2 reports what a script met within an error
/// of its own.
pub(crate) fn is_of_a_replica(error: &[u8]) -> bool {
    const WITHIN: &[u8] = b": -READONLY ";
    error.starts_with(b"READONLY ")
        || error.starts_with(b"MASTERDOWN ")
        || error.starts_with(b"ERR Error running script")
            && error.windows(WITHIN.len()).any(|part| part == WITHIN)
}

/// What ended a connection epoch. Everybody whose answer was owed gets the same one.
///
/// It is a small value that is made and copied without allocation, so that dying cannot fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Death {
    /// The server closed the connection.
    #[error("the store closed the connection")]
    Closed,
    /// Reading failed.
    #[error("cannot read from the store: {0}")]
    Read(io::ErrorKind),
    /// Writing failed.
    #[error("cannot write to the store: {0}")]
    Write(io::ErrorKind),
    /// The bytes are not RESP, or more of it than is accepted.
    #[error("the store broke the protocol: {0}")]
    Protocol(ProtocolError),
    /// An answer came that nobody had asked for. It proves that requests and answers are out of step.
    #[error("the store sent {0} that nobody asked for")]
    Unsolicited(&'static str),
    /// The answer cannot belong to the request. It proves that requests and answers are out of step.
    #[error("the store sent {0} to a command that never returns one")]
    Shape(&'static str),
    /// The answer to a fence is another one's. It proves that requests and answers are out of step.
    #[error("the answers of the store are out of step")]
    Fence,
    /// The server owed an answer and sent nothing.
    #[error("the store owes an answer and was silent for {0:?}")]
    Silent(Duration),
    /// The server owed an answer and sent only pushes: what it is sent does not reach it any more, or it does not work on it.
    #[error("the store owes an answer and sent nothing but pushes for {0:?}")]
    Unanswered(Duration),
    /// The server did not accept the introduction.
    #[error("the handshake with the store failed")]
    Handshake,
    /// The server has become a replica: whoever takes writes now has to be looked up again.
    #[error("the store has become a replica and takes no writes")]
    Demoted,
    /// Another server has become the primary, as the sentinels say.
    #[error("another server has taken the place of this one")]
    Replaced,
    /// The client was stopped.
    #[error("the client was stopped")]
    Stopped,
}

impl Death {
    /// Whether an idempotent command that was under way may be sent again. After an answer that must not be it may not: the
    /// answer may be its own, and would end one connection after the other, with all that others have under way.
    pub(crate) const fn spares_a_repeat(self) -> bool {
        match self {
            Self::Closed
            | Self::Read(_)
            | Self::Write(_)
            | Self::Silent(_)
            | Self::Unanswered(_)
            | Self::Demoted
            | Self::Replaced => true,
            Self::Protocol(_)
            | Self::Unsolicited(_)
            | Self::Shape(_)
            | Self::Fence
            | Self::Handshake
            | Self::Stopped => false,
        }
    }

    /// One word for a metric's label.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Read(_) => "read",
            Self::Write(_) => "write",
            Self::Protocol(_) => "protocol",
            Self::Unsolicited(_) => "unsolicited",
            Self::Shape(_) => "shape",
            Self::Fence => "fence",
            Self::Silent(_) => "silent",
            Self::Unanswered(_) => "unanswered",
            Self::Handshake => "handshake",
            Self::Demoted => "demoted",
            Self::Replaced => "replaced",
            Self::Stopped => "stopped",
        }
    }
}

/// Why no connection could be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("cannot connect to {address}: {source}")]
    Connect { address: String, source: io::Error },
    #[error("{address} accepted the connection and did not answer within {limit:?}")]
    Timeout { address: String, limit: Duration },
    #[error("{address} refused the handshake at {step}: {reason}")]
    Refused { address: String, step: &'static str, reason: String },
    #[error("the connection to {address} broke during the handshake: {death}{hint}")]
    Died { address: String, death: Death, hint: &'static str },
    /// With TLS 1.3 the server judges the client's certificate when the client already takes the handshake for finished.
    #[error(
        "{address} wants a client certificate, or refused the one that it was shown: name one that it trusts, with its key \
         (of a gateway: store.certificate and store.key)"
    )]
    Certificate { address: String },
    #[error("{address} refused the user or the password: {reason}")]
    Login { address: String, reason: String },
    #[error(transparent)]
    Credentials(#[from] CredentialError),
    #[error(transparent)]
    Search(#[from] SearchError),
}

/// The first byte of what a server says in TLS to a client that does not speak it (RFC 8446, 5.1).
const TLS_ALERT: u8 = 0x15;

impl ConnectError {
    /// A connection to `address`, made with `connector`, that broke before it was one.
    pub fn died(address: &Address, connector: &Connector, death: Death) -> Self {
        use io::ErrorKind::{BrokenPipe, ConnectionReset, PermissionDenied};
        let is_plain = matches!(address, Address::Host(_)) && !connector.is_tls();
        let address = address.to_string();
        match death {
            Death::Read(PermissionDenied) | Death::Write(PermissionDenied) if connector.is_tls() => {
                Self::Certificate { address }
            }
            Death::Closed
            | Death::Protocol(ProtocolError::UnknownType(TLS_ALERT))
            | Death::Read(ConnectionReset)
            | Death::Write(ConnectionReset | BrokenPipe)
                if is_plain =>
            {
                Self::Died {
                    address,
                    death,
                    hint: "; if it is a port for TLS, write rediss in place of redis",
                }
            }
            _ => Self::Died { address, death, hint: "" },
        }
    }

    /// Whether it will last until there are other credentials.
    pub(crate) const fn is_about_login(&self) -> bool {
        matches!(self, Self::Login { .. } | Self::Credentials(_))
    }
}

#[cfg(test)]
mod tests {
    use bowline_identity::ca::Authority;
    use bowline_identity::tls::{ClientSettings, Pem};

    use super::*;

    #[test]
    fn times_are_told_to_the_millisecond() {
        let down = |waited| NotSent::Down { waited, last_error: None }.to_string();
        assert_eq!(
            down(Duration::from_micros(2_000_381)),
            "no connection to the store within 2s: still connecting"
        );
        let full = NotSent::Full { waited: Duration::from_micros(150_999) };
        assert_eq!(full.to_string(), "the connection to the store was full for 150ms");
        assert_eq!(rounded(&Duration::from_micros(7)), Duration::from_micros(7));
    }

    #[test]
    fn a_connection_that_breaks_in_the_handshake_names_the_likely_cause() {
        let certificate = Authority::create("test", 1).unwrap().certificate().to_owned();
        let authority = Pem::Text { name: "test".to_owned(), text: certificate.into() };
        let settings = ClientSettings { authority, credential: None, server_name: None, alpn: Vec::new() };
        let tls = Connector::tls(settings).unwrap();
        let host = Address::Host("h:1".to_owned());
        let text = |address: &Address, connector: &Connector, death| {
            ConnectError::died(address, connector, death).to_string()
        };
        let refused = text(&host, &tls, Death::Read(io::ErrorKind::PermissionDenied));
        assert!(refused.starts_with("h:1 wants a client certificate, or refused the one"), "{refused}");
        assert_eq!(text(&host, &tls, Death::Write(io::ErrorKind::PermissionDenied)), refused);
        let nonsense = Death::Protocol(ProtocolError::TooDeep(8));
        assert!(text(&host, &Connector::Plain, nonsense).ends_with("nested deeper than 8 levels"));
        let alert = Death::Protocol(ProtocolError::UnknownType(TLS_ALERT));
        for death in [Death::Closed, Death::Read(io::ErrorKind::ConnectionReset), alert] {
            let broken = text(&host, &Connector::Plain, death);
            assert!(
                broken.ends_with("; if it is a port for TLS, write rediss in place of redis"),
                "{broken}"
            );
            assert!(text(&host, &tls, death).ends_with(&death.to_string()));
            assert!(
                text(&Address::Unix("/s".into()), &Connector::Plain, death).ends_with(&death.to_string())
            );
        }
    }
}
