//! A small certificate authority, for those who have none: it signs one certificate for each gateway and each agent.
//!
//! PEM texts go in and out; where they are kept, and that nothing is overwritten, is the caller's business. Keys are
//! ECDSA on P-256, drawn by aws-lc-rs. There is no revocation list: revoke by a short validity, or by a new authority.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};
use rustls::pki_types::DnsName;
use time::OffsetDateTime;
use x509_parser::pem::parse_x509_pem;
use zeroize::Zeroizing;

use crate::Identity;
use crate::limits::{CLOCK_SKEW, VALIDITY_DAYS_MAX};

/// A private key as PEM. It prints as hidden, and is wiped from memory when dropped.
#[derive(Clone)]
pub struct PrivateKey(Zeroizing<String>);

impl PrivateKey {
    /// The PEM text. Write it to a file that only its owner can read, and nowhere else.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(hidden)")
    }
}

/// Whom a certificate is for.
#[derive(Debug, Clone)]
pub struct Request {
    /// Whom it names. An agent's certificate can only dial; a gateway's can dial and serve.
    pub identity: Identity,
    /// Host names and addresses under which it is dialled; a gateway needs at least one.
    pub names: Vec<String>,
    /// Validity in days from now. It ends with the authority's own at the latest.
    pub days: u32,
}

/// A new certificate with its key.
#[derive(Debug, Clone)]
pub struct Issued {
    /// The certificate as PEM.
    pub certificate: String,
    /// Its key.
    pub key: PrivateKey,
    /// When it expires, as time since 1970.
    pub not_after: Duration,
}

/// What a certificate that was issued before says, for the one that takes its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Former {
    /// Whom it names, if it is one of ours.
    pub identity: Option<Identity>,
    /// Its host names and addresses.
    pub names: Vec<String>,
}

impl Former {
    /// Reads a certificate; of a chain the first.
    ///
    /// # Errors
    /// [`CaError::Former`].
    pub fn from_pem(certificate: &str) -> Result<Self, CaError> {
        let (_, block) = parse_x509_pem(certificate.as_bytes()).map_err(|_| CaError::Former)?;
        let facts = crate::certificate::read(&block.contents).ok_or(CaError::Former)?;
        let names = crate::certificate::names(&block.contents).ok_or(CaError::Former)?;
        Ok(Self { identity: facts.identity, names })
    }
}

