//! What stands before every operation (INV-SESS-AUTH): the signature is checked by the head alone, then the body is read
//! under its bound, then its digest is compared. The nonce is consumed by the operation's own first step in the store.

use axum::body::Body;
use axum::extract::Request;
#[cfg(feature = "unguarded")]
use bowline_identity::signature::Namespace;
use bowline_identity::signature::{Keys, Policy, RequestParts, Verified, without_default_port};
use bowline_rt::time::{timeout, unix_time};
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST};
use http::request::Parts;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

use super::Settings;
use super::clock::Birth;
use super::limits::BODY_TIMEOUT;
use super::problem::{Code, Problem};
use super::store::Caller;

/// A request that is what its signer sent.
#[derive(Debug)]
pub(super) struct Admitted {
    pub parts: Parts,
    pub body: Bytes,
    pub caller: Caller,
}

/// Whom to let in.
#[derive(Debug)]
pub(super) enum Guard {
    /// Who signs with one of these keys, and after the birth of the store, if it was born empty.
    Keys(Keys, Option<Birth>),
    /// Everybody, into one namespace.
    #[cfg(feature = "unguarded")]
    Absent(Namespace),
}

impl Guard {
    /// By which the times of signatures are judged.
    pub fn policy(&self) -> Policy {
        match self {
            Self::Keys(keys, _) => keys.policy(),
            #[cfg(feature = "unguarded")]
            Self::Absent(_) => Policy::default(),
        }
    }

    /// Lets a request in. `bytes_max`: bound of its body.
    pub async fn admit(
        &self,
        settings: &Settings,
        request: Request,
        bytes_max: usize,
    ) -> Result<Admitted, Problem> {
        let (parts, body) = request.into_parts();
        match self {
            Self::Keys(keys, birth) => {
                let verified = verify(keys, settings.tls, &parts)?;
                may_be_new(&verified, birth.as_ref(), keys.policy())?;
                tracing::Span::current()
                    .record("key_id", &*verified.key)
                    .record("namespace", verified.namespace.as_str());
                let body = bounded(&parts, body, bytes_max).await?;
                verified.check_body(&body)?;
                Ok(Admitted { parts, body, caller: Caller::new(&verified, settings.store_deadline) })
            }
            #[cfg(feature = "unguarded")]
            Self::Absent(namespace) => {
                let body = bounded(&parts, body, bytes_max).await?;
                let caller = Caller::unsigned(namespace.clone(), settings.store_deadline);
                Ok(Admitted { parts, body, caller })
            }
        }
    }
}

fn verify(keys: &Keys, tls: bool, parts: &Parts) -> Result<Verified, Problem> {
    // A target with a host counts before the header (RFC 9112, 3.2.2). Two headers are none: readers differ in which they take.
    let mut hosts = parts.headers.get_all(HOST).iter();
    let host = hosts.next().filter(|_| hosts.next().is_none()).and_then(|host| host.to_str().ok());
    let authority = parts.uri.authority().map(http::uri::Authority::as_str).or(host).unwrap_or_default();
    let signed = RequestParts {
        method: parts.method.as_str(),
        authority: without_default_port(authority, tls),
        path: parts.uri.path(),
        query: parts.uri.query(),
        headers: &parts.headers,
    };
    Ok(keys.verify(&signed, unix_time())?)
}

/// A store that was born empty cannot know the nonces of before. Signatures tell whole seconds: those of the second in which
/// it was born are let in, or a client could not begin with its gateway. Both times are of the same clock. What was signed ahead of it
/// before a restart is let in too: refusing that would be refusing everybody for the clock skew at every start.
fn may_be_new(verified: &Verified, birth: Option<&Birth>, policy: Policy) -> Result<(), Problem> {
    let is_too_old =
        |birth: &Birth| verified.created.as_secs() < birth.second(unix_time(), policy.clock_skew);
    if birth.is_some_and(is_too_old) {
        return Err(Problem::unremembered());
    }
    Ok(())
}

async fn bounded(parts: &Parts, body: Body, bytes_max: usize) -> Result<Bytes, Problem> {
    match bytes_max {
        0 => no_body(&body),
        bytes_max => read(parts, body, bytes_max).await,
    }
}

fn no_body(body: &Body) -> Result<Bytes, Problem> {
    if http_body::Body::is_end_stream(body) {
        return Ok(Bytes::new());
    }
    Err(Problem::new(Code::BodyTooLarge, "this request has no body"))
}

async fn read(parts: &Parts, body: Body, bytes_max: usize) -> Result<Bytes, Problem> {
    let too_large =
        || Problem::new(Code::BodyTooLarge, format!("a body of at most {bytes_max} bytes is accepted"));
    let announced =
        parts.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|announced| announced > bytes_max as u64) {
        return Err(too_large());
    }
    match timeout(BODY_TIMEOUT, Limited::new(body, bytes_max).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(Problem::new(Code::BodyInvalid, "the body broke off")),
        Err(elapsed) => Err(Problem::new(Code::BodyTimeout, format!("the body did not come: {elapsed}"))),
    }
}
