//! From requests to operations, and back to responses.
//!
//! A path is compared as it came, with its escapes: what is signed is what is served. Nothing is normalised. A fragment, which
//! has no place in a request, never gets here: the reader of HTTP (`http::Uri`) takes it off.

use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use bowline_rt::time::now;
use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderName, LOCATION,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use tracing::Instrument as _;

use super::Sessions;
use super::change::{Edit, State};
use super::conditions::{Conditions, entity_tag};
use super::guard::Admitted;
use super::index::Index;
use super::instant::rfc3339;
use super::key::SessionKey;
use super::limits::{BULK_REQUEST_BYTES_MAX, TYPE_BYTES_MAX};
use super::problem::{Code, JSON, MERGE_PATCH, Problem, of_a_read};
use super::query::{Parameters, written};
use super::store::{Caller, Content, Erased, Found, Look, Times};

/// What is under this and a slash is a session.
const SESSIONS: &str = "/v1/user-sessions";
/// One session.
const ONE: &str = "/v1/user-sessions/{key}";
/// Reads several sessions.
const READ_MANY: &str = "/v1/user-sessions:read";
/// The description of all this.
const DESCRIPTION: &str = "/v1/openapi.json";

/// When the session ends unless it is used.
const EXPIRES: HeaderName = HeaderName::from_static("bowline-session-expires");
/// When it ends at the latest.
const ABSOLUTE: HeaderName = HeaderName::from_static("bowline-session-absolute");
/// For how long it lives without being used, or at all.
const TTL: HeaderName = HeaderName::from_static("bowline-session-ttl");
/// Whether reads lengthen its life.
const SLIDING: HeaderName = HeaderName::from_static("bowline-session-sliding");
/// Who it belongs to, escaped.
const OWNER: HeaderName = HeaderName::from_static("bowline-session-owner");

/// What can be asked of the service with a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Read,
    Look,
    Put,
    Patch,
    Delete,
    List,
    ReadMany,
}

impl Operation {
    pub const ALL: [Self; 7] =
        [Self::Read, Self::Look, Self::Put, Self::Patch, Self::Delete, Self::List, Self::ReadMany];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Look => "look",
            Self::Put => "put",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::List => "list",
            Self::ReadMany => "read_many",
        }
    }

    /// Its method, and its path with a name for what varies.
    pub const fn route(self) -> (Method, &'static str) {
        match self {
            Self::Read => (Method::GET, ONE),
            Self::Look => (Method::HEAD, ONE),
            Self::Put => (Method::PUT, ONE),
            Self::Patch => (Method::PATCH, ONE),
            Self::Delete => (Method::DELETE, ONE),
            Self::List => (Method::GET, SESSIONS),
            Self::ReadMany => (Method::POST, READ_MANY),
        }
    }

    /// The parameters that its query may have.
    pub const fn parameters(self) -> &'static [&'static str] {
        match self {
            Self::Read | Self::ReadMany => &["extend"],
            Self::Look | Self::Delete => &[],
            Self::Put => &["ttl", "absolute", "sliding", "owner", "keep"],
            Self::Patch => &["ttl", "absolute", "sliding", "owner"],
            Self::List => &["owner", "limit", "cursor"],
        }
    }
}

/// Where a path leads.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place<'a> {
    Description,
    Operation(Operation, &'a str),
}

/// Finds out what a request is about. The second part of an operation is the escaped key, if it has one.
pub(super) fn place<'a>(method: &Method, path: &'a str) -> Result<Place<'a>, Problem> {
    let key = path.strip_prefix(SESSIONS).and_then(|rest| rest.strip_prefix('/'));
    let key = key.filter(|key| !key.is_empty() && !key.contains('/'));
    let leads_here = |(_, route): (Method, &str)| if route == ONE { key.is_some() } else { route == path };
    let here = Operation::ALL.into_iter().filter(|operation| leads_here(operation.route()));
    let here: Vec<(Method, Operation)> = here.map(|operation| (operation.route().0, operation)).collect();
    if let Some((_, operation)) = here.iter().find(|(known, _)| known == method) {
        return Ok(Place::Operation(*operation, key.unwrap_or_default()));
    }
    let mut methods: Vec<&str> = here.iter().map(|(method, _)| method.as_str()).collect();
    if path == DESCRIPTION {
        if method == Method::GET {
            return Ok(Place::Description);
        }
        methods.push("GET");
    }
    if methods.is_empty() {
        let text = "there is no such path; /v1/openapi.json describes those that there are";
        return Err(Problem::new(Code::NotFound, text));
    }
    Err(Problem::wrong_method(&methods.join(", ")))
}

