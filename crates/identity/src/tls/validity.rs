//! Until when certificates that were loaded are valid, and what to say when that is soon.

use std::time::Duration;

use rustls::pki_types::CertificateDer;

use super::pem::Pem;
use crate::certificate::{self, Facts};
use crate::limits::EXPIRY_WARNING;

/// Until when the certificates of one file are valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Validity {
    /// The file, or what else errors call the text.
    pub file: String,
    /// First moment of validity, as time since 1970.
    pub not_before: Duration,
    /// Last moment of validity, as time since 1970.
    pub not_after: Duration,
    /// The last moment as people read it.
    until: String,
}

impl Validity {
    /// Of a chain its first certificate counts, which is the owner's: what follows helps peers that need it.
    pub(super) fn of_chain(pem: &Pem, chain: &[CertificateDer<'_>]) -> Option<Self> {
        certificate::read(chain.first()?).map(|facts| Self::new(pem, facts))
    }

    /// Of several authorities the one that ends last counts: the others are those that it replaces, or a few of a
    /// system's long list.
    pub(super) fn of_authorities(pem: &Pem, authorities: &[CertificateDer<'_>]) -> Option<Self> {
        let facts = authorities.iter().filter_map(|der| certificate::read(der));
        facts.max_by_key(|facts| facts.not_after).map(|facts| Self::new(pem, facts))
    }

    fn new(pem: &Pem, facts: Facts) -> Self {
        let Facts { not_before, not_after, not_after_text: until, .. } = facts;
        Self { file: pem.to_string(), not_before, not_after, until }
    }

    /// Logs a warning if there is a reason for one. A certificate that has expired is used all the same: the peers refuse
    /// it and say why, and a reload can replace it.
    pub fn warn(&self) {
        let Self { file, until, .. } = self;
        if let Some(concern) = self.concern(bowline_rt::time::unix_time()) {
            tracing::warn!(file, until, "{concern}");
        }
    }

    /// What is wrong with it at `now`.
    fn concern(&self, now: Duration) -> Option<&'static str> {
        if self.not_after < now {
            Some("this certificate has expired: issue a new one")
        } else if self.not_before > now {
            Some("this certificate is not valid yet: check the clock of this machine")
        } else if self.not_after - now < EXPIRY_WARNING {
            Some("this certificate expires soon: issue a new one")
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_warned_about_in_time() {
        let day = Duration::from_secs(24 * 3600);
        let validity =
            Validity { file: "f".into(), not_before: day, not_after: 100 * day, until: String::new() };
        let check = |now: Duration, expected: &str| {
            let concern = validity.concern(now).unwrap_or_default();
            assert!(
                concern.contains(expected) && concern.is_empty() == expected.is_empty(),
                "{now:?}: {concern}"
            );
        };
        check(Duration::ZERO, "not valid yet");
        check(day, "");
        check(86 * day, "");
        check(87 * day, "expires soon");
        check(100 * day, "expires soon");
        check(101 * day, "has expired");
    }
}
