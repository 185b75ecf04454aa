//! Which service a request is for, and of which agent.

use bowline_model::{AgentId, Reason, ServiceName};
use http::Request;
use http::header::{HOST, HeaderMap, HeaderValue};

use super::Settings;
use super::headers::AGENT;
use super::reply::Failure;
use crate::destination::Destination;

/// The host that a request names, as the client sent it: the target's if there is one, else the header's.
///
/// Two `Host` fields are refused (RFC 9112, 3.2), and none, and user information in it (RFC 9110, 4.2.4): who reads the
/// other one, or the other part, would see another request.
pub(super) fn host_of<B>(settings: &Settings, request: &Request<B>) -> Result<String, Failure> {
    let mut fields = request.headers().get_all(HOST).iter();
    let field = fields.next();
    if fields.next().is_some() {
        return Err(Failure::new(Reason::BadRequest, "it has more than one host header"));
    }
    let host = match (request.uri().authority(), field.map(HeaderValue::to_str)) {
        (Some(authority), _) => authority.as_str(),
        (None, Some(Ok(host))) => host,
        (None, Some(Err(_))) => return Err(Failure::new(Reason::BadRequest, "its host header is not text")),
        (None, None) => "",
    };
    match host {
        "" => {
            let detail = format!("it names no host; a host looks like <service>.{}", settings.domain);
            Err(Failure::new(Reason::BadRequest, detail))
        }
        host if host.contains('@') => {
            Err(Failure::new(Reason::BadRequest, "its host has a part before an @, which no host has"))
        }
        host => Ok(host.to_owned()),
    }
}

/// What is behind `host`: a configured route, `<service>.<domain>`, or `<service>.<agent>.<domain>`.
pub(super) fn destination_of(settings: &Settings, host: &str) -> Result<Destination, Failure> {
    let name = normalised(host);
    if let Some(service) = settings.routes.get(&name) {
        return Ok(service.clone().into());
    }
    let labels = name.strip_suffix(&settings.domain).and_then(|rest| rest.strip_suffix('.'));
    labels.and_then(Destination::parse).ok_or_else(|| unknown(settings, host))
}

/// What CONNECT names: as [`destination_of`], or the bare name of a service, and then the header [`AGENT`] may name the
/// agent. A client that does not know the domain says it so.
pub(super) fn connect_destination_of(
    settings: &Settings,
    authority: &str,
    headers: &HeaderMap,
) -> Result<Destination, Failure> {
    let mut destination = destination_of(settings, authority).or_else(|failure| {
        let bare: Option<ServiceName> = normalised(authority).parse().ok();
        bare.map(Destination::from).ok_or(failure)
    })?;
    let malformed = |detail: &str| Failure::new(Reason::BadRequest, detail);
    if let Some(field) = headers.get(AGENT) {
        let agent: Option<AgentId> = field.to_str().ok().and_then(|agent| agent.parse().ok());
        let agent = agent.ok_or_else(|| malformed("its bowline-agent header is not the id of an agent"))?;
        if destination.agent.as_ref().is_some_and(|named| *named != agent) {
            return Err(malformed("its host and its bowline-agent header name two agents"));
        }
        destination.agent = Some(agent);
    }
    Ok(destination)
}

fn unknown(settings: &Settings, host: &str) -> Failure {
    let domain = &settings.domain;
    // What a client sent goes back to it, but not at any length.
    let shown: String = host.chars().take(100).collect();
    let detail = format!("{shown:?} is not <service>.{domain} and not a configured route");
    Failure::new(Reason::HostUnknown, detail)
}

