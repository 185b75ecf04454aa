//! Signing requests: the key of a client, and what it adds to a request.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use aws_lc_rs::encoding::AsBigEndian as _;
use aws_lc_rs::hmac;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use http::{HeaderMap, HeaderName, HeaderValue};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Deserialize;
use toml::Spanned;
use zeroize::Zeroizing;

use super::base::{Input, SIGNATURE, SIGNATURE_INPUT};
use super::components::{self, CONTENT_DIGEST, Component, RequestParts};
use super::digest::content_digest;
use super::encoding;
use super::key_file::{self, Hidden, KeysError};
use super::keys::Algorithm;
use super::refusal::Refusal;
use super::structured::Bare;
use super::verify::{TAG, is_nonce};
use super::words::{KeyId, Namespace};
use crate::limits::HMAC_SECRET_BYTES_MIN;

/// Bytes of a private key of Ed25519.
const SEED_BYTES: usize = 32;
/// Random bytes of a nonce; they are 24 characters as base64.
const NONCE_BYTES: usize = 18;
/// The label of our signatures. It means nothing.
const LABEL: &str = "bowline";
/// How long our signatures are valid unless the caller says otherwise.
const VALID_FOR_DEFAULT: Duration = Duration::from_secs(60);

/// A key that signs. It prints as its id; what is secret is wiped from memory when dropped.
pub struct SigningKey {
    id: KeyId,
    secret: Secret,
}

enum Secret {
    Hmac(Zeroizing<Vec<u8>>),
    Ed25519 { seed: Zeroizing<Vec<u8>>, pair: Ed25519KeyPair },
}

/// How to sign.
#[derive(Debug, Clone)]
pub struct SignOptions {
    /// When the signature is made, as time since 1970.
    pub created: Duration,
    /// How long it is valid: at least a second, and at most what the server allows.
    pub valid_for: Duration,
    /// What makes it different from every other; `None` draws one.
    pub nonce: Option<String>,
}

