//! What a signature covers: parts of the request and its headers (RFC 9421, 2).

use http::header::TRANSFER_ENCODING;
use http::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, IF_MATCH, IF_NONE_MATCH,
};

use super::refusal::Refusal;
use super::structured::is_token;

/// The header with the hash of the body.
pub(super) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");
/// Headers with this beginning always change what a request means.
const OWN_PREFIX: &str = "bowline-";
/// Most characters that are shown of a component that is none of ours.
const COMPONENT_SHOWN_MAX: usize = 64;
/// Headers that change what a request means, beside our own and the digest.
const MEANINGFUL: [HeaderName; 4] = [CONTENT_TYPE, CONTENT_ENCODING, IF_MATCH, IF_NONE_MATCH];
/// Methods of requests that have a body, be it empty.
const METHODS_WITH_BODY: [&str; 3] = ["PUT", "POST", "PATCH"];

/// What of a request can be signed, as it came or goes over the wire.
#[derive(Debug, Clone, Copy)]
pub struct RequestParts<'a> {
    /// The method, in its own letter case.
    pub method: &'a str,
    /// What the client asked for: the header `Host` or HTTP/2's `:authority`. It is compared in lower case; who knows
    /// the scheme removes its default port first, see [`without_default_port`].
    pub authority: &'a str,
    /// The path, with its escapes as they came; empty means `/`.
    pub path: &'a str,
    /// What follows the first `?`, if there is one.
    pub query: Option<&'a str>,
    /// All headers.
    pub headers: &'a HeaderMap,
}

/// `authority` without the port that the scheme has anyway: clients leave it out of what they sign (RFC 9421, 2.2.3).
#[must_use]
pub fn without_default_port(authority: &str, tls: bool) -> &str {
    authority.strip_suffix(if tls { ":443" } else { ":80" }).unwrap_or(authority)
}

/// One thing that is covered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Component {
    /// `@method`.
    Method,
    /// `@authority`.
    Authority,
    /// `@path`.
    Path,
    /// `@query`.
    Query,
    /// A header.
    Header(HeaderName),
}

impl Component {
    /// Reads the name of a component.
    pub fn parse(name: &str) -> Result<Self, Refusal> {
        match name {
            "@method" => return Ok(Self::Method),
            "@authority" => return Ok(Self::Authority),
            "@path" => return Ok(Self::Path),
            "@query" => return Ok(Self::Query),
            _ => {}
        }
        let plain = !name.is_empty() && name.bytes().all(|byte| is_token(byte) && !byte.is_ascii_uppercase());
        match HeaderName::from_bytes(name.as_bytes()) {
            Ok(name) if plain => Ok(Self::Header(name)),
            _ if name.starts_with('@') => Err(Refusal::ComponentUnsupported {
                component: name.chars().take(COMPONENT_SHOWN_MAX).collect(),
                problem: "of the parts of a request, @method, @authority, @path and @query are",
            }),
            _ => Err(Refusal::SignatureMalformed(
                "a covered component is not the name of a header in lower case".to_owned(),
            )),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Self::Method => "@method",
            Self::Authority => "@authority",
            Self::Path => "@path",
            Self::Query => "@query",
            Self::Header(name) => name.as_str(),
        }
    }

    /// Appends its value in the request.
    pub fn write(&self, request: &RequestParts<'_>, out: &mut String) -> Result<(), Refusal> {
        match self {
            Self::Method => out.push_str(plain("method", request.method)?),
            Self::Authority => {
                let authority = plain("authority", request.authority)?;
                if authority.contains('@') {
                    return Err(Refusal::RequestMalformed("its authority has a user".to_owned()));
                }
                out.extend(authority.chars().map(|character| character.to_ascii_lowercase()));
            }
            Self::Path if request.path.is_empty() => out.push('/'),
            Self::Path => out.push_str(plain("path", request.path)?),
            Self::Query => {
                out.push('?');
                match request.query {
                    None | Some("") => {}
                    Some(query) => out.push_str(plain("query", query)?),
                }
            }
            Self::Header(name) => write_header(request.headers, name, out)?,
        }
        Ok(())
    }
}

/// Parts of a request are visible ASCII. What is not could be read in two ways, or forge a line of what is signed.
fn plain<'a>(what: &str, value: &'a str) -> Result<&'a str, Refusal> {
    let fits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then_some(value).ok_or_else(|| {
        Refusal::RequestMalformed(format!("its {what} is empty, or has characters other than visible ASCII"))
    })
}

/// Appends the value of a header: all its lines, trimmed, with a comma and a space between (RFC 9421, 2.1).
fn write_header(headers: &HeaderMap, name: &HeaderName, out: &mut String) -> Result<(), Refusal> {
    let mut lines = headers.get_all(name).iter().peekable();
    if lines.peek().is_none() {
        return Err(Refusal::ComponentAbsent(name.to_string()));
    }
    while let Some(line) = lines.next() {
        out.push_str(text(name, line)?);
        if lines.peek().is_some() {
            out.push_str(", ");
        }
    }
    Ok(())
}

/// The value of a line. Folded lines do not exist any more here: no reader of HTTP lets them through.
fn text<'a>(name: &HeaderName, line: &'a http::HeaderValue) -> Result<&'a str, Refusal> {
    let problem = "has characters other than ASCII";
    let text = line.to_str().map_err(|_| Refusal::HeaderMalformed { name: name.to_string(), problem })?;
    Ok(text.trim_matches([' ', '\t']))
}

/// The value of a header that may come once, if it does.
pub(super) fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Refusal> {
    let mut lines = headers.get_all(name).iter();
    let Some(first) = lines.next() else { return Ok(None) };
    if lines.next().is_some() {
        return Err(Refusal::HeaderMalformed { name: name.to_string(), problem: "comes more than once" });
    }
    text(name, first).map(Some)
}

/// What a signature of this request must cover, in the order in which ours do.
///
/// A header that changes the meaning of the request may come once only: readers of two lines differ in which they take.
pub(super) fn required(request: &RequestParts<'_>, has_body: bool) -> Result<Vec<Component>, Refusal> {
    let mut components = vec![Component::Method, Component::Authority, Component::Path];
    if request.query.is_some() {
        components.push(Component::Query);
    }
    let digest = single(request.headers, &CONTENT_DIGEST)?.is_some();
    if digest || has_body || METHODS_WITH_BODY.contains(&request.method) {
        components.push(Component::Header(CONTENT_DIGEST));
    }
    for name in request.headers.keys() {
        if MEANINGFUL.contains(name) || name.as_str().starts_with(OWN_PREFIX) {
            single(request.headers, name)?;
            components.push(Component::Header(name.clone()));
        }
    }
    Ok(components)
}

/// Whether the headers announce a body. HTTP/2 can have one that nothing announces: see
/// [`Verified::check_body`](super::Verified::check_body).
pub(super) fn announces_body(headers: &HeaderMap) -> bool {
    let empty = |value: &http::HeaderValue| value.as_bytes() == b"0";
    headers.contains_key(TRANSFER_ENCODING)
        || headers.get_all(CONTENT_LENGTH).iter().any(|value| !empty(value))
}
