//! What gets through, and how it looks on the other side.

use bytes::Bytes;
use http::{Request, Version};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::client::conn::http2;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use super::{assert_has, counters, status};
use crate::http::Settings;
use crate::testing::{Tasks, World, echo, mirror, read_all, read_head, scripted, service, until};

#[tokio::test]
async fn a_request_reaches_the_service_with_its_id_and_origin() {
    let world = World::start(mirror().await, Settings::default()).await;
    let response = world.get("x-request-id: abc\r\nx-forwarded-for: 1.1.1.1\r\nkeep-alive: 5\r\n").await;
    assert_eq!(status(&response), 200);
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    assert_has(head, "x-request-id: abc");
    assert_has(body, "GET /x HTTP/1.1\r\n");
    assert_has(body, "host: web.svc.bowline\r\n");
    assert_has(body, "x-forwarded-for: 127.0.0.1\r\n");
    assert_has(body, "x-forwarded-proto: http\r\n");
    assert_has(body, "x-request-id: abc\r\n");
    assert!(!body.contains("keep-alive") && !body.contains("1.1.1.1"), "{body}");
    let requests = world.opener.requests.lock().unwrap();
    assert_eq!(requests[0].request_id.as_str(), "abc");
    assert_eq!(requests[0].service.as_str(), "web");
    assert!(requests[0].client.unwrap().ip().is_loopback());
}

#[tokio::test]
async fn an_id_that_is_no_id_is_replaced() {
    let world = World::start(mirror().await, Settings::default()).await;
    let response = world.get("x-request-id: a b\r\n").await;
    assert!(!response.contains("a b"), "{response}");
    assert_eq!(response.matches("x-request-id: ").count(), 2, "{response}");
}

#[tokio::test]
async fn requests_share_a_connection_to_the_service_and_keep_their_ids() {
    let world = World::start(mirror().await, Settings::default()).await;
    for id in ["one", "two", "three"] {
        let response = world.get(&format!("x-request-id: {id}\r\n")).await;
        assert_has(response.split_once("\r\n\r\n").unwrap().1, &format!("x-request-id: {id}\r\n"));
        until("the connection is free", || format!("{:?}", world.opener.opened()) == "1").await;
    }
    assert_eq!(world.opener.opened(), 1);
    let counters = counters(&world);
    assert_has(&counters, "bowline_entry_requests_total{class=\"2xx\"} 3");
    assert_has(&counters, "bowline_entry_upstreams_reused_total 2");
    assert_has(&counters, "bowline_entry_requests_in_flight 0");
}

/// A connection to one agent's service must not serve a request that names another one.
#[tokio::test]
async fn a_host_may_name_the_agent_and_connections_are_kept_apart() {
    let world = World::start(mirror().await, Settings::default()).await;
    for (index, host) in ["web", "web.edge-1", "web.edge-2", "web.edge-1"].into_iter().enumerate() {
        let request = format!("GET /x HTTP/1.1\r\nhost: {host}.svc.bowline\r\nconnection: close\r\n\r\n");
        assert_eq!(status(&world.ask(&request).await), 200);
        assert_eq!(world.opener.opened(), (index + 1).min(3), "{host}");
    }
    let requests = world.opener.requests.lock().unwrap();
    let agents: Vec<_> =
        requests.iter().map(|request| request.agent.as_ref().map(|id| id.as_str())).collect();
    assert_eq!(agents, [None, Some("edge-1"), Some("edge-2")]);
}

#[tokio::test]
async fn an_absolute_target_names_the_host() {
    let world = World::start(mirror().await, Settings::default()).await;
    let request = "GET http://web.svc.bowline/a?b HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let response = world.ask(request).await;
    assert_has(&response, "GET /a?b HTTP/1.1\r\n");
    assert_has(&response, "host: web.svc.bowline\r\n");
}

