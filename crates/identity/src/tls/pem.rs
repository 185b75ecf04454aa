//! Certificates and keys from PEM, with errors that name the file.

use std::fmt;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::provider::provider;
use super::validity::Validity;
use crate::limits::{CERTIFICATES_PER_FILE_MAX, FILE_BYTES_MAX};

/// Where a PEM text comes from. `Debug` and `Display` show the name, never the text.
#[derive(Clone)]
pub enum Pem {
    /// A file, read when it is needed, so that a reload sees its new content.
    File(PathBuf),
    /// A text that is already in memory.
    Text {
        /// What errors call it.
        name: String,
        /// The PEM text itself; it may hold a private key.
        text: Arc<str>,
    },
}

impl fmt::Display for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Text { name, .. } => name.fmt(f),
        }
    }
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pem({self})")
    }
}

/// A certificate chain, leaf first, and the private key of the leaf.
#[derive(Debug, Clone)]
pub struct Credential {
    /// The chain.
    pub certificate: Pem,
    /// The key: PKCS#8, SEC1 or PKCS#1.
    pub key: Pem,
}

/// Why TLS could not be set up from its files.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {file}")]
    Read {
        /// Which file.
        file: String,
        /// The operating system's answer.
        #[source]
        source: std::io::Error,
    },
    /// A file is larger than any file of its kind.
    #[error("{file} is larger than {FILE_BYTES_MAX} bytes; is it a PEM file?")]
    TooLarge {
        /// Which file.
        file: String,
    },
    /// A file has no certificate, or no usable one.
    #[error("{file} has no certificate; expected a block that begins with -----BEGIN CERTIFICATE-----")]
    NoCertificate {
        /// Which file.
        file: String,
    },
    /// A file has too many certificates.
    #[error("{file} has more than {CERTIFICATES_PER_FILE_MAX} certificates")]
    TooManyCertificates {
        /// Which file.
        file: String,
    },
    /// A file has no private key.
    #[error("{file} has no private key; expected a block that begins with -----BEGIN PRIVATE KEY-----")]
    NoKey {
        /// Which file.
        file: String,
    },
    /// A PEM block is damaged.
    #[error("{file} is damaged: {problem}")]
    Damaged {
        /// Which file.
        file: String,
        /// What the decoder says.
        problem: String,
    },
    /// Certificate and key are not a pair.
    #[error("the key in {key} does not belong to the certificate in {certificate}")]
    KeyMismatch {
        /// File of the key.
        key: String,
        /// File of the certificate.
        certificate: String,
    },
    /// The server's name cannot be one.
    #[error("{name:?} is neither a host name nor an address")]
    ServerName {
        /// The refused text.
        name: String,
    },
    /// The library refuses the settings.
    #[error("cannot set up TLS")]
    Setup(#[source] rustls::Error),
}

impl Pem {
    fn read(&self) -> Result<Arc<str>, TlsError> {
        let path = match self {
            Self::Text { text, .. } => return Ok(text.clone()),
            Self::File(path) => path,
        };
        let unreadable = |source| TlsError::Read { file: self.to_string(), source };
        let mut text = String::new();
        let file = std::fs::File::open(path).map_err(unreadable)?;
        file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(unreadable)?;
        if text.len() as u64 > FILE_BYTES_MAX {
            return Err(TlsError::TooLarge { file: self.to_string() });
        }
        Ok(text.into())
    }

    /// All certificates of the file; at least one.
    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let text = self.read()?;
        let mut certificates = Vec::new();
        for item in CertificateDer::pem_slice_iter(text.as_bytes()) {
            if certificates.len() == CERTIFICATES_PER_FILE_MAX {
                return Err(TlsError::TooManyCertificates { file: self.to_string() });
            }
            certificates.push(item.map_err(|error| self.damaged(error))?);
        }
        if certificates.is_empty() {
            return Err(TlsError::NoCertificate { file: self.to_string() });
        }
        Ok(certificates)
    }

    /// The first private key of the file.
    fn private_key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        match PrivateKeyDer::from_pem_slice(self.read()?.as_bytes()) {
            Ok(key) => Ok(key),
            Err(rustls::pki_types::pem::Error::NoItemsFound) => {
                Err(TlsError::NoKey { file: self.to_string() })
            }
            Err(error) => Err(self.damaged(error)),
        }
    }

    fn damaged(&self, problem: impl fmt::Display) -> TlsError {
        TlsError::Damaged { file: self.to_string(), problem: problem.to_string() }
    }

    /// The authorities of the file, and how long they are. Certificates that cannot be authorities are skipped as long as
    /// one can.
    pub(super) fn authorities(&self) -> Result<(Arc<RootCertStore>, Option<Validity>), TlsError> {
        let certificates = self.certificates()?;
        let validity = Validity::of_authorities(self, &certificates);
        let mut store = RootCertStore::empty();
        let (added, ignored) = store.add_parsable_certificates(certificates);
        if added == 0 {
            return Err(self.damaged("no certificate in it can be an authority"));
        }
        if ignored > 0 {
            tracing::debug!(file = %self, ignored, "skipped certificates that cannot be authorities");
        }
        Ok((Arc::new(store), validity))
    }
}

impl Credential {
    /// Reads both files and checks that they belong together; also says how long they do.
    pub(super) fn load(&self) -> Result<(CertifiedKey, Option<Validity>), TlsError> {
        let chain = self.certificate.certificates()?;
        let validity = Validity::of_chain(&self.certificate, &chain);
        let key = self.key.private_key()?;
        let certified = CertifiedKey::from_der(chain, key, &provider()).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                TlsError::KeyMismatch { key: self.key.to_string(), certificate: self.certificate.to_string() }
            }
            // What is left is about the certificate or the kind of the key; the text of rustls says which.
            error => TlsError::Damaged {
                file: format!("{} or {}", self.certificate, self.key),
                problem: error.to_string(),
            },
        })?;
        Ok((certified, validity))
    }
}
