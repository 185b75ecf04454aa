//! The client over real sockets on loopback, plain and with TLS, against a server in the test.
#![expect(clippy::unwrap_used, reason = "a test; the lint sees tests only where they are marked as such")]

use std::sync::Arc;
use std::time::Duration;

use bowline_identity::Identity;
use bowline_identity::ca::{Authority, Request};
use bowline_identity::tls::{
    Acceptor, ClientAuthentication, ClientSettings, Connector, Credential, Pem, ServerSettings, Stream,
};
use bowline_redis::{CallError, Client, Command, Config, Connection, Frame, NotSent};
use bowline_resp::{Protocol, RequestDecoder, RequestLimits, encode};
use bowline_rt::net::Listener;
use bowline_rt::{task, time};
use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Serves connections that `acceptor` lets in with `converse`, and returns `host:port`.
async fn serve<F: Future<Output = ()> + Send + 'static>(
    acceptor: Acceptor,
    converse: impl Fn(Stream) -> F + Send + 'static,
) -> String {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    task::spawn("server", async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            // Who is not let in is told by the handshake.
            if let Ok(stream) = acceptor.accept(tcp).await {
                task::spawn("connection", converse(stream));
            }
        }
    });
    address
}

async fn converse(mut stream: Stream) {
    let mut decoder = RequestDecoder::new(RequestLimits::default());
    let (mut requests, mut replies) = (BytesMut::new(), BytesMut::new());
    while stream.read_buf(&mut requests).await.is_ok_and(|count| count > 0) {
        while let Some(request) = decoder.decode(&mut requests).unwrap() {
            let reply = match &request[0][..] {
                b"HELLO" => Frame::Map(vec![
                    (Frame::bulk("proto"), Frame::Integer(3)),
                    (Frame::bulk("role"), Frame::bulk("master")),
                ]),
                b"INFO" => Frame::bulk("run_id:1\r\n"),
                _ => Frame::Bulk(request[1].clone()),
            };
            encode(&reply, Protocol::Resp3, &mut replies);
        }
        stream.write_all_buf(&mut replies).await.unwrap();
        stream.flush().await.unwrap();
    }
}

/// A sentinel for which the primary of every service is at `primary`.
async fn converse_as_sentinel(mut stream: Stream, primary: Arc<str>) {
    let mut decoder = RequestDecoder::new(RequestLimits::default());
    let (mut requests, mut replies) = (BytesMut::new(), BytesMut::new());
    while stream.read_buf(&mut requests).await.is_ok_and(|count| count > 0) {
        while let Some(request) = decoder.decode(&mut requests).unwrap() {
            let array = |texts: &[&str]| {
                Frame::Array(texts.iter().map(|&text| Frame::bulk(text.to_owned())).collect())
            };
            let (host, port) = primary.rsplit_once(':').unwrap();
            let reply = match &request[1][..] {
                b"GET-MASTER-ADDR-BY-NAME" => array(&[host, port]),
                b"+switch-master" => array(&["subscribe", "+switch-master", "1"]),
                _ => array(&[]),
            };
            encode(&reply, Protocol::Resp2, &mut replies);
        }
        stream.write_all_buf(&mut replies).await.unwrap();
        stream.flush().await.unwrap();
    }
}

