//! `bowline sign`: one signed request, in the words of curl.
//!
//! curl changes some requests on its way: it resolves `..`, expands `{}`, adds a content type to data. What is printed
//! says that it must not, for the signature would not fit any more.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use bowline_identity::signature::{Refusal, RequestParts, SignOptions, SigningKey, without_default_port};
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use serde_json::json;

use crate::cli::signing::{SignFlags, SignOutput};
use crate::exit::Failure;
use crate::limits::{INLINE_BODY_BYTES_MAX, SIGNED_BODY_BYTES_MAX};

/// Signs and returns what to print.
pub fn run(flags: &SignFlags) -> Result<String, Failure> {
    let key = SigningKey::from_file(&flags.key).map_err(|error| {
        Failure::Usage(format!("{:#}; `bowline sign-key new` makes a signing key", anyhow::Error::new(error)))
    })?;
    let body = Body::of(flags)?;
    let request = Request::of(flags, body)?;
    let options =
        SignOptions { valid_for: flags.valid_for, ..SignOptions::at(bowline_rt::time::unix_time()) };
    let added = request.sign(&key, &options).map_err(|refusal| Failure::Usage(refusal.to_string()))?;
    match flags.output {
        SignOutput::Curl => request.curl(&added),
        SignOutput::Headers => Ok(lines(&added)),
        SignOutput::Json => Ok(request.json(&added)),
    }
}

/// Headers that the signature adds.
type Added = [(HeaderName, HeaderValue)];

struct Request {
    method: String,
    url: String,
    uri: Uri,
    headers: HeaderMap,
    body: Option<Body>,
}

struct Body {
    bytes: Vec<u8>,
    /// `None` if it is not in a file of its own.
    file: Option<PathBuf>,
}

impl Body {
    fn of(flags: &SignFlags) -> Result<Option<Self>, Failure> {
        match (&flags.data, &flags.data_file) {
            (Some(text), _) => Ok(Some(Self { bytes: text.clone().into_bytes(), file: None })),
            (None, Some(file)) if file == Path::new("-") => {
                let bytes = bounded(std::io::stdin().lock(), "standard input")?;
                Ok(Some(Self { bytes, file: None }))
            }
            (None, Some(file)) => {
                let opened =
                    std::fs::File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
                let bytes = bounded(opened, &file.display().to_string())?;
                Ok(Some(Self { bytes, file: Some(file.clone()) }))
            }
            (None, None) => Ok(None),
        }
    }
}

