//! Ports under clients that only connect, or do not read.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use axum::routing::{get, put};
use bowline_rt::task::{JoinHandle, spawn};
use bowline_rt::time::{now, sleep};
use bytes::Bytes;
use tokio::io::{
    AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, ReadBuf, duplex,
};

use super::*;
use crate::limits::{
    ANSWER_LEAVES_WITHIN, HEAD_GRACE, KNOWN_PEER_WAITS_FOR, LAST_ANSWER_LEAVES_WITHIN, LINGER, LINGER_MAX,
    PEER_WAITS_FOR, STALL_TIMEOUT,
};

const PLACES: usize = 16;
/// Longest wait for what has to come at once: well below every bound of a connection.
const SOON: Duration = Duration::from_secs(5);
const ASK: &[u8] = b"GET /short HTTP/1.1\r\nhost: x\r\n\r\n";

const GRACE: Duration = Duration::from_millis(100);

fn settings() -> ServeSettings {
    ServeSettings { name: "test", connections_max: PLACES, grace: GRACE, ..ServeSettings::default() }
}

/// Large enough not to fit what a stream in memory holds.
static LONG: [u8; 8 << 20] = [b'x'; 8 << 20];

fn router() -> Router {
    Router::new()
        .route("/short", get(async || "answer"))
        .route("/long", get(async || Bytes::from_static(&LONG)))
        .route("/strange", get(async || ([("connection", "close")], Bytes::from_static(&LONG))))
        .route("/last", get(async || ([("connection", "close")], "answer")))
        .route("/swallow", put(async |_: Bytes| "answer"))
        .route("/slow", get(async || sleep(2 * GRACE).await))
        .route("/glance", put(glance))
}

