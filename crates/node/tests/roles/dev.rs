//! The development set-up, whole, within this process.

use crate::common::{BOUND, get, send, signed, text, until};
use bowline_identity::signature::SigningKey;
use bowline_node::dev::{Dev, DevError, DevPlan};
use bowline_rt::time::timeout;
use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use tokio_util::sync::CancellationToken;

const FREE_PORTS: DevPlan = DevPlan { http: 0, agents: 0, peers: 0, admin: 0, sessions: 0, memory: None };
/// More than any buffer on the way.
const LARGE_BYTES: usize = 8 * 1024 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_reaches_the_demo_service_and_everything_stops() {
    let dev = Dev::start(&FREE_PORTS).await.expect("started");
    dev.ready().await.expect("the demo answers");
    let (http, admin) = (dev.addresses().http, dev.addresses().admin);
    let host = Dev::host();

    let request = Request::get("/").header("host", &host).header("x-request-id", "test-1");
    let response = send(http, request.body(Full::default()).expect("a request")).await;
    assert_eq!(response.status(), 200);
    assert!(text(&response).contains("behind the agent dev-agent"), "{}", text(&response));
    assert!(text(&response).contains("request id: test-1"), "{}", text(&response));

    let body = Bytes::from(vec![b'x'; LARGE_BYTES]);
    let request =
        Request::post("/echo").header("host", &host).body(Full::new(body.clone())).expect("a request");
    assert!(*send(http, request).await.body() == body, "the echo differs");

    let stream = get(http, &host, "/stream").await;
    assert_eq!(text(&stream).lines().count(), 10);

    let unknown = get(http, "nothing.svc.bowline", "/").await;
    assert_eq!(unknown.status(), 503);
    assert_eq!(unknown.headers()["bowline-reason"], "service_unknown");

    check_admin(admin).await;
    let sessions = dev.addresses().sessions.expect("the session service");
    check_sessions(sessions, dev.signing_key()).await;

    let shutdown = CancellationToken::new();
    shutdown.cancel();
    timeout(BOUND, dev.run(shutdown)).await.expect("stopped in time").expect("stopped well");
    assert!(bowline_rt::net::connect(http, BOUND).await.is_err(), "the port is closed");
}

async fn check_admin(admin: std::net::SocketAddr) {
    until("the gateway is ready", async || (get(admin, "a", "/readyz").await.status() == 200).then_some(()))
        .await;
    assert_eq!(get(admin, "a", "/healthz").await.status(), 200);
    let status = get(admin, "a", "/v1/status").await;
    let status: bowline_api::status::Status = serde_json::from_slice(status.body()).expect("a status");
    assert_eq!(status.asked, "dev");
    assert!(status.gateways[0].reachable && status.gateways[0].store_up, "{status:?}");
    assert_eq!(status.agents[0].name, "dev-agent");
    assert_eq!(status.services[0].name, "demo");
    let metrics = get(admin, "a", "/metrics").await;
    for name in ["bowline_build_info", "bowline_tunnel_", "bowline_entry_", "bowline_redis_", "registry"] {
        assert!(text(&metrics).contains(name), "{name} is missing:\n{}", text(&metrics));
    }
}

async fn check_sessions(address: std::net::SocketAddr, key: &SigningKey) {
    let path = "/v1/user-sessions/42";
    assert_eq!(get(address, "sessions", path).await.status(), 401);
    let put = send(address, signed(key, "PUT", path, "hello")).await;
    assert_eq!(put.status(), 201, "{}", text(&put));
    assert_eq!(text(&send(address, signed(key, "GET", path, "")).await), "hello");
}

#[tokio::test]
async fn a_port_in_use_is_said_before_anything_runs() {
    let taken = bowline_rt::net::Listener::bind("127.0.0.1:0".parse().expect("an address")).await;
    let taken = taken.expect("a free port");
    let address = taken.local_addr().expect("bound");
    let error = Dev::start(&DevPlan { admin: address.port(), ..FREE_PORTS }).await.expect_err("in use");
    assert!(matches!(error, DevError::Server(_)));
    let text = error.to_string();
    assert!(text.starts_with(&format!("cannot listen on {address} (admin): address in use")), "{text}");
}
