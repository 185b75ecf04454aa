//! Upgrades and CONNECT.

use bowline_identity::token::{Holder, Token, TokenTable};
use bowline_model::Reason;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{assert_has, counters, status};
use crate::http::{ConnectPolicy, Settings};
use crate::testing::{World, echo, read_all, read_head, scripted, service, until};

const UPGRADE: &str = "GET /ws HTTP/1.1\r\nhost: web.svc.bowline\r\nconnection: keep-alive, Upgrade\r\nupgrade: websocket\r\n\r\n";

fn open() -> Settings {
    Settings { connect: ConnectPolicy::Open, ..Settings::default() }
}

#[tokio::test]
async fn an_upgrade_carries_bytes_both_ways_until_both_ended() {
    let service = service(|_, mut stream| async move {
        let head = read_head(&mut stream).await.unwrap();
        assert_has(&head, "connection: upgrade\r\n");
        assert_has(&head, "upgrade: websocket\r\n");
        // The first bytes of the new protocol come along with the answer.
        let answer =
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nhi";
        stream.write_all(answer.as_bytes()).await.unwrap();
        let (mut read, mut write) = stream.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
        write.write_all(b"bye").await.unwrap();
    })
    .await;
    let world = World::start(service, Settings::default()).await;
    let mut client = world.dial().await;
    client.write_all(UPGRADE.as_bytes()).await.unwrap();
    let head = read_head(&mut client).await.unwrap();
    assert_eq!(status(&head), 101);
    assert_has(&head, "upgrade: websocket\r\n");
    client.write_all(b"echo").await.unwrap();
    let mut bytes = [0; 6];
    client.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"hiecho");
    assert_has(&counters(&world), "bowline_entry_streams_open 1");
    assert_has(&counters(&world), "bowline_entry_connections_open 1");
    // The end of one way is passed on, and the other way goes on.
    client.shutdown().await.unwrap();
    assert_eq!(read_all(&mut client).await, "bye");
    until("the stream is over", || counters(&world).contains("bowline_entry_streams_open 0")).await;
    until("its place is free", || counters(&world).contains("bowline_entry_connections_open 0")).await;
    assert_has(&counters(&world), "bowline_entry_transferred_total{direction=\"up\"} 4");
}

#[tokio::test]
async fn a_service_may_refuse_an_upgrade() {
    let refusal = "HTTP/1.1 426 Upgrade Required\r\ncontent-length: 0\r\n\r\n";
    let world = World::start(scripted(&[refusal]).await, Settings::default()).await;
    let mut client = world.dial().await;
    client.write_all(UPGRADE.as_bytes()).await.unwrap();
    assert_eq!(status(&read_head(&mut client).await.unwrap()), 426);
}

#[tokio::test]
async fn connect_opens_a_stream_with_half_close() {
    let world = World::start(echo().await, open()).await;
    let mut client = world.dial().await;
    // A hasty client sends the first bytes along.
    client
        .write_all(b"CONNECT db.svc.bowline:5432 HTTP/1.1\r\nx-request-id: r9\r\n\r\nhello ")
        .await
        .unwrap();
    let head = read_head(&mut client).await.unwrap();
    assert_eq!(status(&head), 200);
    assert_has(&head, "x-request-id: r9\r\n");
    assert!(!head.contains("content-length") && !head.contains("transfer-encoding"), "{head}");
    client.write_all(b"world").await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(read_all(&mut client).await, "hello world");
    let requests = world.opener.requests.lock().unwrap();
    assert_eq!((requests[0].service.as_str(), requests[0].request_id.as_str()), ("db", "r9"));
}

#[tokio::test]
async fn connect_says_why_not() {
    let world = World::start(echo().await, open()).await;
    let ask = |target: &'static str| world.ask(target);
    let response = ask("CONNECT db.example:5432 HTTP/1.1\r\nconnection: close\r\n\r\n").await;
    assert_eq!(status(&response), 404);
    world.opener.fail(Reason::TunnelTimeout);
    let response = ask("CONNECT db:5432 HTTP/1.1\r\nconnection: close\r\n\r\n").await;
    assert_eq!(status(&response), 504);
    assert_has(&response, "bowline-reason: tunnel_timeout\r\n");
    let closed = World::start(echo().await, Settings::default()).await;
    let response = closed.ask("CONNECT db:5432 HTTP/1.1\r\nconnection: close\r\n\r\n").await;
    assert_eq!(status(&response), 400);
    assert_eq!(closed.opener.opened(), 0);
}

#[tokio::test]
async fn connect_may_need_a_token() {
    let token = Token::generate();
    let entry = token.table_entry(&Holder::client("ops").unwrap());
    let tokens = TokenTable::from_toml("test", &entry).unwrap();
    let settings = Settings { connect: ConnectPolicy::Tokens(tokens), ..Settings::default() };
    let world = World::start(echo().await, settings).await;
    let response = world.ask("CONNECT db:1 HTTP/1.1\r\nconnection: close\r\n\r\n").await;
    assert_eq!(status(&response), 407);
    assert_has(&response, "proxy-authenticate: Bearer realm=\"bowline\"\r\n");
    assert_has(&response, "bowline-reason: unauthorized\r\n");
    assert_eq!(world.opener.opened(), 0);
    let mut client = world.dial().await;
    let request = format!("CONNECT db:1 HTTP/1.1\r\nproxy-authorization: Bearer {}\r\n\r\n", token.reveal());
    client.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(status(&read_head(&mut client).await.unwrap()), 200);
}

#[tokio::test]
async fn a_stream_that_breaks_is_reset_and_not_ended() {
    let service = service(|_, mut stream| async move {
        stream.write_all(b"part").await.unwrap();
        let mut byte = [0];
        stream.read_exact(&mut byte).await.unwrap();
        bowline_rt::net::reset_on_close(&stream);
    })
    .await;
    let world = World::start(service, open()).await;
    let mut client = world.dial().await;
    client.write_all(b"CONNECT db:1 HTTP/1.1\r\n\r\n").await.unwrap();
    assert_eq!(status(&read_head(&mut client).await.unwrap()), 200);
    let mut bytes = [0; 4];
    client.read_exact(&mut bytes).await.unwrap();
    client.write_all(b"x").await.unwrap();
    assert!(client.read_u8().await.unwrap_err().kind() != std::io::ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn connect_is_served_over_http2_too() {
    let world = World::start(echo().await, open()).await;
    let mut client = super::requests::http2(&world).await;
    let request = http::Request::connect("db.svc.bowline:5432").body(String::new()).unwrap();
    let response = client.send_request(request).await.unwrap();
    assert_eq!(response.status(), 200);
    let upgraded = hyper::upgrade::on(response).await.unwrap();
    let mut stream = hyper_util::rt::TokioIo::new(upgraded);
    stream.write_all(b"hello").await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(read_all(&mut stream).await, "hello");
    until("the stream is over", || counters(&world).contains("bowline_entry_streams_open 0")).await;
    // The connection is one still.
    let request = http::Request::get("http://nowhere/").body(String::new()).unwrap();
    assert_eq!(client.send_request(request).await.unwrap().status(), 404);
}
