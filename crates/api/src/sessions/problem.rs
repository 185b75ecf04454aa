//! How a request can end without success, as its caller sees it: a status, a stable code, and a text for people.
//!
//! Texts name what to do, and repeat neither keys nor owners nor values.

use axum::response::Response;
use bowline_identity::signature::Refusal;
use http::header::{ALLOW, CONNECTION, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};

use super::limits::RETRY_AFTER_SECONDS;
use super::store::Failure;
use crate::routes::problem;

/// Which kinds of patches are understood (RFC 5789).
const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");
/// The one that is (RFC 7396).
pub(super) const MERGE_PATCH: &str = "application/merge-patch+json";
/// What can be sent to a resource by POST.
const ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");
/// The one thing that can.
pub(super) const JSON: &str = "application/json";

/// What went wrong. [`Code::as_str`] is for programs, and never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    KeyInvalid,
    ParameterInvalid,
    ConditionInvalid,
    BodyInvalid,
    /// A signature that is refused: the code is that of the [`Refusal`].
    Refused(&'static str),
    Replayed,
    Unremembered,
    NotFound,
    SessionNotFound,
    MethodNotAllowed,
    BodyTimeout,
    Conflict,
    NotJson,
    OwnerFull,
    PreconditionFailed,
    BodyTooLarge,
    TypeUnsupported,
    EncodingUnsupported,
    NotExecuted,
    OutcomeUnknown,
    SessionUnreadable,
}

impl Code {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::KeyInvalid => "key_invalid",
            Self::ParameterInvalid => "parameter_invalid",
            Self::ConditionInvalid => "condition_invalid",
            Self::BodyInvalid => "body_invalid",
            Self::Refused(code) => code,
            Self::Replayed => "replayed",
            Self::Unremembered => "unremembered",
            Self::NotFound => "not_found",
            Self::SessionNotFound => "session_not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::BodyTimeout => "body_timeout",
            Self::Conflict => "conflict",
            Self::NotJson => "not_json",
            Self::OwnerFull => "owner_full",
            Self::PreconditionFailed => "precondition_failed",
            Self::BodyTooLarge => "body_too_large",
            Self::TypeUnsupported => "type_unsupported",
            Self::EncodingUnsupported => "encoding_unsupported",
            Self::NotExecuted => "not_executed",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::SessionUnreadable => "session_unreadable",
        }
    }

    pub const fn status(self) -> StatusCode {
        match self {
            Self::KeyInvalid | Self::ParameterInvalid | Self::ConditionInvalid | Self::BodyInvalid => {
                StatusCode::BAD_REQUEST
            }
            Self::Refused(_) | Self::Replayed | Self::Unremembered => StatusCode::UNAUTHORIZED,
            Self::NotFound | Self::SessionNotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::Conflict | Self::NotJson | Self::OwnerFull => StatusCode::CONFLICT,
            Self::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TypeUnsupported | Self::EncodingUnsupported => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::NotExecuted | Self::OutcomeUnknown => StatusCode::SERVICE_UNAVAILABLE,
            Self::SessionUnreadable => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Whether the request was nobody's who proved to have a key: then the place of its connection is for others.
    const fn proves_no_key(self) -> bool {
        matches!(
            self,
            Self::Refused(_) | Self::Replayed | Self::Unremembered | Self::NotFound | Self::MethodNotAllowed
        )
    }

    /// One word for a metric's label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Refused(_) => "refused",
            Self::Replayed => "replayed",
            Self::Unremembered => "unremembered",
            Self::SessionNotFound => "absent",
            Self::PreconditionFailed => "unmet",
            Self::Conflict | Self::NotJson | Self::OwnerFull => "conflict",
            Self::NotExecuted => "not_executed",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::SessionUnreadable => "unreadable",
            _ => "invalid",
        }
    }
}

/// The end of a request that did not succeed.
#[derive(Debug)]
pub(super) struct Problem {
    pub code: Code,
    text: String,
    allow: Option<String>,
    /// What cannot be accepted was sent by POST.
    is_post: bool,
    /// The body was not read to its end: nothing behind it on its connection can be a request.
    is_unread: bool,
}

