//! The way from a gateway to its store. Who can read or change it can send requests to any machine, so off loopback it
//! is encrypted, or somebody wrote `insecure_plaintext = true` and is warned at every start.

use super::Verdict;
use crate::config::ServerConfig;
use crate::config::value::{Secret, is_loopback_host};

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
        let text = "this is for rediss://, and store.url is redis://, which has no TLS";
        verdict.problem(key, text, format!("write rediss:// in store.url (--store), or remove store.{name}"));
    }
    if is_loopback_host(&link.address) {
        return;
    }
    let address = &link.address;
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
    Link::of(config).is_some_and(|link| !is_loopback_host(&link.address))
}

/// What the URL says, without its secrets.
struct Link {
    is_tls: bool,
    /// `host:port`.
    address: String,
}

impl Link {
    /// Nothing if there is no URL, or one that is wrong.
    fn of(config: &ServerConfig) -> Option<Self> {
        let (scheme, rest) = config.store.url.as_ref().map(Secret::reveal)?.split_once("://")?;
        let is_tls = match scheme {
            "redis" => false,
            "rediss" => true,
            _ => return None,
        };
        // The driver reads the address as it will when it connects. It is given no user: one whose password is in a file
        // would be refused as long as it is not put in.
        let authority = rest.split('/').next()?;
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let read = bowline_redis::Config::from_url(&format!("redis://{host}")).ok()?;
        Some(Self { is_tls, address: read.address().to_owned() })
    }
}
