//! Ports under clients that only connect, or do not read.

use std::net::{Ipv4Addr, SocketAddr};

use axum::routing::{get, put};
use bowline_rt::task::{JoinHandle, spawn};
use bowline_rt::time::now;
use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use super::*;
use crate::limits::{ANSWER_LEAVES_WITHIN, PEER_WAITS_FOR, STALL_TIMEOUT};

const PLACES: usize = 16;
/// Longest wait for what has to come at once: well below every bound of a connection.
const SOON: Duration = Duration::from_secs(5);
const ASK: &[u8] = b"GET /short HTTP/1.1\r\nhost: x\r\n\r\n";

const SETTINGS: ServeSettings =
    ServeSettings { name: "test", connections_max: PLACES, grace: Duration::from_millis(100) };

/// Large enough not to fit what a stream in memory holds.
static LONG: [u8; 8 << 20] = [b'x'; 8 << 20];

fn router() -> Router {
    Router::new()
        .route("/short", get(async || "answer"))
        .route("/long", get(async || Bytes::from_static(&LONG)))
        .route("/swallow", put(async |_: Bytes| "answer"))
}

struct Port {
    address: SocketAddr,
    stop: CancellationToken,
    served: JoinSet<()>,
}

async fn port() -> Port {
    let listener = Listener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.expect("a port");
    let (address, stop) = (listener.local_addr().expect("an address"), CancellationToken::new());
    let mut served = JoinSet::new();
    served.spawn(serve_with(SETTINGS, listener, Acceptor::Plain, router(), stop.clone()));
    Port { address, stop, served }
}

impl Port {
    async fn connect(&self) -> TcpStream {
        bowline_rt::net::connect(self.address, SOON).await.expect("connected")
    }

    async fn end(mut self) {
        self.stop.cancel();
        timeout(SOON, self.served.join_next()).await.expect("it ends");
    }
}

/// Asks for something short, and reads until it is there. `false` if the connection is closed instead.
async fn asks(stream: &mut TcpStream) -> bool {
    let (mut got, mut buffer) = (Vec::new(), [0; 1024]);
    if stream.write_all(ASK).await.is_err() {
        return false;
    }
    while !got.ends_with(b"answer") {
        match timeout(SOON, stream.read(&mut buffer)).await.expect("in time") {
            Ok(0) | Err(_) => return false,
            Ok(count) => got.extend_from_slice(&buffer[..count]),
        }
    }
    true
}

/// They send nothing, half of a head, or one request; then they are silent.
#[tokio::test]
async fn clients_that_are_silent_keep_nobody_out() {
    let port = port().await;
    let mut silent = Vec::new();
    for number in 0..10 * PLACES {
        let mut stream = port.connect().await;
        match number % 3 {
            0 => {}
            1 => stream.write_all(&ASK[..20]).await.expect("written"),
            _ => stream.write_all(ASK).await.expect("written"),
        }
        silent.push(stream);
    }
    let began = now();
    for _ in 0..3 {
        assert!(asks(&mut port.connect().await).await);
    }
    assert!(now() - began < SOON, "{:?}", now() - began);
    port.end().await;
}

/// Sent in one piece with what follows: they are asked one after the other, and never read an answer.
#[tokio::test]
async fn clients_that_do_not_read_keep_nobody_out() {
    let port = port().await;
    let mut deaf = Vec::new();
    for _ in 0..PLACES {
        let mut stream = port.connect().await;
        stream.write_all(&b"GET /long HTTP/1.1\r\nhost: x\r\n\r\n".repeat(8)).await.expect("written");
        deaf.push(stream);
    }
    let began = now();
    assert!(asks(&mut port.connect().await).await);
    assert!(now() - began < SOON, "{:?}", now() - began);
    port.end().await;
}

/// The heads of their requests are there; the bodies come in drops.
#[tokio::test]
async fn clients_whose_bodies_do_not_come_keep_nobody_out() {
    let port = port().await;
    let mut slow = Vec::new();
    for _ in 0..PLACES {
        let mut stream = port.connect().await;
        let head = b"PUT /swallow HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nx";
        stream.write_all(head).await.expect("written");
        slow.push(stream);
    }
    let began = now();
    assert!(asks(&mut port.connect().await).await);
    assert!(now() - began < SOON, "{:?}", now() - began);
    port.end().await;
}

