//! What is let in and what is refused, and by which word.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::base::{SIGNATURE, SIGNATURE_INPUT};
use super::components::{CONTENT_DIGEST, RequestParts};
use super::*;

/// The time of these tests.
const NOW: Duration = Duration::from_secs(1_800_000_000);
const NONCE: &str = "0123456789abcdef";

/// A request that can be signed, changed and checked.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    pub method: String,
    pub authority: String,
    pub path: String,
    pub query: Option<String>,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Sample {
    pub fn get() -> Self {
        let (method, authority) = ("GET".to_owned(), "Gateway.example.com:7090".to_owned());
        let (path, query) = ("/v1/user-sessions/42".to_owned(), None);
        Self { method, authority, path, query, headers: HeaderMap::new(), body: Vec::new() }
    }

    pub fn put() -> Self {
        let query = Some("ttl=60".to_owned());
        let sample = Self { method: "PUT".to_owned(), query, body: b"{}".to_vec(), ..Self::get() };
        sample.with("content-type", "application/json").with("bowline-ttl", "60").with("if-match", "\"a\"")
    }

    pub fn with(mut self, name: &str, value: &str) -> Self {
        let name: HeaderName = name.parse().unwrap();
        self.headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        self
    }

    pub fn parts(&self) -> RequestParts<'_> {
        RequestParts {
            method: &self.method,
            authority: &self.authority,
            path: &self.path,
            query: self.query.as_deref(),
            headers: &self.headers,
        }
    }

    pub fn signed(mut self, key: &SigningKey, options: &SignOptions) -> Self {
        for (name, value) in key.sign(&self.parts(), Some(&self.body), options).unwrap() {
            self.headers.insert(name, value);
        }
        self
    }

    /// As a server does it: the headers first, then the body.
    pub fn check(&self, keys: &Keys) -> Result<Verified, Refusal> {
        let verified = keys.verify(&self.parts(), NOW)?;
        verified.check_body(&self.body).map(|()| verified)
    }

    /// Changes the text of the signature's input.
    fn edit(mut self, from: &str, to: &str) -> Self {
        let text = self.headers[SIGNATURE_INPUT].to_str().unwrap();
        assert!(text.contains(from), "{text} has no {from}");
        let text = text.replacen(from, to, 1);
        self.headers.insert(SIGNATURE_INPUT, HeaderValue::from_str(&text).unwrap());
        self
    }
}

pub(super) fn key(algorithm: Algorithm) -> (SigningKey, Keys) {
    let key = SigningKey::generate("orders-1".parse().unwrap(), algorithm);
    let keys = Keys::from_toml("keys.toml", &key.table_entry(&"orders".parse().unwrap())).unwrap();
    (key, keys)
}

pub(super) fn options() -> SignOptions {
    SignOptions { nonce: Some(NONCE.to_owned()), ..SignOptions::at(NOW) }
}

fn check_refused(sample: &Sample, keys: &Keys, code: &str) {
    let refusal = sample.check(keys).expect_err(code);
    assert_eq!(refusal.code(), code, "{refusal}");
    assert!(!refusal.to_string().is_empty() && !refusal.to_string().ends_with('.'));
}

#[test]
fn what_is_signed_is_let_in() {
    for algorithm in [Algorithm::HmacSha256, Algorithm::Ed25519] {
        let (key, keys) = key(algorithm);
        for sample in [Sample::get(), Sample::put(), Sample { body: Vec::new(), ..Sample::put() }] {
            let verified = sample.clone().signed(&key, &options()).check(&keys).unwrap();
            assert_eq!((&*verified.key, verified.namespace.as_str()), ("orders-1", "orders"));
            assert_eq!(verified.nonce, NONCE);
            assert_eq!((verified.created, verified.expires), (NOW, NOW + Duration::from_secs(60)));
            assert_eq!(verified.remember_until, NOW + Duration::from_secs(90));
            assert_eq!(verified.digest.is_some(), sample.method == "PUT");
        }
        let reread = SigningKey::parse("key", &key.to_toml()).unwrap();
        Sample::get().signed(&reread, &SignOptions::at(NOW)).check(&keys).unwrap();
        assert!(!format!("{key:?} {keys:?}").contains("secret"));
    }
}

