//! The session service of a gateway: its port, its keys, its stores.

use std::net::SocketAddr;
use std::path::Path;

use bowline_identity::signature::{Algorithm, SigningKey};
use bowline_node::config::{Loaded, ServerConfig, StoreConfig};
use bowline_node::plan::{Edge, ServerPlan, StorePlan};
use bowline_node::reload::Reload;
use bowline_node::server::{Addresses, Server, ServerError};
use bowline_node::store::Store;
use bowline_rt::task::{JoinHandle, spawn};
use bowline_rt::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::common::{BOUND, get, send, signed, text, until};

const ONE: &str = "/v1/user-sessions/42";

fn edge() -> Edge<'static> {
    Edge { read: &|path| std::fs::read(path), host_name: "test", secret: None }
}

fn key(id: &str) -> SigningKey {
    SigningKey::generate(id.parse().expect("an id"), Algorithm::HmacSha256)
}

fn write_keys(folder: &Path, keys: &[&SigningKey]) {
    let entry = |key: &&SigningKey| key.table_entry(&"orders".parse().expect("a namespace")).to_string();
    let text: String = keys.iter().map(entry).collect();
    std::fs::write(folder.join("signing-keys.toml"), text).expect("written");
}

struct Gateway {
    addresses: Addresses,
    files: Reload,
    stop: CancellationToken,
    task: JoinHandle<Result<(), ServerError>>,
}

impl Gateway {
    async fn start(folder: &Path, name: &str, more: &str) -> Self {
        let listen = "listen = '127.0.0.1:0'\n";
        let config = format!(
            "name = '{name}'\ndrain_grace = '5s'\n[http]\n{listen}[agents]\n{listen}[peers]\n{listen}[admin]\n{listen}\
             [sessions]\n{listen}keys_file = 'signing-keys.toml'\nvalue_bytes = 1000\n{more}"
        );
        let loaded =
            Loaded::<ServerConfig>::parse(&folder.join("server.toml"), &config).expect("a configuration");
        let plan = ServerPlan::new(&loaded.config, &edge()).expect("a plan");
        let files = plan.reload();
        let server = Server::start(plan).await.expect("a gateway");
        let (addresses, stop) = (server.addresses().clone(), CancellationToken::new());
        let task = spawn("server", server.run(stop.clone()));
        Self { addresses, files, stop, task }
    }

    fn sessions(&self) -> SocketAddr {
        self.addresses.sessions.expect("the session service")
    }

    async fn end(self) {
        self.stop.cancel();
        timeout(BOUND, self.task).await.expect("in time").expect("no panic").expect("it ended well");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_are_served_over_the_embedded_store_and_keys_rotate() {
    let folder = tempfile::tempdir().expect("a folder");
    let (old, new) = (key("orders-1"), key("orders-2"));
    write_keys(folder.path(), &[&old]);
    let gateway = Gateway::start(folder.path(), "g1", "").await;
    let address = gateway.sessions();
    let status = async |key: &SigningKey| send(address, signed(key, "GET", ONE, "")).await.status().as_u16();

    let put = send(address, signed(&old, "PUT", "/v1/user-sessions/42?owner=alice&ttl=1h", "hello")).await;
    assert_eq!(put.status(), 201, "{}", text(&put));
    assert_eq!(text(&send(address, signed(&old, "GET", ONE, "")).await), "hello");
    let head = send(address, signed(&old, "HEAD", ONE, "")).await;
    assert_eq!(
        (head.status().as_u16(), &head.headers()["content-length"]),
        (200, &"5".parse().expect("a value"))
    );
    let large = send(address, signed(&old, "PUT", ONE, &"x".repeat(1_001))).await;
    assert_eq!(large.status(), 413);
    let list = send(address, signed(&old, "GET", "/v1/user-sessions?owner=alice", "")).await;
    assert!(text(&list).contains("\"key\": \"42\""), "{}", text(&list));
    let description = get(address, "sessions", "/v1/openapi.json").await;
    assert_eq!(description.status(), 200);
    assert_eq!(get(address, "sessions", ONE).await.status(), 401);

    // Both keys overlap, then the old one is gone.
    assert_eq!(status(&new).await, 401);
    write_keys(folder.path(), &[&old, &new]);
    assert_eq!(gateway.files.run(), Vec::<String>::new());
    assert_eq!((status(&old).await, status(&new).await), (200, 200));
    write_keys(folder.path(), &[&new]);
    assert_eq!(gateway.files.run(), Vec::<String>::new());
    assert_eq!((status(&old).await, status(&new).await), (401, 200));
    // What cannot be read changes nothing.
    std::fs::write(folder.path().join("signing-keys.toml"), "[[key]]\n").expect("written");
    assert_eq!(gateway.files.run().len(), 1);
    assert_eq!(status(&new).await, 200);

    let metrics = get(gateway.addresses.admin, "admin", "/metrics").await;
    for line in [
        "bowline_session_requests_total{operation=\"put\",outcome=\"ok\"} 1",
        "bowline_session_requests_total{operation=\"read\",outcome=\"refused\"} 3",
        "bowline_sessions_redis_up 1",
    ] {
        assert!(text(&metrics).contains(line), "{line} is missing:\n{}", text(&metrics));
    }
    gateway.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gateways_share_sessions_and_nonces_in_one_store() {
    let folder = tempfile::tempdir().expect("a folder");
    let orders = key("orders-1");
    write_keys(folder.path(), &[&orders]);
    let loaded = Loaded::<StoreConfig>::parse(Path::new("store.toml"), "listen = '127.0.0.1:0'\n");
    let plan = StorePlan::new(&loaded.expect("a configuration").config, &edge()).expect("a plan");
    let store = Store::start(&plan).await.expect("a store");
    let link = format!("[store]\nurl = 'redis://{}'\n", store.address());
    let stop = CancellationToken::new();
    let storing = spawn("store", store.run(stop.clone()));
    let first = Gateway::start(folder.path(), "g1", &link).await;
    let second = Gateway::start(folder.path(), "g2", &link).await;

    let request = signed(&orders, "PUT", ONE, "shared");
    assert_eq!(send(first.sessions(), request.clone()).await.status(), 201);
    let replay = send(second.sessions(), request).await;
    assert_eq!(replay.status(), 401);
    assert!(text(&replay).contains("replayed"), "{}", text(&replay));
    assert_eq!(text(&send(second.sessions(), signed(&orders, "GET", ONE, "")).await), "shared");

    first.end().await;
    stop.cancel();
    timeout(BOUND, storing).await.expect("in time").expect("no panic").expect("the store ended well");
    // One that was under way meanwhile is of unknown outcome.
    until("the store is missed", async || {
        let answer = send(second.sessions(), signed(&orders, "GET", ONE, "")).await;
        (answer.status() == 503 && text(&answer).contains("not_executed")).then_some(())
    })
    .await;
    second.end().await;
}

#[test]
fn a_file_without_keys_is_not_a_service() {
    let folder = tempfile::tempdir().expect("a folder");
    let check = |content: Option<&str>, problem: &str| {
        let file = folder.path().join("signing-keys.toml");
        if let Some(content) = content {
            std::fs::write(&file, content).expect("written");
        }
        let mut config = ServerConfig::default();
        config.sessions.keys_file = Some(file);
        let problems = ServerPlan::new(&config, &edge()).expect_err("it is wrong");
        assert_eq!(problems[0].key, "sessions.keys_file");
        assert!(problems[0].text.contains(problem), "{problems:?}");
    };
    check(None, "signing-keys.toml");
    check(Some(""), "has no key");
    check(Some("[[key]]\nid = 'a'\n"), "line");
}
