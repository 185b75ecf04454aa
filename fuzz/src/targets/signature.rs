//! Signed requests: the headers of a signature, and files of keys.

use std::time::Duration;

use bowline_identity::signature::{Keys, Refusal, RequestParts, SigningKey, Verified};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::Target;

/// The headers of a signature, one a line: nothing is let in but what the one who knows the secret signed.
pub const SIGNATURE_HEADERS: Target = Target {
    name: "signature_headers",
    samples: &[
        b"l=(\"@method\" \"@authority\" \"@path\" \"@query\" \"content-digest\");created=1800000000;expires=1800000060;nonce=\"0123456789abcdef\";keyid=\"a\";alg=\"hmac-sha256\";tag=\"bowline\"\nl=:fA2e3PK0pMr4ZBf4MxWrGOnDPC+f4xabS5MVGEYuNmI=:\nsha-256=:RBNvo1WzZ4oRRq0W9+hknpT7T8If536DEMBg9hyq/4o=:",
        b"l=(\"@method\";req \"date\");created=-1;x=?0;y=tok, m;z\nl=:AA==:;a, m=\"q\\\"\"\nmd5=:AA==:, sha-512=1",
    ],
    run: signature_headers,
};

/// Files of keys, of both sides.
pub const SIGNING_KEYS: Target = Target {
    name: "signing_keys",
    samples: &[
        b"[[key]]\nid = \"a\"\nalgorithm = \"hmac-sha256\"\nnamespace = \"n\"\nsecret = \"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\"\nnot_before = 2026-01-01T00:00:00Z\nnot_after = \"2027-01-01T00:00:00+01:00\"\n",
        b"[[key]]\nid = \"b\"\nalgorithm = \"ed25519\"\nnamespace = \"n\"\npublic_key = \"JrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs=\"\n",
        b"id = \"a\"\nalgorithm = \"ed25519\"\nprivate_key = \"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\"\n",
    ],
    run: signing_keys,
};

/// The key of the first sample.
const KEYS: &str = "[[key]]\nid = \"a\"\nalgorithm = \"hmac-sha256\"\nnamespace = \"n\"\nsecret = \"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\"\n";
/// When the first sample is valid.
const NOW: Duration = Duration::from_secs(1_800_000_000);

fn signature_headers(input: &[u8]) {
    match verify(input) {
        Some(Ok(verified)) => {
            // Only what was signed, in whatever spelling.
            assert_eq!(verified.nonce, "0123456789abcdef");
            assert_eq!((verified.created, verified.expires), (NOW, NOW + Duration::from_secs(60)));
            assert_eq!(verified.check_body(b"{}"), Ok(()));
            assert!(verified.check_body(b"[]").is_err());
        }
        Some(Err(refusal)) => assert!(!refusal.code().is_empty() && !refusal.to_string().contains("MDEy")),
        None => {}
    }
}

/// `None` if the lines can be no headers.
fn verify(input: &[u8]) -> Option<Result<Verified, Refusal>> {
    let mut headers = HeaderMap::new();
    let names = ["signature-input", "signature", "content-digest"].map(HeaderName::from_static);
    for (name, line) in names.into_iter().zip(input.split(|byte| *byte == b'\n')) {
        headers.insert(name, HeaderValue::from_bytes(line).ok()?);
    }
    let keys = Keys::from_toml("keys.toml", KEYS).expect("the keys are right");
    let query = Some("x");
    let request = RequestParts { method: "PUT", authority: "a", path: "/v1", query, headers: &headers };
    Some(keys.verify(&request, NOW))
}

fn signing_keys(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(keys) = Keys::from_toml("keys.toml", text) {
        assert!(!format!("{keys:?}").contains("MDEy"), "no secret shows");
    }
    if let Ok(key) = SigningKey::parse("a.key", text) {
        let again = SigningKey::parse("a.key", &key.to_toml()).expect("what was written reads back");
        assert_eq!(again.to_toml(), key.to_toml());
        assert!(!format!("{key:?}").contains("MDEy"), "no secret shows");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Or else the target would look at refusals only.
    #[test]
    fn the_first_sample_is_let_in() {
        assert!(matches!(verify(SIGNATURE_HEADERS.samples[0]), Some(Ok(_))));
    }
}
