//! The session service of `bowline server` over `bowline store`, redis-server, and a redis-server that is a cluster of its own
//! and so refuses scripts about several slots.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bowline_identity::signature::{Algorithm, RequestParts, SignOptions, SigningKey};
use bowline_rt::{net, task, time};
use bowline_torture::limits::{ANSWER_MAX, SOON};
use bowline_torture::peers;
use bowline_torture::ports::free_address;
use bowline_torture::process::{Process, Signal, story};
use bowline_torture::wait::{wait_out, wait_until, wait_within};
use bowline_torture::zone::{Gateway, StoreKind};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Request};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tempfile::TempDir;

const HOST: &str = "sessions.example.com";
/// Every request is answered within this while the store stands: its deadline is 2 s, and the machine may be busy. It is less than
/// the standstill, so that nobody can have waited for its end.
const ANSWER_WITHIN: Duration = Duration::from_millis(4_500);
/// How long the store stands.
const STANDSTILL: Duration = Duration::from_secs(6);
/// No write is carried out later than 7 s after it was sent.
const LATE: Duration = Duration::from_secs(8);
/// Writes are acknowledged again within this after it goes on.
const RECOVERY_MAX: Duration = Duration::from_secs(2);
/// Who writes at the same time, each its own session.
const WRITERS: usize = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bowline,
    Redis,
    Cluster,
}

/// A store and a gateway with the session service.
struct Service {
    gateway: Gateway,
    store: Process,
    address: SocketAddr,
    orders: SigningKey,
    billing: SigningKey,
    _folder: TempDir,
}

#[derive(Debug)]
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("not JSON: {self:?}"))
    }

    fn code(&self) -> String {
        self.json().ok().and_then(|json| Some(json.get("code")?.as_str()?.to_owned())).unwrap_or_default()
    }

    fn demand(self, status: u16, code: &str) -> Result<Self> {
        ensure!(self.status == status && self.code() == code, "expected {status} {code}: {self:?}");
        Ok(self)
    }
}

async fn start_store(folder: &Path, kind: Kind, address: SocketAddr) -> Result<Process> {
    match kind {
        Kind::Redis => peers::redis(folder, address).await,
        Kind::Cluster => {
            // By default the bus has the port and 10000, which may be another test's.
            let bus = free_address().port().to_string();
            let arguments = ["--cluster-enabled", "yes", "--cluster-port", &bus];
            let process = peers::redis_with(folder, address, &arguments).await?;
            let mut slots = Command::new("redis-cli");
            let port = address.port().to_string();
            let done = slots.args(["-p", &port, "CLUSTER", "ADDSLOTSRANGE", "0", "16383"]).output();
            let done = done.context("no redis-cli")?;
            ensure!(done.status.success(), "no cluster: {done:?}");
            wait_until("the cluster is one", || async {
                let info = Command::new("redis-cli").args(["-p", &port, "CLUSTER", "INFO"]).output();
                info.is_ok_and(|info| String::from_utf8_lossy(&info.stdout).contains("cluster_state:ok"))
            })
            .await;
            Ok(process)
        }
        Kind::Bowline => peers::store(folder, StoreKind::Bowline, address).await,
    }
}

impl Service {
    async fn start(kind: Kind) -> Result<Self> {
        let folder = tempfile::tempdir().context("no folder")?;
        let (store_address, address) = (free_address(), free_address());
        let store = start_store(folder.path(), kind, store_address).await?;
        let key = |id: &str, algorithm| Ok::<_, anyhow::Error>(SigningKey::generate(id.parse()?, algorithm));
        let (orders, billing) =
            (key("orders-1", Algorithm::HmacSha256)?, key("billing-1", Algorithm::Ed25519)?);
        let keys = [orders.table_entry(&"orders".parse()?), billing.table_entry(&"billing".parse()?)];
        fs::write(folder.path().join("keys.toml"), keys.map(|entry| entry.to_string()).concat())?;
        let more = format!("[sessions]\nkeys_file = \"keys.toml\"\nlisten = \"{address}\"\n");
        let gateway = Gateway::start(folder.path(), "g1", Some(store_address), &more).await?;
        Ok(Self { gateway, store, address, orders, billing, _folder: folder })
    }