/// Why the authority cannot do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// The validity is zero or absurdly long.
    #[error("a certificate is valid for 1 to {VALIDITY_DAYS_MAX} days, not {0}")]
    Days(u32),
    /// A name is neither a host name nor an address.
    #[error("{0:?} is neither a host name nor an IP address")]
    Name(String),
    /// A gateway without a name could never be verified by those who dial it.
    #[error(
        "the certificate of a gateway needs at least one host name or address under which agents and other gateways dial it"
    )]
    NoName,
    /// The text is not a certificate.
    #[error("the authority's certificate cannot be read; expected one PEM certificate")]
    Certificate,
    /// The certificate that is to be renewed cannot be read.
    #[error("the certificate cannot be read; expected one PEM certificate")]
    Former,
    /// The certificate cannot sign others.
    #[error("the certificate is not that of an authority")]
    NotAuthority,
    /// The authority's own certificate has expired.
    #[error("the authority's certificate expired at {0}; create a new authority")]
    Expired(String),
    /// The text is not a private key.
    #[error("the authority's key cannot be read; expected one PEM private key")]
    Key(#[source] rcgen::Error),
    /// Key and certificate are not a pair.
    #[error("the authority's key does not belong to its certificate")]
    KeyMismatch,
    /// The signature could not be made.
    #[error("cannot make a certificate")]
    Sign(#[source] rcgen::Error),
}

/// An authority with its key in memory.
pub struct Authority {
    certificate: String,
    key: KeyPair,
    not_after: Duration,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

impl Authority {
    /// Creates an authority called `name`, valid for `days`; see
    /// [`AUTHORITY_DAYS_DEFAULT`](crate::limits::AUTHORITY_DAYS_DEFAULT). The name is for people; a random number is
    /// added, so that two authorities of one name are never mistaken for each other.
    ///
    /// # Errors
    /// [`CaError::Days`] and [`CaError::Sign`].
    pub fn create(name: &str, days: u32) -> Result<Self, CaError> {
        let name = format!("{name} {:016x}", bowline_rt::random::bits64());
        let mut parameters = parameters(&name, days, Duration::MAX)?;
        // It signs leaves and no other authorities.
        parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = generate()?;
        let certificate = parameters.self_signed(&key).map_err(CaError::Sign)?.pem();
        Ok(Self { certificate, key, not_after: since_1970(parameters.not_after.unix_timestamp()) })
    }

    /// Takes an authority that was created before, here or elsewhere.
    ///
    /// # Errors
    /// All but [`CaError::Days`], [`CaError::Name`], [`CaError::NoName`] and [`CaError::Former`].
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self, CaError> {
        let (_, block) = parse_x509_pem(certificate.as_bytes()).map_err(|_| CaError::Certificate)?;
        let parsed = block.parse_x509().map_err(|_| CaError::Certificate)?;
        if !parsed.is_ca() {
            return Err(CaError::NotAuthority);
        }
        let not_after = parsed.validity().not_after;
        if since_1970(not_after.timestamp()) < bowline_rt::time::unix_time() {
            return Err(CaError::Expired(not_after.to_string()));
        }
        let key = KeyPair::from_pem(key).map_err(CaError::Key)?;
        if parsed.public_key().subject_public_key.data != key.public_key_raw() {
            return Err(CaError::KeyMismatch);
        }
        Ok(Self { certificate: certificate.to_owned(), key, not_after: since_1970(not_after.timestamp()) })
    }

    /// The authority's certificate as PEM: every gateway and agent needs it, and it is no secret.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// The authority's key: whoever has it can be anyone.
    #[must_use]
    pub fn key(&self) -> PrivateKey {
        PrivateKey(Zeroizing::new(self.key.serialize_pem()))
    }

    /// Issues a certificate with a new key.
    ///
    /// # Errors
    /// [`CaError::Days`], [`CaError::Name`], [`CaError::NoName`] and [`CaError::Sign`].
    pub fn issue(&self, request: &Request) -> Result<Issued, CaError> {
        let mut parameters = parameters(&request.identity.to_string(), request.days, self.not_after)?;
        let uri = request.identity.uri().try_into().map_err(CaError::Sign)?;
        parameters.subject_alt_names.push(SanType::URI(uri));
        for name in &request.names {
            parameters.subject_alt_names.push(alternative_name(name)?);
        }
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if let Identity::Gateway(_) = request.identity {
            if request.names.is_empty() {
                return Err(CaError::NoName);
            }
            parameters.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        parameters.use_authority_key_identifier_extension = true;
        let issuer = Issuer::from_ca_cert_pem(&self.certificate, &self.key).map_err(CaError::Sign)?;
        let key = generate()?;
        let certificate = parameters.signed_by(&key, &issuer).map_err(CaError::Sign)?;
        Ok(Issued {
            certificate: certificate.pem(),
            key: PrivateKey(Zeroizing::new(key.serialize_pem())),
            not_after: since_1970(parameters.not_after.unix_timestamp()),
        })
    }
}

fn generate() -> Result<KeyPair, CaError> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(CaError::Sign)
}

/// Name and validity: from a little ago, for `days`, but not beyond `not_after_max`.
fn parameters(name: &str, days: u32, not_after_max: Duration) -> Result<CertificateParams, CaError> {
    if !(1..=VALIDITY_DAYS_MAX).contains(&days) {
        return Err(CaError::Days(days));
    }
    let now = bowline_rt::time::unix_time();
    let not_after = (now + Duration::from_secs(u64::from(days) * 24 * 3600)).min(not_after_max);
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters.not_before = date(now.saturating_sub(CLOCK_SKEW));
    parameters.not_after = date(not_after);
    Ok(parameters)
}

fn date(since_1970: Duration) -> OffsetDateTime {
    OffsetDateTime::UNIX_EPOCH + time::Duration::seconds(since_1970.as_secs().cast_signed())
}

/// A date before 1970 is in the past either way.
fn since_1970(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

/// A host name (a wildcard as its first label is allowed) or an address.
fn alternative_name(name: &str) -> Result<SanType, CaError> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let refused = || CaError::Name(name.to_owned());
    DnsName::try_from(name.strip_prefix("*.").unwrap_or(name)).map_err(|_| refused())?;
    name.to_ascii_lowercase().try_into().map(SanType::DnsName).map_err(|_| refused())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::AUTHORITY_DAYS_DEFAULT;

    fn request(identity: Identity, names: &[&str], days: u32) -> Request {
        Request { identity, names: names.iter().map(ToString::to_string).collect(), days }
    }

    fn gateway() -> Identity {
        Identity::Gateway("g1".parse().unwrap())
    }

    #[test]
    fn an_authority_survives_being_written_and_read() {
        let made = Authority::create("test", AUTHORITY_DAYS_DEFAULT).unwrap();
        let read = Authority::from_pem(made.certificate(), made.key().reveal()).unwrap();
        assert_eq!(read.not_after, made.not_after);
        let issued = read.issue(&request(gateway(), &["localhost", "127.0.0.1"], 30)).unwrap();
        let (_, block) = parse_x509_pem(issued.certificate.as_bytes()).unwrap();
        let facts = crate::certificate::read(&block.contents).unwrap();
        assert_eq!(facts.identity, Some(gateway()));
        assert_eq!(facts.not_after, issued.not_after);
        let former = Former::from_pem(&issued.certificate).unwrap();
        assert_eq!(former.identity, Some(gateway()));
        assert_eq!(former.names, ["localhost", "127.0.0.1"]);
        assert!(matches!(Former::from_pem("no certificate"), Err(CaError::Former)));
    }

    #[test]
    fn a_leaf_does_not_outlive_its_authority() {
        let authority = Authority::create("test", 10).unwrap();
        let issued = authority.issue(&request(gateway(), &["a.example"], 400)).unwrap();
        assert_eq!(issued.not_after, authority.not_after);
    }

    #[test]
    fn what_cannot_be_issued_is_refused_with_a_reason() {
        let authority = Authority::create("test", 10).unwrap();
        let check = |request: Request, expected: &str| {
            assert_eq!(authority.issue(&request).unwrap_err().to_string(), expected);
        };
        check(request(gateway(), &["a b"], 1), "\"a b\" is neither a host name nor an IP address");
        check(request(gateway(), &["*"], 1), "\"*\" is neither a host name nor an IP address");
        check(request(gateway(), &["a"], 0), "a certificate is valid for 1 to 36500 days, not 0");
        check(
            request(gateway(), &[], 1),
            "the certificate of a gateway needs at least one host name or address under which agents and other gateways dial it",
        );
        assert!(authority.issue(&request(gateway(), &["*.svc.bowline", "::1"], 1)).is_ok());
    }

    #[test]
    fn a_pair_that_is_none_is_refused() {
        let one = Authority::create("one", 10).unwrap();
        let other = Authority::create("other", 10).unwrap();
        let leaf = one.issue(&request(gateway(), &["a"], 1)).unwrap();
        let check = |certificate: &str, key: &str, expected: &str| {
            let error = Authority::from_pem(certificate, key).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        };
        check(one.certificate(), other.key().reveal(), "does not belong");
        check(&leaf.certificate, leaf.key.reveal(), "not that of an authority");
        check("", one.key().reveal(), "certificate cannot be read");
        check(one.certificate(), "", "key cannot be read");
    }

    #[test]
    fn keys_do_not_show() {
        let authority = Authority::create("one", 10).unwrap();
        assert_eq!(format!("{:?}", authority.key()), "PrivateKey(hidden)");
        assert!(!format!("{authority:?}").contains("PRIVATE"));
    }
}
