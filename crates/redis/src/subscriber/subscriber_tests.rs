//! Tests of the whole subscriber against servers in the test, over pipes in memory and with a paused clock.

use std::io;
use std::time::Duration;

use bowline_resp::{Frame, Protocol, RequestDecoder, RequestLimits, encode};
use bowline_rt::time::timeout;
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;

use super::*;
use crate::error::{Death, ServerError};
use crate::limits::SHARD_MOVES_MAX;

/// Hands the far end of every new connection to the test, with the address that it was for.
#[derive(Clone)]
struct Wire(mpsc::UnboundedSender<(String, DuplexStream)>);

impl Dial for Wire {
    type Stream = DuplexStream;

    async fn dial(&self, address: &Address, _: Duration) -> io::Result<DuplexStream> {
        let (near, far) = tokio::io::duplex(4096);
        self.0.send((address.to_string(), far)).map_err(|_| io::ErrorKind::ConnectionRefused)?;
        Ok(near)
    }
}

type Connections = mpsc::UnboundedReceiver<(String, DuplexStream)>;

fn subscriber(change: impl FnOnce(&mut Settings)) -> (Subscriber, Connections) {
    let mut config = Config::from_url("redis://h").unwrap();
    change(&mut config.settings);
    let (sender, connections) = mpsc::unbounded_channel();
    (Subscriber::start_with(config, Wire(sender.clone()), Wire(sender)), connections)
}

/// The server's end of a connection.
struct Server {
    address: String,
    stream: DuplexStream,
    decoder: RequestDecoder,
    buffer: BytesMut,
}

impl Server {
    /// The next connection, before anything was said.
    async fn begin(connections: &mut Connections) -> Self {
        let accepted = timeout(Duration::from_secs(600), connections.recv()).await;
        let (address, stream) = accepted.expect("a connection comes").unwrap();
        let decoder = RequestDecoder::new(RequestLimits::default());
        Self { address, stream, decoder, buffer: BytesMut::new() }
    }

    /// A server that has shaken hands with a subscriber.
    async fn accept(connections: &mut Connections) -> Self {
        let mut server = Self::begin(connections).await;
        loop {
            let request = server.request().await.unwrap();
            let is_last = &request[0][..] == b"PING";
            server.reply(&introduce(&request)).await;
            if is_last {
                return server;
            }
        }
    }

    /// The next request; `None` at the end.
    async fn request(&mut self) -> Option<Vec<Bytes>> {
        loop {
            if let Some(request) = self.decoder.decode(&mut self.buffer).unwrap() {
                return Some(request);
            }
            self.stream.read_buf(&mut self.buffer).await.ok().filter(|&count| count > 0)?;
        }
    }

    async fn reply(&mut self, frame: &Frame) {
        self.reply_all(std::slice::from_ref(frame)).await;
    }

    /// Sends several frames in one piece. The client may be gone; then nobody misses them.
    async fn reply_all(&mut self, frames: &[Frame]) {
        let mut bytes = BytesMut::new();
        frames.iter().for_each(|frame| encode(frame, Protocol::Resp3, &mut bytes));
        drop(self.stream.write_all(&bytes).await);
    }

    async fn push(&mut self, words: &[&str]) {
        let words = words.iter().map(|&word| Frame::bulk(word.to_owned())).collect();
        self.reply(&Frame::Push(words)).await;
    }

    /// Takes a command and its fence, and lets `answer` stand before the token.
    async fn command(&mut self, answer: impl FnOnce(&str, Bytes) -> Frame) -> String {
        let request = loop {
            let request = self.request().await.expect("a command");
            if &request[0][..] != b"PING" {
                break request;
            }
            // A probe.
            self.reply(&Frame::Bulk(request[1].clone())).await;
        };
        let name = String::from_utf8(request[0].to_vec()).unwrap().to_lowercase();
        self.reply(&answer(&name, request[1].clone())).await;
        let fence = self.request().await.expect("a fence");
        self.reply(&Frame::Bulk(fence[1].clone())).await;
        format!("{name} {}", String::from_utf8_lossy(&request[1]))
    }

    /// As [`Server::command`], with the confirmation.
    async fn confirm(&mut self) -> String {
        self.command(|name, topic| {
            Frame::Push(vec![Frame::bulk(name.to_owned()), Frame::Bulk(topic), Frame::Integer(1)])
        })
        .await
    }
}

fn introduce(request: &[Bytes]) -> Frame {
    match &request[0][..] {
        b"HELLO" => Frame::Map(vec![
            (Frame::bulk("proto"), Frame::Integer(3)),
            (Frame::bulk("id"), Frame::Integer(1)),
            (Frame::bulk("role"), Frame::bulk("master")),
        ]),
        b"INFO" => Frame::bulk("redis_version:7.0.15\r\nrun_id:abc\r\n"),
        b"PING" => Frame::Bulk(request[1].clone()),
        other => panic!("unexpected {other:?}"),
    }
}