/// Gives up on the body, and answers after a while.
async fn glance(body: axum::body::Body) -> &'static str {
    let _ = timeout(2 * PEER_WAITS_FOR, axum::body::to_bytes(body, 100)).await;
    sleep(2 * HEAD_GRACE).await;
    "answer"
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
    served.spawn(serve_with(settings(), listener, Acceptor::Plain, router(), stop.clone()));
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
        match timeout(2 * SOON, stream.read(&mut buffer)).await.expect("in time") {
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

/// Sent in one piece with what follows: they are asked one after the other, and never read an answer. Who is known has a little
/// longer.
#[tokio::test]
async fn clients_that_do_not_read_keep_nobody_out() {
    for (path, within) in [("/strange", SOON), ("/long", KNOWN_PEER_WAITS_FOR + SOON)] {
        let port = port().await;
        let mut deaf = Vec::new();
        for _ in 0..PLACES {
            let mut stream = port.connect().await;
            let ask = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
            stream.write_all(ask.repeat(8).as_bytes()).await.expect("written");
            deaf.push(stream);
        }
        let began = now();
        assert!(asks(&mut port.connect().await).await);
        assert!(now() - began < within, "{:?}", now() - began);
        port.end().await;
    }
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

/// A connection in memory.
struct Pipe {
    stream: DuplexStream,
    /// Whether the peer has taken what was written.
    taken: Arc<AtomicBool>,
    /// Whether it was dropped as a reset.
    reset: Arc<AtomicBool>,
}

/// The other side of a connection in memory.
struct Conversation {
    near: DuplexStream,
    taken: Arc<AtomicBool>,
    reset: Arc<AtomicBool>,
    shutdown: CancellationToken,
    counters: PortCounters,
    /// The time at which it ended.
    served: JoinHandle<bowline_rt::time::Instant>,
}

impl Socket for Pipe {
    fn is_taken(&self) -> bool {
        self.taken.load(Ordering::Relaxed)
    }

    fn reset_on_close(&self) {
        self.reset.store(true, Ordering::Relaxed);
    }
}

impl AsyncRead for Pipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl Conversation {
    fn begin() -> Self {
        Self::at(&Places::new(1, PortCounters::default()))
    }

    fn at(places: &Arc<Places>) -> Self {
        let (near, far) = duplex(64 * 1024);
        let (places, counters, shutdown) =
            (places.clone(), places.counters().clone(), CancellationToken::new());
        let [taken, reset] = [true, false].map(|value| Arc::new(AtomicBool::new(value)));
        let pipe = Pipe { stream: far, taken: taken.clone(), reset: reset.clone() };
        let stop = shutdown.clone();
        let served = spawn("conversation", async move {
            let place = places.take(Ipv4Addr::LOCALHOST.into()).await;
            Serving { name: "test", grace: GRACE, place }.converse(pipe, router(), &stop).await;
            now()
        });
        Self { near, taken, reset, shutdown, counters, served }
    }

    async fn says(&mut self, bytes: &[u8]) {
        self.near.write_all(bytes).await.expect("written");
    }

    /// Reads to the end.
    async fn hears(&mut self) -> String {
        let mut heard = Vec::new();
        self.near.read_to_end(&mut heard).await.expect("an end");
        String::from_utf8(heard).expect("text")
    }

    fn was_reset(&self) -> bool {
        self.reset.load(Ordering::Relaxed)
    }
}

/// However steadily: with enough of them nobody else would get in.
#[tokio::test(start_paused = true)]
async fn a_slow_reader_makes_room_after_a_time() {
    let places = Places::new(1, PortCounters::default());
    let Conversation { mut near, served, reset, counters, .. } = Conversation::at(&places);
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
    assert!(reset.load(Ordering::Relaxed), "a part is not to be taken for the whole");
    assert_eq!(counters.count(Cut::MadeRoom), 1);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_nobody_reads_is_given_up() {
    let Conversation { mut near, served, reset, counters, .. } = Conversation::begin();
    let began = now();
    near.write_all(b"GET /long HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("written");
    let ended = served.await.expect("no panic");
    let took = ended - began;
    assert!((STALL_TIMEOUT..STALL_TIMEOUT * 2).contains(&took), "{took:?}");
    assert!(reset.load(Ordering::Relaxed), "nothing of it stays in the kernel");
    assert_eq!(counters.count(Cut::Unread), 1);
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_gets_the_whole_answer() {
    let Conversation { mut near, served, .. } = Conversation::begin();
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

/// It says so before the answer is there.
#[tokio::test(start_paused = true)]
async fn who_asks_and_ends_its_side_is_answered() {
    let mut talk = Conversation::begin();
    talk.says(&ASK.repeat(2)).await;
    talk.near.shutdown().await.expect("its side is ended");
    let heard = talk.hears().await;
    assert_eq!(heard.matches("200 OK").count(), 2, "{heard}");
    talk.served.await.expect("no panic");
    assert!(!talk.reset.load(Ordering::Relaxed));
}

/// Its side is ended, in order, and the answer is still in the kernel.
#[tokio::test(start_paused = true)]
async fn an_end_waits_until_the_last_answer_is_taken() {
    let mut talk = Conversation::begin();
    talk.taken.store(false, Ordering::Relaxed);
    talk.says(b"GET /last HTTP/1.1\r\nhost: x\r\n\r\n").await;
    talk.near.shutdown().await.expect("its side is ended");
    sleep(ANSWER_LEAVES_WITHIN / 2).await;
    assert!(!talk.served.is_finished(), "it is not taken");
    talk.taken.store(true, Ordering::Relaxed);
    assert!(talk.hears().await.contains("connection: close"));
    talk.served.await.expect("no panic");
    assert!(!talk.reset.load(Ordering::Relaxed));
    assert_eq!(talk.counters.count(Cut::Unread), 0);
}

#[tokio::test(start_paused = true)]
async fn a_last_answer_that_nobody_takes_is_given_up() {
    // It is the port that ends the connection, or the client, who is known then.
    let last = b"GET /last HTTP/1.1\r\nhost: x\r\n\r\n";
    for (says, patience) in [(&last[..], ANSWER_LEAVES_WITHIN), (ASK, LAST_ANSWER_LEAVES_WITHIN)] {
        let mut talk = Conversation::begin();
        talk.taken.store(false, Ordering::Relaxed);
        talk.says(says).await;
        talk.near.shutdown().await.expect("its side is ended");
        let began = now();
        let took = (&mut talk.served).await.expect("no panic") - began;
        assert!((patience..patience + PEER_WAITS_FOR).contains(&took), "{took:?}");
        assert!(talk.was_reset(), "nothing of it stays in the kernel");
        assert_eq!(talk.counters.count(Cut::Unread), 1);
    }
}

/// As one does who has much to say and has not looked up yet: not for ever, though.
#[tokio::test(start_paused = true)]
async fn an_end_waits_longer_for_who_goes_on_talking() {
    let mut talk = Conversation::begin();
    talk.says(b"GET /last HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(talk.hears().await.ends_with("answer"));
    let began = now();
    while !talk.served.is_finished() {
        let _ = talk.near.write_all(b"x").await;
        sleep(LINGER / 2).await;
    }
    let took = now() - began;
    assert!((LINGER_MAX..LINGER_MAX + LINGER).contains(&took), "{took:?}");
}

/// What it sent behind its request is read, so that no reset takes the answer away from it.
#[tokio::test(start_paused = true)]
async fn an_end_waits_a_moment_for_the_other_side() {
    let mut talk = Conversation::begin();
    talk.says(b"GET /last HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let began = now();
    assert!(talk.hears().await.ends_with("answer"));
    talk.says(&vec![b'x'; 256 * 1024]).await;
    let took = (&mut talk.served).await.expect("no panic") - began;
    assert!((LINGER..2 * LINGER).contains(&took), "{took:?}");
    assert!(!talk.was_reset());
}

/// Nothing of its answer is lost that it can have read, but a kernel that still holds some of it is told to forget it.
#[tokio::test(start_paused = true)]
async fn who_makes_room_is_reset_only_with_something_untaken() {
    for is_taken in [true, false] {
        let places = Places::new(1, PortCounters::default());
        let mut talk = Conversation::at(&places);
        talk.taken.store(is_taken, Ordering::Relaxed);
        talk.says(ASK).await;
        let mut got = [0; 512];
        assert_ne!(talk.near.read(&mut got).await.expect("an answer"), 0);
        let began = now();
        places.take(Ipv4Addr::LOCALHOST.into()).await;
        assert!(now() - began <= HEAD_GRACE, "{:?}", now() - began);
        (&mut talk.served).await.expect("no panic");
        assert_eq!(talk.was_reset(), !is_taken);
        assert_eq!(talk.counters.count(Cut::MadeRoom), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_waits_only_for_answers() {
    let check = async |says: &[u8], within: Duration, cuts: u64| {
        let mut talk = Conversation::begin();
        talk.says(says).await;
        sleep(GRACE / 10).await;
        let began = now();
        talk.shutdown.cancel();
        let took = (&mut talk.served).await.expect("no panic") - began;
        assert!(took <= within, "{took:?} {}", String::from_utf8_lossy(says));
        assert_eq!(talk.counters.count(Cut::Grace), cuts);
    };
    let at_once = Duration::ZERO;
    check(b"", at_once, 0).await;
    check(&ASK[..20], at_once, 0).await;
    // Its peer may not have seen yet that the connection ends.
    check(ASK, GRACE, 0).await;
    check(&[ASK, &ASK[..20]].concat(), GRACE, 0).await;
    check(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n", 2 * GRACE, 1).await;
}

/// Its peer was waited for; the answer came without the body, and is not cut for that.
#[tokio::test(start_paused = true)]
async fn who_gives_up_on_a_body_waits_for_its_peer_no_more() {
    let places = Places::new(1, PortCounters::default());
    let mut talk = Conversation::at(&places);
    talk.says(b"PUT /glance HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nx").await;
    sleep(2 * PEER_WAITS_FOR + HEAD_GRACE / 2).await;
    let newcomer = spawn("newcomer", async move { places.take(Ipv4Addr::LOCALHOST.into()).await });
    assert!(talk.hears().await.ends_with("answer"));
    newcomer.await.expect("it has the place");
}