#[test]
fn what_was_changed_is_refused() {
    let (key, keys) = key(Algorithm::HmacSha256);
    let put = Sample::put().signed(&key, &options());
    let wrong = |sample: Sample| check_refused(&sample, &keys, "signature_wrong");
    wrong(Sample { method: "PATCH".to_owned(), ..put.clone() });
    wrong(Sample { authority: "other.example.com".to_owned(), ..put.clone() });
    wrong(Sample { path: "/v1/user-sessions/43".to_owned(), ..put.clone() });
    wrong(Sample { query: Some("ttl=61".to_owned()), ..put.clone() });
    wrong(Sample { query: None, ..put.clone() });
    wrong(put.clone().edit(NONCE, "0123456789abcdeg"));
    wrong(put.clone().edit(";expires=1800000060", ";expires=1800000061"));
    wrong(put.clone().edit("\"@method\" \"@authority\"", "\"@authority\" \"@method\""));
    let set = |name: &'static str, value: &'static str| {
        let mut sample = put.clone();
        sample.headers.insert(name, HeaderValue::from_static(value));
        sample
    };
    wrong(set("content-type", "text/plain"));
    wrong(set("bowline-ttl", "61"));
    wrong(set("if-match", "\"b\""));
    wrong(set("content-digest", "sha-256=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:"));
    check_refused(&set("if-none-match", "*"), &keys, "components_missing");
    check_refused(&set("bowline-other", "1"), &keys, "components_missing");
    check_refused(&put.clone().with("bowline-ttl", "61"), &keys, "header_malformed");
    check_refused(&Sample { body: b"[]".to_vec(), ..put.clone() }, &keys, "digest_wrong");
    let mut headers = put.headers.clone();
    headers.remove("bowline-ttl");
    check_refused(&Sample { headers, ..put.clone() }, &keys, "component_absent");
    // The letter case of the authority means nothing, and spaces around a value neither.
    Sample { authority: put.authority.to_uppercase(), ..put.clone() }.check(&keys).unwrap();
    set("bowline-ttl", " 60\t").check(&keys).unwrap();
    set("accept", "text/plain").check(&keys).unwrap();
}

#[test]
fn bodies_need_a_digest() {
    let (key, keys) = key(Algorithm::HmacSha256);
    let get = Sample::get().signed(&key, &options());
    check_refused(&Sample { body: b"a".to_vec(), ..get.clone() }, &keys, "digest_missing");
    check_refused(&get.clone().with("content-length", "1"), &keys, "digest_missing");
    check_refused(&get.clone().with("transfer-encoding", "chunked"), &keys, "digest_missing");
    get.clone().with("content-length", "0").check(&keys).unwrap();
    let digest = "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:";
    check_refused(&get.clone().with("content-digest", digest), &keys, "components_missing");
    let delete = Sample { method: "DELETE".to_owned(), body: b"a".to_vec(), ..Sample::get() };
    delete.signed(&key, &options()).check(&keys).unwrap();
    let put = Sample::put().signed(&key, &options());
    let without = |name: HeaderName| {
        let mut sample = put.clone();
        sample.headers.remove(name);
        sample
    };
    check_refused(&without(CONTENT_DIGEST), &keys, "digest_missing");
    check_refused(&put.clone().edit(" \"content-digest\"", ""), &keys, "components_missing");
    let bad = without(CONTENT_DIGEST).with("content-digest", "sha-256=:AAAA:");
    check_refused(&bad, &keys, "digest_malformed");
}

