//! `Content-Digest` (RFC 9530): the hash of a body, so that a signature over headers covers the body too.

use aws_lc_rs::digest::{Algorithm, SHA256, SHA512, digest};

use super::refusal::Refusal;
use super::structured::{self, Bare, Member};

/// The algorithms that count, by their names in the header.
const ALGORITHMS: [(&str, &Algorithm); 2] = [("sha-256", &SHA256), ("sha-512", &SHA512)];

/// What a body must hash to.
#[derive(Debug, Clone)]
pub struct ContentDigest {
    expected: Vec<(&'static Algorithm, Vec<u8>)>,
}

impl ContentDigest {
    /// Reads the value of the header. Algorithms that are not known or not safe do not count; one at least must.
    ///
    /// # Errors
    /// [`Refusal::DigestMalformed`].
    pub fn parse(value: &str) -> Result<Self, Refusal> {
        let malformed = |problem: String| Refusal::DigestMalformed(problem);
        let members = structured::dictionary(value).map_err(|problem| malformed(problem.to_string()))?;
        let mut expected = Vec::new();
        for (name, member) in members {
            let Some((_, algorithm)) = ALGORITHMS.iter().find(|(known, _)| *known == name) else { continue };
            match member {
                Member::Item((Bare::Bytes(bytes), _)) if bytes.len() == algorithm.output_len() => {
                    expected.push((*algorithm, bytes));
                }
                _ => {
                    let length = algorithm.output_len();
                    return Err(malformed(format!("{name} is not {length} bytes as base64 between colons")));
                }
            }
        }
        if expected.is_empty() {
            return Err(malformed("it has neither sha-256 nor sha-512".to_owned()));
        }
        Ok(Self { expected })
    }

    /// Whether this is the digest of `body`; with several algorithms, by all of them.
    #[must_use]
    pub fn matches(&self, body: &[u8]) -> bool {
        self.expected.iter().all(|(algorithm, bytes)| digest(algorithm, body).as_ref() == bytes)
    }
}

/// The value of the header for `body`.
pub(super) fn content_digest(body: &[u8]) -> String {
    let mut value = "sha-256=".to_owned();
    structured::write_bare(&mut value, &Bare::Bytes(digest(&SHA256, body).as_ref().to_vec()));
    value
}
