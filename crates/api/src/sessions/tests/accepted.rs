//! What `/v1/openapi.json` says of requests and what is accepted are the same, both ways: every value of every parameter that obeys
//! its schema is accepted, and no other. The values are odd ones that somebody thought of, and random ones from the patterns.
//!
//! The two exceptions are those that the description names: bytes of UTF-8, and cursors that were never handed out.

use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::TestRunner;

use super::description::{described, document};
use super::schema::{check, resolve};
use super::*;

/// Statuses that say that the request is malformed.
const MALFORMED: [u16; 2] = [400, 415];

/// Values that are right for one parameter or another, or nearly so, with bars between; the first is empty.
const ODD: &str = concat!(
    "|a|ü|a b| |a+b|%|a/b|x:y|.|..|...|\u{0}|\n|a\n|\t|\u{1f}|\u{7f}|\u{80}|\u{9f}|\u{a0}|\u{feff}|😀|true|false",
    "|TRUE|True|1|0|00|01|+1|-1|1.0|1e1|99|100|101|18446744073709551616|null|[]|ms|s|1ms|999ms|1000ms|01000ms",
    "|2591999999ms|2592000000ms|2592000001ms|9999999999ms|0s|1s|01s|+1s|1S|1 s|1s |1.5s|2592000s|2592001s|9999999s",
    "|59m|43200m|43201m|720h|721h|1d|30d|31d|99d|1w|18446744073709551616s|*|**|\"\"|\"a\"|W/\"a\"|w/\"a\"|\"a|a\"",
    "|\"a\"\"b\"|\"a\" \"b\"|\"a\", \"b\"|\"a\",|,\"a\"|, ,\t\"a\",,\"b\" ,|,|\"a,b\"|\"a b\"|\"ü\"|*, \"a\"",
    "|\"a\", *|W/*",
);

/// These, and long ones.
fn values() -> Vec<String> {
    let mut values: Vec<String> = ODD.split('|').map(str::to_owned).collect();
    values.extend([256, 257].map(|count| "x".repeat(count)));
    values.extend([16, 17].map(|count| vec!["\"t\""; count].join(",")));
    values.push(",".repeat(30) + "\"t\"");
    values
}

/// What a text of a query, a header or a path means for a schema: the value that a client had before it wrote it.
fn meant(schema: &Value, text: &str) -> Value {
    let parsed =
        || serde_json::from_str::<Value>(text).ok().filter(|value| value.to_string().as_str() == text);
    match schema["type"].as_str() {
        Some("boolean" | "integer") => parsed().unwrap_or_else(|| text.into()),
        _ => text.into(),
    }
}

fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// A request that is right but for one parameter; `None` if nothing could send that.
fn with(method: &'static str, path: &str, place: &str, name: &str, value: &str) -> Option<Ask> {
    let mut target = path.to_owned();
    if place == "path" {
        // What is empty is another path, and dots are taken out by clients.
        let sent = if value == "." || value == ".." { value.to_owned() } else { escaped(value) };
        target = (!value.is_empty()).then(|| target.replace("{key}", &sent))?;
    }
    let mut query = Vec::new();
    if path == "/v1/user-sessions" && name != "owner" {
        query.push("owner=o".to_owned());
    }
    if method == "PATCH" && name != "ttl" {
        query.push("ttl=1h".to_owned());
    }
    if place == "query" {
        query.push(format!("{name}={}", escaped(value)));
    }
    target = target.replace("{key}", "k");
    if !query.is_empty() {
        target = format!("{target}?{}", query.join("&"));
    }
    let mut ask = ask(method, target);
    if path.ends_with(":read") {
        ask = ask.body(r#"{"keys":["k"]}"#);
    }
    if place == "header" {
        // HTTP takes off blanks around it, and other characters cannot be signed.
        let is_sent =
            value.trim() == value && value.bytes().all(|byte| byte == b'\t' || (b' '..=b'~').contains(&byte));
        let value = HeaderValue::from_str(value).ok().filter(|_| is_sent)?;
        ask.headers.insert(HeaderName::from_bytes(name.as_bytes()).expect("a name"), value);
    }
    Some(ask)
}

/// Texts that a pattern allows.
fn random(schema: &Value, document: &Value) -> Vec<String> {
    let Some(pattern) = resolve(document, schema)["pattern"].as_str() else { return Vec::new() };
    let pattern = pattern.trim_start_matches('^').trim_end_matches('$');
    let strategy = proptest::string::string_regex(pattern).expect("a pattern");
    let mut runner = TestRunner::deterministic();
    let mut texts = Vec::new();
    for _ in 0..24 {
        texts.push(strategy.new_tree(&mut runner).expect("a text").current());
    }
    texts
}

#[tokio::test]
async fn what_is_described_is_accepted_and_nothing_else() {
    let (world, document) = (World::start().await, document());
    let (mut right, mut wrong) = (0, 0);
    for ((path, method), operation) in described(&document) {
        let of_path = document["paths"][&path]["parameters"].as_array().cloned().unwrap_or_default();
        let of_operation = operation["parameters"].as_array().cloned().unwrap_or_default();
        for parameter in of_path.iter().chain(&of_operation) {
            let parameter = resolve(&document, parameter);
            let [name, place] = ["name", "in"].map(|word| parameter[word].as_str().expect("a word"));
            if name.starts_with("Signature") || name == "Content-Digest" || name == "cursor" {
                continue;
            }
            let schema = resolve(&document, &parameter["schema"]);
            for value in values().into_iter().chain(random(schema, &document)) {
                let method: http::Method = method.parse().expect("a method");
                let method = ["GET", "HEAD", "PUT", "PATCH", "DELETE", "POST"]
                    .into_iter()
                    .find(|name| method == *name);
                let Some(request) = with(method.expect("a known one"), &path, place, name, &value) else {
                    continue;
                };
                let answer = world.ask(request).await;
                let is_accepted = !MALFORMED.contains(&answer.status.as_u16());
                let is_described = check(&document, schema, &meant(schema, &value)).is_ok();
                let is_too_long = schema.to_string().contains("256") && value.len() > 256;
                assert_eq!(is_accepted, is_described && !is_too_long, "{path} {name} {value:?}: {answer:?}");
                assert_ne!(answer.status, 401, "{path} {name} {value:?}: {answer:?}");
                *(if is_accepted { &mut right } else { &mut wrong }) += 1;
            }
        }
    }
    assert!(right > 300 && wrong > 300, "{right} accepted, {wrong} refused");
}

#[tokio::test]
async fn bodies_of_bulk_reads_are_those_of_their_schema() {
    let (world, document) = (World::start().await, document());
    let schema = document.pointer("/components/schemas/Keys").expect("a schema");
    let many = |count: usize| format!("{{\"keys\":[{}]}}", vec!["\"k\""; count].join(","));
    let mut bodies: Vec<String> = [
        "{}",
        "[]",
        "[[\"k\"]]",
        "\"k\"",
        "null",
        "{\"keys\":\"k\"}",
        "{\"keys\":[\"k\"],\"more\":1}",
        "{\"keys\":[1]}",
        "{\"keys\":[null]}",
        "{\"keys\":[[\"k\"]]}",
        " {\"keys\" : [\"k\", \"k\"] }\n",
        "{\"Keys\":[\"k\"]}",
        "{\"keys\":{\"0\":\"k\"}}",
    ]
    .map(str::to_owned)
    .into();
    bodies.extend([0, 1, 100, 101].map(many));
    bodies.extend(values().iter().map(|key| serde_json::json!({ "keys": [key] }).to_string()));
    for body in bodies {
        let answer = world.ask(ask("POST", "/v1/user-sessions:read").body(body.clone())).await;
        let value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(answer.status == 200, check(&document, schema, &value).is_ok(), "{body}: {answer:?}");
    }
    for (content_type, status) in [
        ("application/json", 200),
        ("Application/JSON ; charset=utf-8", 200),
        ("application/x-www-form-urlencoded", 415),
        ("application/merge-patch+json", 415),
        ("", 415),
    ] {
        let request =
            ask("POST", "/v1/user-sessions:read").body(many(1)).header("content-type", content_type);
        assert_eq!(world.ask(request).await.status, status, "{content_type}");
    }
}

/// What a signature is made of has forms too, though a schema cannot say which signature is right.
#[tokio::test]
async fn headers_of_signatures_have_the_forms_that_are_described() {
    let (world, document) = (World::start().await, document());
    let parameter =
        |name: &str| document.pointer(&format!("/components/parameters/{name}/schema")).expect("a schema");
    let fits = |name: &str, text: &str| check(&document, parameter(name), &text.into()).is_ok();
    for key in [&world.orders, &world.billing] {
        let request = put(one("k") + "?ttl=1m", "x")
            .header("content-type", "a/b")
            .signed(key, &SignOptions::at(unix_time()));
        for (parameter, header) in [
            ("SignatureInput", "signature-input"),
            ("Signature", "signature"),
            ("ContentDigest", "content-digest"),
        ] {
            let text = request.headers()[header].to_str().expect("text").to_owned();
            assert!(fits(parameter, &text), "{header}: {text}");
            // Nothing of it can be left out.
            for cut in [&text[1..], &text[..text.len() - 1], "", "x"] {
                let mut changed = put(one("k") + "?ttl=1m", "x").signed(key, &SignOptions::at(unix_time()));
                changed.headers_mut().insert(header, HeaderValue::from_str(cut).expect("a value"));
                assert_eq!(world.send(changed).await.status, 401, "{header}: {cut}");
            }
            assert!(
                !fits(parameter, "") && !fits(parameter, "x") && !fits(parameter, &text[..text.len() - 1])
            );
        }
    }
    for digest in ["sha-512=:", "md5=:AAAA:", "sha-256=AAAA", "SHA-256=:AAAA:"] {
        assert!(!fits("ContentDigest", digest), "{digest}");
    }
}

/// The bounds in the description are those of the service, not only the usual ones.
#[tokio::test]
async fn the_description_follows_the_settings() {
    let hour = Duration::from_secs(3_600);
    let settings = Settings { lifetime_max: hour, value_bytes_max: 10, ttl: hour / 2, ..settings() };
    let world = World::with(settings).await;
    let document = world.send(get("/v1/openapi.json").unsigned()).await.json();
    let schema = document.pointer("/components/schemas/Lifetime").expect("a schema");
    for time in ["3600000ms", "3600001ms", "3600s", "3601s", "60m", "61m", "1h", "2h", "1d", "10000000ms"] {
        let answer = world.ask(put(format!("{}?absolute={time}", one("k")), "")).await;
        assert_eq!(
            answer.status.is_success(),
            check(&document, schema, &time.into()).is_ok(),
            "{time}: {answer:?}"
        );
    }
    let text = document.to_string();
    assert!(
        text.contains("at most 10 bytes")
            && text.contains("Default: 1800s")
            && text.contains("at most: 3600s")
    );
}