#[test]
fn signatures_have_their_time() {
    let (key, keys) = key(Algorithm::Ed25519);
    let check = |created: i64, valid_for: u64, code: Option<&str>| {
        let created = Duration::from_secs(NOW.as_secs().checked_add_signed(created).unwrap());
        let options = SignOptions { created, valid_for: Duration::from_secs(valid_for), ..options() };
        let result = Sample::get().signed(&key, &options).check(&keys);
        assert_eq!(result.err().map(|refusal| refusal.code()), code, "{created:?} {valid_for}");
    };
    check(0, 300, None);
    check(0, 301, Some("window_too_long"));
    check(0, 0, Some("signature_malformed"));
    check(30, 60, None);
    check(31, 60, Some("created_in_future"));
    check(-299, 300, None);
    check(-300, 300, Some("expired"));
    check(-59, 60, None);
    check(-60, 60, Some("expired"));
    let strict = Policy { window_max: Duration::from_secs(10), clock_skew: Duration::ZERO };
    let strict = keys.with_policy(strict);
    check_refused(&Sample::get().signed(&key, &options()), &strict, "window_too_long");
}

#[test]
fn malformed_signatures_are_refused_by_their_word() {
    let (key, keys) = key(Algorithm::Ed25519);
    let get = Sample::get().signed(&key, &options());
    check_refused(&Sample::get(), &keys, "signature_missing");
    for (from, to, code) in [
        ("bowline=", "other=", "signature_malformed"),
        ("\"@method\"", "\"@method\" \"@method\"", "signature_malformed"),
        ("\"@method\"", "@method", "signature_malformed"),
        ("\"@method\"", "method", "signature_malformed"),
        ("\"@method\"", "\"@method\";req", "component_unsupported"),
        ("\"@method\"", "\"@method\" \"date\";sf", "component_unsupported"),
        ("\"@method\"", "\"@method\" \"date\";bs", "component_unsupported"),
        ("\"@method\"", "\"@method\" \"date\";tr", "component_unsupported"),
        ("\"@method\"", "\"@method\" \"@query-param\";name=\"a\"", "component_unsupported"),
        ("\"@method\"", "\"@method\" \"@target-uri\"", "component_unsupported"),
        ("\"@method\"", "\"@method\" \"@status\"", "component_unsupported"),
        ("\"@method\"", "\"@method\" \"Date\"", "signature_malformed"),
        ("\"@method\"", "\"@method\" \"da te\"", "signature_malformed"),
        ("\"@method\"", "\"@method\" \"\"", "signature_malformed"),
        ("\"@method\"", "\"@method\" \"date\"", "component_absent"),
        ("\"@method\" ", "", "components_missing"),
        ("\"@authority\" ", "", "components_missing"),
        (" \"@path\"", "", "components_missing"),
        ("(\"@method\" \"@authority\" \"@path\")", "\"@method\"", "signature_malformed"),
        (";created=1800000000", "", "parameter_missing"),
        (";expires=1800000060", "", "parameter_missing"),
        (";keyid=\"orders-1\"", "", "parameter_missing"),
        (";nonce=\"0123456789abcdef\"", "", "nonce_missing"),
        ("0123456789abcdef", "0123456789abcde", "nonce_malformed"),
        ("0123456789abcdef", "0123456789abcde}", "nonce_malformed"),
        ("created=1800000000", "created=1800000000.5", "signature_malformed"),
        ("created=1800000000", "created=\"1800000000\"", "signature_malformed"),
        ("created=1800000000", "created=-1", "signature_malformed"),
        ("created=1800000000", "created=1;created=1800000000", "signature_malformed"),
        ("created=1800000000", "created=9999999999999999", "signature_malformed"),
        ("keyid=\"orders-1\"", "keyid=orders-1", "signature_malformed"),
        ("keyid=\"orders-1\"", "keyid=\"orders-2\"", "key_unknown"),
        ("keyid=\"orders-1\"", "keyid=\"a b\"", "signature_malformed"),
        ("alg=\"ed25519\"", "alg=\"hmac-sha256\"", "algorithm_mismatch"),
        ("tag=\"bowline\"", "tag=\"other\"", "tag_mismatch"),
        (";tag=\"bowline\"", ";x=1", "signature_malformed"),
        (";tag=\"bowline\"", ";tag=\"bowline\", b=()", "signature_malformed"),
        (";tag=\"bowline\"", ",", "signature_malformed"),
        (";alg=\"ed25519\";tag=\"bowline\"", "", "signature_wrong"),
    ] {
        check_refused(&get.clone().edit(from, to), &keys, code);
    }
}

