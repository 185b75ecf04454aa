//! HTTP/2 clients that do not read, and ones that only seem not to.

use std::convert::Infallible;
use std::net::SocketAddr;

use bowline_rt::time::{self, now};
use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

use super::limits::assert_took;
use super::requests::http2_with_window;
use super::{assert_has, counters};
use crate::http::Settings;
use crate::limits::{HTTP2_PIECE_BYTES_MAX, WRITE_STALL_TIMEOUT};
use crate::testing::{LIMIT, Tasks, World, read_head, service, until};

/// Bytes that a client here lets come before it has read.
const WINDOW_BYTES: u32 = 1_000;

fn get() -> Request<String> {
    Request::get("http://web.svc.bowline/").body(String::new()).unwrap()
}

/// A service that answers without end, and tells when its connection has ended.
async fn endless() -> (SocketAddr, mpsc::Receiver<()>) {
    let (ended, has_ended) = mpsc::channel(1);
    let address = service(move |_, mut stream| {
        let ended = ended.clone();
        async move {
            read_head(&mut stream).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            while stream.write_all(&[0; 1 << 16]).await.is_ok() {}
            ended.send(()).await.unwrap();
        }
    })
    .await;
    (address, has_ended)
}

#[tokio::test(start_paused = true)]
async fn a_client_that_opens_no_window_is_given_up_and_its_connection_stays() {
    let (service, mut has_ended) = endless().await;
    let world = World::start(service, Settings::default()).await;
    let mut client = http2_with_window(&world, WINDOW_BYTES).await;
    let mut body = client.send_request(get()).await.unwrap().into_body();
    let began = now();
    time::timeout(LIMIT, has_ended.recv()).await.expect("it is given up");
    assert_took(began, WRITE_STALL_TIMEOUT);
    until("the request is over", || counters(&world).contains("requests_in_flight 0")).await;
    let broken = async { while body.frame().await.unwrap().is_ok() {} };
    time::timeout(WRITE_STALL_TIMEOUT, broken).await.expect("it is told so at once");
    let elsewhere = Request::get("http://nowhere/").body(String::new()).unwrap();
    assert_eq!(client.send_request(elsewhere).await.unwrap().status(), 404);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_goes_up_as_well_is_given_up_whole() {
    let (ended, mut has_ended) = mpsc::channel(1);
    let service = service(move |_, stream| {
        let ended = ended.clone();
        async move {
            let answer = |request: Request<hyper::body::Incoming>| async move {
                let zeros = stream::repeat_with(move || {
                    // Nobody reads what the client sends, nor refuses it.
                    let _unread = &request;
                    Ok::<_, Infallible>(Frame::data(Bytes::from_static(&[0; 1 << 10])))
                });
                Ok::<_, Infallible>(Response::new(StreamBody::new(zeros)))
            };
            let connection = hyper::server::conn::http2::Builder::new(Tasks);
            let served =
                connection.serve_connection(TokioIo::new(stream), hyper::service::service_fn(answer));
            drop(served.await);
            ended.send(()).await.unwrap();
        }
    })
    .await;
    let world = World::start(service, Settings::default()).await;
    let mut client = http2_with_window(&world, WINDOW_BYTES).await;
    let silence = StreamBody::new(stream::pending::<Result<Frame<Bytes>, Infallible>>());
    let request = Request::post("http://web.svc.bowline/").header("content-type", "application/grpc");
    let response = client.send_request(request.body(silence).unwrap()).await.unwrap();
    let began = now();
    time::timeout(LIMIT, has_ended.recv()).await.expect("it is given up");
    assert_took(began, WRITE_STALL_TIMEOUT);
    drop(response);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_pauses_does_not_stall_its_client() {
    let service = service(|_, mut stream| async move {
        read_head(&mut stream).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
        for _ in 0..3 {
            stream.write_all(b"2\r\nok\r\n").await.unwrap();
            time::sleep(WRITE_STALL_TIMEOUT * 3).await;
        }
        stream.write_all(b"0\r\n\r\n").await.unwrap();
    })
    .await;
    let world = World::start(service, Settings::default()).await;
    let mut client = http2_with_window(&world, WINDOW_BYTES).await;
    let body = client.send_request(get()).await.unwrap().into_body();
    assert_eq!(body.collect().await.unwrap().to_bytes(), "okokok");
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_gets_all() {
    const LENGTH: usize = 1 << 18;
    let service = service(|_, mut stream| async move {
        read_head(&mut stream).await.unwrap();
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {LENGTH}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&[7; LENGTH]).await.unwrap();
    })
    .await;
    let world = World::start(service, Settings::default()).await;
    let mut client = http2_with_window(&world, WINDOW_BYTES).await;
    let mut body = client.send_request(get()).await.unwrap().into_body();
    let (began, mut length) = (now(), 0);
    while let Some(frame) = body.frame().await {
        length += frame.unwrap().into_data().unwrap().len();
        // Twice as fast as is needed.
        let due = WRITE_STALL_TIMEOUT / 2 * u32::try_from(length).unwrap() / HTTP2_PIECE_BYTES_MAX as u32;
        time::sleep_until(began + due).await;
    }
    assert_eq!(length, LENGTH);
    assert!(now() - began >= WRITE_STALL_TIMEOUT * 2);
    assert_has(&counters(&world), "requests_in_flight 0");
}
