//! The text that is signed (RFC 9421, 2.5), and the parameters of a signature (2.3).

use http::HeaderMap;
use http::header::HeaderName;

use super::components::{Component, RequestParts, single};
use super::refusal::Refusal;
use super::structured::{self, Bare, Member, Parameters};
use crate::limits::{SIGNATURE_BASE_BYTES_MAX, SIGNATURE_HEADER_BYTES_MAX};

/// The header that says what is signed, and how.
pub(super) const SIGNATURE_INPUT: HeaderName = HeaderName::from_static("signature-input");
/// The header with the signature itself.
pub(super) const SIGNATURE: HeaderName = HeaderName::from_static("signature");

/// What a signature covers, and its parameters, in their order.
#[derive(Debug, Clone)]
pub(super) struct Input {
    pub components: Vec<Component>,
    pub parameters: Parameters,
}

/// A signature as it came.
#[derive(Debug, Clone)]
pub(super) struct Signed {
    pub input: Input,
    pub signature: Vec<u8>,
}

impl Signed {
    /// Reads the one signature of a request. Its label means nothing; a second signature, of a proxy perhaps, is refused,
    /// because it would be for the sender to choose which one is looked at.
    pub fn from_headers(headers: &HeaderMap) -> Result<Self, Refusal> {
        let input = single_member(headers, &SIGNATURE_INPUT)?;
        let signature = single_member(headers, &SIGNATURE)?;
        let (input, signature) = match (input, signature) {
            (None, None) => return Err(Refusal::SignatureMissing),
            (Some(input), Some(signature)) => (input, signature),
            _ => return Err(malformed("Signature-Input and Signature do not come both")),
        };
        if input.0 != signature.0 {
            return Err(malformed("Signature-Input and Signature have different labels"));
        }
        let Member::List(items, parameters) = input.1 else {
            return Err(malformed("Signature-Input has no list of components in parentheses"));
        };
        let Member::Item((Bare::Bytes(signature), of_signature)) = signature.1 else {
            return Err(malformed("Signature is not base64 between colons"));
        };
        if !of_signature.is_empty() {
            return Err(malformed("Signature has a parameter"));
        }
        Ok(Self { input: Input { components: components(items)?, parameters }, signature })
    }
}

impl Input {
    /// Appends the value of `Signature-Input` without its label, which is also the last line of the base.
    pub fn write(&self, out: &mut String) {
        structured::write_list(out, self.components.iter().map(Component::name), &self.parameters);
    }

    /// The text that is signed.
    pub fn base(&self, request: &RequestParts<'_>) -> Result<String, Refusal> {
        let mut base = String::with_capacity(512);
        for component in &self.components {
            base.push('"');
            base.push_str(component.name());
            base.push_str("\": ");
            component.write(request, &mut base)?;
            base.push('\n');
            if base.len() > SIGNATURE_BASE_BYTES_MAX {
                let problem = format!("what it signs has more than {SIGNATURE_BASE_BYTES_MAX} bytes");
                return Err(Refusal::RequestMalformed(problem));
            }
        }
        base.push_str("\"@signature-params\": ");
        self.write(&mut base);
        Ok(base)
    }
}

fn components(items: Vec<structured::Item>) -> Result<Vec<Component>, Refusal> {
    let mut components = Vec::with_capacity(items.len());
    for (name, parameters) in items {
        let Bare::Text(name) = name else {
            return Err(malformed("a covered component is not in quotation marks"));
        };
        let component = Component::parse(&name)?;
        if !parameters.is_empty() {
            // `;sf`, `;key`, `;bs`, `;req`, `;tr`, `;name`: each another reading of the value, none of which is ours.
            let problem = "components with parameters are not";
            return Err(Refusal::ComponentUnsupported { component: component.name().to_owned(), problem });
        }
        if components.contains(&component) {
            return Err(Refusal::SignatureMalformed(format!("it covers {} twice", component.name())));
        }
        components.push(component);
    }
    Ok(components)
}

/// The only member of a header, which may come once.
fn single_member(headers: &HeaderMap, name: &HeaderName) -> Result<Option<(String, Member)>, Refusal> {
    let Some(text) = single(headers, name)? else { return Ok(None) };
    if text.len() > SIGNATURE_HEADER_BYTES_MAX {
        return Err(malformed(&format!("{name} has more than {SIGNATURE_HEADER_BYTES_MAX} bytes")));
    }
    let members =
        structured::dictionary(text).map_err(|problem| malformed(&format!("{name} has {problem}")))?;
    match <[_; 1]>::try_from(members) {
        Ok([member]) => Ok(Some(member)),
        Err(_) => Err(malformed(&format!("{name} has not exactly one signature"))),
    }
}

fn malformed(problem: &str) -> Refusal {
    Refusal::SignatureMalformed(problem.to_owned())
}
