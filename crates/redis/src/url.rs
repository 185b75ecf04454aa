//! URLs that say where a store is and as whom to speak to it.
//! Their forms are listed at [`Config::from_url`](crate::Config::from_url).
//!
//! Nothing of a URL is ever repeated in an error, because all of it may be a password that was written wrongly.

use std::path::PathBuf;

use crate::credentials::{Login, Secret};
use crate::limits::{
    DATABASE_PORT, HOST_BYTES_MAX, SENTINEL_PORT, SERVICE_BYTES_MAX, SOCKET_PATH_BYTES_MAX, TARGETS_MAX,
    URL_BYTES_MAX,
};
use crate::topology::{Address, Topology};

/// Why a URL does not say where a store is. No text of the URL is repeated, because it may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The scheme is none of those that are known.
    #[error(
        "a store's URL begins with redis:// or rediss:// (or valkey://, valkeys://, unix://, redis-sentinel://, \
         redis-cluster:// and the like)"
    )]
    Scheme,
    /// It is too long to be one.
    #[error("a store's URL has at most {URL_BYTES_MAX} bytes")]
    Length,
    /// TLS is wanted, and nobody said whom to trust.
    #[error("rediss:// needs TLS settings, which say whom to trust: see Config::from_url_with_tls")]
    TlsSettings,
    /// There is no host, or the port is not a number from 1 to 65535.
    #[error("a store's URL needs a host, and its port is a number from 1 to 65535")]
    Address,
    /// More hosts than the scheme can use.
    #[error(
        "a redis:// URL names one host; write redis-sentinel:// or redis-cluster:// for several, at most {TARGETS_MAX}"
    )]
    Hosts,
    /// The path of a socket is missing, relative, or too long.
    #[error(
        "a unix:// URL needs an absolute path of at most {SOCKET_PATH_BYTES_MAX} bytes, as in unix:///run/redis.sock"
    )]
    SocketPath,
    /// A user without password (for which there is `Config::from_url_without_password`), or a broken `%` escape.
    #[error("a store's URL has user and password as user:password@ or :password@, with % escapes")]
    Credentials,
    /// There is a password where none may be: it stands elsewhere.
    #[error("the password stands in the URL and in a file or variable: keep one")]
    PasswordTwice,
    /// The path is not the number of a database.
    #[error("the path of a store's URL is the number of a database, or empty")]
    Database,
    /// The name of the service is missing or cannot be one.
    #[error(
        "a redis-sentinel:// URL ends with the name of the primary as the sentinels know it: \
         redis-sentinel://host:26379/mymaster, and then perhaps /database"
    )]
    Service,
    /// A cluster with another database than 0.
    #[error("a cluster has no other database than 0")]
    ClusterDatabase,
    /// A parameter that is unknown or not written as one.
    #[error(
        "the part behind ? of a store's URL is name=value, joined by &, with % escapes; the names are db, user, username, \
         password, pass and client_name, and for sentinels sentinel_user, sentinel_username and sentinel_password"
    )]
    Query,
    /// Something is said twice.
    #[error("a store's URL says database, user, password or name twice")]
    Twice,
    /// There is a fragment.
    #[error("a store's URL has no # part; write a # within a text as %23")]
    Fragment,
}

/// What a URL says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Parsed {
    pub is_tls: bool,
    pub topology: Topology,
    pub login: Option<Login>,
    /// A user without a password; never beside `login`.
    pub user: Option<String>,
    pub sentinel_login: Option<Login>,
    pub database: u32,
    pub name: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Single,
    Unix,
    Sentinel,
    Cluster,
}

/// Reads a URL.
pub(crate) fn parse(url: &str) -> Result<Parsed, ConfigError> {
    let parsed = parse_incomplete(url)?;
    if parsed.user.is_some() { Err(ConfigError::Credentials) } else { Ok(parsed) }
}

