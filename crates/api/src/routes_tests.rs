//! Requests to the routes, without a socket.

use axum::body::{Body, to_bytes};
use bowline_identity::token::{Holder, Token};
use serde_json::Value;
use tower::ServiceExt as _;

use super::*;
use crate::Answer;
use crate::status::Status;
use crate::status::tests::{agent, gateway};

/// Shows what it was told to; its status takes for ever if it has none.
struct Shown {
    reasons: Vec<String>,
    status: Option<Status>,
}

impl Plane for Shown {
    fn readiness(&self) -> Readiness {
        Readiness::from_reasons(self.reasons.clone())
    }

    fn status(&self) -> Option<Answer<'_, Status>> {
        Some(Box::pin(async {
            match &self.status {
                Some(status) => status.clone(),
                None => std::future::pending().await,
            }
        }))
    }
}

/// An agent knows no zone.
struct Agent;

impl Plane for Agent {
    fn readiness(&self) -> Readiness {
        Readiness::from_reasons(vec!["no gateway".into()])
    }
}

#[tokio::test]
async fn who_knows_no_zone_shows_none() {
    let admin = Admin { plane: Arc::new(Agent), ..admin(&[], None) };
    check_json(admin.clone(), get_of("/v1/status"), 404, "/code", "not_found".into()).await;
    check_json(admin, get_of("/readyz"), 503, "/reasons/0", "no gateway".into()).await;
}

fn admin(reasons: &[&str], tokens: Option<TokenTable>) -> Admin {
    let mut unreachable = gateway("g2");
    unreachable.reachable = false;
    unreachable.error = Some("no answer".into());
    unreachable.state = crate::status::State::Unreachable;
    let status =
        Status::new("g1".into(), vec![gateway("g1"), unreachable], vec![agent("edge-1", "g1", &["web"])]);
    let plane =
        Shown { reasons: reasons.iter().map(|&reason| reason.to_owned()).collect(), status: Some(status) };
    let mut metrics = Registry::default();
    let build = crate::BuildInfo { version: "0.1.0", role: "server" };
    crate::register_process(&mut metrics, &build, std::time::Duration::from_secs(7), None);
    Admin { plane: Arc::new(plane), metrics: Arc::new(metrics), tokens }
}

async fn ask(admin: Admin, request: Request) -> (StatusCode, String, String) {
    let response = router(admin).oneshot(request).await.expect("routes do not fail");
    let status = response.status();
    let kind =
        response.headers().get(CONTENT_TYPE).map_or("", |kind| kind.to_str().expect("text")).to_owned();
    let body = to_bytes(response.into_body(), 1 << 20).await.expect("a body");
    (status, kind, String::from_utf8(body.to_vec()).expect("text"))
}

fn get_of(path: &str) -> Request {
    Request::get(path).body(Body::empty()).expect("a request")
}

async fn check_json(admin: Admin, request: Request, status: u16, pointer: &str, expected: Value) {
    let (got, kind, body) = ask(admin, request).await;
    assert_eq!(got.as_u16(), status, "{body}");
    assert_eq!(kind, "application/json");
    let json: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(json.pointer(pointer), Some(&expected), "{body}");
}

#[tokio::test]
async fn health_and_readiness_are_told_apart() {
    check_json(admin(&["draining"], None), get_of("/healthz"), 200, "/status", "ok".into()).await;
    check_json(admin(&[], None), get_of("/readyz"), 200, "/ready", true.into()).await;
    check_json(admin(&["draining"], None), get_of("/readyz"), 503, "/reasons/0", "draining".into()).await;
}

#[tokio::test]
async fn the_status_names_what_cannot_be_reached() {
    let check =
        |pointer, expected| check_json(admin(&[], None), get_of("/v1/status"), 200, pointer, expected);
    check("/asked", "g1".into()).await;
    check("/gateways/0/state", "up".into()).await;
    check("/gateways/1/reachable", false.into()).await;
    check("/gateways/1/error", "no answer".into()).await;
    check("/agents/0/tunnels/idle", 2.into()).await;
    check("/services/0/name", "web".into()).await;
}

#[tokio::test]
async fn metrics_come_in_the_format_that_is_asked_for() {
    let (status, kind, body) = ask(admin(&[], None), get_of("/metrics")).await;
    assert_eq!((status, kind.as_str()), (StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8"));
    assert!(body.contains("# TYPE bowline_build_info gauge\n") && !body.contains("# EOF"), "{body}");
    let accept = "application/openmetrics-text;version=1.0.0,text/plain;q=0.5";
    let asked = Request::get("/metrics").header("accept", accept).body(Body::empty()).expect("a request");
    let (status, kind, body) = ask(admin(&[], None), asked).await;
    assert_eq!(status, StatusCode::OK);
    assert!(kind.starts_with("application/openmetrics-text"), "{kind}");
    assert!(body.contains("process_start_time_seconds 7"), "{body}");
    assert!(body.contains("bowline_build_info{version=\"0.1.0\",role=\"server\"} 1"), "{body}");
    assert!(body.ends_with("# EOF\n"), "{body}");
}

#[tokio::test]
async fn whatever_is_wrong_is_json() {
    check_json(admin(&[], None), get_of("/nothing"), 404, "/code", "not_found".into()).await;
    let post = Request::post("/v1/status").body(Body::empty()).expect("a request");
    check_json(admin(&[], None), post, 405, "/code", "method_not_allowed".into()).await;
    let large =
        Request::get("/healthz").header("content-length", "65537").body(Body::empty()).expect("a request");
    check_json(admin(&[], None), large, 413, "/code", "body_too_large".into()).await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_takes_too_long_is_given_up() {
    let mut slow = admin(&[], None);
    slow.plane = Arc::new(Shown { reasons: Vec::new(), status: None });
    check_json(slow, get_of("/v1/status"), 504, "/code", "timeout".into()).await;
}

#[tokio::test]
async fn a_client_token_is_asked_for_where_it_is_required() {
    let client = Token::generate();
    let of_an_agent = Token::generate();
    let table = client.table_entry(&Holder::client("ops").expect("a name"))
        + &of_an_agent.table_entry(&Holder::Agent("edge-1".parse().expect("a name")));
    let tokens = TokenTable::from_toml("test", &table).expect("a table");
    let with = |value: String| {
        Request::get("/v1/status").header("authorization", value).body(Body::empty()).expect("a request")
    };
    let admin = || admin(&[], Some(tokens.clone()));
    check_json(admin(), get_of("/v1/status"), 401, "/code", "unauthorized".into()).await;
    check_json(admin(), get_of("/metrics"), 401, "/code", "unauthorized".into()).await;
    check_json(admin(), get_of("/readyz"), 200, "/ready", true.into()).await;
    check_json(admin(), with("Bearer wrong".into()), 401, "/code", "unauthorized".into()).await;
    check_json(
        admin(),
        with(format!("Bearer {}", of_an_agent.reveal())),
        401,
        "/code",
        "unauthorized".into(),
    )
    .await;
    check_json(admin(), with(format!("bearer {}", client.reveal())), 200, "/asked", "g1".into()).await;
}
