//! What changes in the header of a message on its way through.

use std::net::IpAddr;

use bowline_model::RequestId;
use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue,
    PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE,
};

/// The id that follows a request.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Marks an error of this entry; never passed on from a service.
pub(super) const REASON: HeaderName = HeaderName::from_static("bowline-reason");

/// Names, in a CONNECT request, the agent whose service is meant.
pub(crate) const AGENT: HeaderName = HeaderName::from_static("bowline-agent");

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Fields that are about one connection only (RFC 9110, 7.6.1), besides those that `Connection` names.
const HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Where a request came from, for the service to read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin<'a> {
    pub client: IpAddr,
    pub host: &'a str,
    pub is_tls: bool,
    pub trusted: bool,
}

/// The protocol that a message wants to change to, if it does.
///
/// `h2c` is not passed on: what a client then said in HTTP/2 would reach the service without any of the changes that are
/// made here. RFC 9113 (3.1) has done away with it anyway.
pub(super) fn upgrade_of(headers: &HeaderMap) -> Option<HeaderValue> {
    let asks = connection_options(headers).any(|option| option.eq_ignore_ascii_case("upgrade"));
    let is_http2 = list(headers, &UPGRADE).any(|protocol| protocol.eq_ignore_ascii_case("h2c"));
    if asks && !is_http2 { headers.get(UPGRADE).cloned() } else { None }
}

/// Whether the body is coded by more than `chunked`. Taking that off would need to understand it.
pub(super) fn has_foreign_coding(headers: &HeaderMap) -> bool {
    list(headers, &TRANSFER_ENCODING).any(|coding| !coding.eq_ignore_ascii_case("chunked"))
}

/// The id that a client gave its request, if it is fit to be carried on.
pub(super) fn request_id_of(headers: &HeaderMap) -> Option<RequestId> {
    headers.get(REQUEST_ID)?.to_str().ok().and_then(RequestId::parse)
}

/// Makes a client's request fit for the service.
pub(super) fn for_service(
    headers: &mut HeaderMap,
    origin: &Origin<'_>,
    request_id: &RequestId,
    upgrade: Option<HeaderValue>,
) {
    let takes_trailers = list(headers, &TE).any(|option| option.eq_ignore_ascii_case("trailers"));
    strip_hop_by_hop(headers);
    // Answered here: the client is told to go on as soon as the service takes the first byte of the body.
    headers.remove(EXPECT);
    if takes_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    if let Some(protocol) = upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol);
    }
    // The host as the client sent it; HTTP/2 and absolute targets carry it elsewhere.
    if let Ok(host) = HeaderValue::from_str(origin.host) {
        headers.insert(HOST, host);
    }
    insert_request_id(headers, request_id);
    insert_forwarded(headers, origin);
}

/// Makes one field of the cookies that HTTP/2 may have spread over several: HTTP/1 allows only one (RFC 9113, 8.2.3).
pub(super) fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_some() {
        let cookies = joined(headers, &COOKIE, "; ");
        headers.insert(COOKIE, cookies);
    }
}

/// Makes a service's response fit for the client.
pub(super) fn for_client(headers: &mut HeaderMap, request_id: &RequestId, upgrade: Option<HeaderValue>) {
    // Where a body is chunked, no other length counts (RFC 9112, 6.3); without the coding it would come to count.
    if headers.contains_key(TRANSFER_ENCODING) {
        headers.remove(CONTENT_LENGTH);
    }
    strip_hop_by_hop(headers);
    headers.remove(REASON);
    if let Some(protocol) = upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol);
    }
    insert_request_id(headers, request_id);
}

pub(super) fn insert_request_id(headers: &mut HeaderMap, request_id: &RequestId) {
    let value = HeaderValue::from_str(request_id.as_str()).expect("a request id is visible ASCII");
    headers.insert(REQUEST_ID, value);
}