impl Problem {
    pub fn new(code: Code, text: impl Into<String>) -> Self {
        Self { code, text: text.into(), allow: None, is_post: false, is_unread: false }
    }

    pub fn not_found() -> Self {
        Self::new(Code::SessionNotFound, "there is no such session, or it is over")
    }

    pub fn unmet() -> Self {
        let text = "the session is not in the state that If-Match or If-None-Match ask for; read it again";
        Self::new(Code::PreconditionFailed, text)
    }

    /// A path that has other methods.
    pub fn wrong_method(allow: &str) -> Self {
        let text = format!("this path has the methods {allow}");
        Self { allow: Some(allow.to_owned()), ..Self::new(Code::MethodNotAllowed, text) }
    }

    /// The request is not carried out now. Whether it was before is not known.
    pub fn unremembered() -> Self {
        let text = "nothing was changed now, but this request may have been made before: it was signed before the store \
            remembers nonces; read the session, or sign the request again in a moment";
        Self::new(Code::Unremembered, text)
    }

    /// It is about the body of a POST.
    pub fn about_post(self) -> Self {
        Self { is_post: true, ..self }
    }

    /// The body was not read to its end.
    pub fn of_unread_body(self) -> Self {
        Self { is_unread: true, ..self }
    }

    pub fn not_executed(why: &str) -> Self {
        let text = format!("nothing was changed: {why}; sign the request again in a moment");
        Self::new(Code::NotExecuted, text)
    }

    pub fn into_response(self) -> Response {
        let mut response = problem(self.code.status(), self.code.as_str(), self.text);
        let headers = response.headers_mut();
        let mut add = |name, value| headers.insert(name, HeaderValue::from_static(value));
        if self.is_unread || self.code.proves_no_key() {
            add(CONNECTION, "close");
        }
        match self.code.status() {
            StatusCode::UNAUTHORIZED => {
                add(WWW_AUTHENTICATE, "Signature realm=\"bowline sessions\"");
            }
            StatusCode::UNSUPPORTED_MEDIA_TYPE if self.is_post => {
                add(ACCEPT_POST, JSON);
            }
            StatusCode::UNSUPPORTED_MEDIA_TYPE => {
                add(ACCEPT_PATCH, MERGE_PATCH);
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
            }
            _ => {
                let allow = self.allow.and_then(|allow| HeaderValue::try_from(allow).ok());
                headers.extend(allow.map(|allow| (ALLOW, allow)));
            }
        }
        response
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Self::new(Code::Refused(refusal.code()), refusal.to_string())
    }
}

/// Of a step that changes what the request asks to change.
impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Replayed => {
                Self::new(Code::Replayed, "this request was made before: its nonce is used; sign it again")
            }
            Failure::Unremembered => Self::unremembered(),
            Failure::Expired => {
                Self::new(Code::Refused("expired"), "the signature expired while the request waited")
            }
            Failure::NotExecuted(why) => Self::not_executed(why),
            Failure::Unreadable => {
                let text = "nothing was changed: the store holds something that this service did not write in the place of the \
                    session; put another in its place, or remove it";
                Self::new(Code::SessionUnreadable, text)
            }
            Failure::OutcomeUnknown(why) => {
                let text = format!(
                    "the change may have been made, or not: {why}; read the session, or repeat with If-Match"
                );
                Self::new(Code::OutcomeUnknown, text)
            }
        }
    }
}

/// Of a read. One that lengthens lives may have done so without an answer.
pub(super) fn of_a_read(failure: Failure, extend: bool) -> Problem {
    match failure {
        Failure::OutcomeUnknown(why) if extend => {
            let text = format!(
                "the session was not read: {why}; nothing of it was changed, but its life may be longer now; sign the request again"
            );
            Problem::new(Code::OutcomeUnknown, text)
        }
        failure => before_the_change(failure),
    }
}

/// Of a step that changes nothing of what the request asks to change.
pub(super) fn before_the_change(failure: Failure) -> Problem {
    match failure {
        Failure::OutcomeUnknown(why) => Problem::not_executed(why),
        failure => failure.into(),
    }
}
