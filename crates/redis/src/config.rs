//! Where the store is, and how patient to be with it.

use std::fmt;
use std::time::Duration;

use bowline_identity::tls::Connector;

use crate::limits;

/// Everything that a client needs to know. Its `Debug` and every error hide the password.
#[derive(Debug, Clone)]
pub struct Config {
    pub(crate) address: String,
    pub(crate) connector: Connector,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<Secret>,
    pub(crate) database: u32,
    pub(crate) name: Option<String>,
    /// Times and bounds.
    pub settings: Settings,
}

/// Times and bounds; [`limits`](crate::limits) explains each default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Time that a call may take in all, unless it says otherwise.
    pub call_deadline: Duration,
    /// Longest wait for a connection to be accepted.
    pub connect_timeout: Duration,
    /// Longest wait for the answers to the handshake.
    pub handshake_timeout: Duration,
    /// Silence after which a server that owes an answer counts as dead. A script that runs longer kills its connection.
    pub silence_max: Duration,
    /// Idle time after which a `PING` is sent.
    pub probe_interval: Duration,
    /// Where the upper bound of the pause between two attempts to connect stops growing.
    pub reconnect_pause_max: Duration,
    /// Most requests in flight.
    pub in_flight_max: usize,
    /// Most bytes of requests in flight, below 4 GiB.
    pub in_flight_bytes_max: u32,
    /// Most callers that wait for a connection or for room.
    pub waiting_max: usize,
    /// Most bytes of requests whose callers wait.
    pub waiting_bytes_max: usize,
    /// Most dedicated connections at a time.
    pub dedicated_max: usize,
    /// Longest reply.
    pub reply_bytes_max: usize,
    /// Whether an `ECHO` of its own follows every batch, whose answer must match: it bounds to one batch the damage that a
    /// proxy does which loses or doubles an answer.
    pub fence: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            call_deadline: limits::CALL_DEADLINE,
            connect_timeout: limits::CONNECT_TIMEOUT,
            handshake_timeout: limits::HANDSHAKE_TIMEOUT,
            silence_max: limits::SILENCE_MAX,
            probe_interval: limits::PROBE_INTERVAL,
            reconnect_pause_max: limits::RECONNECT_PAUSE_MAX,
            in_flight_max: limits::IN_FLIGHT_MAX,
            in_flight_bytes_max: u32::try_from(limits::IN_FLIGHT_BYTES_MAX).expect("64 MiB fit"),
            waiting_max: limits::WAITING_MAX,
            waiting_bytes_max: limits::WAITING_BYTES_MAX,
            dedicated_max: limits::DEDICATED_MAX,
            reply_bytes_max: limits::REPLY_BYTES_MAX,
            fence: false,
        }
    }
}

/// A text that no log, error or `Debug` shows.
#[derive(Clone)]
pub(crate) struct Secret(String);

impl Secret {
    /// The text itself, for the wire.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

/// Why a URL does not say where a store is. No text of the URL is repeated, because it may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The scheme is neither `redis` nor `rediss`.
    #[error("a store's URL begins with redis:// or rediss://")]
    Scheme,
    /// `rediss` was used without saying whom to trust.
    #[error("rediss:// needs TLS settings: which authorities to trust")]
    TlsSettings,
    /// There is no host, or the port is not a number from 1 to 65535.
    #[error("a store's URL needs a host, and its port is a number from 1 to 65535")]
    Address,
    /// A user without password, or a broken `%` escape.
    #[error("a store's URL has user and password as user:password@ or :password@, with % escapes")]
    Credentials,
    /// The path is not the number of a database.
    #[error("the path of a store's URL is the number of a database, or empty")]
    Database,
    /// There is a query or a fragment.
    #[error("a store's URL has no ? and no # part")]
    Query,
}

/// The port of a URL that names none.
const PORT: u16 = 6379;

impl Config {
    /// Reads `redis://[[user]:password@]host[:port][/database]`. User and password may hold `%` escapes.
    ///
    /// # Errors
    /// [`ConfigError`]; for `rediss://` see [`Config::from_url_with_tls`].
    pub fn from_url(url: &str) -> Result<Self, ConfigError> {
        match url.split_once("://") {
            Some(("redis", rest)) => Self::parse(rest, Connector::Plain),
            Some(("rediss", _)) => Err(ConfigError::TlsSettings),
            _ => Err(ConfigError::Scheme),
        }
    }

