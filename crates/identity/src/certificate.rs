//! What we read out of a certificate ourselves: its validity and whom it names. The chain is verified by rustls.

use std::net::IpAddr;
use std::time::Duration;

use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::Identity;

/// What we need to know of one certificate.
#[derive(Debug)]
pub(crate) struct Facts {
    /// Whom it names, if exactly one URI of ours stands in it.
    pub identity: Option<Identity>,
    /// Whether it is an agent's, even one that names nobody because it has two names.
    pub is_of_agent: bool,
    /// First moment of validity, as time since 1970.
    pub not_before: Duration,
    /// Last moment of validity, as time since 1970.
    pub not_after: Duration,
    /// The end of validity as people read it.
    pub not_after_text: String,
}

/// Reads a certificate; `None` if it is not one.
pub(crate) fn read(der: &[u8]) -> Option<Facts> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let validity = certificate.validity();
    // A date before 1970 is in the past either way.
    let since_1970 = |seconds: i64| Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    Some(Facts {
        identity: identity(&certificate),
        is_of_agent: uris(&certificate).any(Identity::is_uri_of_agent),
        not_before: since_1970(validity.not_before.timestamp()),
        not_after: since_1970(validity.not_after.timestamp()),
        not_after_text: validity.not_after.to_string(),
    })
}

/// A certificate with two URIs of ours names nobody: it must not depend on their order who its holder is.
fn identity(certificate: &X509Certificate<'_>) -> Option<Identity> {
    let mut identities = uris(certificate).filter_map(Identity::from_uri);
    let first = identities.next()?;
    identities.next().is_none().then_some(first)
}

/// The host names and addresses of a certificate, as text; `None` if it is not one.
pub(crate) fn names(der: &[u8]) -> Option<Vec<String>> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let names = certificate.subject_alternative_name().ok()?;
    let names = names.into_iter().flat_map(|names| &names.value.general_names);
    Some(names.filter_map(name).collect())
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            let v6 = || <[u8; 16]>::try_from(*bytes).map(IpAddr::from);
            v4.or_else(|_| v6()).ok().map(|address| address.to_string())
        }
        _ => None,
    }
}

/// The URIs among the names of a certificate.
fn uris<'a>(certificate: &'a X509Certificate<'_>) -> impl Iterator<Item = &'a str> {
    let names = certificate.subject_alternative_name().ok().flatten();
    names.into_iter().flat_map(|names| &names.value.general_names).filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    })
}
