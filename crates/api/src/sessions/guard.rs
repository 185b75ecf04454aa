//! What stands before every operation (INV-SESS-AUTH): the signature is checked by the head alone, then the body is read
//! under its bound and paid for from a budget, then its digest is compared. The nonce is consumed by the operation's own first
//! step in the store.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use bowline_identity::signature::{Keys, Namespace, Policy, RequestParts, Verified, without_default_port};
use bowline_rt::time::{timeout, unix_time};
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST};
use http::request::Parts;
use http_body_util::BodyExt as _;

use super::Settings;
use super::budget::{Budget, Share};
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

    /// Lets a request in. `bytes_max`: bound of its body, which `bodies` pays for.
    pub async fn admit(
        &self,
        settings: &Settings,
        bodies: &Budget,
        request: Request,
        bytes_max: usize,
    ) -> Result<Admitted, Problem> {
        let (parts, body) = request.into_parts();
        let incoming =
            |namespace| Incoming { bytes_max, bodies, namespace, patience: settings.store_deadline };
        match self {
            Self::Keys(keys, birth) => {
                let verified = verify(keys, settings.tls, &parts)?;
                may_be_new(&verified, birth.as_ref(), keys.policy())?;
                tracing::Span::current()
                    .record("key_id", &*verified.key)
                    .record("namespace", verified.namespace.as_str());
                let body = incoming(&verified.namespace).read(&parts, body).await?;
                verified.check_body(&body)?;
                Ok(Admitted { parts, body, caller: Caller::new(&verified, settings.store_deadline) })
            }
            #[cfg(feature = "unguarded")]
            Self::Absent(namespace) => {
                let body = incoming(namespace).read(&parts, body).await?;
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

/// How a body is read.
struct Incoming<'a> {
    bytes_max: usize,
    bodies: &'a Budget,
    namespace: &'a Namespace,
    /// Longest wait for room among the other bodies.
    patience: Duration,
}

impl Incoming<'_> {
    /// The whole body. Whatever is wrong with it ends its connection: a part of it is on its way there.
    async fn read(&self, parts: &Parts, body: Body) -> Result<Bytes, Problem> {
        self.read_in_time(parts, body).await.map_err(Problem::of_unread_body)
    }

    async fn read_in_time(&self, parts: &Parts, body: Body) -> Result<Bytes, Problem> {
        if http_body::Body::is_end_stream(&body) {
            return Ok(Bytes::new());
        }
        let length = parts.headers.get(CONTENT_LENGTH);
        let announced = length.and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
        if self.bytes_max == 0 || announced.is_some_and(|announced| announced > self.bytes_max) {
            return Err(self.too_large());
        }
        let collected = timeout(BODY_TIMEOUT, self.collect(body, announced.unwrap_or(self.bytes_max)));
        collected.await.unwrap_or_else(|_| {
            Err(Problem::new(Code::BodyTimeout, format!("the body did not come within {BODY_TIMEOUT:?}")))
        })
    }

    /// Copies what comes into one text: a piece of one byte that is kept takes forty. `expected`: what it will be, or can be.
    async fn collect(&self, mut body: Body, expected: usize) -> Result<Bytes, Problem> {
        let mut share = self.paid(self.bodies.share(self.namespace, 0, self.patience).await)?;
        let mut text = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Problem::new(Code::BodyInvalid, "the body broke off"))?;
            // Trailers say nothing here.
            let Ok(piece) = frame.into_data() else { continue };
            if piece.len() > self.bytes_max - text.len() {
                return Err(self.too_large());
            }
            self.make_room(&mut share, &mut text, piece.len(), expected).await?;
            text.extend_from_slice(&piece);
        }
        Ok(share.holds(text))
    }

    /// Room for so many bytes more, paid for before it is there. It doubles, so that who announces much and sends little takes
    /// little from the others.
    async fn make_room(
        &self,
        share: &mut Share,
        text: &mut Vec<u8>,
        more: usize,
        expected: usize,
    ) -> Result<(), Problem> {
        let (paid, needed) = (share.bytes(), text.len() + more);
        if needed > paid {
            let target = needed.max((2 * paid).min(expected));
            let grew = share.grow(target - paid, self.patience).await;
            self.paid(grew.then_some(()))?;
            text.reserve_exact(target - text.len());
        }
        Ok(())
    }

    fn paid<T>(&self, paid: Option<T>) -> Result<T, Problem> {
        paid.ok_or_else(|| Problem::not_executed("too many bodies of other requests are on their way"))
    }

    fn too_large(&self) -> Problem {
        let text = match self.bytes_max {
            0 => "this request has no body".to_owned(),
            bytes_max => format!("a body of at most {bytes_max} bytes is accepted"),
        };
        Problem::new(Code::BodyTooLarge, text)
    }
}