    /// As [`Config::from_url`], and with `connector` for `rediss://`.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn from_url_with_tls(url: &str, connector: &Connector) -> Result<Self, ConfigError> {
        match url.split_once("://") {
            Some(("rediss", _)) if !connector.is_tls() => Err(ConfigError::TlsSettings),
            Some(("rediss", rest)) => Self::parse(rest, connector.clone()),
            _ => Self::from_url(url),
        }
    }

    /// Gives connections a name for the server's `CLIENT LIST`. Characters that it cannot hold are left out.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.chars().filter(char::is_ascii_graphic).collect());
        self
    }

    /// `host:port`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    fn parse(rest: &str, connector: Connector) -> Result<Self, ConfigError> {
        if rest.contains(['?', '#']) {
            return Err(ConfigError::Query);
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (credentials, host_port) = match authority.rsplit_once('@') {
            Some((credentials, host_port)) => (Some(credentials), host_port),
            None => (None, authority),
        };
        let (user, password) = credentials.map(parse_credentials).transpose()?.unwrap_or_default();
        let database = if path.is_empty() { Some(0) } else { parse_number(path) };
        Ok(Self {
            address: parse_address(host_port).ok_or(ConfigError::Address)?,
            connector,
            user,
            password,
            database: database.ok_or(ConfigError::Database)?,
            name: None,
            settings: Settings::default(),
        })
    }
}

fn parse_credentials(text: &str) -> Result<(Option<String>, Option<Secret>), ConfigError> {
    let (user, password) = text.split_once(':').ok_or(ConfigError::Credentials)?;
    let user = unescape(user).ok_or(ConfigError::Credentials)?;
    let password = unescape(password).filter(|text| !text.is_empty()).ok_or(ConfigError::Credentials)?;
    Ok(((!user.is_empty()).then_some(user), Some(Secret(password))))
}

/// `host:port` with the port filled in; the host may be an IPv6 address in brackets.
fn parse_address(text: &str) -> Option<String> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, parse_number(port)?),
        _ => (text, PORT),
    };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_host = match bare {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty() && !host.contains([':', '[', ']']) && host.chars().all(|c| c.is_ascii_graphic())
        }
    };
    (is_host && port != 0).then(|| format!("{host}:{port}"))
}

/// Digits only: the standard parser would take a plus sign as well.
fn parse_number<N: std::str::FromStr>(text: &str) -> Option<N> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Resolves `%` escapes; `None` for a broken one, and for what is then not UTF-8.
fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        let digits = std::str::from_utf8(digits).ok().filter(|digits| !digits.starts_with('+'))?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    type Parts<'a> = (&'a str, Option<&'a str>, Option<&'a str>, u32);

    fn check(url: &str, expected: Result<Parts<'_>, ConfigError>) {
        let config = Config::from_url(url);
        let parts = config.as_ref().map_err(|&error| error).map(|config| {
            let password = config.password.as_ref().map(Secret::expose);
            (config.address.as_str(), config.user.as_deref(), password, config.database)
        });
        assert_eq!(parts, expected, "{url}");
    }

    #[test]
    fn a_url_says_where_and_as_whom() {
        check("redis://localhost", Ok(("localhost:6379", None, None, 0)));
        check("redis://localhost/", Ok(("localhost:6379", None, None, 0)));
        check("redis://10.0.0.1:7000/3", Ok(("10.0.0.1:7000", None, None, 3)));
        check("redis://[::1]:7000", Ok(("[::1]:7000", None, None, 0)));
        check("redis://[::1]", Ok(("[::1]:6379", None, None, 0)));
        check("redis://:secret@h:1", Ok(("h:1", None, Some("secret"), 0)));
        check("redis://u:p%40%3a%2F@h:1", Ok(("h:1", Some("u"), Some("p@:/"), 0)));
        check("redis://u:p@q@h:1", Ok(("h:1", Some("u"), Some("p@q"), 0)));
        check("http://h", Err(ConfigError::Scheme));
        check("h:1", Err(ConfigError::Scheme));
        check("rediss://h", Err(ConfigError::TlsSettings));
        check("redis://", Err(ConfigError::Address));
        check("redis://:1", Err(ConfigError::Address));
        check("redis://h:", Err(ConfigError::Address));
        check("redis://h:0", Err(ConfigError::Address));
        check("redis://h:+1", Err(ConfigError::Address));
        check("redis://h:65536", Err(ConfigError::Address));
        check("redis://::1", Err(ConfigError::Address));
        check("redis://u@h", Err(ConfigError::Credentials));
        check("redis://u:@h", Err(ConfigError::Credentials));
        check("redis://u:%4@h", Err(ConfigError::Credentials));
        check("redis://u:%ff@h", Err(ConfigError::Credentials));
        check("redis://h/x", Err(ConfigError::Database));
        check("redis://h/1?a=b", Err(ConfigError::Query));
    }

    #[test]
    fn the_password_is_never_shown() {
        let config = Config::from_url("redis://user:hunter2@h:1/1").unwrap();
        assert!(!format!("{config:?}").contains("hunter2"));
        assert!(!format!("{:?}", Config::from_url("redis://hunter2@h")).contains("hunter2"));
    }
}
