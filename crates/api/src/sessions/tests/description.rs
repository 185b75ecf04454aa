//! `/v1/openapi.json` and the implementation say the same.
//!
//! The routes and the parameters of queries are compared directly. For the rest a set of requests is made that meets
//! every answer of every operation; each answer has to be described, each described answer and header has to be met, and
//! bodies have to obey their schemas.

use std::collections::{BTreeMap, BTreeSet};

use super::schema::{check, resolve};
use super::*;
use crate::sessions::description::description;
use crate::sessions::routes::{Operation, Place, place};

/// Headers that every response has, or that belong to HTTP.
const ALWAYS: [&str; 5] =
    ["cache-control", "x-content-type-options", "content-type", "content-length", "connection"];

/// Codes that need a fault which these requests do not make; other tests do.
const FAULTS: [&str; 3] = ["conflict", "outcome_unknown", "body_timeout"];

pub(super) fn document() -> Value {
    serde_json::from_str(&description(&settings())).expect("the description is JSON")
}

/// The operations of the description, by path and method.
pub(super) fn described(document: &Value) -> BTreeMap<(String, String), Value> {
    let mut found = BTreeMap::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            if method != "parameters" {
                found.insert((path.clone(), method.to_uppercase()), operation.clone());
            }
        }
    }
    found
}

/// Names of the parameters of an operation that are in `place`.
fn parameters(document: &Value, operation: &Value, place: &str) -> BTreeSet<String> {
    let all = operation["parameters"].as_array().into_iter().flatten();
    let resolved = all.map(|parameter| resolve(document, parameter));
    let here = resolved.filter(|parameter| parameter["in"] == place);
    here.map(|parameter| parameter["name"].as_str().expect("a name").to_owned()).collect()
}

#[test]
fn routes_and_parameters_are_those_of_the_code() {
    let document = document();
    let described = described(&document);
    let mut routes: BTreeSet<(String, String)> = Operation::ALL
        .map(|operation| (operation.route().1.to_owned(), operation.route().0.to_string()))
        .into();
    routes.insert(("/v1/openapi.json".to_owned(), "GET".to_owned()));
    assert_eq!(described.keys().cloned().collect::<BTreeSet<_>>(), routes);
    for operation in Operation::ALL {
        let (method, path) = operation.route();
        let text = &described[&(path.to_owned(), method.to_string())];
        assert_eq!(text["operationId"], operation.name());
        let known: BTreeSet<String> = operation.parameters().iter().map(|&name| name.to_owned()).collect();
        assert_eq!(parameters(&document, text, "query"), known, "{}", operation.name());
        let target = path.replace("{key}", "k");
        let found = place(&method, &target).expect("it is served");
        assert_eq!(found, Place::Operation(operation, if path.contains("{key}") { "k" } else { "" }));
        let mut headers: BTreeSet<&str> = ["Signature", "Signature-Input"].into();
        if path.contains("{key}") {
            headers.extend(["If-Match", "If-None-Match"]);
        }
        let has_body = text.get("requestBody").is_some();
        if has_body {
            headers.insert("Content-Digest");
        }
        assert_eq!(has_body, ["PUT", "PATCH", "POST"].contains(&method.as_str()));
        let named = parameters(&document, text, "header");
        assert_eq!(
            named.iter().map(String::as_str).collect::<BTreeSet<_>>(),
            headers,
            "{}",
            operation.name()
        );
    }
}

/// What the requests of the test met.
struct Met<'a> {
    document: &'a Value,
    described: BTreeMap<(String, String), Value>,
    /// Path, method, status, and a header or nothing.
    seen: BTreeSet<(String, String, String, String)>,
    codes: BTreeSet<String>,
}