#[tokio::test]
async fn head_has_a_length_and_no_body() {
    let service = scripted(&["HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"]).await;
    let world = World::start(service, Settings::default()).await;
    let response = world.ask("HEAD / HTTP/1.1\r\nhost: web.svc.bowline\r\nconnection: close\r\n\r\n").await;
    assert_has(&response, "content-length: 5\r\n");
    assert!(response.ends_with("\r\n\r\n"), "{response}");
}

#[tokio::test]
async fn a_body_of_unknown_length_goes_up_in_chunks_even_with_get() {
    let service = service(|_, mut stream| async move {
        let head = read_head(&mut stream).await.unwrap();
        assert_has(&head, "transfer-encoding: chunked\r\n");
        let mut body = [0; 13];
        stream.read_exact(&mut body).await.unwrap();
        assert_eq!(&body, b"3\r\nabc\r\n0\r\n\r\n");
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
    })
    .await;
    let world = World::start(service, Settings::default()).await;
    let lines = "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n";
    assert_eq!(status(&world.get(lines).await), 204);
}

#[tokio::test]
async fn the_client_is_told_to_go_on_only_when_the_service_is_there() {
    let service = service(|_, mut stream| async move {
        let head = read_head(&mut stream).await.unwrap();
        assert!(!head.contains("expect"), "{head}");
        let mut body = [0; 3];
        stream.read_exact(&mut body).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    })
    .await;
    let world = World::start(service, Settings::default()).await;
    let post = |host: &str| {
        format!(
            "POST / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n"
        )
    };
    let mut stream = world.dial().await;
    stream.write_all(post("web.svc.bowline").as_bytes()).await.unwrap();
    assert_has(&read_head(&mut stream).await.unwrap(), "HTTP/1.1 100");
    stream.write_all(b"abc").await.unwrap();
    assert_has(&read_head(&mut stream).await.unwrap(), "HTTP/1.1 200");
    let mut stream = world.dial().await;
    stream.write_all(post("elsewhere").as_bytes()).await.unwrap();
    assert_has(&read_head(&mut stream).await.unwrap(), "HTTP/1.1 404");
}

#[tokio::test]
async fn bodies_flow_both_ways_at_once() {
    // A service that answers first and then sends each chunk back as it comes.
    let service = service(|_, mut stream| async move {
        read_head(&mut stream).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
        let (mut read, mut write) = stream.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
    })
    .await;
    let world = World::start(service, Settings::default()).await;
    let mut stream = world.dial().await;
    let request = "POST / HTTP/1.1\r\nhost: web.svc.bowline\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    assert_has(&read_head(&mut stream).await.unwrap(), "200 OK");
    for text in ["1\r\na\r\n", "1\r\nb\r\n", "0\r\n\r\n"] {
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut back = vec![0; text.len()];
        stream.read_exact(&mut back).await.unwrap();
        assert_eq!(back, text.as_bytes());
    }
}

