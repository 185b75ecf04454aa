//! Handshakes over loopback: who gets in, and what those who do not are told.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bowline_rt::net::{Listener, TcpStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::Identity;
use crate::ca::{Authority, Issued, Request};

/// Longest that any step of a test may take.
const LIMIT: Duration = Duration::from_secs(5);

fn pem(name: &str, text: &str) -> Pem {
    Pem::Text { name: name.to_owned(), text: Arc::from(text) }
}

fn credential(issued: &Issued) -> Credential {
    Credential {
        certificate: pem("leaf.pem", &issued.certificate),
        key: pem("leaf.key", issued.key.reveal()),
    }
}

/// An authority and what it issues.
struct World {
    authority: Authority,
}

impl World {
    fn new() -> Self {
        Self { authority: Authority::create("test", 10).unwrap() }
    }

    fn trusted(&self) -> Pem {
        pem("ca.pem", self.authority.certificate())
    }

    fn gateway(&self, names: &[&str]) -> Credential {
        let names = names.iter().map(ToString::to_string).collect();
        let identity = Identity::Gateway("g1".parse().unwrap());
        credential(&self.authority.issue(&Request { identity, names, days: 1 }).unwrap())
    }

    fn agent(&self) -> Credential {
        let identity = Identity::Agent("edge-1".parse().unwrap());
        credential(&self.authority.issue(&Request { identity, names: Vec::new(), days: 1 }).unwrap())
    }

    fn server(&self, client_authentication: ClientAuthentication) -> Acceptor {
        let credential = self.gateway(&["127.0.0.1"]);
        let alpn = vec![ALPN_CONTROL.to_vec(), ALPN_TUNNEL.to_vec()];
        Acceptor::tls(ServerSettings { credential, client_authentication, alpn }).unwrap()
    }

    fn client(&self, credential: Option<Credential>) -> ClientSettings {
        ClientSettings { authority: self.trusted(), credential, server_name: None, alpn: Vec::new() }
    }
}

/// A leaf of `world` that was valid only in the past.
fn expired(world: &World) -> Credential {
    let issuer_key = rcgen::KeyPair::from_pem(world.authority.key().reveal()).unwrap();
    let issuer = rcgen::Issuer::from_ca_cert_pem(world.authority.certificate(), issuer_key).unwrap();
    let mut parameters = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    parameters.not_before = rcgen::date_time_ymd(2020, 1, 1);
    parameters.not_after = rcgen::date_time_ymd(2021, 1, 1);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = parameters.signed_by(&key, &issuer).unwrap();
    Credential { certificate: pem("old.pem", &certificate.pem()), key: pem("old.key", &key.serialize_pem()) }
}

/// A leaf of `world` with these names, which are all that it has.
fn with_names(world: &World, names: &[rcgen::SanType]) -> Credential {
    let issuer_key = rcgen::KeyPair::from_pem(world.authority.key().reveal()).unwrap();
    let issuer = rcgen::Issuer::from_ca_cert_pem(world.authority.certificate(), issuer_key).unwrap();
    let mut parameters = rcgen::CertificateParams::default();
    parameters.subject_alt_names = names.to_vec();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = parameters.signed_by(&key, &issuer).unwrap();
    Credential { certificate: pem("own.pem", &certificate.pem()), key: pem("own.key", &key.serialize_pem()) }
}

/// What both sides saw: the accepted stream or its error, and the same for the dialled one after one byte both ways.
async fn meet(acceptor: &Acceptor, connector: &Connector) -> (io::Result<Stream>, io::Result<Stream>) {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let serve = async {
        let (tcp, _) = listener.accept().await?;
        let mut stream = acceptor.accept(tcp).await?;
        stream.write_all(b"s").await?;
        stream.flush().await?;
        expect(&mut stream, b'c').await?;
        Ok(stream)
    };
    let dial = async {
        let mut stream = connector.connect(&address, LIMIT).await?;
        stream.write_all(b"c").await?;
        stream.flush().await?;
        expect(&mut stream, b's').await?;
        Ok(stream)
    };
    bowline_rt::time::timeout(LIMIT, async { tokio::join!(serve, dial) }).await.expect("both sides end")
}

