//! Checking a signed request: the cheap refusals first, the signature last.

use std::sync::Arc;
use std::time::Duration;

use super::base::{Input, Signed};
use super::components::{self, CONTENT_DIGEST, Component, RequestParts};
use super::digest::ContentDigest;
use super::keys::Keys;
use super::refusal::Refusal;
use super::structured::Bare;
use super::words::{KeyId, Namespace, WordError};
use crate::limits::{
    NONCE_CHARACTERS_MAX, NONCE_CHARACTERS_MIN, SIGNATURE_CLOCK_SKEW, SIGNATURE_HEADER_BYTES_MAX,
    SIGNATURE_WINDOW_MAX,
};

/// The parameter `tag` of our signatures: what they are for.
pub(super) const TAG: &str = "bowline";

/// Bounds on the times of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Longest time from `created` to `expires`.
    pub window_max: Duration,
    /// How far `created` may lie in the future. It does not make `expires` later.
    pub clock_skew: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self { window_max: SIGNATURE_WINDOW_MAX, clock_skew: SIGNATURE_CLOCK_SKEW }
    }
}

/// A request whose signature is right. It can still be a copy of one that came before: that is for who remembers nonces.
#[derive(Debug, Clone)]
pub struct Verified {
    /// Id of the key.
    pub key: Arc<str>,
    /// What the key may touch.
    pub namespace: Namespace,
    /// Different in every request of the key: 16 to 64 letters, digits or any of `-._~+/=`.
    pub nonce: String,
    /// When the signature was made, as time since 1970.
    pub created: Duration,
    /// From when on it is refused, as time since 1970.
    pub expires: Duration,
    /// Until when the nonce has to be remembered, as time since 1970. It is [`Verified::expires`] and the clock skew: by
    /// the clock of another gateway the signature may expire a little later.
    pub remember_until: Duration,
    /// What the body has to hash to; `None` if the request said that it has none.
    pub digest: Option<ContentDigest>,
}

impl Verified {
    /// Whether the body is the one that was signed. A body that nothing announced, as HTTP/2 has them, is refused too.
    ///
    /// # Errors
    /// [`Refusal::DigestWrong`] or [`Refusal::DigestMissing`].
    pub fn check_body(&self, body: &[u8]) -> Result<(), Refusal> {
        match &self.digest {
            Some(digest) if digest.matches(body) => Ok(()),
            Some(_) => Err(Refusal::DigestWrong),
            None if body.is_empty() => Ok(()),
            None => Err(Refusal::DigestMissing),
        }
    }
}

impl Keys {
    /// Checks the signature of a request at `unix_now`, the time since 1970.
    ///
    /// # Errors
    /// Why the request is refused. Nothing of it may be acted on then.
    pub fn verify(&self, request: &RequestParts<'_>, unix_now: Duration) -> Result<Verified, Refusal> {
        let signed = Signed::from_headers(request.headers)?;
        let parameters = Known::of(&signed.input)?;
        let key = self.key(&parameters.key).ok_or_else(|| Refusal::KeyUnknown(parameters.key.shared()))?;
        if !key.is_valid_at(unix_now) {
            return Err(Refusal::KeyNotValidNow(key.id.shared()));
        }
        let expected = key.material.algorithm().as_str();
        if parameters.algorithm.is_some_and(|algorithm| algorithm != expected) {
            return Err(Refusal::AlgorithmMismatch { expected });
        }
        let window = self.policy().check(&parameters, unix_now)?;
        let covered = &signed.input.components;
        covers_enough(covered, request)?;
        let digest = match components::single(request.headers, &CONTENT_DIGEST)? {
            Some(value) if value.len() > SIGNATURE_HEADER_BYTES_MAX => {
                let problem = format!("it has more than {SIGNATURE_HEADER_BYTES_MAX} bytes");
                return Err(Refusal::DigestMalformed(problem));
            }
            Some(value) => Some(ContentDigest::parse(value)?),
            None => None,
        };
        let base = signed.input.base(request)?;
        if !key.material.verifies(base.as_bytes(), &signed.signature) {
            return Err(Refusal::SignatureWrong);
        }
        Ok(Verified {
            key: key.id.shared(),
            namespace: key.namespace.clone(),
            nonce: parameters.nonce.to_owned(),
            created: window.created,
            expires: window.expires,
            remember_until: window.expires.saturating_add(self.policy().clock_skew),
            digest,
        })
    }
}

