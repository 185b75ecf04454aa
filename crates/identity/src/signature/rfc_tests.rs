//! The test vectors of RFC 9421, appendix B.2, for the algorithms that are ours.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::ContentDigest;
use super::base::{Input, SIGNATURE, SIGNATURE_INPUT, Signed};
use super::components::RequestParts;
use super::keys::Keys;
use super::sign::SigningKey;
use crate::signature::encoding;

/// B.1.4 and B.1.5, for a server.
const KEYS: &str = r#"
[[key]]
id = "test-key-ed25519"
algorithm = "ed25519"
namespace = "test"
public_key = """
-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAJrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs=
-----END PUBLIC KEY-----
"""
[[key]]
id = "test-shared-secret"
algorithm = "hmac-sha256"
namespace = "test"
secret = "uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ=="
"#;

/// B.1.4, for a client.
const ED25519: &str = r#"
id = "test-key-ed25519"
algorithm = "ed25519"
private_key = """
-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIJ+DYvh6SEqVTm50DFtMDoQikTmiCqirVv9mWG9qfSnF
-----END PRIVATE KEY-----
"""
"#;

/// B.1.5, for a client.
const SHARED_SECRET: &str = r#"
id = "test-shared-secret"
algorithm = "hmac-sha256"
secret = "uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ=="
"#;

/// The digest of the request's body in B.2.
const DIGEST: &str =
    "sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJwew==:";
/// The body of the request in B.2.
const BODY: &[u8] = br#"{"hello": "world"}"#;

struct Vector {
    key: &'static str,
    input: &'static str,
    signature: &'static str,
    base: &'static str,
}

const B25: Vector = Vector {
    key: SHARED_SECRET,
    input: r#"sig-b25=("date" "@authority" "content-type");created=1618884473;keyid="test-shared-secret""#,
    signature: "sig-b25=:pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=:",
    base: "\"date\": Tue, 20 Apr 2021 02:07:55 GMT\n\"@authority\": example.com\n\"content-type\": application/json\n\
           \"@signature-params\": (\"date\" \"@authority\" \"content-type\");created=1618884473;keyid=\"test-shared-secret\"",
};

const B26: Vector = Vector {
    key: ED25519,
    input: r#"sig-b26=("date" "@method" "@path" "@authority" "content-type" "content-length");created=1618884473;keyid="test-key-ed25519""#,
    signature: "sig-b26=:wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==:",
    base: "\"date\": Tue, 20 Apr 2021 02:07:55 GMT\n\"@method\": POST\n\"@path\": /foo\n\"@authority\": example.com\n\
           \"content-type\": application/json\n\"content-length\": 18\n\
           \"@signature-params\": (\"date\" \"@method\" \"@path\" \"@authority\" \"content-type\" \"content-length\")\
           ;created=1618884473;keyid=\"test-key-ed25519\"",
};

/// The request of B.2.
fn headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("host", "example.com"),
        ("date", "Tue, 20 Apr 2021 02:07:55 GMT"),
        ("content-type", "application/json"),
        ("content-digest", DIGEST),
        ("content-length", "18"),
    ] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    headers
}

fn parts(headers: &HeaderMap) -> RequestParts<'_> {
    let query = Some("param=Value&Pet=dog");
    RequestParts { method: "POST", authority: "example.com", path: "/foo", query, headers }
}

#[test]
fn the_vectors_verify_and_are_signed_alike() {
    for vector in [B25, B26] {
        let mut headers = headers();
        headers.insert(SIGNATURE_INPUT, HeaderValue::from_static(vector.input));
        headers.insert(SIGNATURE, HeaderValue::from_static(vector.signature));
        let signed = Signed::from_headers(&headers).unwrap();
        let Input { parameters, .. } = &signed.input;
        assert_eq!(parameters.len(), 2);
        let base = signed.input.base(&parts(&headers)).unwrap();
        assert_eq!(base, vector.base);

        let signing = SigningKey::parse("test", vector.key).unwrap();
        let keys = Keys::from_toml("test", KEYS).unwrap();
        let key = keys.key(signing.id()).unwrap();
        assert!(key.material.verifies(base.as_bytes(), &signed.signature));
        assert!(!key.material.verifies(base.replace("20 Apr", "21 Apr").as_bytes(), &signed.signature));
        let again = format!(":{}:", encoding::encode(&signing.signature_of(&base)));
        assert!(vector.signature.ends_with(&again));
    }
}

#[test]
fn the_digests_fit_the_body() {
    // The second is the one of RFC 9421's other examples, by SHA-256.
    for digest in [DIGEST, "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:"] {
        let digest = ContentDigest::parse(digest).unwrap();
        assert!(digest.matches(BODY));
        assert!(!digest.matches(b"{\"hello\": \"world\"}\n"));
    }
    let both = format!("{DIGEST}, sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:");
    assert!(!ContentDigest::parse(&both).unwrap().matches(BODY), "one that fits is not enough");
    let check = |value: &str, part: &str| {
        let error = ContentDigest::parse(value).unwrap_err().to_string();
        assert!(error.contains(part), "{value}: {error}");
    };
    check("", "neither sha-256 nor sha-512");
    check("md5=:AAAA:", "neither sha-256 nor sha-512");
    check("sha-256=:AAAA:", "sha-256 is not 32 bytes");
    check("sha-256=AAAA", "sha-256 is not 32 bytes");
    check("sha-256=:AAA:", "no base64");
    check("SHA-256=:AAAA:", "no key at character 1");
}