impl Met<'_> {
    fn look(&mut self, request: &Ask, answer: &Answer) {
        let method = request.method.parse().expect("a method");
        let path = match place(&method, request.path()).expect("a described path") {
            Place::Description => "/v1/openapi.json",
            Place::Operation(operation, _) => operation.route().1,
        };
        let at = (path.to_owned(), request.method.to_owned());
        let status = answer.status.as_str();
        let response = &self.described[&at]["responses"][status];
        assert!(response.is_object(), "{at:?} answers {status}, which is not described: {answer:?}");
        let response = resolve(self.document, response);
        let mut see = |header: &str| {
            self.seen.insert((at.0.clone(), at.1.clone(), status.to_owned(), header.to_owned()));
        };
        see("");
        let empty = serde_json::Map::new();
        let headers = response["headers"].as_object().unwrap_or(&empty);
        for (name, header) in headers {
            let header = resolve(self.document, header);
            match answer.headers.get(name.as_str()) {
                Some(value) => {
                    let text = Value::from(value.to_str().expect("text"));
                    check(self.document, &header["schema"], &text)
                        .unwrap_or_else(|error| panic!("{at:?} {name}: {error}"));
                    see(name);
                }
                None => assert_ne!(header["required"], true, "{at:?} {status} has no {name}"),
            }
        }
        for name in answer.headers.keys().filter(|name| !ALWAYS.contains(&name.as_str())) {
            let known = headers.keys().any(|known| known.eq_ignore_ascii_case(name.as_str()));
            assert!(known, "{at:?} {status} has {name}, which is not described");
        }
        match &response["content"] {
            Value::Null => assert!(answer.body.is_empty(), "{at:?} {status} has a body"),
            content if content.get("application/json").is_some() => {
                assert_eq!(answer.header("content-type"), "application/json");
                if request.method == "HEAD" {
                    return;
                }
                let (schema, body) = (&content["application/json"]["schema"], answer.json());
                check(self.document, schema, &body)
                    .unwrap_or_else(|error| panic!("{at:?} {status}: {error}"));
                self.codes.extend(body["code"].as_str().map(str::to_owned));
            }
            _ => {}
        }
        assert_eq!(answer.header("cache-control"), "no-store");
    }
}