fn insert_forwarded(headers: &mut HeaderMap, origin: &Origin<'_>) {
    let mut addresses = String::new();
    if origin.trusted {
        for address in list(headers, &X_FORWARDED_FOR) {
            addresses.push_str(address);
            addresses.push_str(", ");
        }
    } else {
        let claims: Vec<HeaderName> = headers.keys().filter(|name| is_claim(name)).cloned().collect();
        for name in claims {
            headers.remove(name);
        }
    }
    addresses.push_str(&origin.client.to_string());
    if let Ok(addresses) = HeaderValue::from_str(&addresses) {
        headers.insert(X_FORWARDED_FOR, addresses);
    }
    let scheme = if origin.is_tls { "https" } else { "http" };
    if headers.contains_key(FORWARDED)
        && let Ok(hop) = HeaderValue::from_str(&forwarded_element(origin, scheme))
    {
        headers.append(FORWARDED, hop);
        let hops = joined(headers, &FORWARDED, ", ");
        headers.insert(FORWARDED, hops);
    }
    headers.entry(X_FORWARDED_PROTO).or_insert(HeaderValue::from_static(scheme));
    if let Ok(host) = HeaderValue::from_str(origin.host) {
        headers.entry(X_FORWARDED_HOST).or_insert(host);
    }
}

/// What `Forwarded` says of this hop (RFC 7239, 4). A host with a port, like an IPv6 address, is no token: it is quoted.
fn forwarded_element(origin: &Origin<'_>, scheme: &str) -> String {
    let client = match origin.client {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("\"[{address}]\""),
    };
    let host = origin.host.replace('\\', "\\\\").replace('"', "\\\"");
    format!("for={client};host=\"{host}\";proto={scheme}")
}

/// Whether a field says where a request came from. Services that speak CGI or WSGI take `_` for `-`.
fn is_claim(name: &HeaderName) -> bool {
    let name = name.as_str().replace('_', "-");
    name.starts_with("x-forwarded-") || name == "forwarded" || name == "x-real-ip"
}

fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = connection_options(headers)
        .filter_map(|option| HeaderName::from_bytes(option.as_bytes()).ok())
        // A sender that names these wants to change what others see of the message, not to speak to its neighbour.
        .filter(|name| *name != HOST && *name != CONTENT_LENGTH)
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

fn connection_options(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    list(headers, &CONNECTION)
}

/// The lines of a field as one.
fn joined(headers: &HeaderMap, name: &HeaderName, separator: &str) -> HeaderValue {
    let lines: Vec<&[u8]> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
    HeaderValue::from_bytes(&lines.join(separator.as_bytes())).expect("parts of values are a value")
}

