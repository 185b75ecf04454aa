//! Where the store is, and how patient to be with it.

use std::time::Duration;

use bowline_identity::tls::Connector;
use tokio::sync::Semaphore;

use crate::cache::CacheSettings;
use crate::cluster::ReadFrom;
use crate::credentials::{CredentialError, Credentials, Login};
use crate::limits;
use crate::topology::Topology;
use crate::url::{self, ConfigError, Parsed};

/// Everything that a client needs to know. Its `Debug` and every error hide the passwords.
#[derive(Debug, Clone)]
pub struct Config {
    pub(crate) topology: Topology,
    /// The topology as a text.
    pub(crate) address: String,
    pub(crate) connector: Connector,
    pub(crate) sentinel_connector: Connector,
    pub(crate) credentials: Credentials,
    pub(crate) sentinel_credentials: Credentials,
    pub(crate) database: u32,
    pub(crate) name: Option<String>,
    pub(crate) cache: Option<CacheSettings>,
    /// Times and bounds.
    pub settings: Settings,
}

/// Times and bounds; [`limits`](crate::limits) explains each default. A time of more than a year is a year, and a number that is
/// larger than can be counted is the largest that can.
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
    /// From which nodes of a cluster, or of a service that sentinels watch, commands that only read may read, unless they say
    /// otherwise.
    pub read_from: ReadFrom,
    /// Most messages that wait to be read from one subscription.
    pub subscription_messages_max: usize,
    /// Most bytes of messages that wait to be read from one subscription.
    pub subscription_bytes_max: usize,
    /// Longest reply, and longest message of a subscription.
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
            read_from: ReadFrom::default(),
            subscription_messages_max: limits::SUBSCRIPTION_MESSAGES_MAX,
            subscription_bytes_max: limits::SUBSCRIPTION_BYTES_MAX,
            reply_bytes_max: limits::REPLY_BYTES_MAX,
            fence: false,
        }
    }
}

impl Settings {
    /// The same with nothing in it that no clock and no counter can hold.
    pub(crate) fn bounded(self) -> Self {
        let time = |time: Duration| time.min(limits::DEADLINE_FAR);
        let count = |count: usize| count.min(Semaphore::MAX_PERMITS);
        Self {
            call_deadline: time(self.call_deadline),
            connect_timeout: time(self.connect_timeout),
            handshake_timeout: time(self.handshake_timeout),
            silence_max: time(self.silence_max),
            probe_interval: time(self.probe_interval),
            reconnect_pause_max: time(self.reconnect_pause_max),
            in_flight_max: count(self.in_flight_max),
            dedicated_max: count(self.dedicated_max),
            ..self
        }
    }
}

impl Config {
    /// Reads a URL without TLS.
    ///
    /// | form | what it leads to |
    /// |---|---|
    /// | `redis://[[user]:password@]host[:port][/database]` | one server; the port is 6379 unless named |
    /// | `unix://[[user]:password@]/path` | one server of this machine, by its socket |
    /// | `redis-sentinel://[[user]:password@]host[:port],…/service[/database]` | the primary that sentinels name; their port is 26379 unless named |
    /// | `redis-cluster://[[user]:password@]host[:port],…` | a cluster, by any of its nodes |
    ///
    /// - `rediss`, `rediss-sentinel` and `rediss-cluster` are the same with TLS ([`Config::from_url_with_tls`]). `valkey` and
    ///   `valkeys` mean `redis` and `rediss` everywhere; `+` may stand for the `-`, and `redis-unix` or `redis+unix` for `unix`.
    /// - A host is a name, an IPv4 address, or an IPv6 address in brackets. All texts may hold `%` escapes, and must where a
    ///   password has one of `@:/?#%`.
    /// - The login in front of the hosts is that of the servers, also behind sentinels and in a cluster, also of `unix://`.
    /// - Behind a `?`, joined by `&`, each at most once and not beside its place in front: `db`; `user` or `username`; `password`
    ///   or `pass`; and `client_name`, the name of connections in `CLIENT LIST` ([`Config::name`]).
    /// - Sentinels that want a login have it there too: `sentinel_user` or `sentinel_username`, and `sentinel_password`. They
    ///   never see the login of the servers.
    ///
    /// ```
    /// use bowline_redis::Config;
    ///
    /// for url in [
    ///     "redis://127.0.0.1",
    ///     "valkey://gw:secret@[::1]:7000/2",
    ///     "redis://h?user=gw&password=p%26q&db=2&client_name=worker",
    ///     "unix://gw:secret@/run/redis/redis.sock?db=1",
    ///     "redis+unix:///run/redis/redis.sock",
    ///     "redis-sentinel://gw:secret@s1,s2:26380/mymaster/1?sentinel_password=other",
    ///     "valkey+cluster://:secret@n1:7000,n2:7000",
    /// ] {
    ///     Config::from_url(url)?;
    /// }
    /// # Ok::<(), bowline_redis::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// [`ConfigError`]; for `rediss://` see [`Config::from_url_with_tls`].
    pub fn from_url(url: &str) -> Result<Self, ConfigError> {
        Self::from_url_with_tls(url, &Connector::Plain)
    }

    /// As [`Config::from_url`], and with `connector` for `rediss://`, `rediss-sentinel://` (for the sentinels too) and so on.
    /// What a connector is made of is in [`tls`](crate::tls).
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn from_url_with_tls(url: &str, connector: &Connector) -> Result<Self, ConfigError> {
        Self::from_parsed(url::parse(url)?, connector)
    }

