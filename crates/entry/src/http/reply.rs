//! Responses that this entry makes itself.

use bowline_model::{Reason, RequestId};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, PROXY_AUTHENTICATE};
use http::{Response, StatusCode};

use super::body::Download;
use super::headers;
use crate::opener::OpenError;

/// A request that cannot be served.
#[derive(Debug)]
pub(super) struct Failure {
    pub reason: Reason,
    /// For people, after the reason's own text; may be empty.
    pub detail: String,
    /// Whether it is the credential for this proxy, not for the service, that is missing.
    pub is_proxy_credential: bool,
}

impl Failure {
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into(), is_proxy_credential: false }
    }

    fn status(&self) -> StatusCode {
        if self.is_proxy_credential {
            return StatusCode::PROXY_AUTHENTICATION_REQUIRED;
        }
        StatusCode::from_u16(self.reason.http_status()).expect("a reason's status is one of HTTP")
    }

    fn message(&self) -> String {
        match self.detail.as_str() {
            "" => self.reason.text().to_owned(),
            detail => format!("{}: {detail}", self.reason.text()),
        }
    }

    /// The response: `{"error":{"reason":…,"message":…,"request_id":…}}`.
    pub fn response(&self, request_id: &RequestId) -> Response<Download> {
        let error = serde_json::json!({ "error": {
            "reason": self.reason.code(),
            "message": self.message(),
            "request_id": request_id.as_str(),
        }});
        let mut response = Response::new(Download::ready(Bytes::from(format!("{error}\n"))));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(headers::REASON, HeaderValue::from_static(self.reason.code()));
        headers::insert_request_id(headers, request_id);
        if self.is_proxy_credential {
            headers.append(PROXY_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"bowline\""));
            headers.append(PROXY_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"bowline\""));
        }
        response
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        Self::new(error.reason, error.detail)
    }
}
