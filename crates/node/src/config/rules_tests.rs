//! Tables of configurations and what the rules say of them.

use super::*;
use crate::config::text::Source;
use crate::limits::{REGISTRY_TTL_MAX, REGISTRY_TTL_MIN};

/// Compares the keys of the problems and the number of warnings.
fn compare(text: &str, verdict: &Verdict, keys: &[&str], warnings: usize) {
    let got: Vec<&str> = verdict.problems.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(got, keys, "{text}\n{verdict:#?}");
    assert_eq!(verdict.warnings.len(), warnings, "{text}\n{verdict:#?}");
}

fn parse<T: serde::de::DeserializeOwned>(text: &str) -> T {
    Source::new("test.toml".into(), text.into()).parse().unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn check_server(text: &str, keys: &[&str], warnings: usize) {
    compare(text, &server(&parse(text)), keys, warnings);
}

const TLS: &str = "[tls]\ncertificate = 'c'\nkey = 'k'\n";
const MUTUAL: &str = "[tls]\ncertificate = 'c'\nkey = 'k'\nca = 'a'\n";

#[test]
fn loopback_needs_nothing() {
    check_server("", &[], 0);
    check_server("[http]\nlisten = '[::1]:80'\n", &[], 0);
    check_server(TLS, &[], 0);
}

#[test]
fn the_http_entry_off_loopback_needs_tls_and_tokens_for_connect() {
    let open = "[http]\nlisten = '0.0.0.0:80'\n";
    check_server(open, &["http.listen", "http.connect"], 0);
    check_server(&format!("{open}connect = false\n"), &["http.listen"], 0);
    check_server(&format!("{open}connect = false\n{TLS}"), &[], 0);
    check_server(&format!("tokens_file = 't'\n{open}{TLS}"), &[], 0);
    check_server(&format!("{open}connect = false\ninsecure_plaintext = true\n"), &[], 1);
    check_server(&format!("{open}connect = false\ntls = false\n{TLS}"), &["http.listen"], 0);
    check_server(&format!("{open}connect = false\ncertificate = 'c'\nkey = 'k'\n"), &[], 0);
    check_server("[http]\ntls = true\n", &["http.tls"], 0);
    check_server("[http]\ncertificate = 'c'\n", &["http.certificate"], 0);
    check_server("[http]\nkey = 'c'\n", &["http.key"], 0);
}

#[test]
fn an_http_entry_with_a_certificate_of_its_own_is_not_plaintext() {
    let own = "[http]\nlisten = '0.0.0.0:80'\nconnect = false\ncertificate = 'c'\nkey = 'k'\n";
    check_server(own, &[], 0);
    check_server(&format!("{own}insecure_plaintext = true\n"), &[], 0);
    check_server(&format!("{own}insecure_plaintext = true\ntls = false\n"), &[], 1);
    check_server(&format!("{own}tls = false\n"), &["http.listen"], 0);
}

#[test]
fn behind_another_proxy_loopback_proves_nothing() {
    let proxied = "[http]\ntrust_forwarded = true\n";
    check_server(proxied, &["http.connect"], 0);
    check_server(&format!("{proxied}connect = false\n"), &[], 0);
    check_server(&format!("tokens_file = 't'\n{proxied}"), &[], 0);
}

#[test]
fn a_request_has_time_for_an_answer() {
    check_server("[http]\nresponse_timeout = '0s'\n", &["http.response_timeout"], 0);
    check_server("[http]\nresponse_timeout = '1ms'\n", &[], 0);
    check_server("[http]\nresponse_timeout = '365d'\n", &[], 0);
}

#[test]
fn hosts_and_limits_are_in_range() {
    check_server("[http]\nroutes = { 'www.example.com' = 'web' }\n", &[], 0);
    check_server("[http]\nroutes = { 'WWW.example.com' = 'web' }\n", &["http.routes"], 0);
    check_server("[http]\nroutes = { 'www.example.com:80' = 'web' }\n", &["http.routes"], 0);
    check_server("[http.routes]\n'www.example.com' = 'web'\n", &[], 0);
    for host in ["", "*.example.com", "www.example.com.", "a..b", "a/b", "[::1]"] {
        check_server(&format!("[http.routes]\n'{host}' = 'web'\n"), &["http.routes"], 0);
    }
    check_server("[limits]\nagents = 0\nstreams = 99999999\n", &["limits.agents", "limits.streams"], 0);
    check_server("[limits]\ntunnels_per_agent = 0\n", &["limits.tunnels_per_agent"], 0);
}

#[test]
fn the_port_for_agents_off_loopback_needs_tls_and_a_way_to_authenticate() {
    let open = "[agents]\nlisten = '10.0.0.1:7100'\n";
    check_server(open, &["agents.listen", "agents.listen"], 0);
    check_server(&format!("{open}{TLS}"), &["agents.listen"], 0);
    check_server(&format!("{open}{MUTUAL}"), &[], 0);
    check_server(&format!("tokens_file = 't'\n{open}{TLS}"), &[], 0);
    check_server(&format!("tokens_file = 't'\n{open}"), &["agents.listen"], 0);
    check_server(&format!("tokens_file = 't'\n{open}insecure_plaintext = true\n"), &[], 1);
    check_server(&format!("{open}insecure_plaintext = true\n"), &["agents.listen"], 1);
}

#[test]
fn the_port_for_peers_off_loopback_needs_mutual_tls_and_an_address() {
    let open = "[peers]\nlisten = '10.0.0.1:7101'\n";
    check_server(open, &["peers.listen"], 0);
    check_server(&format!("{open}{TLS}"), &["peers.listen"], 0);
    check_server(&format!("{open}{MUTUAL}"), &[], 0);
    // One warning for the missing TLS, and one for what that means on this port.
    check_server(&format!("{open}insecure_plaintext = true\n"), &[], 2);
    check_server(&format!("{open}insecure_plaintext = true\n{TLS}"), &[], 2);
    check_server(&format!("{open}insecure_plaintext = true\n{MUTUAL}"), &[], 0);
    check_server("[peers]\ninsecure_plaintext = true\n", &[], 0);
    let warnings = server(&parse(&format!("{open}insecure_plaintext = true\n"))).warnings;
    assert!(warnings[1].contains("a stream to every service of every agent"), "{warnings:?}");
    check_server(&format!("[peers]\nlisten = '0.0.0.0:1'\n{MUTUAL}"), &["peers.advertise"], 0);
    check_server(&format!("[peers]\nlisten = '0.0.0.0:1'\nadvertise = 'a:1'\n{MUTUAL}"), &[], 0);
    check_server("[peers]\nadvertise = 'nowhere'\n", &["peers.advertise"], 0);
}

#[test]
fn a_gateway_that_others_cannot_reach_is_warned() {
    check_server("[store]\nurl = 'rediss://:pw@store.example.com:6379/0'\nca = 'a'\n", &[], 1);
    check_server("[store]\nurl = 'redis://:pw@127.0.0.1:6379'\n", &[], 0);
    check_server("[store]\nurl = 'redis://127.0.0.1'\n", &[], 0);
}

/// `advertise` keeps the warning about the port for other gateways away.
fn check_store_link(store: &str, keys: &[&str], warnings: usize) {
    check_server(&format!("[peers]\nadvertise = 'gw:1'\n[store]\n{store}"), keys, warnings);
}

#[test]
fn a_store_on_another_machine_is_reached_with_tls() {
    for url in [
        "redis://h",
        "redis://u@h:1",
        "redis://:pw@10.0.0.9:6379/0",
        "redis://localhost.example.com",
        "valkey://h",
        "redis-sentinel://u@localhost,h/my",
        "redis-cluster://h1,h2",
    ] {
        check_store_link(&format!("url = '{url}'\n"), &["store.url"], 0);
        check_store_link(&format!("url = '{url}'\ninsecure_plaintext = true\n"), &[], 1);
    }
    for url in [
        "redis://localhost/1",
        "redis://127.0.0.2",
        "redis://u:pw@[::1]:6379",
        "rediss://:pw@h",
        "unix:///run/redis.sock",
        "redis-sentinel://localhost,127.0.0.1:1/my",
        "rediss-sentinel://h/my",
    ] {
        check_store_link(&format!("url = '{url}'\n"), &[], 0);
    }
    check_server(
        "insecure_plaintext = true\n[store]\nurl = 'redis://h'\n[peers]\nadvertise = 'gw:1'\n",
        &[],
        1,
    );
    let verdict = server(&parse("[store]\nurl = 'redis://u:hunter2@h:1'\n"));
    assert_eq!(verdict.problems[0].text, "h:1 is on another machine, and redis:// has no TLS to verify it");
    assert!(verdict.problems[0].advice.contains("store.ca") && !format!("{verdict:?}").contains("hunter2"));
}

#[test]
fn files_for_tls_are_of_no_use_with_redis() {
    let local = "url = 'redis://127.0.0.1'\n";
    check_store_link(&format!("{local}ca = 'a'\n"), &["store.ca"], 0);
    let pair = "certificate = 'c'\nkey = 'k'\n";
    check_store_link(&format!("{local}{pair}"), &["store.certificate", "store.key"], 0);
    check_store_link(&format!("url = 'rediss://h'\nca = 'a'\n{pair}"), &[], 0);
    check_store_link("url = 'rediss://h'\nca = 'a'\nkey = 'k'\n", &["store.key"], 0);
    check_store_link("url = 'rediss://h'\nca = 'a'\ncertificate = 'c'\n", &["store.certificate"], 0);
    let verdict = server(&parse(&format!("[store]\n{local}ca = 'a'\n")));
    assert!(verdict.problems[0].text.contains("store.url"), "{verdict:?}");
}

#[test]
fn the_admin_port_off_loopback_needs_tls_and_a_token() {
    let open = "[admin]\nlisten = '0.0.0.0:7090'\n";
    check_server(open, &["admin.listen", "admin.listen"], 0);
    check_server(&format!("{open}{TLS}"), &["admin.listen"], 0);
    check_server(&format!("tokens_file = 't'\n{open}{TLS}"), &[], 0);
    check_server(&format!("{open}tokens_file = 't'\n{TLS}"), &[], 0);
    check_server(&format!("{open}insecure_plaintext = true\n"), &["admin.listen"], 1);
}

#[test]
fn a_tcp_listener_off_loopback_needs_tls_or_a_word() {
    let open = "[[tcp]]\nlisten = '0.0.0.0:22'\nservice = 'ssh'\n";
    check_server(open, &["tcp[0].listen"], 0);
    check_server(&format!("{open}{TLS}"), &[], 0);
    check_server(&format!("{open}insecure_plaintext = true\n"), &[], 1);
    check_server(&format!("insecure_plaintext = true\n{open}"), &[], 1);
}

#[test]
fn every_port_has_its_own_address() {
    check_server("[admin]\nlisten = '127.0.0.1:7080'\n", &["admin.listen"], 0);
    check_server("[http]\nlisten = '127.0.0.1:0'\n[admin]\nlisten = '127.0.0.1:0'\n", &[], 0);
    check_server("[http]\nlisten = '127.0.0.1:1'\n[admin]\nlisten = '[::1]:1'\n", &[], 0);
    check_server(
        "[[tcp]]\nlisten = '127.0.0.1:7'\nservice = 'a'\n\
         [[tcp]]\nlisten = '0.0.0.0:7'\nservice = 'b'\ninsecure_plaintext = true\n",
        &["tcp[1].listen"],
        1,
    );
}

#[test]
fn the_registry_can_renew_before_its_entries_expire() {
    check_server("[registry]\nttl = '4s'\n", &["registry.ttl"], 0);
    check_server("[registry]\nttl = '2h'\nlinger = '2m'\n", &["registry.ttl", "registry.linger"], 0);
    check_server("[registry]\nttl = '1h'\nlinger = '0s'\n", &[], 0);
    let (gateway, zone) = ("g".parse().expect("a name"), "z".parse().expect("a name"));
    let mut settings = bowline_registry::Settings::new(gateway, zone, "h:1").expect("an address");
    for ttl in [REGISTRY_TTL_MIN, REGISTRY_TTL_MAX] {
        (settings.ttl, settings.linger) = (ttl, Duration::ZERO);
        settings.check().expect("what the rules allow can work");
    }
}

#[test]
fn a_domain_is_labels_and_dots() {
    for domain in ["", ".", "a..b", "Svc", "-a", "a b", "a."] {
        check_server(&format!("domain = '{domain}'\n"), &["domain"], 0);
    }
    check_server("domain = 'bowline.example.com'\n", &[], 0);
}

fn check_agent(text: &str, has_token: bool, keys: &[&str], warnings: usize) {
    let text = format!("{text}\n[[service]]\nname = 'web'\naddress = '127.0.0.1:80'\n");
    compare(&text, &agent(&parse(&text), has_token), keys, warnings);
}

#[test]
fn an_agent_verifies_gateways_and_proves_who_it_is() {
    let remote = "join = ['gw.example.com:7100']\n";
    check_agent("", false, &[], 0);
    check_agent(remote, false, &["join", "join"], 0);
    check_agent(remote, true, &["join"], 0);
    check_agent(&format!("{remote}[tls]\nca = 'a'\n"), true, &[], 0);
    check_agent(&format!("{remote}[tls]\nca = 'a'\n"), false, &["join"], 0);
    check_agent(&format!("{remote}[tls]\nca = 'a'\ncertificate = 'c'\nkey = 'k'\n"), false, &[], 0);
    check_agent(&format!("{remote}[tls]\nca = 'a'\ncertificate = 'c'\n"), false, &["tls"], 0);
    check_agent(&format!("{remote}insecure_plaintext = true\n"), true, &[], 1);
    check_agent("join = []\n", false, &["join"], 0);
    check_agent("join = ['nowhere', '']\n", true, &["join[0]", "join[1]"], 0);
    check_agent("join = ['localhost:1', 'localhost:1']\n", false, &["join[1]"], 0);
    check_agent("connections = 0\n", false, &["connections"], 0);
    check_agent("[limits]\ntunnels = 0\n", false, &["limits.tunnels"], 0);
}

#[test]
fn the_admin_port_of_an_agent_off_loopback_needs_tls_and_a_token() {
    let (open, tls) = ("[admin]\nlisten = '0.0.0.0:1'\n", "certificate = 'c'\nkey = 'k'\n");
    check_agent("[admin]\nlisten = '127.0.0.1:1'\n", false, &[], 0);
    check_agent(open, false, &["admin.listen", "admin.listen"], 0);
    check_agent(&format!("{open}{tls}"), false, &["admin.listen"], 0);
    check_agent(&format!("{open}{tls}tokens_file = 't'\n"), false, &[], 0);
    check_agent(&format!("{open}insecure_plaintext = true\n"), false, &["admin.listen"], 1);
    check_agent("[admin]\nkey = 'k'\n", false, &["admin.key"], 0);
}

#[test]
fn services_of_an_agent_are_told_apart() {
    check_agent("[[service]]\nname = 'web'\naddress = '127.0.0.1:81'\n", false, &["service[1].name"], 0);
    check_agent("[[service]]\nname = 'db'\naddress = '5432'\n", false, &["service[0].address"], 0);
    compare("no service", &agent(&AgentConfig::default(), false), &[], 1);
}

#[test]
fn a_store_off_loopback_needs_tls_and_a_password() {
    let check = |text: &str, has_password: bool, keys: &[&str], warnings: usize| {
        compare(text, &store(&parse(text), has_password), keys, warnings);
    };
    let open = "listen = '0.0.0.0:6379'\n";
    check("", false, &[], 0);
    check(open, false, &["listen", "listen"], 0);
    check(open, true, &["listen"], 0);
    check(&format!("{open}{TLS}"), true, &[], 0);
    check(&format!("{open}{TLS}"), false, &["listen"], 0);
    check(&format!("{open}{MUTUAL}"), false, &[], 0);
    check(&format!("{open}insecure_plaintext = true\n"), true, &[], 1);
    check(&format!("{open}insecure_plaintext = true\n"), false, &["listen"], 1);
}

#[test]
fn the_session_service_is_judged_where_it_is_on() {
    let off = "[sessions]\nlisten = '0.0.0.0:7085'\n";
    check_server(off, &[], 0);
    let on = "[sessions]\nkeys_file = 'k'\n";
    check_server(on, &[], 0);
    check_server(&format!("{on}listen = '0.0.0.0:7085'\n"), &["sessions.listen"], 0);
    check_server(&format!("{on}listen = '0.0.0.0:7085'\n{TLS}"), &[], 0);
    check_server(&format!("{on}listen = '0.0.0.0:7085'\ninsecure_plaintext = true\n"), &[], 1);
    check_server(&format!("{on}listen = '127.0.0.1:7090'\n"), &["sessions.listen"], 0);
    check_server(&format!("{on}tls = true\n"), &["sessions.tls"], 0);
    check_server("[sessions]\nvalue_bytes = 1048577\n", &["sessions.value_bytes"], 0);
    check_server(
        "[sessions]\nvalue_bytes = 0\nconnections = 0\n",
        &["sessions.value_bytes", "sessions.connections"],
        0,
    );
    check_server("[sessions]\nttl = '2h'\nlifetime = '1h'\n", &["sessions.ttl"], 0);
    check_server("[sessions]\nttl = '999ms'\n", &["sessions.ttl"], 0);
    check_server("[sessions]\nlifetime = '500ms'\n", &["sessions.lifetime"], 0);
    check_server("[sessions]\nlifetime = '20m'\n", &[], 0);
    let ttl = |text: &str| parse::<ServerConfig>(text).sessions.ttl().to_string();
    assert_eq!(ttl(""), "30m");
    assert_eq!(ttl("[sessions]\nlifetime = '20m'\n"), "20m");
    assert_eq!(ttl("[sessions]\nlifetime = '20m'\nttl = '5m'\n"), "5m");
    check_server("[sessions]\nmemory_bytes = 1000\n", &["sessions.memory_bytes"], 0);
}
