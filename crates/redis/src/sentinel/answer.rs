//! What sentinels say. Nothing of it is trusted further than its form: whether a server is the primary, the connection to it
//! shows.

use bowline_resp::Frame;

use crate::limits::{CLUSTER_REPLICAS_MAX, ERROR_TEXT_BYTES_MAX, SENTINELS_MAX};
use crate::url::{is_host, parse_number};

/// What one sentinel knows of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// `host:port` of the primary.
    pub primary: String,
    /// The number of the failover that made it the primary: a larger one is newer. `None` if the sentinel does not tell.
    pub config_epoch: Option<u64>,
    /// `host:port` of the other sentinels.
    pub others: Vec<String>,
    /// `host:port` of the replicas that can be read from; `None` if nobody asked for them.
    pub replicas: Option<Result<Vec<String>, AskError>>,
}

/// Why a sentinel is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AskError {
    #[error("{0}")]
    Connect(String),
    #[error("it answered too late")]
    Late,
    #[error("it closed the connection")]
    Closed,
    #[error("{0}")]
    Credentials(String),
    #[error("it refused the login: {}{}", .0, hint_of(.0))]
    Login(String),
    #[error("it answered: {}{}", .0, hint_of(.0))]
    Refused(String),
    #[error("it does not know the service")]
    UnknownService,
    #[error("it names itself as the primary")]
    Itself,
    #[error("{0}")]
    Nonsense(&'static str),
}

/// What the text of an error says about logins is easily taken for the servers'.
fn hint_of(error: &str) -> &'static str {
    let is_about_login = ["NOAUTH", "WRONGPASS", "NOPERM"].iter().any(|code| error.starts_with(code));
    if is_about_login {
        " (sentinels have a login of their own: ?sentinel_user=…&sentinel_password=… in the URL)"
    } else {
        ""
    }
}

/// Reads the answer to `SENTINEL GET-MASTER-ADDR-BY-NAME`.
pub(crate) fn primary(frame: Frame) -> Result<String, AskError> {
    match frame {
        Frame::Null | Frame::NullArray => Err(AskError::UnknownService),
        Frame::Error(text) => Err(refused(&text)),
        other => match other.into_elements().as_deref() {
            Ok([host, port]) => {
                let address = host.as_text().zip(port.as_text());
                let address = address.and_then(|(host, port)| address_of(host, port));
                address.ok_or(AskError::Nonsense("what it names as the primary is not an address"))
            }
            _ => Err(AskError::Nonsense("it did not name the primary as host and port")),
        },
    }
}

/// Reads the answer to `SENTINEL MASTER`. A sentinel that does not tell, or tells it not to this user, leaves it unknown.
pub(crate) fn config_epoch(frame: Frame) -> Option<u64> {
    let fields = frame.into_pairs().ok()?;
    field(&fields, "config-epoch").and_then(parse_number)
}

/// Reads the answer to `SENTINEL SENTINELS`; what is no address is left out, and what is more than may be known.
pub(crate) fn others(frame: Frame) -> Vec<String> {
    let sentinels = frame.into_elements().unwrap_or_default().into_iter();
    let addresses = sentinels.filter_map(|sentinel| {
        let fields = sentinel.into_pairs().ok()?;
        address_of(field(&fields, "ip")?, field(&fields, "port")?)
    });
    addresses.take(SENTINELS_MAX).collect()
}

/// Reads the answer to `SENTINEL REPLICAS`: those that can be read from. What is no address is left out, and what is more than may
/// be known.
pub(crate) fn replicas(frame: Frame) -> Result<Vec<String>, AskError> {
    if let Frame::Error(text) = &frame {
        return Err(refused(text));
    }
    let all =
        frame.into_elements().map_err(|_| AskError::Nonsense("it did not tell the replicas as a list"))?;
    let mut usable = Vec::new();
    for replica in all.into_iter().filter_map(|replica| replica.into_pairs().ok()) {
        let address = field(&replica, "ip").zip(field(&replica, "port"));
        let address = address.and_then(|(host, port)| address_of(host, port));
        if let Some(address) = address.filter(|address| is_in_step(&replica) && !usable.contains(address)) {
            usable.push(address);
        }
    }
    usable.truncate(CLUSTER_REPLICAS_MAX);
    Ok(usable)
}