/// Lower case, without a port or a trailing dot.
fn normalised(host: &str) -> String {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        let routes = [("www.example.com".to_owned(), "web".parse().unwrap())].into();
        Settings { routes, ..Settings::default() }
    }

    fn check(host: &str, expected: Option<&str>) {
        let destination = destination_of(&settings(), host).ok();
        assert_eq!(destination.map(|found| found.to_string()).as_deref(), expected, "{host}");
    }

    #[test]
    fn a_host_leads_to_a_service() {
        check("web.svc.bowline", Some("web"));
        check("WEB.Svc.Bowline:8080", Some("web"));
        check("web.svc.bowline.", Some("web"));
        check("www.example.com", Some("web"));
        check("www.example.com:443", Some("web"));
        check("web.svc.bowline.example", None);
        check("web.edge-1.svc.bowline", Some("web.edge-1"));
        check("Web.Edge-1.svc.bowline.:1", Some("web.edge-1"));
        check("a.web.edge-1.svc.bowline", None);
        check("web..svc.bowline", None);
        check(".edge-1.svc.bowline", None);
        check("websvc.bowline", None);
        check(".svc.bowline", None);
        check("svc.bowline", None);
        check("web", None);
        check("[::1]:80", None);
        check("a@web.svc.bowline", None);
        check("-.svc.bowline", None);
        check("", None);
    }

    #[test]
    fn connect_also_takes_the_bare_name() {
        let check = |authority: &str, agent: Option<&str>, expected: Option<&str>| {
            let headers = agent.map(|agent| (AGENT, agent.parse().unwrap())).into_iter().collect();
            let found = connect_destination_of(&settings(), authority, &headers).ok();
            assert_eq!(found.map(|found| found.to_string()).as_deref(), expected, "{authority} {agent:?}");
        };
        check("db:5432", None, Some("db"));
        check("db.svc.bowline:5432", None, Some("db"));
        check("db.edge-1.svc.bowline:5432", None, Some("db.edge-1"));
        check("db:5432", Some("edge-1"), Some("db.edge-1"));
        check("db.svc.bowline:5432", Some("edge-1"), Some("db.edge-1"));
        check("db.edge-1.svc.bowline:1", Some("edge-1"), Some("db.edge-1"));
        check("db.edge-1.svc.bowline:1", Some("edge-2"), None);
        check("db:1", Some("EDGE"), None);
        // Not `db` of the agent `example`: that would be guessing.
        check("db.example:5432", None, None);
        check("127.0.0.1:22", None, None);
    }

    #[test]
    fn who_names_no_host_learns_what_hosts_look_like() {
        let text = host_of(&settings(), &Request::get("/").body(()).unwrap()).unwrap_err().detail;
        assert!(text.contains("<service>.svc.bowline"), "{text}");
    }

    #[test]
    fn the_target_outranks_the_header_and_two_headers_are_refused() {
        let check = |request: http::request::Builder, expected: Result<&str, ()>| {
            let host = host_of(&settings(), &request.body(()).unwrap());
            assert_eq!(host.as_deref().map_err(|_| ()), expected);
        };
        check(Request::get("/").header("host", "a"), Ok("a"));
        check(Request::get("http://b:1/").header("host", "a"), Ok("b:1"));
        check(Request::get("/"), Err(()));
        check(Request::get("/").header("host", ""), Err(()));
        check(Request::get("/").header("host", "other@a"), Err(()));
        check(Request::get("http://other@b/").header("host", "a"), Err(()));
        check(Request::get("/").header("host", "a").header("host", "b"), Err(()));
        check(Request::get("/").header("host", b"\xff".as_slice()), Err(()));
    }

    proptest::proptest! {
        #[test]
        fn no_host_is_too_odd(host: String, label in "[a-z][a-z0-9]{0,9}", port: u16) {
            let _ = connect_destination_of(&settings(), &host, &HeaderMap::new());
            // Whatever stands before it, the name of a service is found in its own host and no other.
            let own = format!("{label}.svc.bowline:{port}");
            assert_eq!(destination_of(&settings(), &own).unwrap().to_string(), label);
            assert!(destination_of(&settings(), &format!("{label}.{label}.{own}")).is_err());
        }
    }
}