/// The members of a field that is a list, over all its lines.
fn list<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(name).into_iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim).filter(|member| !member.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    fn lines(headers: &HeaderMap) -> Vec<String> {
        let mut lines: Vec<String> =
            headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        lines.sort();
        lines
    }

    fn check(fields: &[(&'static str, &'static str)], trusted: bool, expected: &[&str]) {
        let mut headers = map(fields);
        let client = "192.0.2.7".parse().unwrap();
        let origin = Origin { client, host: "web.svc.bowline:80", is_tls: true, trusted };
        let upgrade = upgrade_of(&headers);
        for_service(&mut headers, &origin, &RequestId::parse("r1").unwrap(), upgrade);
        assert_eq!(lines(&headers), expected);
    }

    #[test]
    fn a_request_is_stripped_and_labelled() {
        check(
            &[
                ("accept", "*/*"),
                ("connection", "keep-alive, x-secret, host"),
                ("x-secret", "1"),
                ("keep-alive", "5"),
                ("te", "gzip, trailers"),
                ("transfer-encoding", "chunked"),
                ("expect", "100-continue"),
                ("proxy-authorization", "Bearer x"),
                ("upgrade", "h2c"),
                ("x-forwarded-for", "10.0.0.1"),
                ("x-forwarded-proto", "http"),
                ("forwarded", "for=10.0.0.1"),
                ("x-forwarded-port", "22"),
                ("x_forwarded_for", "10.0.0.1"),
                ("x-real-ip", "10.0.0.1"),
            ],
            false,
            &[
                "accept: */*",
                "host: web.svc.bowline:80",
                "te: trailers",
                "x-forwarded-for: 192.0.2.7",
                "x-forwarded-host: web.svc.bowline:80",
                "x-forwarded-proto: https",
                "x-request-id: r1",
            ],
        );
    }

    #[test]
    fn behind_a_trusted_proxy_the_chain_grows() {
        check(
            &[
                ("host", "other"),
                ("x-forwarded-for", "10.0.0.1"),
                ("x-forwarded-for", "10.0.0.2"),
                ("x-forwarded-proto", "http"),
                ("x-forwarded-host", "www"),
            ],
            true,
            &[
                "host: web.svc.bowline:80",
                "x-forwarded-for: 10.0.0.1, 10.0.0.2, 192.0.2.7",
                "x-forwarded-host: www",
                "x-forwarded-proto: http",
                "x-request-id: r1",
            ],
        );
    }

    #[test]
    fn who_speaks_of_forwarded_hears_of_this_hop_there() {
        let check = |client: &str, expected: &str| {
            let mut headers = map(&[("forwarded", "for=10.0.0.1"), ("forwarded", "for=_x;by=\"a, b\"")]);
            let (client, host) = (client.parse().unwrap(), "web.svc.bowline:80");
            let origin = Origin { client, host, is_tls: true, trusted: true };
            for_service(&mut headers, &origin, &RequestId::parse("r1").unwrap(), None);
            let lines: Vec<_> = headers.get_all(FORWARDED).iter().collect();
            assert_eq!(lines, [&format!("for=10.0.0.1, for=_x;by=\"a, b\", {expected}")]);
        };
        check("192.0.2.7", "for=192.0.2.7;host=\"web.svc.bowline:80\";proto=https");
        check("2001:db8::7", "for=\"[2001:db8::7]\";host=\"web.svc.bowline:80\";proto=https");
    }

    #[test]
    fn cookies_become_one_field() {
        let mut headers =
            map(&[("cookie", "a=1"), ("accept", "*/*"), ("cookie", "b=2; c=3"), ("cookie", "d=4")]);
        join_cookies(&mut headers);
        assert_eq!(lines(&headers), ["accept: */*", "cookie: a=1; b=2; c=3; d=4"]);
    }

    #[test]
    fn a_length_beside_chunks_does_not_count() {
        let check = |fields, expected: &[&str]| {
            let mut headers = map(fields);
            for_client(&mut headers, &RequestId::parse("r1").unwrap(), None);
            assert_eq!(lines(&headers), expected);
        };
        check(&[("content-length", "5")], &["content-length: 5", "x-request-id: r1"]);
        check(&[("transfer-encoding", "chunked"), ("content-length", "5")], &["x-request-id: r1"]);
    }

    #[test]
    fn an_upgrade_is_asked_for_anew() {
        let mut headers = map(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")]);
        let upgrade = upgrade_of(&headers);
        for_client(&mut headers, &RequestId::parse("r1").unwrap(), upgrade);
        assert_eq!(lines(&headers), ["connection: upgrade", "upgrade: websocket", "x-request-id: r1"]);
        assert_eq!(upgrade_of(&map(&[("upgrade", "websocket")])), None);
        assert_eq!(upgrade_of(&map(&[("connection", "upgrade"), ("upgrade", "h2c")])), None);
        assert_eq!(upgrade_of(&map(&[("connection", "upgrade"), ("upgrade", "websocket, H2C")])), None);
    }

    #[test]
    fn only_chunked_is_taken_off() {
        let check = |value, expected| {
            assert_eq!(has_foreign_coding(&map(&[("transfer-encoding", value)])), expected, "{value}");
        };
        check("Chunked", false);
        check("gzip, chunked", true);
        assert!(!has_foreign_coding(&HeaderMap::new()));
    }
}