/// Whether a replica is up, is one still, and is connected to its primary, as the sentinel sees it.
fn is_in_step(replica: &[(Frame, Frame)]) -> bool {
    let is_replica = |role: &str| matches!(role, "slave" | "replica");
    let mut flags = field(replica, "flags").unwrap_or_default().split(',');
    flags.clone().any(is_replica)
        && !flags.any(|flag| matches!(flag, "s_down" | "o_down" | "disconnected"))
        && field(replica, "role-reported").is_none_or(is_replica)
        && field(replica, "master-link-status") == Some("ok")
}

/// Whether a frame on a subscribed connection is about the primary of `service`: `+switch-master` with
/// `<service> <old host> <old port> <new host> <new port>`.
pub(crate) fn is_switch_of(service: &str, frame: &Frame) -> bool {
    let Frame::Array(elements) = frame else { return false };
    let [kind, _, text] = elements.as_slice() else { return false };
    kind.as_text() == Some("message")
        && text.as_text().and_then(|text| text.split(' ').next()) == Some(service)
}

/// The text of an error, as far as it may be repeated.
pub(crate) fn refused(text: &[u8]) -> AskError {
    let text = &text[..text.len().min(ERROR_TEXT_BYTES_MAX)];
    AskError::Refused(String::from_utf8_lossy(text).escape_debug().to_string())
}

fn field<'a>(fields: &'a [(Frame, Frame)], name: &str) -> Option<&'a str> {
    fields.iter().find(|(key, _)| key.as_text() == Some(name)).and_then(|(_, value)| value.as_text())
}

