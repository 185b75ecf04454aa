//! Clients that are slow, silent, rude or many.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bowline_rt::time::{self, now};
use bytes::Bytes;
use http_body::Frame;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use super::{assert_has, counters, status};
use crate::http::Settings;
use crate::limits::{
    FIRST_BYTE_TIMEOUT, HEAD_BYTES_MAX, HEAD_TIMEOUT, HEADERS_MAX, IDLE_TIMEOUT, REQUEST_STALL_TIMEOUT,
    RESPONSE_TIMEOUT, UPSTREAM_AGE_MAX, UPSTREAM_IDLE_TIMEOUT, WRITE_STALL_TIMEOUT,
};
use crate::testing::{LIMIT, World, mirror, read_all, read_head, service, until};

/// A service that takes everything and says nothing.
async fn silent() -> std::net::SocketAddr {
    service(|_, mut stream| async move { drop(read_all(&mut stream).await) }).await
}

/// Asserts that about `expected` has passed since `began`, on a clock that moves only when nobody can.
pub(super) fn assert_took(began: std::time::Instant, expected: Duration) {
    let took = now() - began;
    assert!(took >= expected && took < expected + Duration::from_secs(5), "{took:?}, not {expected:?}");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_does_not_answer_is_given_up() {
    let world = World::start(silent().await, Settings::default()).await;
    let began = now();
    let response = world.get("").await;
    assert_took(began, RESPONSE_TIMEOUT);
    assert_eq!(status(&response), 504);
    assert_has(&response, "bowline-reason: response_timeout\r\n");
}

#[tokio::test(start_paused = true)]
async fn an_unused_connection_to_a_service_is_closed() {
    let (closed, mut is_closed) = mpsc::channel(1);
    let service = service(move |_, mut stream| {
        let closed = closed.clone();
        async move {
            read_head(&mut stream).await.unwrap();
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
            read_all(&mut stream).await;
            closed.send(()).await.unwrap();
        }
    })
    .await;
    let world = World::start(service, Settings::default()).await;
    assert_eq!(status(&world.get("").await), 204);
    let began = now();
    is_closed.recv().await.unwrap();
    assert_took(began, UPSTREAM_IDLE_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn a_busy_connection_to_a_service_is_replaced_when_it_is_old() {
    let connections = Arc::new(AtomicUsize::new(0));
    let counter = connections.clone();
    let service = service(move |_, mut stream| {
        counter.fetch_add(1, Ordering::Relaxed);
        async move {
            while read_head(&mut stream).await.is_some() {
                stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
            }
        }
    })
    .await;
    let world = World::start(service, Settings::default()).await;
    let began = now();
    while now() < began + UPSTREAM_AGE_MAX * 3 {
        assert_eq!(status(&world.get("").await), 204);
        time::sleep(Duration::from_millis(500)).await;
    }
    let opened = connections.load(Ordering::Relaxed);
    assert!((3..=5).contains(&opened), "{opened} connections in three times the age");
}

#[tokio::test(start_paused = true)]
async fn an_unused_connection_to_a_service_that_has_grown_old_is_not_used_again() {
    let settings = Settings { upstream_idle_timeout: UPSTREAM_AGE_MAX * 10, ..Settings::default() };
    let world = World::start(mirror().await, settings).await;
    assert_eq!(status(&world.get("").await), 200);
    time::sleep(UPSTREAM_AGE_MAX).await;
    assert_eq!(status(&world.get("").await), 200);
    assert_eq!(world.opener.opened(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_slow_upload_is_no_slow_service() {
    let world = World::start(silent().await, Settings::default()).await;
    let mut stream = world.dial().await;
    let began = now();
    stream.write_all(b"PUT / HTTP/1.1\r\nhost: web.svc.bowline\r\ncontent-length: 9\r\n\r\n").await.unwrap();
    for _ in 0..3 {
        time::sleep(REQUEST_STALL_TIMEOUT * 9 / 10).await;
        stream.write_all(b"x").await.unwrap();
    }
    let response = read_head(&mut stream).await.unwrap();
    assert_took(began, REQUEST_STALL_TIMEOUT * 37 / 10);
    assert_eq!(status(&response), 408);
    assert_has(&response, "bowline-reason: request_timeout\r\n");
}

/// A service that answers every request before its body, takes the body, and tells when its connection has ended.
async fn hasty() -> (std::net::SocketAddr, mpsc::Receiver<()>) {
    let (ended, has_ended) = mpsc::channel(1);
    let address = service(move |_, mut stream| {
        let ended = ended.clone();
        async move {
            while let Some(head) = read_head(&mut stream).await {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                let length = length.map_or(0, |length| length.parse().unwrap());
                if stream.read_exact(&mut vec![0; length]).await.is_err() {
                    break;
                }
            }
            ended.send(()).await.unwrap();
        }
    })
    .await;
    (address, has_ended)
}

#[tokio::test(start_paused = true)]
async fn an_upload_goes_on_after_its_answer_as_long_as_it_moves() {
    let (service, mut has_ended) = hasty().await;
    let world = World::start(service, Settings::default()).await;
    let mut stream = world.dial().await;
    let put = b"PUT / HTTP/1.1\r\nhost: web.svc.bowline\r\ncontent-length: 20\r\n\r\n";
    let mut answer = [0; 2];
    for _ in 0..2 {
        stream.write_all(put).await.unwrap();
        assert_eq!(status(&read_head(&mut stream).await.unwrap()), 200);
        stream.read_exact(&mut answer).await.unwrap();
        for _ in 0..20 {
            time::sleep(REQUEST_STALL_TIMEOUT * 9 / 10).await;
            stream.write_all(b"x").await.unwrap();
        }
    }
    stream.write_all(put).await.unwrap();
    assert_eq!(status(&read_head(&mut stream).await.unwrap()), 200);
    stream.read_exact(&mut answer).await.unwrap();
    let began = now();
    assert_eq!(read_all(&mut stream).await, "");
    assert_took(began, REQUEST_STALL_TIMEOUT);
    time::timeout(LIMIT, has_ended.recv()).await.expect("it is given up");
}

#[tokio::test(start_paused = true)]
async fn an_upload_over_http2_that_stops_after_its_answer_is_given_up() {
    let (service, mut has_ended) = hasty().await;
    let world = World::start(service, Settings::default()).await;
    let mut client = super::requests::http2(&world).await;
    let body =
        http_body_util::StreamBody::new(futures_util::stream::pending::<Result<Frame<Bytes>, Infallible>>());
    let request =
        http::Request::put("http://web.svc.bowline/").header("content-length", 20).body(body).unwrap();
    let response = client.send_request(request).await.unwrap();
    let began = now();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "ok");
    time::timeout(LIMIT, has_ended.recv()).await.expect("it is given up");
    assert_took(began, REQUEST_STALL_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn a_head_that_comes_in_drops_is_given_up() {
    let world = World::start(mirror().await, Settings::default()).await;
    let mut stream = world.dial().await;
    // A first request does not help.
    let request = b"GET / HTTP/1.1\r\nhost: web.svc.bowline\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let length = read_head(&mut stream).await.unwrap();
    let length = length.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    stream.read_exact(&mut vec![0; length.parse().unwrap()]).await.unwrap();
    let began = now();
    let mut sent = 0;
    while stream.write_all(&request[sent % 4..=sent % 4]).await.is_ok() {
        sent += 1;
        assert!(sent < 100, "the connection is still open");
        let mut byte = [0];
        if let Ok(end) = time::timeout(Duration::from_secs(1), stream.read(&mut byte)).await {
            assert!(matches!(end, Ok(0) | Err(_)));
            break;
        }
    }
    assert_took(began, HEAD_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed_in_the_end_and_not_before() {
    let world = World::start(mirror().await, Settings::default()).await;
    let (mut never_used, mut used) = (world.dial().await, world.dial().await);
    used.write_all(b"HEAD / HTTP/1.1\r\nhost: web.svc.bowline\r\n\r\n").await.unwrap();
    assert!(read_head(&mut used).await.is_some());
    let began = now();
    assert_eq!(read_all(&mut never_used).await, "");
    assert_took(began, FIRST_BYTE_TIMEOUT);
    assert_eq!(read_all(&mut used).await, "");
    assert_took(began, IDLE_TIMEOUT);
    until("both are closed", || counters(&world).contains("bowline_entry_connections_open 0")).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_given_up() {
    let service = service(|_, mut stream| async move {
        read_head(&mut stream).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        while stream.write_all(&[0; 1 << 16]).await.is_ok() {}
    })
    .await;
    let world = World::start(service, Settings::default()).await;
    let mut stream = world.dial().await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: web.svc.bowline\r\n\r\n").await.unwrap();
    assert!(read_head(&mut stream).await.is_some());
    let began = now();
    // Looks without disturbing the clock much.
    let closed = async {
        while !counters(&world).contains("bowline_entry_connections_open 0") {
            time::sleep(Duration::from_secs(1)).await;
        }
    };
    time::timeout(WRITE_STALL_TIMEOUT * 2, closed).await.unwrap();
    assert_took(began, WRITE_STALL_TIMEOUT);
}

#[tokio::test]
async fn what_is_not_http_or_too_much_of_it_is_refused() {
    let world = World::start(mirror().await, Settings::default()).await;
    let long = "x".repeat(HEAD_BYTES_MAX);
    assert_eq!(status(&world.get(&format!("x-long: {long}\r\n")).await), 431);
    let many: String = (0..=HEADERS_MAX).map(|index| format!("x-{index}: 1\r\n")).collect();
    assert_eq!(status(&world.get(&many).await), 431);
    assert_eq!(status(&world.ask("\x16\x03\x01\x02\x00\x01\r\n\r\n").await), 400);
    assert_eq!(status(&world.ask("GET / HTTP/9.9\r\n\r\n").await), 400);
    assert_eq!(status(&world.get("bad header\r\n").await), 400);
    let smuggled = "content-length: 3\r\ncontent-length: 4\r\n";
    assert_eq!(status(&world.get(smuggled).await), 400);
    assert_eq!(status(&world.get("host: other\r\n").await), 400);
    let coded = "transfer-encoding: gzip, chunked\r\n";
    assert_eq!(status(&world.get(coded).await), 400);
    let nowhere = world.ask("GET / HTTP/1.1\r\nconnection: close\r\n\r\n").await;
    assert_eq!(status(&nowhere), 400);
    assert_has(&nowhere, "bowline-reason: bad_request\r\n");
    assert_has(&nowhere, "<service>.svc.bowline");
    assert_eq!(world.opener.opened(), 0);
    // And it still serves.
    assert_eq!(status(&world.get("").await), 200);
}

#[tokio::test]
async fn a_connection_too_many_is_reset_and_its_place_comes_back() {
    let world = World::start(mirror().await, Settings { connections_max: 1, ..Settings::default() }).await;
    let mut first = world.dial().await;
    first.write_all(b"HEAD / HTTP/1.1\r\nhost: web.svc.bowline\r\n\r\n").await.unwrap();
    assert!(read_head(&mut first).await.is_some());
    let mut second = world.dial().await;
    assert!(second.read_u8().await.is_err());
    assert_has(&counters(&world), "bowline_entry_connections_refused_total 1");
    drop(first);
    until("the place is free", || counters(&world).contains("bowline_entry_connections_open 0")).await;
    assert_eq!(status(&world.get("").await), 200);
}

#[tokio::test]
async fn a_request_too_many_is_told_so() {
    let settings = Settings { requests_max: 1, ..Settings::default() };
    let world = World::start(silent().await, settings).await;
    let mut first = world.dial().await;
    first.write_all(b"GET / HTTP/1.1\r\nhost: web.svc.bowline\r\n\r\n").await.unwrap();
    until("the first is on its way", || world.opener.opened() == 1).await;
    let response = world.get("").await;
    assert_eq!(status(&response), 503);
    assert_has(&response, "bowline-reason: overloaded\r\n");
}
