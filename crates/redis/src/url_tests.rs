//! Every form of URL, and every way to get one wrong.

use proptest::prelude::*;

use super::*;

/// Address, user, password, database.
type Parts<'a> = (&'a str, Option<&'a str>, Option<&'a str>, u32);

/// Checks a URL of one server.
fn check(url: &str, expected: Result<Parts<'_>, ConfigError>) {
    let parsed = parse(url);
    let parts = parsed.as_ref().map_err(|&error| error).map(|parsed| {
        let Topology::Single(address) = &parsed.topology else { panic!("{url}: {parsed:?}") };
        let login = parsed.login.as_ref();
        let user = login.and_then(|login| login.user.as_deref());
        (address.to_string(), user, login.map(|login| login.password.reveal()), parsed.database)
    });
    let expected =
        expected.map(|(address, user, password, database)| (address.to_owned(), user, password, database));
    assert_eq!(parts, expected, "{url}");
}

#[test]
fn a_url_says_where_and_as_whom() {
    check("redis://localhost", Ok(("localhost:6379", None, None, 0)));
    check("redis://localhost/", Ok(("localhost:6379", None, None, 0)));
    check("valkey://localhost", Ok(("localhost:6379", None, None, 0)));
    check("redis://10.0.0.1:7000/3", Ok(("10.0.0.1:7000", None, None, 3)));
    check("redis://[::1]:7000", Ok(("[::1]:7000", None, None, 0)));
    check("redis://[::1]", Ok(("[::1]:6379", None, None, 0)));
    check("redis://:secret@h:1", Ok(("h:1", None, Some("secret"), 0)));
    check("redis://u:p%40%3a%2F@h:1", Ok(("h:1", Some("u"), Some("p@:/"), 0)));
    check("redis://u:p@q@h:1", Ok(("h:1", Some("u"), Some("p@q"), 0)));
    check("redis://h:1?db=2&password=p%26&username=u", Ok(("h:1", Some("u"), Some("p&"), 2)));
    check("redis://h:1/?pass=p", Ok(("h:1", None, Some("p"), 0)));
    check("redis://h?", Ok(("h:6379", None, None, 0)));
}

#[test]
fn a_wrong_url_is_told_what_is_wrong() {
    let wrong = |url: &str, error: ConfigError| check(url, Err(error));
    for url in
        ["http://h", "h:1", "redisss://h", "redis-sentry://h", "rediss+unix:///s", "unix-unix:///s", ""]
    {
        wrong(url, ConfigError::Scheme);
    }
    for url in [
        "redis://",
        "redis://:1",
        "redis://h:",
        "redis://h:0",
        "redis://h:+1",
        "redis://h:65536",
        "redis://::1",
    ] {
        wrong(url, ConfigError::Address);
    }
    for url in ["redis://[::1", "redis://[h]:1", "redis://a b", "redis://h%41:1?db=1:1", "redis://[::1]:x"] {
        let error = parse(url).unwrap_err();
        assert!(matches!(error, ConfigError::Address | ConfigError::Database), "{url} {error}");
    }
    for url in [
        "redis://u@h",
        "redis://u:@h",
        "redis://u:%4@h",
        "redis://u:%ff@h",
        "redis://h?user=u",
        "redis://h?password=",
    ] {
        wrong(url, ConfigError::Credentials);
    }
    for url in ["redis://h/x", "redis://h/-1", "redis://h/4294967296", "redis://h?db=", "redis://h/1/2"] {
        wrong(url, ConfigError::Database);
    }
    for url in ["redis://h/1?a=b", "redis://h?db", "redis://h?client_name=%", "redis://h?sentinel_password=p"]
    {
        wrong(url, ConfigError::Query);
    }
    for url in ["redis://h/1?db=1", "redis://:p@h?password=p", "redis://h?pass=a&password=b"] {
        wrong(url, ConfigError::Twice);
    }
    wrong("redis://:p#q@h", ConfigError::Fragment);
    wrong("redis://a,b", ConfigError::Hosts);
    wrong(&format!("redis://{}", "h".repeat(256)), ConfigError::Address);
    wrong(&format!("redis://{}", "h".repeat(URL_BYTES_MAX)), ConfigError::Length);
}

#[test]
fn a_socket_is_a_path() {
    check("unix:///run/redis.sock", Ok(("unix:/run/redis.sock", None, None, 0)));
    check("redis+unix:///a%20b?db=3&user=u&password=p", Ok(("unix:/a b", Some("u"), Some("p"), 3)));
    check("valkey-unix:///s", Ok(("unix:/s", None, None, 0)));
    check("unix://u:p@/s/t", Ok(("unix:/s/t", Some("u"), Some("p"), 0)));
    let long = format!("unix:///{}", "s".repeat(SOCKET_PATH_BYTES_MAX));
    for url in ["unix://run/redis.sock", "unix://", "unix:///", "unix:///a%00b", "unix:///%fe", &long] {
        check(url, Err(ConfigError::SocketPath));
    }
}

