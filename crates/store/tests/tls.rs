//! The store behind TLS: the protocol is the same, and plain text gets nowhere.

use std::sync::Arc;
use std::time::Duration;

use bowline_identity::Identity;
use bowline_identity::ca::{Authority, Request};
use bowline_identity::tls::{
    Acceptor, ClientAuthentication, ClientSettings, Connector, Credential, Pem, ServerSettings,
};
use bowline_rt::net::connect;
use bowline_rt::time::timeout;
use bowline_store::{Settings, Store};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const PATIENCE: Duration = Duration::from_secs(20);

fn pem(text: &str) -> Pem {
    Pem::Text { name: "test.pem".to_owned(), text: Arc::from(text) }
}

#[tokio::test]
async fn a_client_with_tls_is_served_and_one_without_is_not() {
    let authority = Authority::create("test", 10).expect("an authority");
    let identity = Identity::Gateway("store".parse().expect("a name"));
    let request = Request { identity, names: vec!["127.0.0.1".to_owned()], days: 1 };
    let issued = authority.issue(&request).expect("a certificate");
    let credential = Credential { certificate: pem(&issued.certificate), key: pem(issued.key.reveal()) };
    let settings =
        ServerSettings { credential, client_authentication: ClientAuthentication::None, alpn: Vec::new() };
    let acceptor = Acceptor::tls(settings).expect("good material");
    let address = "127.0.0.1:0".parse().expect("an address");
    let store =
        Store::start(address, Settings { acceptor, ..Settings::default() }).await.expect("a free port");

    let authority = pem(authority.certificate());
    let client = ClientSettings { authority, credential: None, server_name: None, alpn: Vec::new() };
    let connector = Connector::tls(client).expect("good material");
    let mut stream = connector.connect(&store.address().to_string(), PATIENCE).await.expect("a handshake");
    stream.write_all(b"SET k v\r\nGET k\r\n").await.expect("the store reads");
    stream.flush().await.expect("the store reads");
    let mut reply = [0; 12];
    timeout(PATIENCE, stream.read_exact(&mut reply)).await.expect("in time").expect("two replies");
    assert_eq!(&reply, b"+OK\r\n$1\r\nv\r\n");

    let mut plain = connect(store.address(), PATIENCE).await.expect("the store listens");
    plain.write_all(b"PING\r\n").await.expect("the store reads");
    let mut rest = Vec::new();
    // An alert of TLS or a reset, but never an answer.
    let _ = timeout(PATIENCE, plain.read_to_end(&mut rest)).await.expect("the store hangs up");
    assert!(!rest.starts_with(b"+PONG"), "{rest:?}");
    store.stop().await.expect("a clean end");
}
