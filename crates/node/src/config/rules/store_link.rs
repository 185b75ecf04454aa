//! The way from a gateway to its store. Who can read or change it can send requests to any machine, so off loopback it
//! is encrypted, or somebody wrote `insecure_plaintext = true` and is warned at every start.

use bowline_redis::{Address, Topology};

use super::Verdict;
use crate::config::ServerConfig;
use crate::config::value::is_loopback_host;

/// Judges the section `[store]`. A URL that is not one is found when it is read.
pub(super) fn check(config: &ServerConfig, verdict: &mut Verdict) {
    let store = &config.store;
    verdict.check_pair("store", store.certificate.is_some(), store.key.is_some());
    let Some(link) = Link::of(config) else { return };
    if link.is_tls {
        return;
    }
    let files = [("ca", &store.ca), ("certificate", &store.certificate), ("key", &store.key)];
    for (name, _) in files.iter().filter(|(_, file)| file.is_some()) {
        let key = format!("store.{name}");
        let text = "this is for TLS, and store.url has none";
        verdict.problem(key, text, format!("write a rediss:// URL (--store), or remove store.{name}"));
    }
    let Some(address) = &link.elsewhere else { return };
    if store.insecure_plaintext || config.insecure_plaintext {
        verdict.warnings.push(format!(
            "the store at {address} is reached without TLS (insecure_plaintext = true): whoever is on the way can read \
             its password, and read and change where requests go"
        ));
    } else {
        verdict.problem(
            "store.url",
            format!("{address} is on another machine, and redis:// has no TLS to verify it"),
            "write rediss:// and name in store.ca (--store-ca) the authority that signed the store's certificate, or \
             set insecure_plaintext = true if every network on the way is trusted",
        );
    }
}

/// Whether the store is on another machine.
pub(super) fn is_elsewhere(config: &ServerConfig) -> bool {
    Link::of(config).is_some_and(|link| link.elsewhere.is_some())
}

/// What the URL says, without its secrets.
struct Link {
    is_tls: bool,
    /// `host:port` of a server or sentinel on another machine.
    elsewhere: Option<String>,
}

impl Link {
    /// Nothing if there is no URL, or one that is wrong.
    fn of(config: &ServerConfig) -> Option<Self> {
        // The driver reads it as it will when it connects, but for the login: one whose password is in a file would be refused
        // as long as it is not put in.
        let (topology, is_tls) = Topology::from_url(config.store.url.as_ref()?.reveal()).ok()?;
        let hosts = match topology {
            Topology::Single(Address::Unix(_)) => Vec::new(),
            Topology::Single(Address::Host(host)) => vec![host],
            Topology::Sentinel { sentinels: hosts, .. } | Topology::Cluster { seeds: hosts } => hosts,
        };
        Some(Self { is_tls, elsewhere: hosts.into_iter().find(|host| !is_loopback_host(host)) })
    }
}
