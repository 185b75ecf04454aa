//! What `docs/sessions.md` prints for those who sign without Bowline is right.

use super::*;

const DOCUMENT: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/sessions.md"));

/// What comes after `before`, up to `until`.
fn text_after<'a>(before: &str, until: char) -> &'a str {
    let (_, rest) = DOCUMENT.split_once(before).unwrap_or_else(|| panic!("the document has no {before}"));
    rest.split(until).next().expect("there is a first part")
}

#[test]
fn the_signature_in_the_document_is_taken_for_right() {
    let secret = text_after("    \"shop-1\", \"", '"');
    let table = format!(
        "[[key]]\nid = \"shop-1\"\nalgorithm = \"hmac-sha256\"\nnamespace = \"shop\"\nsecret = \"{secret}\"\n"
    );
    let keys = Keys::from_toml("the document", &table).expect("a key");
    let mut headers = HeaderMap::new();
    for name in ["content-type", "content-digest", "signature-input", "signature"] {
        let value = text_after(&format!("\n{name}: "), '\n');
        headers.insert(HeaderName::from_static(name), value.parse().expect("a value"));
    }
    let request = RequestParts {
        method: "PUT",
        authority: text_after("\"PUT\", \"", '"'),
        path: "/v1/user-sessions/42",
        query: Some(text_after("\"/v1/user-sessions/42?", '"')),
        headers: &headers,
    };
    let created: u64 = text_after("    created=", ',').parse().expect("a number");
    let created = Duration::from_secs(created);
    let verified = keys.verify(&request, created).expect("it is right");
    let body = text_after("b'", '\'');
    verified.check_body(body.as_bytes()).expect("its digest is right");
    let altered = RequestParts { query: Some("owner=bob"), ..request };
    keys.verify(&altered, created).expect_err("it is of one request");
}