/// Large and small values there and back, many at once.
async fn check(config: Config) {
    let client = Client::start(config);
    let calls = (0..50_usize).map(|number| {
        let client = client.clone();
        task::spawn("call", async move {
            let value = vec![b'x'; number * number * 100];
            let echo = Command::new("ECHO").arg(&value).deadline(Duration::from_secs(20));
            assert_eq!(client.call(echo).await, Ok(Frame::bulk(value)));
        })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap();
    }
    assert_eq!(client.metrics().connected.get(), 1);
}

#[tokio::test]
async fn plain() {
    let address = serve(Acceptor::Plain, converse).await;
    check(Config::from_url(&format!("redis://{address}")).unwrap()).await;
}

#[tokio::test]
async fn with_tls_and_only_with_a_trusted_server() {
    let authority = Authority::create("test", 1).unwrap();
    let pem = |text: &str| Pem::Text { name: "test".to_owned(), text: Arc::from(text) };
    let identity = Identity::Gateway("g1".parse().unwrap());
    let issued =
        authority.issue(&Request { identity, names: vec!["127.0.0.1".to_owned()], days: 1 }).unwrap();
    let credential = Credential { certificate: pem(&issued.certificate), key: pem(issued.key.reveal()) };
    let client_authentication = ClientAuthentication::None;
    let settings = ServerSettings { credential, client_authentication, alpn: Vec::new() };
    let acceptor = Acceptor::tls(settings).unwrap();
    let address: Arc<str> = serve(acceptor.clone(), converse).await.into();
    let url = format!("rediss://{address}");
    let primary = address.clone();
    let sentinel = serve(acceptor, move |stream| converse_as_sentinel(stream, primary.clone())).await;

    let trusting = |url: &str, authority: &Authority| {
        let authority = pem(authority.certificate());
        let settings = ClientSettings { authority, credential: None, server_name: None, alpn: Vec::new() };
        Config::from_url_with_tls(url, &Connector::tls(settings).unwrap()).unwrap()
    };
    check(trusting(&url, &authority)).await;
    // Sentinels are dialled in the same way, unless it is said otherwise.
    let through_sentinels = format!("rediss-sentinel://{sentinel}/my");
    check(trusting(&through_sentinels, &authority)).await;
    let plain = trusting(&through_sentinels, &authority).sentinel_connector(Connector::Plain);
    let ping = Command::new("PING").deadline(Duration::from_secs(1));
    let error = Client::start(plain).call(ping).await.unwrap_err().to_string();
    assert!(error.contains("no sentinel tells who the primary is"), "{error}");

    let client = Client::start(trusting(&url, &Authority::create("other", 1).unwrap()));
    let mut connection = client.connection();
    let refused = connection.wait_for(|state| matches!(state, Connection::Down { error: Some(_) }));
    time::timeout(Duration::from_secs(20), refused).await.unwrap().unwrap();
    let outcome = client.call(Command::new("PING").deadline(Duration::from_millis(1))).await;
    assert!(
        matches!(outcome, Err(CallError::NotSent(NotSent::Down { last_error: Some(_), .. }))),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn a_server_that_wants_a_certificate_says_so_and_a_port_for_tls_is_recognised() {
    let authority = Authority::create("test", 1).unwrap();
    let pem = |text: &str| Pem::Text { name: "test".to_owned(), text: Arc::from(text) };
    let issue = |authority: &Authority| {
        let identity = Identity::Gateway("g1".parse().unwrap());
        let request = Request { identity, names: vec!["127.0.0.1".to_owned()], days: 1 };
        let issued = authority.issue(&request).unwrap();
        Credential { certificate: pem(&issued.certificate), key: pem(issued.key.reveal()) }
    };
    let client_authentication = ClientAuthentication::Required(pem(authority.certificate()));
    let credential = issue(&authority);
    let settings = ServerSettings { credential, client_authentication, alpn: Vec::new() };
    let address = serve(Acceptor::tls(settings).unwrap(), converse).await;
    let with = |credential: Option<Credential>| {
        let authority = pem(authority.certificate());
        let settings = ClientSettings { authority, credential, server_name: None, alpn: Vec::new() };
        let connector = Connector::tls(settings).unwrap();
        Config::from_url_with_tls(&format!("rediss://{address}"), &connector).unwrap()
    };
    let refused = async |config: Config| {
        let client = Client::start(config);
        let mut connection = client.connection();
        let down = connection.wait_for(|state| matches!(state, Connection::Down { error: Some(_) }));
        let down = time::timeout(Duration::from_secs(20), down).await.unwrap().unwrap().clone();
        let Connection::Down { error: Some(error) } = down else { unreachable!("it was waited for") };
        error
    };

    check(with(Some(issue(&authority)))).await;
    let stranger = Authority::create("other", 1).unwrap();
    for credential in [None, Some(issue(&stranger))] {
        let error = refused(with(credential)).await;
        assert!(
            error.contains("wants a client certificate, or refused the one that it was shown"),
            "{error}"
        );
    }
    let plain = Config::from_url(&format!("redis://{address}")).unwrap();
    let error = refused(plain).await;
    assert!(error.contains("if it is a port for TLS, write rediss"), "{error}");
}