/// Reads all of it, if it is not too much.
fn bounded(reader: impl std::io::Read, name: &str) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = reader.take(SIGNED_BODY_BYTES_MAX + 1).read_to_end(&mut bytes);
    read.with_context(|| format!("cannot read {name}"))?;
    if bytes.len() as u64 > SIGNED_BODY_BYTES_MAX {
        return Err(Failure::Usage(format!("{name} has more than {SIGNED_BODY_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}

impl Request {
    fn of(flags: &SignFlags, body: Option<Body>) -> Result<Self, Failure> {
        let method =
            flags.method.clone().unwrap_or_else(|| if body.is_some() { "POST" } else { "GET" }.to_owned());
        if method.is_empty() || !method.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-') {
            return Err(Failure::Usage(format!("-X {method}: a method has upper-case letters, such as PUT")));
        }
        // What follows is for browsers; curl does not send it either.
        let url = flags.url.split('#').next().unwrap_or_default().to_owned();
        let uri = parse_url(&url).map_err(|problem| Failure::Usage(format!("{url}: {problem}")))?;
        let mut headers = HeaderMap::new();
        for line in &flags.headers {
            let (name, value) =
                header(line).ok_or_else(|| Failure::Usage(format!("-H '{line}': write 'name: value'")))?;
            headers.append(name, value);
        }
        Ok(Self { method, url, uri, headers, body })
    }

    fn sign(
        &self,
        key: &SigningKey,
        options: &SignOptions,
    ) -> Result<Vec<(HeaderName, HeaderValue)>, Refusal> {
        let of_url = self.uri.authority().map_or("", http::uri::Authority::as_str);
        let authority = match self.headers.get(HOST).map(HeaderValue::to_str) {
            Some(Ok(host)) => host,
            Some(Err(_)) => return Err(Refusal::RequestMalformed("its host is not ASCII".to_owned())),
            None => of_url,
        };
        let parts = RequestParts {
            method: &self.method,
            authority: without_default_port(authority, self.uri.scheme_str() == Some("https")),
            path: self.uri.path(),
            query: self.uri.query(),
            headers: &self.headers,
        };
        key.sign(&parts, self.body.as_ref().map(|body| &*body.bytes), options)
    }

    /// A configuration of curl.
    fn curl(&self, added: &Added) -> Result<String, Failure> {
        let mut config = Config::default();
        config.option("url", &self.url);
        match (&self.body, &*self.method) {
            // With --request it would wait for a body.
            (None, "HEAD") => config.flag("head"),
            _ => config.option("request", &self.method),
        }
        for (name, value) in self.headers.iter().chain(added.iter().map(|(name, value)| (name, value))) {
            match String::from_utf8_lossy(value.as_bytes()) {
                // Without a value curl takes a colon for the wish to leave the header out.
                value if value.is_empty() => config.option("header", &format!("{name};")),
                value => config.option("header", &format!("{name}: {value}")),
            }
        }
        if let Some(body) = &self.body {
            if !self.headers.contains_key(CONTENT_TYPE) {
                // Or else curl adds one that was not signed.
                config.option("header", "content-type:");
            }
            match &body.file {
                Some(file) => {
                    let file =
                        file.to_str().context("curl cannot be told of a file whose name is not text")?;
                    config.option("data-binary", &format!("@{file}"));
                }
                None => config.option("data-raw", inline(&body.bytes)?),
            }
        }
        config.flag("path-as-is");
        config.flag("globoff");
        Ok(config.0)
    }

    fn json(&self, added: &Added) -> String {
        let mut headers = serde_json::Map::new();
        for name in self.headers.keys() {
            let values: Vec<_> = self
                .headers
                .get_all(name)
                .iter()
                .map(|value| String::from_utf8_lossy(value.as_bytes()))
                .collect();
            headers.insert(name.to_string(), json!(values.join(", ")));
        }
        for (name, value) in added {
            headers.insert(name.to_string(), json!(String::from_utf8_lossy(value.as_bytes())));
        }
        format!("{:#}\n", json!({ "method": self.method, "url": self.url, "headers": headers }))
    }
}

/// A body that can stand in a configuration of curl.
fn inline(bytes: &[u8]) -> Result<&str, Failure> {
    let text = std::str::from_utf8(bytes).ok().filter(|text| !text.contains('\0'));
    text.filter(|text| text.len() <= INLINE_BODY_BYTES_MAX).ok_or_else(|| {
        Failure::Usage(format!(
            "a body that is not text, or longer than {INLINE_BODY_BYTES_MAX} bytes, cannot be handed to curl so: write \
             it to a file and name that by --data-file"
        ))
    })
}

/// The headers, one a line.
fn lines(headers: &Added) -> String {
    let line = |(name, value): &(HeaderName, HeaderValue)| {
        format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes()))
    };
    headers.iter().map(line).collect()
}

/// A configuration of curl: an option a line.
#[derive(Default)]
struct Config(String);

impl Config {
    fn flag(&mut self, name: &str) {
        self.0.push_str(name);
        self.0.push('\n');
    }

    /// An option with a value in quotation marks, in which curl knows these escapes and no others.
    fn option(&mut self, name: &str, value: &str) {
        self.0.push_str(name);
        self.0.push_str(" = \"");
        for character in value.chars() {
            match character {
                '"' => self.0.push_str("\\\""),
                '\\' => self.0.push_str("\\\\"),
                '\n' => self.0.push_str("\\n"),
                '\r' => self.0.push_str("\\r"),
                '\t' => self.0.push_str("\\t"),
                '\u{b}' => self.0.push_str("\\v"),
                other => self.0.push(other),
            }
        }
        self.0.push_str("\"\n");
    }
}

fn header(line: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = line.split_once(':')?;
    Some((name.trim().parse().ok()?, HeaderValue::from_str(value.trim()).ok()?))
}

/// A URL that curl requests as it is.
fn parse_url(url: &str) -> Result<Uri, String> {
    if !url.is_ascii() || url.contains(' ') {
        return Err("spaces and letters other than ASCII have to be escaped, such as %20".to_owned());
    }
    let uri: Uri = url.parse().map_err(|error| {
        format!("{error}: a URL begins with http:// or https://, and odd characters in it are escaped, such as %22")
    })?;
    match (uri.scheme_str(), uri.authority()) {
        (Some("http" | "https"), Some(authority)) if authority.as_str().contains('@') => {
            Err("a URL with a user is not signed; give the header Authorization by -H if it is needed"
                .to_owned())
        }
        (Some("http" | "https"), Some(_)) => Ok(uri),
        _ => Err("a URL begins with http:// or https://".to_owned()),
    }
}

#[cfg(test)]
#[path = "sign_tests.rs"]
mod tests;
