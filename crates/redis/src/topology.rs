//! What a client connects to.

use std::fmt;
use std::path::PathBuf;

use crate::url::{ConfigError, parse_place};

/// Where one server listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// `host:port`; the host is a name, an IPv4 address, or an IPv6 address in brackets.
    Host(String),
    /// A socket in the file system of this machine.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(host) => f.write_str(host),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// The servers behind one client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Topology {
    /// One server, always the same.
    Single(Address),
    /// One primary with replicas. Which server it is, sentinels tell.
    Sentinel {
        /// `host:port` of those that are asked first; they tell of the others.
        sentinels: Vec<String>,
        /// The name by which they know the primary.
        service: String,
    },
    /// Many primaries that share the keys.
    Cluster {
        /// `host:port` of those that are asked first; they tell of the others.
        seeds: Vec<String>,
    },
}

impl Topology {
    /// Reads where a URL leads, and whether it asks for TLS. What it says of logins and databases is not looked at: it may not be
    /// complete yet.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn from_url(url: &str) -> Result<(Self, bool), ConfigError> {
        parse_place(url)
    }
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Single(address) => address.fmt(f),
            Self::Sentinel { sentinels, service } => {
                write!(f, "{service} of the sentinels {}", sentinels.join(","))
            }
            Self::Cluster { seeds } => write!(f, "the cluster of {}", seeds.join(",")),
        }
    }
}