#[tokio::test]
async fn a_service_that_does_not_read_holds_the_client_back() {
    let service = service(|_, stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let world = World::start(service, Settings::default()).await;
    let mut stream = world.dial().await;
    let length = 1_u64 << 40;
    let head = format!("PUT / HTTP/1.1\r\nhost: web.svc.bowline\r\ncontent-length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = vec![0; 1 << 20];
    let mut taken = 0;
    while let Ok(written) =
        bowline_rt::time::timeout(std::time::Duration::from_millis(300), stream.write(&chunk)).await
    {
        taken += written.unwrap();
        assert!(taken < 64 << 20, "somebody collects the body");
    }
}

#[tokio::test]
async fn large_bodies_arrive_whole() {
    let world = World::start(large_body_service().await, Settings::default()).await;
    let mut stream = world.dial().await;
    let (mut read, mut write) = stream.split();
    let length = 32 << 20;
    let upload = async {
        let head = format!("PUT / HTTP/1.1\r\nhost: web.svc.bowline\r\ncontent-length: {length}\r\n\r\n");
        write.write_all(head.as_bytes()).await.unwrap();
        for index in 0..length >> 16 {
            write.write_all(&[index as u8; 1 << 16]).await.unwrap();
        }
    };
    let download = async {
        assert_has(&read_head(&mut read).await.unwrap(), "200 OK");
        let mut block = [0; 1 << 16];
        for index in 0..length >> 16 {
            read.read_exact(&mut block).await.unwrap();
            assert!(block.iter().all(|byte| *byte == index as u8));
        }
    };
    tokio::join!(upload, download);
    assert_has(&counters(&world), &format!("bowline_entry_transferred_total{{direction=\"up\"}} {length}"));
    assert_has(&counters(&world), &format!("bowline_entry_transferred_total{{direction=\"down\"}} {length}"));
}

/// Answers a PUT with its own body.
async fn large_body_service() -> std::net::SocketAddr {
    service(|_, mut stream| async move {
        let head = read_head(&mut stream).await.unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.unwrap();
        let (mut read, mut write) = stream.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
    })
    .await
}

#[tokio::test]
async fn an_early_answer_arrives_while_the_upload_goes_on() {
    let service = service(|_, mut stream| async move {
        read_head(&mut stream).await.unwrap();
        stream.write_all(b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno").await.unwrap();
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    })
    .await;
    let world = World::start(service, Settings::default()).await;
    let mut stream = world.dial().await;
    let head = "PUT / HTTP/1.1\r\nhost: web.svc.bowline\r\ncontent-length: 1000000\r\n\r\nxx";
    stream.write_all(head.as_bytes()).await.unwrap();
    assert_has(&read_head(&mut stream).await.unwrap(), "413");
    let mut body = [0; 2];
    stream.read_exact(&mut body).await.unwrap();
    assert_eq!(&body, b"no");
}

/// An HTTP/2 client.
pub(super) async fn http2<B>(world: &World) -> http2::SendRequest<B>
where
    B: hyper::body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: std::error::Error + Send + Sync,
{
    http2_with_window(world, None).await
}

/// An HTTP/2 client with a window of so many bytes for each stream.
pub(super) async fn http2_with_window<B>(
    world: &World,
    bytes: impl Into<Option<u32>>,
) -> http2::SendRequest<B>
where
    B: hyper::body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: std::error::Error + Send + Sync,
{
    let stream = TokioIo::new(world.dial().await);
    let mut builder = http2::Builder::new(Tasks);
    let (sender, connection) = builder.initial_stream_window_size(bytes).handshake(stream).await.unwrap();
    bowline_rt::task::spawn("client", async move { drop(connection.await) });
    sender
}

#[tokio::test]
async fn http2_with_prior_knowledge_is_served() {
    let world = World::start(mirror().await, Settings::default()).await;
    let mut client = http2(&world).await;
    for _ in 0..2 {
        let request = Request::post("http://web.svc.bowline/two").body(Full::new(Bytes::new())).unwrap();
        let response = client.send_request(request).await.unwrap();
        assert_eq!((response.status().as_u16(), response.version()), (200, Version::HTTP_2));
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let head = String::from_utf8_lossy(&body).into_owned();
        assert_has(&head, "POST /two HTTP/1.1\r\n");
        assert_has(&head, "host: web.svc.bowline\r\n");
    }
    assert_eq!(world.opener.opened(), 1);
}

#[tokio::test]
async fn cookies_of_an_http2_client_reach_the_service_in_one_line() {
    let world = World::start(mirror().await, Settings::default()).await;
    let mut client = http2(&world).await;
    let request = Request::get("http://web.svc.bowline/").header("cookie", "a=1").header("cookie", "b=2");
    let request = request.body(Full::new(Bytes::new())).unwrap();
    let body = client.send_request(request).await.unwrap().into_body().collect().await.unwrap().to_bytes();
    let head = String::from_utf8_lossy(&body).into_owned();
    assert_has(&head, "cookie: a=1; b=2\r\n");
    assert_eq!(head.matches("cookie: ").count(), 1, "{head}");
}

#[tokio::test]
async fn trailers_of_a_service_reach_an_http2_client() {
    let service = scripted(&[
        "HTTP/1.1 200 OK\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-sum: 7\r\n\r\n",
    ])
    .await;
    let world = World::start(service, Settings::default()).await;
    let mut client = http2(&world).await;
    let request = Request::get("http://web.svc.bowline/").body(Full::new(Bytes::new())).unwrap();
    let body = client.send_request(request).await.unwrap().into_body().collect().await.unwrap();
    assert_eq!(body.trailers().unwrap()["x-sum"], "7");
    assert_eq!(body.to_bytes(), "ok");
}

#[tokio::test]
async fn grpc_is_http2_all_the_way_and_streams_both_ways() {
    let service = service(|_, stream| async move {
        let answer = |request: Request<hyper::body::Incoming>| async move {
            assert_eq!(request.headers()["te"], "trailers");
            assert_eq!(request.uri().authority().unwrap(), "web.svc.bowline");
            Ok::<_, std::convert::Infallible>(http::Response::new(request.into_body()))
        };
        let service = hyper::service::service_fn(answer);
        let connection = hyper::server::conn::http2::Builder::new(Tasks);
        drop(connection.serve_connection(TokioIo::new(stream), service).await);
    })
    .await;
    let world = World::start(service, Settings::default()).await;
    let mut client = http2(&world).await;
    for _ in 0..2 {
        let (sender, receiver) = mpsc::channel::<Result<_, std::io::Error>>(1);
        let body = StreamBody::new(tokio_stream(receiver));
        let request = Request::post("http://web.svc.bowline/pkg.Service/Method")
            .header("content-type", "application/grpc+proto")
            .header("te", "trailers")
            .body(body)
            .unwrap();
        let mut response = client.send_request(request).await.unwrap().into_body();
        for text in ["a", "b"] {
            sender.send(Ok(http_body::Frame::data(Bytes::from_static(text.as_bytes())))).await.unwrap();
            assert_eq!(response.frame().await.unwrap().unwrap().into_data().unwrap(), text);
        }
        let trailers = [("grpc-status".parse().unwrap(), "0".parse().unwrap())].into_iter().collect();
        sender.send(Ok(http_body::Frame::trailers(trailers))).await.unwrap();
        assert_eq!(response.frame().await.unwrap().unwrap().into_trailers().unwrap()["grpc-status"], "0");
        drop(sender);
        assert!(response.frame().await.is_none());
    }
    assert_eq!(world.opener.opened(), 1, "the second call uses the first one's connection");
}

type Frames = mpsc::Receiver<Result<http_body::Frame<Bytes>, std::io::Error>>;

/// A receiver as a stream of frames.
fn tokio_stream(
    mut receiver: Frames,
) -> impl futures_util::Stream<Item = Result<http_body::Frame<Bytes>, std::io::Error>> + Unpin {
    futures_util::stream::poll_fn(move |context| receiver.poll_recv(context))
}

#[tokio::test]
async fn a_client_that_goes_takes_its_connection_to_the_service_along() {
    let (gone, mut has_gone) = mpsc::channel(1);
    let service = service(move |_, mut stream| {
        let gone = gone.clone();
        async move {
            read_head(&mut stream).await.unwrap();
            // No answer; the end of the connection is what is waited for.
            read_all(&mut stream).await;
            gone.send(()).await.unwrap();
        }
    })
    .await;
    let world = World::start(service, Settings::default()).await;
    let mut stream = world.dial().await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: web.svc.bowline\r\n\r\n").await.unwrap();
    until("the service was asked", || world.opener.opened() == 1).await;
    drop(stream);
    has_gone.recv().await.unwrap();
    until("the request is counted as over", || {
        counters(&world).contains("bowline_entry_requests_total{class=\"client_gone\"} 1")
    })
    .await;
}

#[tokio::test]
async fn a_service_that_speaks_no_http_is_not_mistaken_for_one() {
    let world = World::start(echo().await, Settings::default()).await;
    let response = world.get("").await;
    assert_eq!(status(&response), 502);
    assert_has(&response, "bowline-reason: service_broken\r\n");
}