#[test]
fn sentinels_are_several_and_name_a_service() {
    let check = |url: &str, sentinels: &[&str], database, logins: [Option<Login>; 2]| {
        let parsed = parse(url).unwrap();
        let sentinels = sentinels.iter().map(|&text| text.to_owned()).collect();
        assert_eq!(parsed.topology, Topology::Sentinel { sentinels, service: "my".to_owned() }, "{url}");
        assert_eq!((parsed.database, [parsed.login, parsed.sentinel_login]), (database, logins), "{url}");
    };
    check("redis-sentinel://h1,h2:1,[::1]/my", &["h1:26379", "h2:1", "[::1]:26379"], 0, [None, None]);
    check("valkeys+sentinel://u:p,q@h/my/2", &["h:26379"], 2, [Some(Login::user("u", "p,q")), None]);
    let both = [Some(Login::password("p")), Some(Login::user("s", "q"))];
    check("rediss-sentinel://:p@h/m%79?sentinel_username=s&sentinel_password=q&db=1", &["h:26379"], 1, both);
    assert!(parse("rediss-sentinel://h/my").unwrap().is_tls);

    let wrong = |url: &str, error| assert_eq!(parse(url).unwrap_err(), error, "{url}");
    for url in
        ["redis-sentinel://h", "redis-sentinel://h/", "redis-sentinel://h//1", "redis-sentinel://h/a%20b"]
    {
        wrong(url, ConfigError::Service);
    }
    wrong("redis-sentinel://h,/my", ConfigError::Address);
    wrong("redis-sentinel:///my", ConfigError::Address);
    wrong("redis-sentinel://h/my/x", ConfigError::Database);
    wrong("redis-sentinel://h/my?sentinel_user=s", ConfigError::Credentials);
    wrong(&format!("redis-sentinel://{}/my", vec!["h"; TARGETS_MAX + 1].join(",")), ConfigError::Hosts);
}

#[test]
fn a_cluster_has_seeds() {
    let seeds = vec!["h1:6379".to_owned(), "h2:7000".to_owned()];
    let parsed = parse("rediss-cluster://:p@h1,h2:7000/0").unwrap();
    assert_eq!((parsed.topology, parsed.is_tls), (Topology::Cluster { seeds }, true));
    assert!(matches!(parse("valkey+cluster://h").unwrap().topology, Topology::Cluster { .. }));
    assert_eq!(parse("redis-cluster://h/1").unwrap_err(), ConfigError::ClusterDatabase);
    assert_eq!(parse("redis-cluster://").unwrap_err(), ConfigError::Address);
}

#[test]
fn a_place_can_be_read_before_the_login_is_complete() {
    let check = |url: &str, place: &str, is_tls| {
        let parsed = parse_place(url).map(|(topology, is_tls)| (topology.to_string(), is_tls));
        assert_eq!(parsed, Ok((place.to_owned(), is_tls)), "{url}");
    };
    check("redis://u@h:1/1?db=1", "h:1", false);
    check("rediss://u:p@x@h", "h:6379", true);
    check("unix://u@/a@b?user=u", "unix:/a@b", false);
    check("rediss-sentinel://u@h1,h2:1/my", "my of the sentinels h1:26379,h2:1", true);
    assert_eq!(parse_place("h:1"), Err(ConfigError::Scheme));
    assert_eq!(parse_place("redis://:1"), Err(ConfigError::Address));
}

/// All that is not a letter or a digit as an escape.
fn escape(text: &str) -> String {
    let escaped = text.bytes().map(|byte| match byte {
        b'a'..=b'z' | b'0'..=b'9' => char::from(byte).to_string(),
        _ => format!("%{byte:02x}"),
    });
    escaped.collect()
}

proptest! {
    #[test]
    fn any_text_can_be_a_login(user in ".{1,9}", password in ".{1,9}") {
        let [escaped_user, escaped_password] = [&user, &password].map(|text| escape(text));
        let login = Some(Login::user(user, password));
        let parsed = parse(&format!("redis://{escaped_user}:{escaped_password}@h/1")).unwrap();
        prop_assert_eq!(&parsed.login, &login);
        let query = format!("user={escaped_user}&password={escaped_password}");
        prop_assert_eq!(&parse(&format!("unix:///s?{query}")).unwrap().login, &login);
        let parsed = parse(&format!("redis-sentinel://h/my?sentinel_{}", query.replace("&", "&sentinel_"))).unwrap();
        prop_assert_eq!(&parsed.sentinel_login, &login);
    }

    #[test]
    fn no_text_makes_it_panic(scheme in "(redis|rediss|unix|redis-sentinel|valkey\\+cluster)", rest in ".*") {
        let parsed = parse(&format!("{scheme}://{rest}"));
        if let Ok(Parsed { topology: Topology::Single(Address::Host(host)), .. }) = parsed {
            prop_assert!(parse_address(&host, DATABASE_PORT).is_some());
        }
    }
}
