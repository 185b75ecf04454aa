//! The end: what runs is served, nothing new is taken, and it does not last for ever.

use std::time::Duration;

use bowline_identity::Identity;
use bowline_identity::ca::{Authority, Request};
use bowline_identity::tls::{
    ALPN_HTTP1, ALPN_HTTP2, Acceptor, ClientAuthentication, ClientSettings, Connector, Credential, Pem,
    ServerSettings,
};
use bowline_rt::time::{self, now};
use http_body_util::BodyExt;
use hyper::client::conn::http2;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::requests::http2_with_window;
use super::{assert_has, counters, status};
use crate::http::{ConnectPolicy, Settings};
use crate::limits::{CLOSE_LIMIT, FIRST_BYTE_TIMEOUT, HTTP1_BUFFER_BYTES_MAX, HTTP2_FAREWELL_TIMEOUT};
use crate::testing::{LIMIT, Tasks, World, echo, mirror, read_all, read_head, service, until};

const KEEP_ALIVE: &[u8] = b"GET / HTTP/1.1\r\nhost: web.svc.bowline\r\n\r\n";

/// A service that answers when it is sent a byte more.
async fn slow() -> (std::net::SocketAddr, std::sync::Arc<tokio::sync::Notify>) {
    let go = std::sync::Arc::new(tokio::sync::Notify::new());
    let waiting = go.clone();
    let address = service(move |_, mut stream| {
        let waiting = waiting.clone();
        async move {
            read_head(&mut stream).await.unwrap();
            waiting.notified().await;
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
            drop(read_all(&mut stream).await);
        }
    })
    .await;
    (address, go)
}

#[tokio::test(start_paused = true)]
async fn what_runs_is_finished_and_its_connection_closed() {
    let (service, go) = slow().await;
    let world = World::start(service, Settings::default()).await;
    let (mut running, mut idle, mut unused) = (world.dial().await, world.dial().await, world.dial().await);
    running.write_all(KEEP_ALIVE).await.unwrap();
    until("it is on its way", || world.opener.opened() == 1).await;
    idle.write_all(b"GET / HTTP/1.1\r\nhost: nowhere\r\n\r\n").await.unwrap();
    assert!(read_head(&mut idle).await.is_some());
    let began = now();
    world.shutdown.cancel();
    drop(read_all(&mut idle).await);
    drop(read_all(&mut unused).await);
    assert!(now() - began < Duration::from_secs(3), "who has nothing to lose is closed at once");
    go.notify_one();
    let response = read_all(&mut running).await;
    assert_eq!(status(&response), 200);
    assert_has(&response, "connection: close\r\n");
    assert!(response.ends_with("ok"));
    time::timeout(LIMIT, world.running).await.unwrap().unwrap();
    assert!(now() - began < Duration::from_secs(3), "nothing is waited for that is over");
}