    /// As [`Config::from_url_with_tls`], for a password that stands elsewhere: the URL may name a user without one, which is
    /// returned, and must not hold a password. Whose credentials to use, say with [`Config::credentials`].
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn from_url_without_password(
        url: &str,
        connector: &Connector,
    ) -> Result<(Self, Option<String>), ConfigError> {
        let mut parsed = url::parse_incomplete(url)?;
        if parsed.login.is_some() {
            return Err(ConfigError::PasswordTwice);
        }
        let user = parsed.user.take();
        Ok((Self::from_parsed(parsed, connector)?, user))
    }

    fn from_parsed(parsed: Parsed, connector: &Connector) -> Result<Self, ConfigError> {
        if parsed.is_tls && !connector.is_tls() {
            return Err(ConfigError::TlsSettings);
        }
        let connector = if parsed.is_tls { connector.clone() } else { Connector::Plain };
        let config = Self {
            address: parsed.topology.to_string(),
            topology: parsed.topology,
            sentinel_connector: connector.clone(),
            connector,
            credentials: parsed.login.into(),
            sentinel_credentials: parsed.sentinel_login.into(),
            database: parsed.database,
            name: None,
            cache: None,
            settings: Settings::default(),
        };
        Ok(match parsed.name {
            Some(name) => config.name(&name),
            None => config,
        })
    }

    /// Gives connections a name for the server's `CLIENT LIST`. Characters that it cannot hold are left out.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.chars().filter(char::is_ascii_graphic).collect());
        self
    }

    /// As whom to speak, in place of what the URL says.
    #[must_use]
    pub fn credentials(mut self, credentials: Credentials) -> Self {
        self.credentials = credentials;
        self
    }

    /// As whom to speak to sentinels, in place of what the URL says. They never see the credentials of the servers.
    #[must_use]
    pub fn sentinel_credentials(mut self, credentials: Credentials) -> Self {
        self.sentinel_credentials = credentials;
        self
    }

    /// How to dial sentinels, if otherwise than the servers.
    #[must_use]
    pub fn sentinel_connector(mut self, connector: Connector) -> Self {
        self.sentinel_connector = connector;
        self
    }

    /// The name of connections, if they have one.
    #[must_use]
    pub fn client_name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// What the client connects to.
    #[must_use]
    pub const fn topology(&self) -> &Topology {
        &self.topology
    }

    /// The same as a text for people: of one server `host:port` or `unix:path`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The same with the credentials that hold now in place of a provider: what one connection is introduced with.
    ///
    /// # Errors
    /// [`CredentialError`]: the provider has none.
    pub async fn with_current_credentials(&self) -> Result<Self, CredentialError> {
        Ok(Self { credentials: self.credentials.ask().await?, ..self.clone() })
    }

    /// The login, if it is known. A provider has to be asked first.
    pub(crate) const fn login(&self) -> Option<&Login> {
        match &self.credentials {
            Credentials::Fixed(login) => Some(login),
            Credentials::None | Credentials::Provider(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_needs_settings() {
        for url in ["rediss://h", "valkeys://h", "rediss-sentinel://h/s", "rediss+cluster://h"] {
            assert_eq!(Config::from_url(url).err(), Some(ConfigError::TlsSettings), "{url}");
        }
    }

    #[test]
    fn the_password_is_never_shown() {
        let url = "redis-sentinel://user:hunter2@h:1/s/1?sentinel_password=hunter3";
        let config = Config::from_url(url).unwrap();
        assert!(!format!("{config:?}").contains("hunter"));
        let wrong = Config::from_url("redis://hunter2@h").unwrap_err();
        assert!(!format!("{wrong:?} {wrong}").contains("hunter"));
    }

    #[test]
    fn a_password_that_stands_elsewhere_leaves_the_user() {
        let check = |url: &str, expected: Result<(&str, Option<&str>), ConfigError>| {
            let read = Config::from_url_without_password(url, &Connector::Plain);
            let read = read.map(|(config, user)| (config.address().to_owned(), user));
            let expected = expected.map(|(address, user)| (address.to_owned(), user.map(str::to_owned)));
            assert_eq!(read, expected, "{url}");
        };
        check("redis://h:1", Ok(("h:1", None)));
        check("redis://g%40w@h:1/2", Ok(("h:1", Some("g@w"))));
        check("redis://h:1?user=gw", Ok(("h:1", Some("gw"))));
        check("unix://gw@/run/a@b.sock", Ok(("unix:/run/a@b.sock", Some("gw"))));
        check(
            "redis-sentinel://gw@h1/my?sentinel_password=p",
            Ok(("my of the sentinels h1:26379", Some("gw"))),
        );
        check("valkey-cluster://gw@h1,h2", Ok(("the cluster of h1:6379,h2:6379", Some("gw"))));
        for url in ["redis://gw:p@h", "redis://:p@h", "redis://h?password=p", "unix:///s?user=gw&pass=p"] {
            check(url, Err(ConfigError::PasswordTwice));
        }
        for url in ["redis://@h", "redis://gw:@h", "redis-sentinel://h/my?sentinel_user=s"] {
            check(url, Err(ConfigError::Credentials));
        }
        check("redis://a@h?user=b", Err(ConfigError::Twice));
        check("rediss://a@h", Err(ConfigError::TlsSettings));
    }

    #[test]
    fn a_name_has_only_characters_that_a_server_takes() {
        let config = Config::from_url("redis://h?client_name=a%20b%0a").unwrap();
        assert_eq!(config.name.as_deref(), Some("ab"));
    }
}
