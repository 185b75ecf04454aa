//! Addresses of nodes, as the cluster names them.

/// Longest name of a host (RFC 1035).
const HOST_BYTES_MAX: usize = 255;

/// `host:port` of what a node calls `host` and `port`; `None` if that is no address. An empty host is that of the node which
/// was asked, at `asked`: it does not know by what name it is reached.
pub(super) fn endpoint(host: &str, port: i64, asked: &str) -> Option<String> {
    let port = u16::try_from(port).ok().filter(|&port| port != 0)?;
    if host.is_empty() {
        let (host, _) = asked.rsplit_once(':')?;
        return Some(format!("{host}:{port}"));
    }
    if host.len() > HOST_BYTES_MAX {
        return None;
    }
    if host.contains(':') {
        host.parse::<std::net::Ipv6Addr>().ok()?;
        return Some(format!("[{host}]:{port}"));
    }
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    host.bytes().all(is_name).then(|| format!("{host}:{port}"))
}

/// As [`endpoint`], of `host:port`, where the host may be an IPv6 address without brackets.
pub(super) fn endpoint_of(text: &str, asked: &str) -> Option<String> {
    let (host, port) = text.rsplit_once(':')?;
    let is_number = port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit());
    endpoint(host, is_number.then(|| port.parse().ok())??, asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_address_is_one() {
        let check = |text, expected: Option<&str>| {
            assert_eq!(endpoint_of(text, "[::2]:7000").as_deref(), expected, "{text}");
        };
        check("10.0.0.1:7001", Some("10.0.0.1:7001"));
        check("redis-1.local:7001", Some("redis-1.local:7001"));
        check("::1:7001", Some("[::1]:7001"));
        check(":7001", Some("[::2]:7001"));
        check("?:7001", None);
        check("h:0", None);
        check("h:65536", None);
        check("h:+1", None);
        check("h:", None);
        check("h", None);
        check("", None);
        check("a b:1", None);
        check("u@h:1", None);
        check("::x:1", None);
        check(&format!("{}:1", "h".repeat(256)), None);
    }
}