/// Checks that what has to be covered is.
fn covers_enough(covered: &[Component], request: &RequestParts<'_>) -> Result<(), Refusal> {
    let mut required = components::required(request, components::announces_body(request.headers))?;
    let digest = Component::Header(CONTENT_DIGEST);
    if required.contains(&digest) && !request.headers.contains_key(CONTENT_DIGEST) {
        return Err(Refusal::DigestMissing);
    }
    required.retain(|component| !covered.contains(component));
    if required.is_empty() {
        return Ok(());
    }
    Err(Refusal::ComponentsMissing(required.iter().map(|component| component.name().to_owned()).collect()))
}

/// The parameters of a signature, those of ours and no others.
struct Known<'a> {
    created: i64,
    expires: i64,
    nonce: &'a str,
    key: KeyId,
    algorithm: Option<&'a str>,
}

/// When a signature is valid, as time since 1970.
struct Window {
    created: Duration,
    expires: Duration,
}

impl<'a> Known<'a> {
    fn of(input: &'a Input) -> Result<Self, Refusal> {
        let malformed = |problem: &str| Refusal::SignatureMalformed(problem.to_owned());
        let (mut created, mut expires) = (None, None);
        let (mut nonce, mut key, mut algorithm, mut tag) = (None, None, None, None);
        for (name, value) in &input.parameters {
            match (name.as_str(), value) {
                ("created", Bare::Integer(value)) => created = Some(*value),
                ("expires", Bare::Integer(value)) => expires = Some(*value),
                ("nonce", Bare::Text(value)) => nonce = Some(value.as_str()),
                ("keyid", Bare::Text(value)) => key = Some(value.as_str()),
                ("alg", Bare::Text(value)) => algorithm = Some(value.as_str()),
                ("tag", Bare::Text(value)) => tag = Some(value.as_str()),
                ("created" | "expires", _) => {
                    return Err(malformed("created or expires is not a whole number"));
                }
                ("nonce" | "keyid" | "alg" | "tag", _) => {
                    return Err(malformed("nonce, keyid, alg or tag is not in quotation marks"));
                }
                _ => {
                    return Err(malformed(
                        "it has a parameter other than created, expires, nonce, keyid, alg and tag",
                    ));
                }
            }
        }
        if tag.is_some_and(|tag| tag != TAG) {
            return Err(Refusal::TagMismatch { expected: TAG });
        }
        let nonce = nonce.ok_or(Refusal::NonceMissing)?;
        if !is_nonce(nonce) {
            return Err(Refusal::NonceMalformed);
        }
        Ok(Self {
            created: created.ok_or(Refusal::ParameterMissing("created"))?,
            expires: expires.ok_or(Refusal::ParameterMissing("expires"))?,
            nonce,
            // Not repeated if it is none: it may be a secret in the wrong place.
            key: key
                .ok_or(Refusal::ParameterMissing("keyid"))?
                .parse()
                .map_err(|error: WordError| malformed(&error.to_string()))?,
            algorithm,
        })
    }
}

impl Policy {
    fn check(&self, parameters: &Known<'_>, unix_now: Duration) -> Result<Window, Refusal> {
        let malformed = |problem: &str| Refusal::SignatureMalformed(problem.to_owned());
        let seconds = |value: i64| u64::try_from(value).map(Duration::from_secs);
        let created = seconds(parameters.created).map_err(|_| malformed("created is before 1970"))?;
        let expires = seconds(parameters.expires).map_err(|_| malformed("expires is before 1970"))?;
        if expires <= created {
            return Err(malformed("it expires before or when it was created"));
        }
        if expires - created > self.window_max {
            return Err(Refusal::WindowTooLong(self.window_max));
        }
        if created > unix_now.saturating_add(self.clock_skew) {
            return Err(Refusal::CreatedInFuture(created - unix_now));
        }
        if unix_now >= expires {
            return Err(Refusal::Expired(unix_now - expires));
        }
        Ok(Window { created, expires })
    }
}

/// Whether a text is fit for a nonce, and so for a part of a key of the store.
pub(super) fn is_nonce(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    (NONCE_CHARACTERS_MIN..=NONCE_CHARACTERS_MAX).contains(&text.len()) && text.bytes().all(plain)
}