impl SignOptions {
    /// Signs at `created`, the time since 1970, for a minute, with a nonce of its own.
    #[must_use]
    pub fn at(created: Duration) -> Self {
        Self { created, valid_for: VALID_FOR_DEFAULT, nonce: None }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSigningKey {
    id: Spanned<String>,
    algorithm: Spanned<String>,
    secret: Option<Spanned<Hidden>>,
    private_key: Option<Spanned<Hidden>>,
}

impl SigningKey {
    /// Draws a new key.
    #[must_use]
    pub fn generate(id: KeyId, algorithm: Algorithm) -> Self {
        let mut bytes = Zeroizing::new(vec![0; HMAC_SECRET_BYTES_MIN]);
        bowline_rt::random::fill(&mut bytes);
        let secret = match algorithm {
            Algorithm::HmacSha256 => Secret::Hmac(bytes),
            Algorithm::Ed25519 => Secret::of_seed(bytes).expect("any 32 bytes are a key of ed25519"),
        };
        Self { id, secret }
    }

    /// Reads a key from a file, as [`SigningKey::to_toml`] writes it.
    ///
    /// # Errors
    /// All of [`KeysError`] but [`KeysError::TooMany`], [`KeysError::Emptied`] and [`KeysError::Moved`].
    pub fn from_file(file: &Path) -> Result<Self, KeysError> {
        Self::parse(&file.display().to_string(), &key_file::read(file)?)
    }

    /// Reads a key from TOML; errors call it `origin`.
    ///
    /// # Errors
    /// [`KeysError::Entry`] with the line.
    pub fn parse(origin: &str, text: &str) -> Result<Self, KeysError> {
        if let Some(offset) = text.find("[[key]]") {
            let problem =
                "these are the keys of a server; sign with the file that `bowline sign-key new` wrote";
            return Err(key_file::entry(origin, text, (offset, problem.to_owned())));
        }
        let raw: RawSigningKey = key_file::document(origin, text)?;
        let wrong =
            |offset: usize, problem: &str| key_file::entry(origin, text, (offset, problem.to_owned()));
        let id = raw.id.get_ref().parse::<KeyId>();
        let id = id.map_err(|error| wrong(raw.id.span().start, &error.to_string()))?;
        let algorithm = raw.algorithm.get_ref().parse::<Algorithm>();
        let algorithm = algorithm.map_err(|problem| wrong(raw.algorithm.span().start, problem))?;
        let secret = match (algorithm, raw.secret, raw.private_key) {
            (Algorithm::HmacSha256, Some(text), None) => {
                let secret = key_file::secret(&text.get_ref().0);
                Secret::Hmac(secret.map_err(|problem| wrong(text.span().start, &problem))?)
            }
            (Algorithm::Ed25519, None, Some(text)) => {
                let secret = Secret::of_private_key(&text.get_ref().0);
                secret.map_err(|problem| wrong(text.span().start, problem))?
            }
            (Algorithm::HmacSha256, ..) => {
                return Err(wrong(0, "a key of hmac-sha256 has secret = \"<base64>\", and no private_key"));
            }
            (Algorithm::Ed25519, ..) => {
                return Err(wrong(0, "a key of ed25519 has private_key = \"<base64>\", and no secret"));
            }
        };
        Ok(Self { id, secret })
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    /// How it signs.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        match self.secret {
            Secret::Hmac(_) => Algorithm::HmacSha256,
            Secret::Ed25519 { .. } => Algorithm::Ed25519,
        }
    }

    /// The key as a file that [`SigningKey::from_file`] reads. It is secret.
    #[must_use]
    pub fn to_toml(&self) -> Zeroizing<String> {
        let (name, bytes) = match &self.secret {
            Secret::Hmac(secret) => ("secret", secret),
            Secret::Ed25519 { seed, .. } => ("private_key", seed),
        };
        let value = Zeroizing::new(encoding::encode(bytes));
        let (id, algorithm) = (&self.id, self.algorithm().as_str());
        Zeroizing::new(format!("id = \"{id}\"\nalgorithm = \"{algorithm}\"\n{name} = \"{}\"\n", *value))
    }

    /// The lines of a file of [`Keys`](super::Keys) that let this key sign for `namespace`. With HMAC they are secret.
    #[must_use]
    pub fn table_entry(&self, namespace: &Namespace) -> Zeroizing<String> {
        let (name, value) = match &self.secret {
            Secret::Hmac(secret) => ("secret", Zeroizing::new(encoding::encode(secret))),
            Secret::Ed25519 { pair, .. } => {
                ("public_key", Zeroizing::new(encoding::encode(pair.public_key().as_ref())))
            }
        };
        let (id, algorithm) = (&self.id, self.algorithm().as_str());
        Zeroizing::new(format!(
            "[[key]]\nid = \"{id}\"\nalgorithm = \"{algorithm}\"\nnamespace = \"{namespace}\"\n{name} = \"{}\"\n",
            *value
        ))
    }

    /// The headers that sign a request: `content-digest` if there is a body or the method is PUT, POST or PATCH,
    /// `signature-input` and `signature`. All headers that change the meaning of the request have to be in it already.
    ///
    /// # Errors
    /// What a server would refuse: a part of the request that cannot be signed, a nonce or a digest that does not fit.
    pub fn sign(
        &self,
        request: &RequestParts<'_>,
        body: Option<&[u8]>,
        options: &SignOptions,
    ) -> Result<Vec<(HeaderName, HeaderValue)>, Refusal> {
        for name in [SIGNATURE, SIGNATURE_INPUT, CONTENT_DIGEST] {
            if request.headers.contains_key(&name) {
                return Err(Refusal::HeaderMalformed { name: name.to_string(), problem: "is there already" });
            }
        }
        let mut added = Vec::new();
        let mut headers: HeaderMap = request.headers.clone();
        let mut components = components::required(request, body.is_some_and(|body| !body.is_empty()))?;
        if components.contains(&Component::Header(CONTENT_DIGEST)) {
            let digest = value(&content_digest(body.unwrap_or_default()));
            headers.insert(CONTENT_DIGEST, digest.clone());
            added.push((CONTENT_DIGEST, digest));
        }
        // As ours: the digest at the end.
        components.sort_by_key(|component| *component == Component::Header(CONTENT_DIGEST));
        let input = Input { components, parameters: self.parameters(options)? };
        let base = input.base(&RequestParts { headers: &headers, ..*request })?;
        let signature = encoding::encode(&self.secret.sign(base.as_bytes()));
        let mut described = format!("{LABEL}=");
        input.write(&mut described);
        added.push((SIGNATURE_INPUT, value(&described)));
        added.push((SIGNATURE, value(&format!("{LABEL}=:{signature}:"))));
        Ok(added)
    }

    /// The signature of a text, as the vectors of the RFC need it.
    #[cfg(test)]
    pub(super) fn signature_of(&self, text: &str) -> Vec<u8> {
        self.secret.sign(text.as_bytes())
    }

    fn parameters(&self, options: &SignOptions) -> Result<Vec<(String, Bare)>, Refusal> {
        let nonce = options.nonce.clone().unwrap_or_else(new_nonce);
        if !is_nonce(&nonce) {
            return Err(Refusal::NonceMalformed);
        }
        let seconds = |instant: Duration| i64::try_from(instant.as_secs()).unwrap_or(i64::MAX);
        let created = options.created;
        let text = |value: &str| Bare::Text(value.to_owned());
        let parameters = [
            ("created", Bare::Integer(seconds(created))),
            ("expires", Bare::Integer(seconds(created.saturating_add(options.valid_for)))),
            ("nonce", text(&nonce)),
            ("keyid", text(self.id.as_str())),
            ("alg", text(self.algorithm().as_str())),
            ("tag", text(TAG)),
        ];
        Ok(parameters.map(|(name, value)| (name.to_owned(), value)).to_vec())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({}, {}, hidden)", self.id, self.algorithm().as_str())
    }
}

impl Secret {
    fn of_seed(seed: Zeroizing<Vec<u8>>) -> Option<Self> {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).ok()?;
        Some(Self::Ed25519 { seed, pair })
    }