#[test]
fn headers_of_a_signature_come_once_and_are_not_huge() {
    let (key, keys) = key(Algorithm::Ed25519);
    let get = Sample::get().signed(&key, &options());
    let set = |name: HeaderName, value: &[u8]| {
        let mut sample = get.clone();
        sample.headers.insert(name, HeaderValue::from_bytes(value).unwrap());
        sample
    };
    let signature = get.headers[SIGNATURE].to_str().unwrap();
    let check = |sample: &Sample, code: &str| check_refused(sample, &keys, code);
    check(&get.clone().with("signature", signature), "header_malformed");
    check(&set(SIGNATURE, b"bowline=:AAAA:"), "signature_wrong");
    check(&set(SIGNATURE, b"bowline=:AAA:"), "signature_malformed");
    check(&set(SIGNATURE, b"bowline=\"AAAA\""), "signature_malformed");
    check(&set(SIGNATURE, format!("{signature};a=1").as_bytes()), "signature_malformed");
    check(&set(SIGNATURE, format!("{signature}, b=:AAAA:").as_bytes()), "signature_malformed");
    check(&set(SIGNATURE, b"bowline=:\xe9:"), "header_malformed");
    check(&set(SIGNATURE, &b"a".repeat(5000)), "signature_malformed");
    check(&set(SIGNATURE_INPUT, b""), "signature_malformed");
    check(
        &set(SIGNATURE_INPUT, format!("bowline=({})", "\"a\" ".repeat(70)).as_bytes()),
        "signature_malformed",
    );
    let mut half = get.clone();
    half.headers.remove(SIGNATURE);
    check(&half, "signature_malformed");
    let huge = Sample::get().with("bowline-a", &"a".repeat(200_000));
    let refused = key.sign(&huge.parts(), None, &options()).unwrap_err();
    assert_eq!(refused.code(), "request_malformed");
    for path in ["/a b", "/a\n\"@method\": GET", "/é"] {
        let odd = Sample { path: path.to_owned(), ..get.clone() };
        check(&odd, "request_malformed");
    }
    check(&Sample { authority: "a@b".to_owned(), ..get.clone() }, "request_malformed");
    check(&get.clone().with("bowline-a", "é"), "header_malformed");
    assert_eq!(without_default_port("a:443", true), "a");
    assert_eq!(without_default_port("a:443", false), "a:443");
    assert_eq!(without_default_port("a:80", false), "a");
}

#[test]
fn keys_have_their_time_and_can_overlap() {
    let (old, new) = (key(Algorithm::HmacSha256).0, {
        SigningKey::generate("orders-2".parse().unwrap(), Algorithm::Ed25519)
    });
    let namespace = "orders".parse().unwrap();
    let entries =
        |dates: &str| format!("{}{dates}\n{}", *old.table_entry(&namespace), *new.table_entry(&namespace));
    let check = |dates: &str, code: Option<&str>| {
        let keys = Keys::from_toml("keys.toml", &entries(dates)).unwrap();
        Sample::get().signed(&new, &options()).check(&keys).unwrap();
        let result = Sample::get().signed(&old, &options()).check(&keys);
        assert_eq!(result.err().map(|refusal| refusal.code()), code, "{dates}");
    };
    // NOW is 2027-01-15T08:00:00Z.
    check("", None);
    check("not_before = 2027-01-15T08:00:00Z", None);
    check("not_before = 2027-01-15T08:00:01Z", Some("key_not_valid_now"));
    check("not_after = \"2027-01-15T08:00:01Z\"", None);
    check("not_after = 2027-01-15T08:00:00Z", Some("key_not_valid_now"));
    check("not_after = 2027-01-15T10:00:01+02:00", None);
    check("not_before = 2026-01-01T00:00:00Z\nnot_after = 2027-01-01T00:00:00Z", Some("key_not_valid_now"));
}
