//! Plans of gateways from configurations and files.

use std::path::Path;

use bowline_identity::Identity;
use bowline_identity::ca::{Authority, Request};
use bowline_identity::token::{Holder, Token};

use super::*;
use crate::config::Loaded;

/// A folder with an authority, a certificate, a token table and a password.
pub(in crate::plan) fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("written");
    let authority = Authority::create("test", 10).expect("an authority");
    let identity = Identity::Gateway("g1".parse().expect("a name"));
    let request = Request { identity, names: vec!["localhost".into()], days: 1 };
    let issued = authority.issue(&request).expect("issued");
    write("ca.crt", authority.certificate());
    write("g.crt", &issued.certificate);
    write("g.key", issued.key.reveal());
    write("tokens.toml", &Token::generate().table_entry(&Holder::client("ops").expect("a name")));
    write("empty.toml", "");
    write("password", "p@ss\n");
    folder
}

pub(in crate::plan) fn plan(folder: &Path, text: &str) -> Result<ServerPlan, String> {
    let loaded =
        Loaded::<ServerConfig>::parse(&folder.join("gw.toml"), text).map_err(|error| error.to_string())?;
    let read = |path: &Path| std::fs::read(path);
    let edge = Edge { read: &read, host_name: "Box.example.com", secret: None };
    ServerPlan::new(&loaded.config, &edge).map_err(|problems| loaded.locate(problems).to_string())
}

pub(in crate::plan) const TLS: &str = "[tls]\ncertificate = 'g.crt'\nkey = 'g.key'\nca = 'ca.crt'\n";

#[test]
fn the_defaults_make_an_open_gateway_on_loopback() {
    let folder = folder();
    let plan = plan(folder.path(), "").expect("a plan");
    assert_eq!(plan.gateway.as_str(), "box-7100");
    assert!(plan.authentication.anyone && plan.store.is_none());
    assert!(matches!(plan.entry.connect, ConnectPolicy::Open) && plan.admin_tokens.is_none());
    assert!([&plan.http, &plan.agents, &plan.peers, &plan.admin].iter().all(|port| !port.acceptor.is_tls()));
}

#[test]
fn off_loopback_everything_is_encrypted_and_asks_for_tokens() {
    let folder = folder();
    let text = format!(
        "tokens_file = 'tokens.toml'\n[http]\nlisten = '0.0.0.0:0'\n[agents]\nlisten = '0.0.0.0:0'\n\
         [peers]\nlisten = '0.0.0.0:0'\nadvertise = 'gw:1'\n[admin]\nlisten = '0.0.0.0:0'\n\
         [[tcp]]\nlisten = '0.0.0.0:0'\nservice = 'db'\n{TLS}"
    );
    let plan = plan(folder.path(), &text).expect("a plan");
    assert!(!plan.authentication.anyone && plan.connector.is_tls());
    assert!(matches!(plan.entry.connect, ConnectPolicy::Tokens(_)) && plan.admin_tokens.is_some());
    assert!(plan.tcp[0].port.acceptor.is_tls());
    assert!([&plan.http, &plan.agents, &plan.peers, &plan.admin].iter().all(|port| port.acceptor.is_tls()));
    assert_eq!(plan.reload().run(), Vec::<String>::new());
}

#[test]
fn on_loopback_tls_is_for_agents_and_peers_unless_it_is_asked_for() {
    let folder = folder();
    let plain = plan(folder.path(), TLS).expect("a plan");
    assert!(!plain.http.acceptor.is_tls() && plain.agents.acceptor.is_tls() && plain.peers.acceptor.is_tls());
    let asked = plan(folder.path(), &format!("[http]\ntls = true\n{TLS}")).expect("a plan");
    assert!(asked.http.acceptor.is_tls());
    let own = plan(folder.path(), "[http]\ncertificate = 'g.crt'\nkey = 'g.key'\n").expect("a plan");
    assert!(own.http.acceptor.is_tls() && !own.agents.acceptor.is_tls());
}

#[test]
fn behind_a_proxy_connect_asks_for_a_token_on_loopback_too() {
    let folder = folder();
    let text = "tokens_file = 'tokens.toml'\n[http]\ntrust_forwarded = true\n";
    let proxied = plan(folder.path(), text).expect("a plan");
    assert!(matches!(proxied.entry.connect, ConnectPolicy::Tokens(tokens) if tokens.len() == 1));
    let direct = plan(folder.path(), "tokens_file = 'tokens.toml'\n").expect("a plan");
    assert!(matches!(direct.entry.connect, ConnectPolicy::Open));
}

#[test]
fn a_tokens_file_of_the_admin_port_counts_on_loopback_too() {
    let folder = folder();
    let of_gateway = plan(folder.path(), "tokens_file = 'tokens.toml'\n").expect("a plan");
    assert!(of_gateway.admin_tokens.is_none());
    let own = plan(folder.path(), "[admin]\ntokens_file = 'tokens.toml'\n").expect("a plan");
    assert!(own.admin_tokens.as_ref().is_some_and(|tokens| tokens.len() == 1) && own.authentication.anyone);
    std::fs::write(folder.path().join("tokens.toml"), "[[token]]\n").expect("written");
    assert!(own.reload().run().join("\n").contains("admin.tokens_file"), "it is read again");
    let error = plan(folder.path(), "[admin]\ntokens_file = 'none.toml'\n").expect_err("no such file");
    assert!(error.contains("gw.toml:2: admin.tokens_file"), "{error}");
}

#[test]
fn files_that_do_not_fit_are_named() {
    let folder = folder();
    let check = |text: &str, parts: &[&str]| {
        let error = plan(folder.path(), text).expect_err("must not fit");
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    };
    check("tokens_file = 'none.toml'\n", &["gw.toml:1: tokens_file", "none.toml", "No such file"]);
    check("tokens_file = 'empty.toml'\n", &["has no token", "bowline token new"]);
    check("[tls]\ncertificate = 'g.key'\nkey = 'g.key'\n", &["gw.toml:1: tls", "g.key", "no certificate"]);
}