    fn request(
        &self,
        key: &SigningKey,
        method: &str,
        target: &str,
        body: &str,
        options: &SignOptions,
    ) -> Result<Request<Full<Bytes>>> {
        let mut headers = HeaderMap::new();
        if method == "PATCH" && !body.is_empty() {
            headers.insert("content-type", "application/merge-patch+json".parse()?);
        } else if body.starts_with('{') {
            headers.insert("content-type", "application/json".parse()?);
        }
        let (path, query) =
            target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        let parts = RequestParts { method, authority: HOST, path, query, headers: &headers };
        let added = key.sign(&parts, Some(body.as_bytes()), options).context("cannot sign")?;
        headers.extend(added);
        let request = Request::builder().method(method).uri(target).header("host", HOST);
        let mut request = request.body(Full::new(Bytes::copy_from_slice(body.as_bytes())))?;
        request.headers_mut().extend(headers);
        Ok(request)
    }

    async fn ask(&self, method: &str, target: &str, body: &str) -> Result<Answer> {
        let options = SignOptions::at(time::unix_time());
        send(self.address, self.request(&self.orders, method, target, body, &options)?).await
    }
}

async fn send(address: SocketAddr, request: Request<Full<Bytes>>) -> Result<Answer> {
    let exchange = async {
        let tcp = net::connect(address, ANSWER_MAX).await.context("no connection")?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tcp)).await?;
        task::spawn("client", async move { drop(connection.await) });
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
    };
    time::timeout(ANSWER_MAX, exchange).await.context("no answer")?
}

fn one(key: &str) -> String {
    format!("/v1/user-sessions/{key}")
}