/// `host:port`; an IPv6 address gets its brackets.
fn address_of(host: &str, port: &str) -> Option<String> {
    let port: u16 = parse_number(port).filter(|&port| port != 0)?;
    let is_ipv6 = host.parse::<std::net::Ipv6Addr>().is_ok();
    let host = if is_ipv6 { format!("[{host}]") } else { host.to_owned() };
    is_host(&host).then(|| format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Frame {
        Frame::Array(texts.iter().map(|text| Frame::bulk(text.as_bytes().to_vec())).collect())
    }

    #[test]
    fn a_primary_is_an_address() {
        let check = |answer: Frame, expected: Result<&str, AskError>| {
            assert_eq!(primary(answer.clone()), expected.map(str::to_owned), "{answer:?}");
        };
        check(texts(&["10.0.0.1", "6379"]), Ok("10.0.0.1:6379"));
        check(texts(&["db-1.example", "1"]), Ok("db-1.example:1"));
        check(texts(&["fe80::1", "1"]), Ok("[fe80::1]:1"));
        check(Frame::NullArray, Err(AskError::UnknownService));
        check(Frame::Null, Err(AskError::UnknownService));
        check(Frame::error("IDONTKNOW a\r\n"), Err(AskError::Refused("IDONTKNOW a\\r\\n".to_owned())));
        let address = AskError::Nonsense("what it names as the primary is not an address");
        let long = "h".repeat(10_000);
        for (host, port) in [
            ("", "1"),
            ("h", "0"),
            ("h", "65536"),
            ("h", "+1"),
            ("a b", "1"),
            ("a:b", "1"),
            (&long, "1"),
            ("u@h", "1"),
        ] {
            check(texts(&[host, port]), Err(address.clone()));
        }
        check(Frame::Array(vec![Frame::Integer(1), Frame::Integer(2)]), Err(address));
        let shape = AskError::Nonsense("it did not name the primary as host and port");
        for answer in [texts(&["h"]), texts(&["h", "1", "x"]), Frame::ok(), Frame::Integer(1)] {
            check(answer, Err(shape.clone()));
        }
    }

    #[test]
    fn what_else_a_sentinel_tells_may_be_missing_or_wrong() {
        assert_eq!(config_epoch(texts(&["name", "my", "config-epoch", "7"])), Some(7));
        for answer in
            [texts(&["config-epoch", "-7"]), texts(&["config-epoch"]), Frame::error("NOPERM"), Frame::Null]
        {
            assert_eq!(config_epoch(answer), None);
        }
        let good = texts(&["ip", "::1", "port", "26379", "flags", "sentinel"]);
        let bad = [texts(&["ip", "h"]), texts(&["ip", "a b", "port", "1"]), Frame::Null];
        let answer = Frame::Array(std::iter::once(good.clone()).chain(bad).collect());
        assert_eq!(others(answer), ["[::1]:26379"]);
        assert_eq!(others(Frame::error("NOPERM")), [""; 0]);
        assert_eq!(others(Frame::Array(vec![good; 1000])).len(), SENTINELS_MAX);
    }

    #[test]
    fn only_a_replica_that_is_up_and_in_step_is_read_from() {
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let replica =
            |flags, link| texts(&["ip", "h", "port", "1", "flags", flags, "master-link-status", link]);
        let check = |replica: Frame, expected: &[&str]| {
            assert_eq!(replicas(Frame::Array(vec![replica.clone()])), Ok(names(expected)), "{replica:?}");
        };
        check(replica("slave", "ok"), &["h:1"]);
        check(replica("replica", "ok"), &["h:1"]);
        for flags in ["s_down,slave", "slave,o_down", "slave,disconnected", "master", "slaves", ""] {
            check(replica(flags, "ok"), &[]);
        }
        check(replica("slave", "err"), &[]);
        check(texts(&["ip", "h", "port", "1", "flags", "slave"]), &[]);
        check(texts(&["ip", "a b", "port", "1", "flags", "slave", "master-link-status", "ok"]), &[]);
        let [Frame::Array(fields), Frame::Array(more)] =
            [replica("slave", "ok"), texts(&["role-reported", "master"])]
        else {
            unreachable!("they are arrays")
        };
        check(Frame::Array([fields, more].concat()), &[]);
        check(Frame::Null, &[]);

        let twice = Frame::Array(vec![replica("slave", "ok"); 2]);
        assert_eq!(replicas(twice), Ok(names(&["h:1"])));
        let many = (1..1000).map(|port| {
            texts(&["ip", "h", "port", &port.to_string(), "flags", "slave", "master-link-status", "ok"])
        });
        assert_eq!(replicas(Frame::Array(many.collect())).unwrap().len(), CLUSTER_REPLICAS_MAX);
        let refused = AskError::Refused("NOPERM".to_owned());
        assert_eq!(replicas(Frame::error("NOPERM")), Err(refused));
        assert!(matches!(replicas(Frame::Integer(1)), Err(AskError::Nonsense(_))));
    }

    #[test]
    fn a_refused_login_names_the_place_of_the_sentinels_own() {
        let hint = "(sentinels have a login of their own: ?sentinel_user=…&sentinel_password=… in the URL)";
        assert_eq!(
            refused(b"NOAUTH Authentication required.").to_string(),
            format!("it answered: NOAUTH Authentication required. {hint}")
        );
        assert!(AskError::Login("WRONGPASS no".to_owned()).to_string().ends_with(hint));
        assert_eq!(refused(b"ERR no").to_string(), "it answered: ERR no");
    }

    #[test]
    fn a_message_counts_if_it_is_about_the_service() {
        let is_switch = |parts: &[&str]| is_switch_of("my", &texts(parts));
        assert!(is_switch(&["message", "+switch-master", "my 10.0.0.1 1 10.0.0.2 1"]));
        assert!(!is_switch(&["message", "+switch-master", "myother 10.0.0.1 1 10.0.0.2 1"]));
        assert!(!is_switch(&["message", "+switch-master", ""]));
        assert!(!is_switch(&["subscribe", "+switch-master", "my"]));
        assert!(!is_switch(&["pong", ""]));
        assert!(!is_switch_of("my", &Frame::Null));
    }
}