#[tokio::test(start_paused = true)]
async fn the_grace_time_ends_what_does_not_end_by_itself() {
    let (service, _go) = slow().await;
    let settings = Settings { connect: ConnectPolicy::Open, ..Settings::default() };
    let grace = settings.grace;
    let world = World::start(service, settings).await;
    let (mut request, mut stream) = (world.dial().await, world.dial().await);
    request.write_all(KEEP_ALIVE).await.unwrap();
    stream.write_all(b"CONNECT db:1 HTTP/1.1\r\n\r\n").await.unwrap();
    assert!(read_head(&mut stream).await.is_some());
    until("both are on their way", || world.opener.opened() == 2).await;
    let began = now();
    world.shutdown.cancel();
    time::timeout(LIMIT, world.running).await.unwrap().unwrap();
    assert!(now() - began >= grace && now() - began < grace + Duration::from_secs(2));
    // Neither gets an orderly end.
    for stream in [&mut stream, &mut request] {
        assert_eq!(stream.read_u8().await.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    }
}

#[tokio::test]
async fn an_open_stream_goes_on_during_the_grace_time() {
    let settings = Settings { connect: ConnectPolicy::Open, ..Settings::default() };
    let world = World::start(echo().await, settings).await;
    let mut stream = world.dial().await;
    stream.write_all(b"CONNECT db:1 HTTP/1.1\r\n\r\n").await.unwrap();
    assert!(read_head(&mut stream).await.is_some());
    world.shutdown.cancel();
    until("the port is closed", || world.metrics.counters.connections_open.get() == 1).await;
    stream.write_all(b"still").await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(read_all(&mut stream).await, "still");
    world.running.await.unwrap();
}

#[tokio::test]
async fn an_http2_client_is_told_to_go_away_and_finishes() {
    let (service, go) = slow().await;
    let world = World::start(service, Settings::default()).await;
    let io = TokioIo::new(world.dial().await);
    let (mut client, connection) = http2::handshake(Tasks, io).await.unwrap();
    let connection = bowline_rt::task::spawn("client", connection);
    let request = http::Request::get("http://web.svc.bowline/").body(String::new()).unwrap();
    let response = client.send_request(request);
    let finish = async {
        until("it is on its way", || world.opener.opened() == 1).await;
        world.shutdown.cancel();
        go.notify_one();
    };
    let (response, ()) = tokio::join!(response, finish);
    assert_eq!(response.unwrap().status(), 200);
    world.running.await.unwrap();
    connection.await.unwrap().unwrap();
}

/// An entry with TLS, and what its clients need.
async fn with_tls() -> (World, Connector) {
    let authority = Authority::create("test", 1).unwrap();
    let identity = Identity::Gateway("g1".parse().unwrap());
    let issued = authority.issue(&Request { identity, names: vec!["127.0.0.1".into()], days: 1 }).unwrap();
    let pem = |text: &str| Pem::Text { name: "test".into(), text: text.into() };
    let acceptor = Acceptor::tls(ServerSettings {
        credential: Credential { certificate: pem(&issued.certificate), key: pem(issued.key.reveal()) },
        client_authentication: ClientAuthentication::None,
        alpn: vec![ALPN_HTTP2.to_vec(), ALPN_HTTP1.to_vec()],
    });
    let connector = Connector::tls(ClientSettings {
        authority: pem(authority.certificate()),
        credential: None,
        server_name: None,
        alpn: vec![ALPN_HTTP1.to_vec()],
    });
    let world = World::start_with(mirror().await, Settings::default(), acceptor.unwrap()).await;
    (world, connector.unwrap())
}

#[tokio::test]
async fn tls_offers_both_versions() {
    let (world, connector) = with_tls().await;
    let address = world.address.to_string();
    let mut stream = connector.connect(&address, LIMIT).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: web.svc.bowline\r\nconnection: close\r\n\r\n").await.unwrap();
    stream.flush().await.unwrap();
    assert_has(&read_all(&mut stream).await, "x-forwarded-proto: https\r\n");
    let stream = connector.with_alpn(&[ALPN_HTTP2]).connect(&address, LIMIT).await.unwrap();
    let io = TokioIo::new(stream);
    let (mut client, connection) = http2::handshake(Tasks, io).await.unwrap();
    bowline_rt::task::spawn("client", async move { drop(connection.await) });
    let request = http::Request::get("https://web.svc.bowline/").body(String::new()).unwrap();
    assert_eq!(client.send_request(request).await.unwrap().status(), 200);
    // A client that does not speak TLS is counted and does no harm.
    assert!(!world.get("").await.contains("200 OK"));
    until("it is counted", || counters(&world).contains("bowline_entry_handshakes_failed_total 1")).await;
}

#[tokio::test]
async fn a_client_that_chose_http2_and_says_nothing_is_given_up() {
    let (world, connector) = with_tls().await;
    let address = world.address.to_string();
    let mut silent = connector.with_alpn(&[ALPN_HTTP2]).connect(&address, LIMIT).await.unwrap();
    until("it is served", || world.metrics.counters.connections_open.get() == 1).await;
    tokio::time::pause();
    let began = now();
    drop(read_all(&mut silent).await);
    assert!(now() - began >= FIRST_BYTE_TIMEOUT && now() - began < FIRST_BYTE_TIMEOUT + CLOSE_LIMIT);
}

/// A service that answers every request with as many bytes as its path says.
async fn sized() -> std::net::SocketAddr {
    service(|_, mut stream| async move {
        while let Some(head) = read_head(&mut stream).await {
            let length: usize = head[5..].split(' ').next().unwrap().parse().unwrap();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            let _ = stream.write_all(&vec![0; length]).await;
        }
    })
    .await
}

/// How much fits into the kernel's buffers is not known here, but that one of these sizes passes it by less than hyper
/// buffers: then the whole response is written as far as hyper is concerned, and the socket has not taken its end.
#[tokio::test(start_paused = true)]
async fn a_slow_client_gets_the_end_of_its_response_during_a_drain() {
    let world = World::start(sized().await, Settings::default()).await;
    let mut clients = Vec::new();
    for length in (1..=72).map(|step| step * HTTP1_BUFFER_BYTES_MAX * 3 / 4) {
        let mut client = world.dial().await;
        let request = format!("GET /{length} HTTP/1.1\r\nhost: web.svc.bowline\r\n\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        assert!(read_head(&mut client).await.is_some());
        clients.push((length, client));
    }
    time::sleep(CLOSE_LIMIT).await;
    world.shutdown.cancel();
    time::sleep(CLOSE_LIMIT * 5).await;
    for (length, client) in &mut clients {
        assert_eq!(read_all(client).await.len(), *length);
    }
    time::timeout(CLOSE_LIMIT * 2, world.running).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_slow_http2_client_gets_the_end_of_its_response_during_a_drain() {
    let world = World::start(sized().await, Settings::default()).await;
    let mut client = http2_with_window(&world, 1_000).await;
    let request = http::Request::get("http://web.svc.bowline/8000").body(String::new()).unwrap();
    let response = client.send_request(request).await.unwrap();
    until("hyper has it all", || counters(&world).contains("requests_in_flight 0")).await;
    world.shutdown.cancel();
    time::sleep(HTTP2_FAREWELL_TIMEOUT * 2).await;
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body.len(), 8_000);
    time::timeout(CLOSE_LIMIT * 2, world.running).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_client_that_chose_http2_and_fell_silent_does_not_delay_the_end() {
    let (world, connector) = with_tls().await;
    let silent = connector.with_alpn(&[ALPN_HTTP2]).connect(&world.address.to_string(), LIMIT).await.unwrap();
    until("it is served", || world.metrics.counters.connections_open.get() == 1).await;
    tokio::time::pause();
    let began = now();
    world.shutdown.cancel();
    world.running.await.unwrap();
    assert!(now() - began < Duration::from_secs(3));
    drop(silent);
}