async fn check_operations(kind: Kind) -> Result<()> {
    let service = Service::start(kind).await?;
    let ask = async |method: &str, target: &str, body: &str| service.ask(method, target, body).await;
    let put = ask("PUT", &(one("s%2F1") + "?owner=al%7Bi%7Dce&ttl=1h&absolute=2h"), r#"{"cart":1}"#)
        .await?
        .demand(201, "")?;
    ensure!(put.headers["bowline-session-ttl"] == "3600s", "{put:?}");
    ensure!(ask("GET", &one("s%2F1"), "").await?.text() == r#"{"cart":1}"#, "the value differs");
    ask("PATCH", &(one("s%2F1") + "?sliding=false"), r#"{"cart":2}"#).await?.demand(204, "")?;
    ask("PUT", &(one("s%2F1") + "?keep=true&owner=bob"), r#"{"cart":3}"#).await?.demand(204, "")?;
    ensure!(
        ask("GET", "/v1/user-sessions?owner=al%7Bi%7Dce", "").await?.json()?["sessions"]
            == Value::Array(Vec::new()),
        "it moved"
    );
    let list = ask("GET", "/v1/user-sessions?owner=bob", "").await?.json()?;
    ensure!(list["sessions"][0]["key"] == "s/1" && list["sessions"][0]["sliding"] == false, "{list}");
    let many = ask("POST", "/v1/user-sessions:read", r#"{"keys":["s/1","none"]}"#).await?.json()?;
    ensure!(
        many["results"][0]["value_base64"] == "eyJjYXJ0IjozfQ==" && many["results"][1]["status"] == "absent",
        "{many}"
    );
    ask("DELETE", &one("s%2F1"), "").await?.demand(204, "")?;
    ask("GET", &one("s%2F1"), "").await?.demand(404, "session_not_found")?;
    ensure!(
        ask("GET", "/v1/user-sessions?owner=bob", "").await?.json()?["sessions"] == Value::Array(Vec::new()),
        "it is gone"
    );
    // Time is the store's.
    ask("PUT", &(one("short") + "?ttl=1s"), "x").await?.demand(201, "")?;
    wait_within(SOON, "it is over", || async {
        (ask("HEAD", &one("short"), "").await.ok()?.status == 404).then_some(())
    })
    .await;
    check_signatures(&service).await?;
    let log = service.gateway.process.log();
    for secret in ["cart", "s%2F1", "s/1", "bob", "hidden value", "hidden-key"] {
        ensure!(!log.contains(secret), "{secret} is in the log");
    }
    Ok(())
}

/// Wrong, stale, replayed and altered signatures are refused, each with its code.
async fn check_signatures(service: &Service) -> Result<()> {
    let key = one("hidden-key");
    service.ask("PUT", &key, "hidden value").await?.demand(201, "")?;
    let now = || SignOptions::at(time::unix_time());
    let get = |key_of: &SigningKey, options: &SignOptions| service.request(key_of, "GET", &key, "", options);
    let refused = async |request: Request<Full<Bytes>>, code: &str| {
        let answer = send(service.address, request).await?.demand(401, code)?;
        ensure!(!answer.text().contains("hidden value"), "{answer:?}");
        Ok(())
    };
    let mut unsigned = get(&service.orders, &now())?;
    unsigned.headers_mut().remove("signature");
    unsigned.headers_mut().remove("signature-input");
    refused(unsigned, "signature_missing").await?;
    refused(
        get(&SigningKey::generate("orders-1".parse()?, Algorithm::HmacSha256), &now())?,
        "signature_wrong",
    )
    .await?;
    refused(get(&SigningKey::generate("other".parse()?, Algorithm::HmacSha256), &now())?, "key_unknown")
        .await?;
    refused(
        get(&service.orders, &SignOptions::at(time::unix_time() - Duration::from_secs(3_600)))?,
        "expired",
    )
    .await?;
    refused(
        get(&service.orders, &SignOptions::at(time::unix_time() + Duration::from_secs(3_600)))?,
        "created_in_future",
    )
    .await?;
    let mut altered = service.request(&service.orders, "PUT", &key, "one", &now())?;
    *altered.body_mut() = Full::new(Bytes::from_static(b"two"));
    refused(altered, "digest_wrong").await?;
    let mut altered = get(&service.orders, &now())?;
    *altered.uri_mut() = one("another").parse()?;
    refused(altered, "signature_wrong").await?;
    let request = get(&service.orders, &now())?;
    send(service.address, request.clone()).await?.demand(200, "")?;
    refused(request, "replayed").await?;
    // Another namespace sees nothing.
    send(service.address, get(&service.billing, &now())?).await?.demand(404, "session_not_found")?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_over_a_store_of_bowline() {
    story(check_operations(Kind::Bowline)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_over_redis() {
    story(check_operations(Kind::Redis)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_script_is_about_one_slot_of_a_cluster() {
    story(check_operations(Kind::Cluster)).await;
}

/// What one writer knows of its session.
#[derive(Debug, Default)]
struct Known {
    /// The highest number whose write was acknowledged.
    acknowledged: u64,
    /// Numbers that may be there instead: the outcome of their writes is not known. All are higher.
    unknown: Vec<u64>,
    next: u64,
    /// Answers by what they said.
    not_executed: u64,
    outcome_unknown: u64,
    slowest: Duration,
    last_acknowledged: Option<time::Instant>,
}

impl Known {
    /// One write and one read.
    async fn step(&mut self, service: &Service, key: &str) -> Result<()> {
        self.next += 1;
        let number = self.next;
        let began = time::now();
        let put = service.ask("PUT", &(one(key) + "?owner=all"), &format!("{key}:{number}")).await?;
        self.slowest = self.slowest.max(began.elapsed());
        match (put.status, put.code().as_str()) {
            (201 | 204, _) => {
                self.acknowledged = number;
                // An earlier write may no longer come after this one: the driver fences its old connections.
                self.unknown.clear();
                self.last_acknowledged = Some(time::now());
            }
            (503, "not_executed") => self.not_executed += 1,
            (503, "outcome_unknown") => {
                self.outcome_unknown += 1;
                self.unknown.push(number);
            }
            _ => anyhow::bail!("a strange answer: {put:?}"),
        }
        let began = time::now();
        let get = service.ask("GET", &one(key), "").await?;
        self.slowest = self.slowest.max(began.elapsed());
        match get.status {
            200 => self.judge(key, &get.text()),
            404 if self.acknowledged == 0 => Ok(()),
            503 if ["not_executed", "outcome_unknown"].contains(&get.code().as_str()) => Ok(()),
            _ => anyhow::bail!("{key} with {self:?} is answered {get:?}"),
        }
    }

    /// INV-DRV-OWN, INV-DRV-ONCE: the value is that of the last write, or of one whose outcome is not known.
    fn judge(&self, key: &str, value: &str) -> Result<()> {
        let number = value.strip_prefix(key).and_then(|rest| rest.strip_prefix(':')?.parse::<u64>().ok());
        let number = number.with_context(|| format!("{key} has the value {value}"))?;
        ensure!(
            number == self.acknowledged || self.unknown.contains(&number),
            "{key} has {value} with {self:?}"
        );
        Ok(())
    }
}

async fn check_stopped_store(kind: Kind) -> Result<()> {
    let service = Service::start(kind).await?;
    let stop = std::sync::atomic::AtomicBool::new(false);
    let writers = (0..WRITERS).map(async |index| {
        let (key, mut known) = (format!("writer-{index}"), Known::default());
        while !stop.load(std::sync::atomic::Ordering::Relaxed) {
            known.step(&service, &key).await?;
        }
        Ok::<_, anyhow::Error>((key, known))
    });
    let faults = async {
        wait_out(Duration::from_secs(1)).await;
        let mut went_on = time::now();
        for _ in 0..2 {
            service.store.signal(Signal::Stop)?;
            wait_out(STANDSTILL).await;
            service.store.signal(Signal::Continue)?;
            went_on = time::now();
            wait_out(Duration::from_secs(3)).await;
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        Ok::<_, anyhow::Error>(went_on)
    };
    let (writers, went_on) = tokio::join!(futures_util::future::join_all(writers), faults);
    let went_on = went_on?;
    let (mut refused, mut unknown) = (0, 0);
    let mut expected = Vec::new();
    for writer in writers {
        let (key, known) = writer?;
        ensure!(known.slowest <= ANSWER_WITHIN, "{key}: an answer took {:?}", known.slowest);
        ensure!(known.last_acknowledged.is_some_and(|at| at > went_on), "{key} did not recover: {known:?}");
        let value = service.ask("GET", &one(&key), "").await?.demand(200, "")?.text();
        known.judge(&key, &value)?;
        (refused, unknown) = (refused + known.not_executed, unknown + known.outcome_unknown);
        expected.push(key);
    }
    ensure!(refused + unknown > 0, "nobody noticed that the store stopped");
    let list = service.ask("GET", "/v1/user-sessions?owner=all", "").await?.demand(200, "")?.json()?;
    let listed = list["sessions"].as_array().context("no list")?;
    let mut listed: Vec<String> =
        listed.iter().filter_map(|session| Some(session["key"].as_str()?.to_owned())).collect();
    listed.sort();
    expected.sort();
    ensure!(listed == expected, "of {expected:?} are listed {listed:?}");
    report(kind, refused, unknown);
    Ok(())
}

#[expect(clippy::print_stderr, reason = "what a person who runs this wants to see")]
fn report(kind: Kind, refused: u64, unknown: u64) {
    eprintln!("{kind:?}: {refused} writes not executed, {unknown} of unknown outcome");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_redis_is_an_error_in_time_and_loses_nothing() {
    story(check_stopped_store(Kind::Redis)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_store_is_an_error_in_time_and_loses_nothing() {
    story(check_stopped_store(Kind::Bowline)).await;
}

/// Whether all threads of a process have stopped, which takes a busy machine a moment.
fn stands(process: u32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else { return false };
    threads.flatten().all(|thread| {
        let status = fs::read_to_string(thread.path().join("status")).unwrap_or_default();
        status.lines().any(|line| line.starts_with("State:\tT"))
    })
}

/// A store that stood still for longer than a request waits carries it out no more; and it is used again at once.
async fn check_late(kind: Kind) -> Result<()> {
    let service = Service::start(kind).await?;
    service.ask("PUT", &one("a"), "1").await?.demand(201, "")?;
    service.store.signal(Signal::Stop)?;
    wait_until("every thread of the store stands", || async { stands(service.store.id()) }).await;
    let during = service.ask("PUT", &one("a"), "2").await?.demand(503, "outcome_unknown")?;
    ensure!(during.headers["retry-after"] == "1", "{during:?}");
    wait_out(LATE).await;
    service.store.signal(Signal::Continue)?;
    let found = wait_within(RECOVERY_MAX, "a read is answered", || async {
        service.ask("GET", &one("a"), "").await.ok().filter(|answer| answer.status == 200)
    })
    .await;
    ensure!(found.text() == "1", "the write came too late, and yet there is {found:?}");
    service.ask("PUT", &one("a"), "3").await?.demand(204, "")?;
    ensure!(service.ask("GET", &one("a"), "").await?.text() == "3", "another value");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_goes_on_is_used_at_once_and_writes_nothing_late() {
    story(check_late(Kind::Redis)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_goes_on_is_used_at_once_and_writes_nothing_late() {
    story(check_late(Kind::Bowline)).await;
}