    /// A private key as PEM (PKCS#8), or as the base64 of its 32 bytes.
    fn of_private_key(text: &str) -> Result<Self, &'static str> {
        let wrong = "a private key of ed25519 is 32 bytes as base64, or PEM that begins with -----BEGIN PRIVATE KEY-----";
        if text.contains("-----BEGIN") {
            let der = PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes()).map_err(|_| wrong)?;
            let pair =
                Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der()).map_err(|_| wrong)?;
            let seed = pair.seed().and_then(|seed| seed.as_be_bytes()).map_err(|_| wrong)?;
            return Ok(Self::Ed25519 { seed: Zeroizing::new(seed.as_ref().to_vec()), pair });
        }
        let seed = Zeroizing::new(encoding::decode(text.trim()).ok_or(wrong)?);
        let seed = Some(seed).filter(|seed| seed.len() == SEED_BYTES).ok_or(wrong)?;
        Self::of_seed(seed).ok_or(wrong)
    }

    fn sign(&self, text: &[u8]) -> Vec<u8> {
        match self {
            Self::Hmac(secret) => {
                hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), text).as_ref().to_vec()
            }
            Self::Ed25519 { pair, .. } => pair.sign(text).as_ref().to_vec(),
        }
    }
}

fn new_nonce() -> String {
    let mut bytes = [0; NONCE_BYTES];
    bowline_rt::random::fill(&mut bytes);
    encoding::encode(&bytes)
}

fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("base64, names of headers and validated words are visible ASCII")
}