async fn next(subscription: &mut Subscription) -> Item {
    timeout(Duration::from_secs(600), subscription.next()).await.expect("an item comes")
}

fn message(channel: &'static str, payload: &'static str) -> Item {
    Item::Message(Message { channel: channel.into(), pattern: None, payload: payload.into() })
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_is_a_gap_and_everything_is_subscribed_to_again() {
    let (subscriber, mut connections) = subscriber(|_| {});
    let mut one = subscriber.subscribe(Topic::channel("a")).unwrap();
    let mut two = subscriber.subscribe(Topic::channel("a")).unwrap();
    let mut server = Server::accept(&mut connections).await;
    assert_eq!(server.confirm().await, "subscribe a");
    server.push(&["message", "a", "1"]).await;
    for subscription in [&mut one, &mut two] {
        assert_eq!(next(subscription).await, Item::Established);
        assert_eq!(next(subscription).await, message("a", "1"));
    }
    let mut late = subscriber.subscribe(Topic::channel("a")).unwrap();
    assert_eq!(next(&mut late).await, Item::Established);
    drop((two, late));
    drop(server);
    assert_eq!(next(&mut one).await, Item::Gap(Gap::Lost(Death::Closed)));
    let mut server = Server::accept(&mut connections).await;
    assert_eq!(server.confirm().await, "subscribe a");
    server.push(&["message", "a", "2"]).await;
    assert_eq!(next(&mut one).await, Item::Established);
    assert_eq!(next(&mut one).await, message("a", "2"));
    drop(one);
    assert_eq!(server.confirm().await, "unsubscribe a");
    assert_eq!((subscriber.metrics().connected.get(), subscriber.metrics().gaps.get()), (2, 1));
    assert_eq!(subscriber.metrics().subscriptions.get(), 0);
    drop(subscriber);
    assert_eq!(server.request().await, None, "the connection ends with the last handle");
}

#[tokio::test(start_paused = true)]
async fn who_does_not_read_loses_messages_and_holds_up_nobody() {
    let (subscriber, mut connections) = subscriber(|settings| settings.subscription_messages_max = 2);
    let mut lazy = subscriber.subscribe(Topic::channel("a")).unwrap();
    let mut eager = subscriber.subscribe(Topic::channel("a")).unwrap();
    let mut server = Server::accept(&mut connections).await;
    server.confirm().await;
    assert_eq!(next(&mut eager).await, Item::Established);
    for payload in ["1", "2", "3", "4"] {
        server.push(&["message", "a", payload]).await;
        assert_eq!(next(&mut eager).await, message("a", payload));
    }
    assert_eq!(next(&mut lazy).await, Item::Established);
    assert_eq!(next(&mut lazy).await, message("a", "1"));
    assert_eq!(next(&mut lazy).await, message("a", "2"));
    assert_eq!(next(&mut lazy).await, Item::Lagged(2));
    assert_eq!(subscriber.metrics().lagged.get(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_told_to_whom_it_concerns_and_once() {
    let (subscriber, mut connections) = subscriber(|_| {});
    let mut bad = subscriber.subscribe(Topic::channel("a")).unwrap();
    let good = subscriber.subscribe(Topic::pattern("*")).unwrap();
    let mut server = Server::accept(&mut connections).await;
    let no = |_: &str, _: Bytes| Frame::error("NOPERM no");
    assert_eq!(server.command(no).await, "subscribe a");
    assert_eq!(server.confirm().await, "psubscribe *");
    let error = ServerError::new(b"NOPERM no");
    assert_eq!(next(&mut bad).await, Item::Refused(error.clone()));
    let good = good.established().await.unwrap();
    assert_eq!(server.command(no).await, "subscribe a");
    assert_eq!(server.confirm().await, "subscribe a");
    assert_eq!(next(&mut bad).await, Item::Established, "the same error is not told twice");
    drop(good);
    assert_eq!(server.confirm().await, "punsubscribe *", "the handle was dropped");
    assert_eq!(subscriber.metrics().refused.get(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_half_open_connection_is_given_up() {
    let (subscriber, mut connections) = subscriber(|_| {});
    let mut subscription = subscriber.subscribe(Topic::channel("a")).unwrap();
    let mut silent = Server::accept(&mut connections).await;
    silent.confirm().await;
    assert_eq!(next(&mut subscription).await, Item::Established);
    let silence_max = Settings::default().silence_max;
    assert_eq!(next(&mut subscription).await, Item::Gap(Gap::Lost(Death::Silent(silence_max))));
    let mut server = Server::accept(&mut connections).await;
    server.confirm().await;
    assert_eq!(next(&mut subscription).await, Item::Established);
    assert_eq!(subscriber.metrics().deaths("silent"), 1);
    drop(silent);
}

#[tokio::test(start_paused = true)]
async fn a_shard_channel_is_followed_to_its_node_and_back() {
    let (subscriber, mut connections) = subscriber(|_| {});
    let mut subscription = subscriber.subscribe(Topic::shard("s")).unwrap();
    let mut first = Server::accept(&mut connections).await;
    assert_eq!(first.confirm().await, "ssubscribe s");
    assert_eq!(next(&mut subscription).await, Item::Established);
    first.reply(&Frame::Push(vec![Frame::bulk("sunsubscribe"), Frame::bulk("s"), Frame::Integer(0)])).await;
    assert_eq!(next(&mut subscription).await, Item::Gap(Gap::Unsubscribed));
    assert_eq!(first.command(|_, _| Frame::error("MOVED 7 other:1")).await, "ssubscribe s");
    let mut other = Server::accept(&mut connections).await;
    assert_eq!(other.address, "other:1");
    assert_eq!(other.confirm().await, "ssubscribe s");
    other.push(&["smessage", "s", "1"]).await;
    assert_eq!(next(&mut subscription).await, Item::Established);
    assert_eq!(next(&mut subscription).await, message("s", "1"));
    drop(other);
    assert_eq!(next(&mut subscription).await, Item::Gap(Gap::Lost(Death::Closed)));
    // The first one knows where it is now: with itself.
    assert_eq!(first.confirm().await, "ssubscribe s");
    assert_eq!(next(&mut subscription).await, Item::Established);
    assert_eq!(subscriber.metrics().connected.get(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_connection_to_another_node_ends_when_nobody_wants_it() {
    let (subscriber, mut connections) = subscriber(|_| {});
    let subscription = subscriber.subscribe(Topic::shard("s")).unwrap();
    let mut first = Server::accept(&mut connections).await;
    first.command(|_, _| Frame::error("MOVED 7 :9")).await;
    let mut other = Server::accept(&mut connections).await;
    assert_eq!(other.address, "h:9", "without a host it is the one that was asked");
    other.confirm().await;
    let subscription = subscription.established().await.unwrap();
    drop(subscription);
    while let Some(request) = other.request().await {
        assert_ne!(&request[0][..], b"GET");
    }
    let again = subscriber.subscribe(Topic::shard("s")).unwrap();
    first.command(|_, _| Frame::error("MOVED 7 :9")).await;
    let mut other = Server::accept(&mut connections).await;
    other.confirm().await;
    drop(again.established().await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn nodes_that_send_a_channel_round_in_circles_are_not_followed_for_ever() {
    let (subscriber, mut connections) = subscriber(|_| {});
    let mut subscription = subscriber.subscribe(Topic::shard("s")).unwrap();
    let mut first = Server::accept(&mut connections).await;
    first.command(|_, _| Frame::error("MOVED 7 a:1")).await;
    for hop in 0..4 {
        let mut node = Server::accept(&mut connections).await;
        let moved = if hop % 2 == 0 { "MOVED 7 b:1" } else { "MOVED 7 a:1" };
        node.command(|_, _| Frame::error(moved)).await;
    }
    let mut node = Server::accept(&mut connections).await;
    node.command(|_, _| Frame::error("MOVED 7 b:1")).await;
    assert!(matches!(next(&mut subscription).await, Item::Refused(error) if error.code == "MOVED"));
}

/// A node of a cluster that was killed is named by the others until its replica has taken over.
#[tokio::test(start_paused = true)]
async fn a_node_that_is_dead_and_named_again_and_again_is_one_refusal() {
    let (subscriber, mut connections) = subscriber(|_| {});
    let mut subscription = subscriber.subscribe(Topic::shard("s")).unwrap();
    let mut first = Server::accept(&mut connections).await;
    for round in 1..=2 {
        for moves in 0..=SHARD_MOVES_MAX {
            first.command(|_, _| Frame::error("MOVED 7 dead:1")).await;
            // Whoever listens there hangs up. The last time it is not followed.
            if moves < SHARD_MOVES_MAX {
                let (address, _) = connections.recv().await.unwrap();
                assert_eq!(address, "dead:1");
            }
        }
        if round == 1 {
            assert!(matches!(next(&mut subscription).await, Item::Refused(error) if error.code == "MOVED"));
        }
    }
    first.confirm().await;
    assert_eq!(next(&mut subscription).await, Item::Established, "the same error is not told twice");
    assert_eq!(subscriber.metrics().refused.get(), 2);
}

#[tokio::test(start_paused = true)]
async fn bounds_are_told_at_once() {
    let (subscriber, _connections) = subscriber(|_| {});
    let long = subscriber.subscribe(Topic::channel(vec![b'x'; TOPIC_BYTES_MAX + 1]));
    assert_eq!(long.err(), Some(SubscribeError::TooLong { bytes: TOPIC_BYTES_MAX + 1 }));
}
