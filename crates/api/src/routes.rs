//! The routes and what stands before each: the body limit, the token, the time-out.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bowline_identity::token::TokenTable;
use bowline_rt::time::timeout;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, StatusCode};
use prometheus_client::registry::Registry;
use serde::Serialize;

use crate::limits::{ANSWER_TIMEOUT, BODY_BYTES_MAX};
use crate::metrics::{OPEN_METRICS, PLAIN_TEXT, encode, plain_text};
use crate::{Plane, Readiness};

/// What the routes need.
#[derive(Clone)]
pub struct Admin {
    /// What is shown.
    pub plane: Arc<dyn Plane>,
    /// Every metric of the process.
    pub metrics: Arc<Registry>,
    /// Client tokens, if one is required.
    pub tokens: Option<TokenTable>,
}

/// The admin port's routes.
pub fn router(admin: Admin) -> Router {
    let guarded = Router::new()
        .route("/metrics", get(metrics))
        .route("/v1/status", get(status))
        .layer(from_fn_with_state(admin.clone(), require_token));
    Router::new()
        .route("/healthz", get(health))
        .route("/readyz", get(readiness))
        .merge(guarded)
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(axum::middleware::from_fn(bound))
        .with_state(admin)
}

/// An error as JSON.
#[derive(Debug, Serialize)]
struct Problem {
    /// Stable, for programs.
    code: &'static str,
    /// For people.
    error: String,
}

pub(crate) fn problem(status: StatusCode, code: &'static str, error: impl Into<String>) -> Response {
    json(status, &Problem { code, error: error.into() })
}

pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Response {
    (status, [(CONTENT_TYPE, "application/json")], json_text(value)).into_response()
}

/// JSON as it stands in answers.
pub(crate) fn json_text(value: &impl Serialize) -> Vec<u8> {
    let mut text = serde_json::to_vec_pretty(value).expect("plain data becomes JSON");
    text.push(b'\n');
    text
}

async fn health() -> Response {
    #[derive(Serialize)]
    struct Health {
        status: &'static str,
    }
    json(StatusCode::OK, &Health { status: "ok" })
}

async fn readiness(State(admin): State<Admin>) -> Response {
    let readiness: Readiness = admin.plane.readiness();
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json(status, &readiness)
}

async fn metrics(State(admin): State<Admin>, headers: HeaderMap) -> Response {
    let text = encode(&admin.metrics);
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    if accepted.into_iter().any(|value| value.contains("application/openmetrics-text")) {
        ([(CONTENT_TYPE, OPEN_METRICS)], text).into_response()
    } else {
        ([(CONTENT_TYPE, PLAIN_TEXT)], plain_text(&text)).into_response()
    }
}

async fn status(State(admin): State<Admin>) -> Response {
    match admin.plane.status() {
        Some(status) => json(StatusCode::OK, &status.await),
        None => problem(StatusCode::NOT_FOUND, "not_found", "there is no status here; ask a gateway"),
    }
}

async fn unknown_path(request: Request) -> Response {
    let text = format!("there is no {}; try /v1/status, /metrics, /healthz or /readyz", request.uri().path());
    problem(StatusCode::NOT_FOUND, "not_found", text)
}

async fn wrong_method(request: Request) -> Response {
    let text = format!("{} is only read: use GET", request.uri().path());
    problem(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", text)
}

/// Refuses large bodies and ends what takes too long.
async fn bound(request: Request, next: Next) -> Response {
    let length =
        request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > BODY_BYTES_MAX) {
        let text = format!("a body of at most {BODY_BYTES_MAX} bytes is accepted");
        return problem(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", text);
    }
    match timeout(ANSWER_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(elapsed) => problem(StatusCode::GATEWAY_TIMEOUT, "timeout", elapsed.to_string()),
    }
}

/// Lets in who has a client token, where one is required.
async fn require_token(State(admin): State<Admin>, request: Request, next: Next) -> Response {
    let Some(tokens) = &admin.tokens else { return next.run(request).await };
    match bearer(request.headers()).and_then(|token| tokens.client(token)) {
        Some(client) => {
            tracing::debug!(client, path = request.uri().path(), "admin request");
            next.run(request).await
        }
        None => {
            let text = "a client token is needed: send `Authorization: Bearer TOKEN` (`bowline token new --client NAME`)";
            let mut response = problem(StatusCode::UNAUTHORIZED, "unauthorized", text);
            response.headers_mut().insert(WWW_AUTHENTICATE, http::HeaderValue::from_static("Bearer"));
            response
        }
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

#[cfg(test)]
#[path = "routes_tests.rs"]
mod tests;