/// All others are idle, or silent.
#[tokio::test]
async fn who_reads_an_answer_goes_last() {
    let port = port().await;
    let mut reader = port.connect().await;
    reader.write_all(b"GET /long HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("written");
    let (mut got, mut buffer) = (0, vec![0; 256 * 1024]);
    let mut others = Vec::new();
    while got < LONG.len() {
        let mut other = port.connect().await;
        if others.len() % 2 == 0 {
            assert!(asks(&mut other).await);
        }
        others.push(other);
        let count = timeout(SOON, reader.read(&mut buffer)).await.expect("in time").expect("it is not cut");
        assert_ne!(count, 0, "cut after {got} bytes and {} others", others.len());
        got += count;
    }
    assert!(others.len() > PLACES, "the port was full");
    port.end().await;
}

/// One at a time, each on a connection that is kept: as long as there are places, nobody goes.
#[tokio::test]
async fn kept_connections_stay_while_there_is_room() {
    let port = port().await;
    let mut kept = Vec::new();
    for _ in 0..PLACES {
        let mut stream = port.connect().await;
        assert!(asks(&mut stream).await);
        kept.push(stream);
    }
    for stream in &mut kept {
        assert!(asks(stream).await);
    }
    let mut one_more = port.connect().await;
    assert!(asks(&mut one_more).await);
    assert!(!asks(&mut kept[0]).await, "the one that was idle longest made room");
    for stream in &mut kept[1..] {
        assert!(asks(stream).await);
    }
    port.end().await;
}

/// A connection in memory, and the time at which it ended.
fn conversation() -> (DuplexStream, JoinHandle<bowline_rt::time::Instant>) {
    conversation_at(&Places::new(1))
}

fn conversation_at(places: &Arc<Places>) -> (DuplexStream, JoinHandle<bowline_rt::time::Instant>) {
    let (near, far) = duplex(64 * 1024);
    let places = places.clone();
    let served = spawn("conversation", async move {
        let place = places.take(Ipv4Addr::LOCALHOST.into()).await;
        let shutdown = CancellationToken::new();
        tokio::select! {
            () = converse(SETTINGS, far, router(), &place, &shutdown) => {}
            () = place.gone() => {}
        }
        now()
    });
    (near, served)
}

/// However steadily: with enough of them nobody else would get in.
#[tokio::test(start_paused = true)]
async fn a_slow_reader_makes_room_after_a_time() {
    let places = Places::new(1);
    let (mut near, served) = conversation_at(&places);
    near.write_all(b"GET /long HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("written");
    let mut buffer = vec![0; 64 * 1024];
    assert_ne!(near.read(&mut buffer).await.expect("it answers"), 0);
    let began = now();
    let newcomer = spawn("newcomer", async move { places.take(Ipv4Addr::LOCALHOST.into()).await });
    while near.read(&mut buffer).await.is_ok_and(|count| count > 0) {
        sleep(PEER_WAITS_FOR / 2).await;
    }
    let took = served.await.expect("no panic") - began;
    assert!((ANSWER_LEAVES_WITHIN..2 * ANSWER_LEAVES_WITHIN).contains(&took), "{took:?}");
    newcomer.await.expect("it has the place");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_nobody_reads_is_given_up() {
    let (mut near, served) = conversation();
    let began = now();
    near.write_all(b"GET /long HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("written");
    let ended = served.await.expect("no panic");
    let took = ended - began;
    assert!((STALL_TIMEOUT..STALL_TIMEOUT * 2).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_gets_the_whole_answer() {
    let (mut near, served) = conversation();
    near.write_all(b"GET /long HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("written");
    let (mut got, mut buffer) = (0, vec![0; 1 << 20]);
    let began = now();
    while got < LONG.len() {
        sleep(STALL_TIMEOUT / 40).await;
        let count = near.read(&mut buffer).await.expect("it is written");
        assert_ne!(count, 0, "cut after {got} bytes and {:?}", now() - began);
        got += count;
    }
    assert!(now() - began > 2 * HEADERS_TIMEOUT, "it was slow: {:?}", now() - began);
    drop(near);
    served.await.expect("no panic");
}
