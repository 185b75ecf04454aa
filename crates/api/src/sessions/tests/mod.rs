//! The service as its callers see it: signed requests to its routes, over a real store.

mod accepted;
mod bodies;
mod bulk;
mod conditions;
mod description;
mod example;
mod forbidden;
mod full;
mod log;
mod lost_lists;
mod operations;
mod owners;
mod redis_server;
mod schema;
mod signatures;
mod store_down;
mod together;
mod unreadable;
mod unremembered;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use bowline_identity::signature::{Algorithm, Keys, Policy, RequestParts, SignOptions, SigningKey, Verified};
use bowline_redis::{Client, Command, Config, Frame};
use bowline_rt::time::{sleep, timeout, unix_time};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::Value;
use tower::ServiceExt as _;

use self::redis_server::RedisServer;
use super::store::Caller;
use super::{Sessions, Settings};

const AUTHORITY: &str = "sessions.example.com";
/// Longest wait for anything in a test.
const BOUND: Duration = Duration::from_secs(20);

/// A service over a store of its own, and two keys of different namespaces.
struct World {
    /// `None` if it is another process.
    store: Option<bowline_store::Store>,
    client: Client,
    sessions: Sessions,
    keys: Keys,
    orders: SigningKey,
    billing: SigningKey,
}

/// A request before it is signed.
#[derive(Debug, Clone)]
struct Ask {
    method: &'static str,
    target: String,
    headers: HeaderMap,
    body: Bytes,
}

/// A response, read to its end.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

fn ask(method: &'static str, target: impl Into<String>) -> Ask {
    Ask { method, target: target.into(), headers: HeaderMap::new(), body: Bytes::new() }
}

fn put(target: impl Into<String>, body: &str) -> Ask {
    ask("PUT", target).body(body)
}

fn get(target: impl Into<String>) -> Ask {
    ask("GET", target)
}

fn one(key: &str) -> String {
    format!("/v1/user-sessions/{key}")
}

impl Ask {
    fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Bytes::from(body.into());
        self
    }

    fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).expect("a value"));
        self
    }

    fn merge_patch(self, body: &str) -> Self {
        self.header("content-type", "application/merge-patch+json").body(body)
    }

    fn path(&self) -> &str {
        self.target.split('?').next().expect("there is a first part")
    }

    fn signed(&self, key: &SigningKey, options: &SignOptions) -> Request {
        let parts = RequestParts {
            method: self.method,
            authority: AUTHORITY,
            path: self.path(),
            query: self.target.split_once('?').map(|(_, query)| query),
            headers: &self.headers,
        };
        let added = key.sign(&parts, Some(&self.body), options).expect("it can be signed");
        let mut request = self.unsigned();
        request.headers_mut().extend(added);
        request
    }

    fn unsigned(&self) -> Request {
        let mut request = Request::new(Body::from(self.body.clone()));
        *request.method_mut() = self.method.parse().expect("a method");
        *request.uri_mut() = self.target.parse().expect("a target");
        *request.headers_mut() = self.headers.clone();
        request.headers_mut().insert("host", HeaderValue::from_static(AUTHORITY));
        request
    }
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }

    fn etag(&self) -> &str {
        self.header("etag")
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    fn code(&self) -> String {
        self.json()["code"].as_str().expect("a code").to_owned()
    }

    #[track_caller]
    fn expect(self, status: u16, code: &str) -> Self {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        // An answer to HEAD has no body.
        if !code.is_empty() && !self.body.is_empty() {
            assert_eq!(self.code(), code, "{self:?}");
        }
        self
    }
}

/// The default, but patient: the machine of a test run may be busy.
fn settings() -> Settings {
    Settings { store_deadline: BOUND, ..Settings::default() }
}

fn nonce() -> String {
    format!("{:032x}", bowline_rt::random::bits128())
}

fn loopback() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

fn signing_key(id: &str, algorithm: Algorithm) -> SigningKey {
    SigningKey::generate(id.parse().expect("an id"), algorithm)
}

impl World {
    async fn start() -> Self {
        Self::with(settings()).await
    }