impl Sessions {
    /// Answers a request.
    pub(super) async fn answer(&self, request: Request) -> Response {
        let path = request.uri().path().to_owned();
        let mut response = match place(request.method(), &path) {
            Ok(Place::Description) => {
                // Whoever asks proves nothing, and keeps no place.
                let headers = [(CONTENT_TYPE, JSON), (CONNECTION, "close")];
                (headers, self.description()).into_response()
            }
            Ok(Place::Operation(operation, key)) => self.operate(operation, key, request).await,
            Err(problem) => problem.into_response(),
        };
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        response
    }

    async fn operate(&self, operation: Operation, key: &str, request: Request) -> Response {
        let began = now();
        // Keys, owners and values stay out of the log: whoever knows the key of a session may have it.
        let span = tracing::debug_span!(
            "session",
            operation = operation.name(),
            key_id = tracing::field::Empty,
            namespace = tracing::field::Empty
        );
        let answered = self.admitted(operation, key, request).instrument(span.clone()).await;
        let outcome = answered.as_ref().err().map_or("ok", |problem| problem.code.label());
        let code = answered.as_ref().err().map(|problem| problem.code.as_str());
        span.in_scope(|| tracing::debug!(outcome, code, "answered"));
        self.metrics().answered(operation.name(), outcome, now() - began);
        answered.unwrap_or_else(Problem::into_response)
    }

    async fn admitted(&self, operation: Operation, key: &str, request: Request) -> Result<Response, Problem> {
        let bytes_max = match operation {
            Operation::Put | Operation::Patch => self.settings().value_bytes_max,
            Operation::ReadMany => BULK_REQUEST_BYTES_MAX,
            Operation::Read | Operation::Look | Operation::Delete | Operation::List => 0,
        };
        let Admitted { parts, body, caller } =
            self.guard().admit(self.settings(), self.bodies(), request, bytes_max).await?;
        let parameters = Parameters::parse(parts.uri.query(), operation.parameters(), self.settings())?;
        let conditions = Conditions::of(&parts.headers)?;
        let key = || {
            SessionKey::from_path(key)
                .map_err(|error| Problem::new(Code::KeyInvalid, format!("the key of a session: {error}")))
        };
        match operation {
            Operation::Read => {
                let extend = parameters.extend.unwrap_or(true);
                self.get(
                    &caller,
                    &key()?,
                    &conditions,
                    Look { matches: &conditions.matches, extend, value: true },
                )
                .await
            }
            Operation::Look => {
                let look = Look { matches: &conditions.matches, extend: false, value: false };
                self.get(&caller, &key()?, &conditions, look).await
            }
            Operation::Put => {
                let content = Content { value: body, content_type: content_type(&parts.headers)? };
                let (key, path) = (key()?, parts.uri.path());
                let (state, created) = self.put(&caller, &key, content, parameters, &conditions).await?;
                let status = if created { StatusCode::CREATED } else { StatusCode::NO_CONTENT };
                let mut response = (status, headers(&state)).into_response();
                if created && let Ok(path) = HeaderValue::from_str(path) {
                    response.headers_mut().insert(LOCATION, path);
                }
                Ok(response)
            }
            Operation::Patch => {
                let edit = edit(&parts.headers, body, &parameters)?;
                let state = self.change(&caller, &key()?, &edit, &parameters, &conditions).await?;
                let state = state.ok_or_else(Problem::not_found)?;
                Ok((StatusCode::NO_CONTENT, headers(&state)).into_response())
            }
            Operation::Delete => self.delete(&caller, &key()?, &conditions).await,
            Operation::List => {
                let owner = parameters.owner.flatten();
                let owner = owner
                    .ok_or_else(|| Problem::new(Code::ParameterInvalid, "name the owner: ?owner=..."))?;
                let page = self.list(&caller, &owner, parameters.cursor, parameters.limit).await?;
                Ok(([(CONTENT_TYPE, JSON)], page).into_response())
            }
            Operation::ReadMany => {
                is_json(&parts.headers)?;
                let answered = self.read_many(&caller, &body, parameters.extend.unwrap_or(true)).await?;
                Ok(([(CONTENT_TYPE, JSON)], answered).into_response())
            }
        }
    }