async fn expect(stream: &mut Stream, byte: u8) -> io::Result<()> {
    match stream.read_u8().await? {
        read if read == byte => Ok(()),
        other => Err(io::Error::other(format!("read {other}"))),
    }
}

fn assert_says<T>(result: io::Result<T>, expected: &str) {
    let Err(error) = result else { panic!("expected an error about {expected:?}") };
    let text = error.to_string();
    assert!(text.contains(expected), "{text:?} does not say {expected:?}");
    assert!(text.contains("127.0.0.1") || text.contains("the other side"), "{text:?} does not say who");
}

#[tokio::test]
async fn both_sides_learn_who_the_other_is() {
    let world = World::new();
    let acceptor = world.server(ClientAuthentication::Required(world.trusted()));
    let connector = Connector::tls(world.client(Some(world.agent()))).unwrap().with_alpn(&[ALPN_TUNNEL]);
    let (served, dialled) = meet(&acceptor, &connector).await;
    let (served, dialled) = (served.unwrap(), dialled.unwrap());
    assert_eq!(served.peer(), Some(&Identity::Agent("edge-1".parse().unwrap())));
    assert_eq!(dialled.peer(), Some(&Identity::Gateway("g1".parse().unwrap())));
    assert_eq!(served.alpn(), Some(ALPN_TUNNEL));
    assert!(!served.is_resumed());
}

#[tokio::test]
async fn an_agent_is_told_from_a_stranger() {
    let world = World::new();
    let acceptor = world.server(ClientAuthentication::Required(world.trusted()));
    let uri = |text: &str| rcgen::SanType::URI(text.try_into().unwrap());
    let dns = rcgen::SanType::DnsName("redis.example".try_into().unwrap());
    for (credential, is_agent) in [
        (world.agent(), true),
        (world.gateway(&["127.0.0.1"]), false),
        (with_names(&world, &[]), false),
        (with_names(&world, &[dns]), false),
        (with_names(&world, &[uri("spiffe://agent/edge-1")]), false),
        (with_names(&world, &[uri("bowline://agent/edge-1"), uri("bowline://agent/edge-2")]), true),
        (with_names(&world, &[uri("bowline://gateway/g1"), uri("bowline://agent/edge-2")]), true),
        (with_names(&world, &[uri("bowline://agent/NOBODY")]), true),
    ] {
        let connector = Connector::tls(world.client(Some(credential))).unwrap();
        let (served, _) = meet(&acceptor, &connector).await;
        let served = served.unwrap();
        assert_eq!(served.peer_is_agent(), is_agent, "{:?}", served.peer());
    }
}

#[tokio::test]
async fn a_second_connection_resumes_the_session_and_keeps_the_identity() {
    let world = World::new();
    let acceptor = world.server(ClientAuthentication::Required(world.trusted()));
    let connector = Connector::tls(world.client(Some(world.agent()))).unwrap();
    let (first, _) = meet(&acceptor, &connector).await;
    let (second, dialled) = meet(&acceptor, &connector.with_alpn(&[ALPN_TUNNEL])).await;
    let (first, second) = (first.unwrap(), second.unwrap());
    assert!(second.is_resumed() && dialled.unwrap().is_resumed());
    assert_eq!(second.peer(), first.peer());
    acceptor.reload().unwrap();
    let (third, _) = meet(&acceptor, &connector).await;
    assert!(!third.unwrap().is_resumed(), "a reload ends the sessions of before");
}

#[tokio::test]
async fn a_client_without_a_certificate_is_a_stranger_or_refused() {
    let world = World::new();
    let connector = Connector::tls(world.client(None)).unwrap();
    let optional = world.server(ClientAuthentication::Optional(world.trusted()));
    let (served, dialled) = meet(&optional, &connector).await;
    assert_eq!(served.unwrap().peer(), None);
    assert!(dialled.is_ok());
    let required = world.server(ClientAuthentication::Required(world.trusted()));
    let (served, dialled) = meet(&required, &connector).await;
    assert_says(served, "it presented no certificate");
    assert_says(dialled, "it requires a certificate and none was presented");
}