/// Reads a URL that may name a user without a password.
pub(crate) fn parse_incomplete(url: &str) -> Result<Parsed, ConfigError> {
    if url.len() > URL_BYTES_MAX {
        return Err(ConfigError::Length);
    }
    let (scheme, rest) = url.split_once("://").ok_or(ConfigError::Scheme)?;
    let (kind, is_tls) = parse_scheme(scheme).ok_or(ConfigError::Scheme)?;
    if rest.contains('#') {
        return Err(ConfigError::Fragment);
    }
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let parameters = Parameters::parse(query)?;
    let (authority, path) = rest.split_once('/').map_or((rest, None), |(host, path)| (host, Some(path)));
    let (login, hosts) = match authority.rsplit_once('@') {
        Some((login, hosts)) => (Some(Said::parse(login)?), hosts),
        None => (None, authority),
    };
    let (topology, database) = match kind {
        Kind::Single => (Topology::Single(single(hosts)?), path),
        Kind::Unix => (Topology::Single(socket(hosts, path)?), None),
        Kind::Sentinel => {
            let (service, database) = path.map_or(("", None), |path| match path.split_once('/') {
                Some((service, database)) => (service, Some(database)),
                None => (path, None),
            });
            let sentinels = several(hosts, SENTINEL_PORT)?;
            (Topology::Sentinel { sentinels, service: parse_service(service)? }, database)
        }
        Kind::Cluster => (Topology::Cluster { seeds: several(hosts, DATABASE_PORT)? }, path),
    };
    let database = database.filter(|text| !text.is_empty());
    let database = once(database, parameters.database.as_deref())?;
    let database = database.map_or(Some(0), parse_number).ok_or(ConfigError::Database)?;
    if kind == Kind::Cluster && database != 0 {
        return Err(ConfigError::ClusterDatabase);
    }
    let sentinel_login = match Said::new(parameters.sentinel_user, parameters.sentinel_password)? {
        Some(_) if kind != Kind::Sentinel => return Err(ConfigError::Query),
        Some(Said::User(_)) => return Err(ConfigError::Credentials),
        Some(Said::Login(login)) => Some(login),
        None => None,
    };
    let (login, user) = match once(login, Said::new(parameters.user, parameters.password)?)? {
        Some(Said::Login(login)) => (Some(login), None),
        Some(Said::User(user)) => (None, Some(user)),
        None => (None, None),
    };
    Ok(Parsed { is_tls, topology, login, user, sentinel_login, database, name: parameters.name })
}

/// Reads where a URL leads and whether under TLS, whatever it says of logins and databases.
pub(crate) fn parse_place(url: &str) -> Result<(Topology, bool), ConfigError> {
    let (scheme, rest) = url.split_once("://").ok_or(ConfigError::Scheme)?;
    let rest = rest.split_once('?').map_or(rest, |(rest, _)| rest);
    let end = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let hosts = authority.rsplit_once('@').map_or(authority, |(_, hosts)| hosts);
    parse(&format!("{scheme}://{hosts}{path}")).map(|parsed| (parsed.topology, parsed.is_tls))
}

fn parse_scheme(scheme: &str) -> Option<(Kind, bool)> {
    if scheme == "unix" {
        return Some((Kind::Unix, false));
    }
    let (family, kind) = match scheme.split_once(['-', '+']) {
        Some((family, kind)) => (family, Some(kind)),
        None => (scheme, None),
    };
    let is_tls = match family {
        "redis" | "valkey" => false,
        "rediss" | "valkeys" => true,
        _ => return None,
    };
    let kind = match kind {
        None => Kind::Single,
        Some("sentinel") => Kind::Sentinel,
        Some("cluster") => Kind::Cluster,
        Some("unix") if !is_tls => Kind::Unix,
        Some(_) => return None,
    };
    Some((kind, is_tls))
}

fn single(hosts: &str) -> Result<Address, ConfigError> {
    if hosts.contains(',') {
        return Err(ConfigError::Hosts);
    }
    parse_address(hosts, DATABASE_PORT).map(Address::Host).ok_or(ConfigError::Address)
}

fn several(hosts: &str, port: u16) -> Result<Vec<String>, ConfigError> {
    let addresses = hosts.split(',').map(|host| parse_address(host, port).ok_or(ConfigError::Address));
    let addresses = addresses.collect::<Result<Vec<_>, _>>()?;
    if addresses.len() > TARGETS_MAX { Err(ConfigError::Hosts) } else { Ok(addresses) }
}

