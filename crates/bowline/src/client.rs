//! Talking to a gateway as a client: where it is, how to trust it, and the token to show.

use std::path::Path;

use anyhow::{Context as _, Result};
use bowline_identity::tls::{ALPN_HTTP1, ClientSettings, Connector, Pem};
use bowline_identity::token::{Token, TokenFormatError};
use bowline_node::config::value::{Secret, is_loopback_host};
use bowline_node::forward::{GatewayUrl, GatewayUrlError};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, HOST};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;

use crate::cli::tools::ClientFlags;
use crate::edge;
use crate::exit::Failure;
use crate::limits::{ANSWER_BYTES_MAX, ANSWER_TIMEOUT, CONNECT_TIMEOUT};

/// A port of a gateway.
#[derive(Debug)]
pub struct Endpoint {
    /// The URL as it was given, for messages.
    pub url: String,
    /// Where to connect.
    pub host_port: String,
    /// With TLS or without.
    pub connector: Connector,
    /// The client token, if there is one.
    pub token: Option<Token>,
}

impl Endpoint {
    /// Reads `url` (`http://HOST[:PORT]` or `https://…`) and the files that `flags` name.
    pub fn new(url: &str, flags: &ClientFlags) -> Result<Self, Failure> {
        let usage = |text: &str| Failure::Usage(format!("--gateway {url}: {text}"));
        let address: GatewayUrl = url.parse().map_err(|error: GatewayUrlError| usage(&error.to_string()))?;
        let connector = match (address.is_tls, &flags.ca) {
            (false, None) => Connector::Plain,
            (true, Some(ca)) => secure(ca)?,
            (false, Some(_)) => return Err(usage("an authority (--ca) is for https://")),
            (true, None) => return Err(usage("https:// needs the authority to trust: --ca FILE")),
        };
        let token = token(flags.token_file.as_deref())?;
        if token.is_some() && !address.is_tls && !is_loopback_host(&address.host_port) {
            if flags.insecure_plaintext != Some(true) {
                return Err(usage(
                    "a token is not sent to another machine without TLS: use https:// and --ca FILE, or allow it by \
                     --insecure-plaintext if every network on the way is trusted",
                ));
            }
            edge::say(&format!("warning: the token is sent to {} without TLS", address.host_port));
        }
        Ok(Self { url: url.to_owned(), host_port: address.host_port, connector, token })
    }

    /// Asks for `path` and reads the whole answer.
    pub async fn get(&self, path: &str) -> Result<Response<Bytes>> {
        let answer = async {
            let mut request = Request::get(path).header(HOST, &self.host_port);
            if let Some(token) = &self.token {
                request = request.header(AUTHORIZATION, format!("Bearer {}", token.reveal()));
            }
            let request = request.body(Empty::<Bytes>::new()).context("cannot make the request")?;
            let stream = self.connector.connect(&self.host_port, CONNECT_TIMEOUT).await;
            let stream = stream.with_context(|| format!("cannot reach the gateway at {}", self.url))?;
            let (mut sender, connection) =
                http1::handshake(TokioIo::new(stream)).await.context("cannot speak HTTP with the gateway")?;
            // Its error is the request's as well.
            bowline_rt::task::spawn("client", async { drop(connection.await) });
            let response = sender.send_request(request).await;
            let response = response.context("the gateway broke the connection; is it its admin port?")?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
            let body =
                body.map_err(|error| anyhow::anyhow!(error)).context("the answer broke off")?.to_bytes();
            Ok(Response::from_parts(head, body))
        };
        bowline_rt::time::timeout(ANSWER_TIMEOUT, answer)
            .await
            .with_context(|| format!("{} does not answer", self.url))?
    }
}

fn secure(ca: &Path) -> Result<Connector, Failure> {
    let settings = ClientSettings {
        authority: Pem::File(ca.to_owned()),
        credential: None,
        server_name: None,
        alpn: vec![ALPN_HTTP1.to_vec()],
    };
    Connector::tls(settings).map_err(|error| Failure::Usage(format!("{:#}", anyhow::Error::new(error))))
}

/// The client token of a file or of `BOWLINE_TOKEN`; the file wins.
fn token(file: Option<&Path>) -> Result<Option<Token>, Failure> {
    let (origin, text) = match file {
        Some(file) => (file.display().to_string(), Secret::new(edge::read_text(file)?)),
        None => match edge::secret_variable("BOWLINE_TOKEN") {
            Some(secret) => ("BOWLINE_TOKEN".to_owned(), secret),
            None => return Ok(None),
        },
    };
    let token = text.reveal().trim().parse();
    token.map(Some).map_err(|error: TokenFormatError| Failure::Usage(format!("{origin}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_an_address_and_nothing_more() {
        let check = |url: &str, ca: Option<&str>, expected: Result<&str, &str>| {
            let flags = ClientFlags { ca: ca.map(Into::into), ..ClientFlags::default() };
            match (Endpoint::new(url, &flags), expected) {
                (Ok(endpoint), Ok(host_port)) => assert_eq!(endpoint.host_port, host_port),
                (Err(Failure::Usage(text)), Err(part)) => assert!(text.contains(part), "{text}"),
                (got, expected) => panic!("{url}: {got:?}, not {expected:?}"),
            }
        };
        check("http://127.0.0.1:7090", None, Ok("127.0.0.1:7090"));
        check("http://gw/", None, Ok("gw:80"));
        check("http://[::1]:1", None, Ok("[::1]:1"));
        check("127.0.0.1:7090", None, Err("expected http://host[:port]"));
        check("ftp://gw", None, Err("expected http://host[:port]"));
        check("http://gw/v1/status", None, Err("nothing more"));
        check("http://secret@gw", None, Err("nothing more"));
        check("https://gw", None, Err("--ca FILE"));
        check("http://gw", Some("ca.crt"), Err("is for https://"));
        check("https://gw", Some("/nowhere/ca.crt"), Err("cannot read /nowhere/ca.crt"));
    }
    #[test]
    fn a_token_goes_to_another_machine_with_tls_only() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("ops.token");
        std::fs::write(&file, Token::generate().reveal()).expect("written");
        let check = |url: &str, insecure: Option<bool>, fits: bool| {
            let flags = ClientFlags {
                token_file: Some(file.clone()),
                insecure_plaintext: insecure,
                ..ClientFlags::default()
            };
            match Endpoint::new(url, &flags) {
                Ok(endpoint) => assert!(fits && endpoint.token.is_some(), "{url}"),
                Err(failure) => {
                    let text = failure.to_string();
                    assert!(!fits && text.contains("https:// and --ca FILE"), "{text}");
                }
            }
        };
        check("http://gw.example.com", None, false);
        check("http://10.0.0.1:7080", Some(false), false);
        check("http://10.0.0.1:7080", Some(true), true);
        check("http://127.0.0.1:7080", None, true);
        check("http://localhost", None, true);
    }
}