#[tokio::test]
async fn strangers_and_their_authorities_are_refused() {
    let (world, other) = (World::new(), World::new());
    let acceptor = world.server(ClientAuthentication::Required(world.trusted()));
    // A client that trusts another authority refuses the server ...
    let (served, dialled) =
        meet(&acceptor, &Connector::tls(other.client(Some(world.agent()))).unwrap()).await;
    assert_says(served, "does not trust the authority");
    assert_says(dialled, "the server's certificate was not issued by an authority that is trusted here");
    // ... and a server refuses a client of another authority.
    let (served, dialled) =
        meet(&acceptor, &Connector::tls(world.client(Some(other.agent()))).unwrap()).await;
    assert_says(served, "the client's certificate was not issued by an authority");
    assert_says(dialled, "the certificate presented to it");
}

#[tokio::test]
async fn an_expired_certificate_is_refused_on_either_side() {
    let world = World::new();
    let acceptor = world.server(ClientAuthentication::Required(world.trusted()));
    let (served, dialled) =
        meet(&acceptor, &Connector::tls(world.client(Some(expired(&world)))).unwrap()).await;
    assert_says(served, "the client's certificate has expired");
    assert_says(dialled, "has expired; issue a new one");
    let old = Acceptor::tls(ServerSettings {
        credential: expired(&world),
        client_authentication: ClientAuthentication::None,
        alpn: Vec::new(),
    });
    let (_, dialled) = meet(&old.unwrap(), &Connector::tls(world.client(None)).unwrap()).await;
    assert_says(dialled, "the server's certificate has expired");
}

#[tokio::test]
async fn a_server_must_hold_the_name_that_was_dialled_or_configured() {
    let world = World::new();
    let acceptor = Acceptor::tls(ServerSettings {
        credential: world.gateway(&["gateway.example"]),
        client_authentication: ClientAuthentication::None,
        alpn: Vec::new(),
    })
    .unwrap();
    let (_, dialled) = meet(&acceptor, &Connector::tls(world.client(None)).unwrap()).await;
    assert_says(dialled, "is not for 127.0.0.1, it holds");
    let named = ClientSettings { server_name: Some("gateway.example".to_owned()), ..world.client(None) };
    let (served, dialled) = meet(&acceptor, &Connector::tls(named).unwrap()).await;
    assert!(served.is_ok() && dialled.is_ok());
    // An agent cannot pose as a gateway, even under the right name.
    let identity = Identity::Agent("edge-1".parse().unwrap());
    let names = vec!["127.0.0.1".to_owned()];
    let agent = world.authority.issue(&Request { identity, names, days: 1 }).unwrap();
    let impostor = Acceptor::tls(ServerSettings {
        credential: credential(&agent),
        client_authentication: ClientAuthentication::None,
        alpn: Vec::new(),
    });
    let (_, dialled) = meet(&impostor.unwrap(), &Connector::tls(world.client(None)).unwrap()).await;
    assert_says(dialled, "must not be used by a server");
}

#[tokio::test]
async fn plain_and_tls_do_not_hang_on_each_other() {
    let world = World::new();
    let acceptor = world.server(ClientAuthentication::None);
    let (served, dialled) = meet(&acceptor, &Connector::Plain).await;
    assert_says(served, "it does not speak TLS");
    assert!(dialled.is_err());
    let (_, dialled) = meet(&Acceptor::Plain, &Connector::tls(world.client(None)).unwrap()).await;
    assert_says(dialled, "it does not speak TLS");
}

#[tokio::test]
async fn a_silent_client_is_given_up() {
    let world = World::new();
    let acceptor = world.server(ClientAuthentication::None);
    let (silent, tcp) = pair().await;
    // Only now, so that no wait for the kernel is cut short.
    tokio::time::pause();
    let error = acceptor.accept(tcp).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert_says::<()>(Err(error), "it sent no complete handshake within 10s");
    drop(silent);
}