fn socket(host: &str, path: Option<&str>) -> Result<Address, ConfigError> {
    let path = path.filter(|path| host.is_empty() && !path.is_empty()).ok_or(ConfigError::SocketPath)?;
    let path = unescape(path).map(|path| format!("/{path}")).ok_or(ConfigError::SocketPath)?;
    if path.len() > SOCKET_PATH_BYTES_MAX || path.contains('\0') {
        return Err(ConfigError::SocketPath);
    }
    Ok(Address::Unix(PathBuf::from(path)))
}

/// What `sentinel monitor` takes as a name.
fn parse_service(text: &str) -> Result<String, ConfigError> {
    let is_name = |name: &String| {
        (1..=SERVICE_BYTES_MAX).contains(&name.len()) && name.chars().all(|c| c.is_ascii_graphic())
    };
    unescape(text).filter(is_name).ok_or(ConfigError::Service)
}

/// What is said of a login.
enum Said {
    Login(Login),
    /// The user, and no password.
    User(String),
}

impl Said {
    /// Reads what stands before the hosts.
    fn parse(text: &str) -> Result<Self, ConfigError> {
        let (user, password) =
            text.split_once(':').map_or((text, None), |(user, password)| (user, Some(password)));
        let unescape = |text| unescape(text).ok_or(ConfigError::Credentials);
        let password = password.map(unescape).transpose()?;
        Self::new(Some(unescape(user)?), password)?.ok_or(ConfigError::Credentials)
    }

    fn new(user: Option<String>, password: Option<String>) -> Result<Option<Self>, ConfigError> {
        match (user, password) {
            (None, None) => Ok(None),
            (user, Some(password)) if !password.is_empty() => {
                let user = user.filter(|user| !user.is_empty());
                Ok(Some(Self::Login(Login { user, password: Secret::new(password) })))
            }
            (Some(user), None) if !user.is_empty() => Ok(Some(Self::User(user))),
            _ => Err(ConfigError::Credentials),
        }
    }
}

/// What is said in one place of two.
fn once<T>(one: Option<T>, other: Option<T>) -> Result<Option<T>, ConfigError> {
    match (one, other) {
        (Some(_), Some(_)) => Err(ConfigError::Twice),
        (one, other) => Ok(one.or(other)),
    }
}

/// The part behind the `?`.
#[derive(Default)]
struct Parameters {
    database: Option<String>,
    user: Option<String>,
    password: Option<String>,
    name: Option<String>,
    sentinel_user: Option<String>,
    sentinel_password: Option<String>,
}

impl Parameters {
    fn parse(query: &str) -> Result<Self, ConfigError> {
        let mut parameters = Self::default();
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').ok_or(ConfigError::Query)?;
            let place = match name {
                "db" => &mut parameters.database,
                "user" | "username" => &mut parameters.user,
                "password" | "pass" => &mut parameters.password,
                "client_name" => &mut parameters.name,
                "sentinel_user" | "sentinel_username" => &mut parameters.sentinel_user,
                "sentinel_password" => &mut parameters.sentinel_password,
                _ => return Err(ConfigError::Query),
            };
            let value = unescape(value).ok_or(ConfigError::Query)?;
            if place.replace(value).is_some() {
                return Err(ConfigError::Twice);
            }
        }
        Ok(parameters)
    }
}

/// `host:port` with the port filled in; the host may be an IPv6 address in brackets.
pub(crate) fn parse_address(text: &str, port: u16) -> Option<String> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, parse_number(port)?),
        _ => (text, port),
    };
    (is_host(host) && port != 0).then(|| format!("{host}:{port}"))
}

/// Whether a text can be a host: a name, an IPv4 address, or an IPv6 address in brackets.
pub(crate) fn is_host(host: &str) -> bool {
    match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            let is_of_a_host = |c: char| c.is_ascii_graphic() && !":[]/@,?".contains(c);
            (1..=HOST_BYTES_MAX).contains(&host.len()) && host.chars().all(is_of_a_host)
        }
    }
}

/// Digits only: the standard parser would take a plus sign as well.
pub(crate) fn parse_number<N: std::str::FromStr>(text: &str) -> Option<N> {
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
#[path = "url_tests.rs"]
mod tests;