    async fn get(
        &self,
        caller: &Caller,
        key: &SessionKey,
        conditions: &Conditions,
        look: Look<'_>,
    ) -> Result<Response, Problem> {
        let index = Index { store: self.store(), metrics: self.metrics() };
        let session =
            match index.read(caller, key, look).await.map_err(|failure| of_a_read(failure, look.extend))? {
                Found::Session(session) => *session,
                Found::Absent => return Err(Problem::not_found()),
                Found::Unmet => return Err(Problem::unmet()),
            };
        let state = State { version: session.version, owner: session.owner, times: session.times };
        let mut headers = headers(&state);
        if conditions.none_matches == "*" || conditions.excludes(&state.version) {
            return Ok((StatusCode::NOT_MODIFIED, headers).into_response());
        }
        let content_type = HeaderValue::from_str(&session.content.content_type);
        headers.insert(CONTENT_TYPE, content_type.expect("the store's answer was parsed"));
        if !look.value {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(session.bytes));
        }
        Ok((StatusCode::OK, headers, session.content.value).into_response())
    }

    async fn delete(
        &self,
        caller: &Caller,
        key: &SessionKey,
        conditions: &Conditions,
    ) -> Result<Response, Problem> {
        match self.store().erase(caller, key, conditions).await? {
            Erased::Gone { owner, token } => {
                if let Some(owner) = owner {
                    Index { store: self.store(), metrics: self.metrics() }
                        .forget(caller, &owner, key, &token)
                        .await;
                }
                Ok(StatusCode::NO_CONTENT.into_response())
            }
            Erased::Absent => Err(Problem::not_found()),
            Erased::Unmet => Err(Problem::unmet()),
        }
    }
}

/// The content type of values that came with none.
const OCTETS: &str = "application/octet-stream";

fn content_type(headers: &HeaderMap) -> Result<String, Problem> {
    not_encoded(headers)?;
    let Some(value) = headers.get(CONTENT_TYPE) else { return Ok(OCTETS.to_owned()) };
    let text = value.to_str().ok().filter(|text| (1..=TYPE_BYTES_MAX).contains(&text.len()));
    text.map(str::to_owned).ok_or_else(|| {
        let text = format!("a content type has 1 to {TYPE_BYTES_MAX} characters of ASCII");
        Problem::new(Code::TypeUnsupported, text)
    })
}

fn not_encoded(headers: &HeaderMap) -> Result<(), Problem> {
    match headers.get(CONTENT_ENCODING) {
        Some(encoding) if encoding != "identity" => {
            let text = "a body with a content encoding is not accepted: send it without";
            Err(Problem::new(Code::EncodingUnsupported, text))
        }
        _ => Ok(()),
    }
}

/// Of the body of a bulk read. Without a content type it is taken for what it has to be.
fn is_json(headers: &HeaderMap) -> Result<(), Problem> {
    not_encoded(headers).map_err(Problem::about_post)?;
    let refused = || {
        Problem::new(Code::TypeUnsupported, format!("the body is of the content type {JSON}")).about_post()
    };
    match headers.get(CONTENT_TYPE).map(|value| essence(value.to_str().unwrap_or_default())) {
        Some(essence) if !essence.eq_ignore_ascii_case(JSON) => Err(refused()),
        _ => Ok(()),
    }
}

/// A content type without its parameters.
fn essence(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

fn edit(headers: &HeaderMap, body: Bytes, parameters: &Parameters) -> Result<Edit, Problem> {
    not_encoded(headers)?;
    if body.is_empty() {
        let text = "nothing is to be changed: send a merge patch, or ?ttl=, ?absolute=, ?sliding= or ?owner=";
        return if parameters.names_metadata() {
            Ok(Edit::None)
        } else {
            Err(Problem::new(Code::BodyInvalid, text))
        };
    }
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !essence(content_type).eq_ignore_ascii_case(MERGE_PATCH) {
        return Err(Problem::new(
            Code::TypeUnsupported,
            format!("a patch is of the content type {MERGE_PATCH}"),
        ));
    }
    Ok(Edit::Merge(body))
}

/// What the headers of a response say of a session.
fn headers(state: &State) -> HeaderMap {
    let State { version, owner, times } = state;
    let Times { idle_ms, sliding, absolute_unix_ms, expires_unix_ms } = *times;
    let mut headers = HeaderMap::new();
    let mut add = |name, text: &str| {
        // Escaped texts, numbers and dates are visible ASCII.
        headers.insert(name, HeaderValue::from_str(text).expect("visible ASCII fits a header"));
    };
    add(ETAG, &entity_tag(version));
    add(EXPIRES, &rfc3339(expires_unix_ms));
    add(ABSOLUTE, &rfc3339(absolute_unix_ms));
    add(TTL, &written(idle_ms));
    add(SLIDING, if sliding { "true" } else { "false" });
    if let Some(owner) = owner {
        add(OWNER, owner.escaped());
    }
    headers
}