/// Requests that meet every answer of a service whose store works, in this order.
fn requests() -> Vec<Ask> {
    let json = || put(one("j") + "?owner=%C3%BC&ttl=1500ms", "{}").header("content-type", "application/json");
    let read_many = |body: &str| ask("POST", "/v1/user-sessions:read").body(body);
    let mut all = vec![
        json(),
        json(),
        get(one("j")),
        ask("HEAD", one("j")),
        get(one("j")).header("if-none-match", "*"),
        ask("HEAD", one("j")).header("if-none-match", "*"),
        ask("PATCH", one("j")).merge_patch("{\"a\":1}"),
        get("/v1/user-sessions?owner=%C3%BC"),
        get("/v1/user-sessions?limit=101"),
        read_many(r#"{"keys":["j","none"]}"#),
        read_many("{}"),
        read_many(r#"{"keys":["j"]}"#).header("content-type", "text/plain"),
        read_many(r#"{"keys":["j"]}"#).header("content-encoding", "gzip"),
        put(one("plain"), "text"),
        ask("PATCH", one("plain")).merge_patch("{}"),
        put(one("j"), "").header("content-encoding", "gzip"),
        ask("PATCH", one("j")).header("content-type", "text/plain").body("{}"),
        put(one("new") + "?owner=full", "1"),
        put(one("big"), "").body(vec![0; 64 * 1024 + 1]),
        ask("PATCH", one("big")).body(vec![0; 64 * 1024 + 1]),
        read_many("").body(vec![0; 256 * 1024 + 1]),
        get("/v1/user-sessions?owner=a").body("x"),
        ask("PATCH", one("none") + "?ttl=1m"),
    ];
    for method in ["GET", "HEAD", "PUT", "PATCH", "DELETE"] {
        all.push(ask(method, one("plain") + "?what=1"));
        all.push(ask(method, one("%00")));
        all.push(ask(method, one("plain")).header("if-match", "malformed"));
        all.push(
            ask(method, one("plain") + if method == "PATCH" { "?ttl=1m" } else { "" })
                .header("if-match", "\"no\""),
        );
        if !["PUT", "PATCH"].contains(&method) {
            all.push(ask(method, one("none")));
            all.push(ask(method, one("plain")).body("x"));
        }
    }
    // An unknown parameter hides the key; this meets it.
    all.push(ask("PATCH", one("%00") + "?ttl=1m"));
    // The same again without an owner, and then without the session.
    all.extend([put(one("j"), "{}"), get(one("j")), ask("DELETE", one("j"))]);
    all
}

#[tokio::test]
async fn answers_are_described_and_descriptions_are_met() {
    let document = document();
    let mut met = Met {
        described: described(&document),
        document: &document,
        seen: BTreeSet::new(),
        codes: BTreeSet::new(),
    };
    let world = World::start().await;
    fill(&world, "full").await;
    for request in requests() {
        let options = SignOptions { nonce: Some(nonce()), ..SignOptions::at(unix_time()) };
        met.look(&request, &world.ask(request.clone()).await);
        met.look(&request, &world.send(request.unsigned()).await);
        // The second of these two is a replay, unless something was wrong before the store was asked.
        for _ in 0..2 {
            met.look(&request, &world.send(request.signed(&world.orders, &options)).await);
        }
    }
    let old = SignOptions::at(unix_time() - Duration::from_secs(59));
    met.look(&get(one("j")), &world.send(get(one("j")).signed(&world.orders, &old)).await);
    met.look(&get("/v1/openapi.json"), &world.send(get("/v1/openapi.json").unsigned()).await);
    unreadable(&world, &mut met).await;
    without_a_store(&world, &mut met).await;

    let mut described = BTreeSet::new();
    for ((path, method), operation) in &met.described {
        for (status, response) in operation["responses"].as_object().expect("responses") {
            let at = |header: &str| (path.clone(), method.clone(), status.clone(), header.to_owned());
            described.insert(at(""));
            let headers = resolve(&document, response)["headers"].as_object().cloned().unwrap_or_default();
            described.extend(headers.keys().map(|name| at(name)));
        }
    }
    let missing: Vec<_> = described.difference(&met.seen).collect();
    assert!(missing.is_empty(), "described and never met: {missing:?}");
    let codes = document.pointer("/components/schemas/Problem/properties/code/anyOf/0/enum").expect("codes");
    for code in codes.as_array().expect("a list").iter().map(|code| code.as_str().expect("a code")) {
        assert!(met.codes.contains(code) || FAULTS.contains(&code), "no request met {code}");
    }
}

async fn fill(world: &World, owner: &str) {
    let mut words = vec!["HSET".to_owned(), owner_key(owner)];
    let young = unix_time().as_millis();
    for index in 0..1_000 {
        words.extend([format!("s{index}"), format!("1 {young} 4000000000000 abc")]);
    }
    world.store(&words.iter().map(String::as_str).collect::<Vec<_>>()).await;
}

/// Where the store holds something else in the place of a session.
async fn unreadable(world: &World, met: &mut Met<'_>) {
    world.ask(put(one("strange") + "?owner=strange", "{}")).await.expect(201, "");
    world.store(&["HSET", "bowline:{session:orders/strange}", "version", "x"]).await;
    let read_many = ask("POST", "/v1/user-sessions:read").body(r#"{"keys":["strange"]}"#);
    let (list, keep) = (get("/v1/user-sessions?owner=strange"), put(one("strange") + "?keep=true", "{}"));
    let patch = ask("PATCH", one("strange") + "?ttl=1m");
    for request in [read_many, list, get(one("strange")), ask("HEAD", one("strange")), keep, patch] {
        met.look(&request, &world.ask(request.clone()).await);
    }
}

/// Every operation where the store does not answer, and where the body does not come.
async fn without_a_store(world: &World, met: &mut Met<'_>) {
    let nowhere = client("127.0.0.1:1".parse().expect("an address"));
    let down = Sessions::new(nowhere, world.keys.clone(), Settings::default());
    let mut requests = vec![
        get("/v1/user-sessions?owner=a"),
        // Its keys are answered one by one, but the nonce goes first.
        ask("POST", "/v1/user-sessions:read").body(r#"{"keys":["a"]}"#),
        ask("PATCH", one("a") + "?ttl=1m"),
    ];
    requests.extend(["GET", "HEAD", "PUT", "DELETE"].map(|method| ask(method, one("a"))));
    let answers = requests.iter().map(|request| {
        let signed = request.signed(&world.orders, &SignOptions::at(unix_time()));
        send(&down, signed)
    });
    let answers = futures_util::future::join_all(answers).await;
    for (request, answer) in requests.iter().zip(answers) {
        met.look(request, &answer);
    }
    tokio::time::pause();
    for request in requests.iter().filter(|request| ["PUT", "PATCH", "POST"].contains(&request.method)) {
        let mut signed = request.signed(&world.orders, &SignOptions::at(unix_time()));
        *signed.body_mut() =
            Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());
        met.look(request, &send(&down, signed).await);
    }
    tokio::time::resume();
}
