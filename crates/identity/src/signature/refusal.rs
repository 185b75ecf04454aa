//! Why a request is refused.

use std::sync::Arc;
use std::time::Duration;

use crate::limits::MISSING_COMPONENTS_SHOWN_MAX;

/// Why a request is refused, or cannot be signed. Texts are for whoever signed: they never hold a secret, and of the
/// request only names of headers.
///
/// That a key is unknown is told apart from a signature that is wrong. Ids of keys are no secrets, and who rotates keys
/// needs to know which of the two went wrong; secrets have too many bits to be found by asking.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no signature.
    #[error(
        "the request is not signed: it needs the headers Signature-Input and Signature (see `bowline sign --help`)"
    )]
    SignatureMissing,
    /// The headers of the signature are not what they should be.
    #[error("the signature is malformed: {0}")]
    SignatureMalformed(String),
    /// The request cannot be signed or checked as it is.
    #[error("the request is malformed: {0}")]
    RequestMalformed(String),
    /// A header that the signature has to do with is not what it should be.
    #[error("the header {name} {problem}")]
    HeaderMalformed {
        /// Which header.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The signature covers something that is not understood here.
    #[error("the signature covers `{component}`, which is not understood here: {problem}")]
    ComponentUnsupported {
        /// The component.
        component: String,
        /// Why not.
        problem: &'static str,
    },
    /// The signature covers a header that the request does not have.
    #[error("the signature covers the header {0}, which the request does not have")]
    ComponentAbsent(String),
    /// The signature leaves out what it must cover.
    #[error("the signature has to cover {} too", names(.0))]
    ComponentsMissing(Vec<String>),
    /// The signature lacks a parameter.
    #[error("the signature has no parameter {0}")]
    ParameterMissing(&'static str),
    /// No key has this id.
    #[error("no key is called {0}: is it in the file of keys, and was that read again?")]
    KeyUnknown(Arc<str>),
    /// The key is not valid yet, or not any more.
    #[error("the key {0} is not valid now")]
    KeyNotValidNow(Arc<str>),
    /// The parameter `alg` names another algorithm than the key has.
    #[error("the signature is not of the algorithm {expected}, which its key is for")]
    AlgorithmMismatch {
        /// Algorithm of the key.
        expected: &'static str,
    },
    /// The parameter `tag` names another use.
    #[error("the signature was made for another use: its tag is not \"{expected}\"")]
    TagMismatch {
        /// The tag that may be there.
        expected: &'static str,
    },
    /// The signature was created in the future.
    #[error("the signature was created {} s in the future: compare the clocks", .0.as_secs())]
    CreatedInFuture(Duration),
    /// The signature has expired.
    #[error("the signature expired {} s ago", .0.as_secs())]
    Expired(Duration),
    /// The signature would be valid for too long.
    #[error("the signature is valid for more than {} s", .0.as_secs())]
    WindowTooLong(Duration),
    /// There is no nonce.
    #[error("the signature has no nonce")]
    NonceMissing,
    /// The nonce is too short, too long, or has odd characters.
    #[error("the nonce is not 16 to 64 letters, digits or any of -._~+/=")]
    NonceMalformed,
    /// The signature does not belong to this request and this key.
    #[error("the signature is wrong: it is of another request, or was made with another key")]
    SignatureWrong,
    /// A body came without its digest.
    #[error("the request needs the header Content-Digest, and its signature has to cover it")]
    DigestMissing,
    /// The digest is not what it should be.
    #[error("the header content-digest is malformed: {0}")]
    DigestMalformed(String),
    /// The digest is that of another body.
    #[error("the header content-digest does not fit the body")]
    DigestWrong,
}

impl Refusal {
    /// A stable word for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::SignatureMissing => "signature_missing",
            Self::SignatureMalformed(_) => "signature_malformed",
            Self::RequestMalformed(_) => "request_malformed",
            Self::HeaderMalformed { .. } => "header_malformed",
            Self::ComponentUnsupported { .. } => "component_unsupported",
            Self::ComponentAbsent(_) => "component_absent",
            Self::ComponentsMissing(_) => "components_missing",
            Self::ParameterMissing(_) => "parameter_missing",
            Self::KeyUnknown(_) => "key_unknown",
            Self::KeyNotValidNow(_) => "key_not_valid_now",
            Self::AlgorithmMismatch { .. } => "algorithm_mismatch",
            Self::TagMismatch { .. } => "tag_mismatch",
            Self::CreatedInFuture(_) => "created_in_future",
            Self::Expired(_) => "expired",
            Self::WindowTooLong(_) => "window_too_long",
            Self::NonceMissing => "nonce_missing",
            Self::NonceMalformed => "nonce_malformed",
            Self::SignatureWrong => "signature_wrong",
            Self::DigestMissing => "digest_missing",
            Self::DigestMalformed(_) => "digest_malformed",
            Self::DigestWrong => "digest_wrong",
        }
    }
}

/// The first few, and how many more there are.
fn names(missing: &[String]) -> String {
    let shown = missing.iter().take(MISSING_COMPONENTS_SHOWN_MAX).map(String::as_str);
    let mut text = shown.collect::<Vec<_>>().join(", ");
    if let Some(more @ 1..) = missing.len().checked_sub(MISSING_COMPONENTS_SHOWN_MAX) {
        text.push_str(&format!(" and {more} more"));
    }
    text
}