async fn pair() -> (TcpStream, TcpStream) {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (dialled, accepted) = tokio::join!(bowline_rt::net::connect(address, LIMIT), listener.accept());
    (dialled.unwrap(), accepted.unwrap().0)
}

#[tokio::test]
async fn an_end_is_told_apart_from_a_cut() {
    let world = World::new();
    let acceptor = world.server(ClientAuthentication::None);
    let connector = Connector::tls(world.client(None)).unwrap();
    let (served, dialled) = meet(&acceptor, &connector).await;
    let (mut served, mut dialled) = (served.unwrap(), dialled.unwrap());
    // The end of one way leaves the other way open.
    served.shutdown().await.unwrap();
    assert_eq!(dialled.read(&mut [0; 8]).await.unwrap(), 0);
    dialled.write_all(b"still").await.unwrap();
    dialled.flush().await.unwrap();
    let mut bytes = [0; 5];
    served.read_exact(&mut bytes).await.unwrap();
    // A connection that ends without saying so is an error.
    drop(dialled);
    assert_eq!(served.read(&mut [0; 8]).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
}

#[test]
fn each_file_says_how_long_it_is_valid() {
    let world = World::new();
    let until = |validities: Vec<Validity>| -> Vec<(String, Duration)> {
        validities.into_iter().map(|validity| (validity.file, validity.not_after)).collect()
    };
    let identity = Identity::Gateway("g1".parse().unwrap());
    let issued = world.authority.issue(&Request { identity, names: vec!["g".into()], days: 1 }).unwrap();
    let other = Authority::create("new", 20).unwrap();
    let both = [world.authority.certificate(), other.certificate()].concat();
    let settings = |trusted: Pem| ServerSettings {
        credential: credential(&issued),
        client_authentication: ClientAuthentication::Required(trusted),
        alpn: Vec::new(),
    };
    let leaf = ("leaf.pem".to_owned(), issued.not_after);
    let seen = until(Acceptor::tls(settings(world.trusted())).unwrap().validities());
    assert_eq!(seen[0], leaf);
    assert_eq!(seen[1].0, "ca.pem");
    // While an authority is replaced, what counts is the new one.
    let replaced = until(Acceptor::tls(settings(pem("both.pem", &both))).unwrap().validities());
    assert!(replaced[1].1 > seen[1].1, "{replaced:?}");
    let dialled = until(Connector::tls(world.client(Some(credential(&issued)))).unwrap().validities());
    assert_eq!(dialled, [seen[1].clone(), leaf]);
    assert_eq!(Acceptor::Plain.validities(), []);
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let world = World::new();
    let (one, other) = (world.agent(), world.agent());
    let check = |credential: Credential, expected: &str| {
        let client_authentication = ClientAuthentication::None;
        let error = Acceptor::tls(ServerSettings { credential, client_authentication, alpn: Vec::new() });
        let error = error.unwrap_err().to_string();
        assert!(error.contains(expected), "{error:?} does not say {expected:?}");
        assert!(!error.contains("BEGIN PRIVATE KEY-----\n"));
    };
    let with = |certificate: Pem, key: Pem| Credential { certificate, key };
    check(
        with(one.certificate.clone(), other.key),
        "the key in leaf.key does not belong to the certificate in leaf.pem",
    );
    check(with(one.key.clone(), one.key.clone()), "leaf.key has no certificate");
    check(with(one.certificate.clone(), one.certificate.clone()), "leaf.pem has no private key");
    check(with(Pem::File("/nonexistent/x.pem".into()), one.key.clone()), "cannot read /nonexistent/x.pem");
    let torn = "-----BEGIN CERTIFICATE-----\nAAAA";
    check(with(pem("torn.pem", torn), one.key.clone()), "torn.pem is damaged");
    let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    check(with(pem("bad.pem", nonsense), one.key.clone()), "bad.pem or leaf.key is damaged");
    let settings = ClientSettings { server_name: Some("a b".into()), ..world.client(None) };
    assert!(Connector::tls(settings).unwrap_err().to_string().contains("neither a host name nor an address"));
    assert_eq!(format!("{:?}", one.key), "Pem(leaf.key)");
}