    async fn with(settings: Settings) -> Self {
        let store = bowline_store::Store::start(loopback(), bowline_store::Settings::default()).await;
        let store = store.expect("a store");
        let client = client(store.address());
        let world = Self { store: Some(store), ..Self::over(client, settings) };
        world.sessions.store().mark().await;
        world
    }

    /// A service over a server that is not ours.
    async fn on(server: &RedisServer) -> Self {
        let world = Self::over(server.client(), settings());
        world.sessions.store().mark().await;
        world
    }

    /// A service over a store that somebody else runs.
    fn over(client: Client, settings: Settings) -> Self {
        let orders = signing_key("orders-1", Algorithm::HmacSha256);
        let billing = signing_key("billing-1", Algorithm::Ed25519);
        let entry = |key: &SigningKey, namespace: &str| {
            key.table_entry(&namespace.parse().expect("a namespace")).to_string()
        };
        let table = entry(&orders, "orders") + &entry(&billing, "billing");
        let keys = Keys::from_toml("test", &table).expect("keys");
        let sessions = Sessions::new(client.clone(), keys.clone(), settings);
        Self { store: None, client, sessions, keys, orders, billing }
    }

    /// The same with a new gateway, which has other bounds on the times of signatures and no knowledge of the store's mark.
    fn with_policy(self, policy: Policy) -> Self {
        let keys = self.keys.with_policy(policy);
        let sessions = Sessions::new(self.client.clone(), keys.clone(), settings());
        Self { sessions, keys, ..self }
    }

    /// Signs as the key of `orders` and asks.
    async fn ask(&self, ask: Ask) -> Answer {
        self.ask_as(&self.orders, &ask).await
    }

    async fn ask_as(&self, key: &SigningKey, ask: &Ask) -> Answer {
        self.send(ask.signed(key, &SignOptions::at(unix_time()))).await
    }

    async fn send(&self, request: Request) -> Answer {
        send(&self.sessions, request).await
    }

    /// What the store answers to a command.
    async fn store(&self, words: &[&str]) -> Frame {
        let (name, arguments) = words.split_first().expect("a command");
        self.client.call(Command::new(name).args(arguments)).await.expect("the store answers")
    }

    /// Names in the hash of an owner.
    async fn entries(&self, owner: &str) -> Vec<String> {
        let Frame::Array(names) = self.store(&["HKEYS", &owner_key(owner)]).await else { panic!("no list") };
        let text = |name| match name {
            Frame::Bulk(name) => String::from_utf8(name.to_vec()).expect("text"),
            other => panic!("no name: {other:?}"),
        };
        let mut names: Vec<String> = names.into_iter().map(text).collect();
        names.sort();
        names
    }
}

/// The key of an owner of the namespace `orders`.
/// Who asks with a signature that is valid for so long.
fn caller(valid_for: Duration) -> Caller {
    let expires = unix_time() + valid_for;
    let verified = Verified {
        key: "orders-1".into(),
        namespace: "orders".parse().expect("a namespace"),
        nonce: nonce(),
        created: unix_time(),
        expires,
        remember_until: expires + Policy::default().clock_skew,
        digest: None,
    };
    Caller::new(&verified, BOUND)
}

fn owner_key(owner: &str) -> String {
    format!("bowline:{{session-owner:orders/{owner}}}")
}

fn client(address: SocketAddr) -> Client {
    let mut config = Config::from_url(&format!("redis://{address}")).expect("a URL");
    config.settings.silence_max = BOUND;
    Client::start(config)
}

async fn send(sessions: &Sessions, request: Request) -> Answer {
    let response = sessions.router().oneshot(request).await.expect("routes do not fail");
    let (head, body) = response.into_parts();
    let body = to_bytes(body, 64 << 20).await.expect("a body");
    Answer { status: head.status, headers: head.headers, body }
}

/// Waits until `look` finds something.
async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let found = timeout(BOUND, async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            sleep(Duration::from_millis(20)).await;
        }
    });
    found.await.unwrap_or_else(|_| panic!("not in time: {what}"))
}
