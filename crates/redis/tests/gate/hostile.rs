//! Servers that send what no server may, at real sockets: the connection dies with an error that says why, callers learn the
//! truth in time, memory stays bounded, and a good connection after it serves.

use std::time::Duration;

use bowline_redis::{CallError, Client, Command, Frame, NotSent, Settings, Unknown};
use bowline_rt::task;
use bowline_rt::time::now;

use super::peer::{Peer, SOON, until_lost};

/// Longest reply that the clients of these tests take.
const REPLY_BYTES_MAX: usize = 1024 * 1024;
/// Most bytes that a client may have read before it gave up, in whole reads; counted limits of values come on top.
const READ_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Callers get their errors this long after their deadline at most. Generous: the machine may be busy.
const SLACK: Duration = Duration::from_secs(3);
const CALL_DEADLINE: Duration = Duration::from_secs(2);
/// Bytes that a hostile server sends at once.
const CHUNK_BYTES: usize = 64 * 1024;
/// Bytes that a hostile server sends, unless it is stopped before.
const BYTES_MAX: usize = 64 * 1024 * 1024;

fn settings(settings: &mut Settings) {
    settings.reply_bytes_max = REPLY_BYTES_MAX;
    settings.call_deadline = CALL_DEADLINE;
    settings.reconnect_pause_max = Duration::from_millis(20);
}

/// A caller. `EVAL` may be answered with anything, and is not sent again.
fn call(client: &Client, command: Command) -> task::JoinHandle<Result<Frame, CallError>> {
    let client = client.clone();
    task::spawn("caller", async move { client.call(command).await })
}

/// The server answers two callers with `start`, and then with `rest` again and again until the client goes. It must die of
/// something that says `why`.
async fn check(start: &str, rest: &str, why: &str) {
    check_answers_to("EVAL", start, rest, why).await;
}

async fn check_answers_to(name: &str, start: &str, rest: &str, why: &str) {
    let (mut peer, client) = Peer::new(settings).await;
    let mut hostile = peer.accept().await;
    let started = now();
    let callers = ["a", "b"].map(|word| call(&client, Command::new(name).arg(word)));
    hostile.take(2).await;
    let mut is_open = hostile.raw(start.as_bytes()).await;
    if !rest.is_empty() {
        let rest = rest.repeat(1 + CHUNK_BYTES / rest.len());
        let mut left = BYTES_MAX;
        while is_open {
            is_open = hostile.raw(rest.as_bytes()).await;
            left = left.checked_sub(rest.len()).expect("the client gives up in time");
        }
    }
    let error = until_lost(&client).await;
    assert!(error.contains(why), "{start:?} {rest:.20?}: {error}");
    for caller in callers {
        let outcome = caller.await.unwrap();
        assert!(matches!(outcome, Err(CallError::Unknown(Unknown::Lost(_)))), "{start:?}: {outcome:?}");
    }
    assert!(started.elapsed() <= CALL_DEADLINE + SLACK, "{:?}", started.elapsed());
    let read_bytes = client.metrics().read_bytes.get();
    assert!(read_bytes <= READ_BYTES_MAX, "{start:?} {rest:.20?}: read {read_bytes} bytes");
    drop(hostile);
    demand_service(&mut peer, &client).await;
}

/// The next connection knows nothing of the last one.
async fn demand_service(peer: &mut Peer, client: &Client) {
    peer.accept().await.serve();
    assert_eq!(call(client, Command::new("EVAL").arg("c")).await.unwrap(), Ok(Frame::bulk("c")));
}

#[tokio::test]
async fn numbers_without_an_end() {
    check(":", "1", "a line is longer than").await;
    check("$", "1", "a line is longer than").await;
    check("*", "0", "a line is longer than").await;
    check("+", "a", "a line is longer than").await;
    check("-", "ERR", "a line is longer than").await;
    check("(", "9", "a line is longer than").await;
    check("", "\0", "a line is longer than").await;
}

#[tokio::test]
async fn answers_without_an_end() {
    check_answers_to("GET", "", ":1\r\n", "sent integer to a command that never returns one").await;
    check_answers_to("INCR", "", "$1\r\n1\r\n", "sent bulk string to a command that never returns one").await;
    check_answers_to("GET", "", "|1\r\n+a\r\n+b\r\n", "a reply is longer than").await;
    check_answers_to("LRANGE", "*1000000\r\n", "*16\r\n+a\r\n", "nested deeper than").await;
}

/// Whoever waits takes one; the next one proves that the server lies.
#[tokio::test]
async fn answers_to_nobody_without_an_end() {
    let (mut peer, client) = Peer::new(settings).await;
    let mut hostile = peer.accept().await;
    let caller = call(&client, Command::new("INCR").arg("a"));
    hostile.take(1).await;
    while hostile.raw(":1\r\n".repeat(1000).as_bytes()).await {}
    assert!(until_lost(&client).await.contains("sent integer that nobody asked for"));
    assert_eq!(caller.await.unwrap(), Ok(Frame::Integer(1)));
    assert!(client.metrics().read_bytes.get() <= READ_BYTES_MAX);
    drop(hostile);
    demand_service(&mut peer, &client).await;
}

/// It sends all the time and answers nobody: callers learn in time that their commands may have been executed, and once all
/// room is owed, that theirs were not sent. In the end the connection is given up.
#[tokio::test]
async fn pushes_without_an_end_and_no_answer() {
    const ROOM: usize = 20;
    let (mut peer, client) = Peer::new(|change| {
        settings(change);
        change.call_deadline = Duration::from_millis(200);
        change.in_flight_max = ROOM;
    })
    .await;
    let mut hostile = peer.accept().await;
    let pushes = task::spawn("pushes", async move {
        let push = ">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nx\r\n".repeat(100);
        while hostile.raw(push.as_bytes()).await {
            task::yield_now().await;
        }
    });
    let started = now();
    let callers: Vec<_> = (0..2 * ROOM).map(|_| call(&client, Command::new("INCR").arg("a"))).collect();
    let mut outcomes = Vec::new();
    for caller in callers {
        outcomes.push(caller.await.unwrap());
    }
    assert!(started.elapsed() < SLACK, "{:?}", started.elapsed());
    let count = |is_it: fn(&CallError) -> bool| {
        outcomes.iter().filter(|outcome| outcome.as_ref().is_err_and(is_it)).count()
    };
    assert_eq!(count(|error| *error == CallError::Unknown(Unknown::Deadline)), ROOM);
    assert_eq!(count(|error| matches!(error, CallError::NotSent(NotSent::Full { .. }))), ROOM);
    let error = until_lost(&client).await;
    assert!(error.contains("nothing but pushes"), "{error}");
    pushes.await.unwrap();
}

/// What is wrong with the introduction is told, is no loop without a pause, and keeps nobody waiting beyond the deadline.
#[tokio::test]
async fn introductions_that_are_none() {
    let check = async |answer: &[u8], why: &str| {
        let (mut peer, client) = Peer::new(settings).await;
        let caller = call(&client, Command::new("EVAL").arg("c").deadline(SOON));
        let mut hostile = peer.accept_silently().await;
        hostile.take(1).await;
        hostile.raw(answer).await;
        let error = until_lost(&client).await;
        assert!(error.contains(why), "{answer:?}: {error}");
        drop(hostile);
        peer.accept().await.serve();
        assert_eq!(caller.await.unwrap(), Ok(Frame::bulk("c")), "nobody had sent it");
    };
    check(b"HTTP/1.1 400 Bad Request\r\n", "the store broke the protocol: unknown type byte 0x48").await;
    check(b"+OK\r\n", "HELLO").await;
    check(b":1\r\n", "HELLO").await;
    check(b"%1\r\n$5\r\nproto\r\n:2\r\n", "HELLO").await;
    check(b"$9223372036854775807\r\n", "the store broke the protocol: a reply is longer than").await;
    check("*1\r\n".repeat(100).as_bytes(), "a reply is nested deeper than").await;
    check(b"%1\r\n$5\r\nproto\r\n:3\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n", "").await;
}

#[tokio::test]
async fn values_in_values_in_values() {
    for opening in ["*1\r\n", "~1\r\n", "%1\r\n", "|1\r\n", "*2\r\n:1\r\n", "%1\r\n:1\r\n"] {
        check("", opening, "nested deeper than").await;
    }
    check("*1\r\n", ">1\r\n", "a push inside a reply").await;
    check(">1\r\n", ">1\r\n", "a push inside a reply").await;
}

#[tokio::test]
async fn lengths_that_nothing_can_have() {
    const MAX: &str = "9223372036854775807";
    for kind in ["$", "!", "="] {
        check(&format!("{kind}{MAX}\r\n"), "x", "a reply is longer than").await;
        check(&format!("{kind}9223372036854775808\r\n"), "x", "malformed length").await;
        check(&format!("{kind}-2\r\n"), "x", "malformed length").await;
    }
    for kind in ["*", "~", ">"] {
        check(&format!("{kind}{MAX}\r\n"), ":1\r\n", "more than").await;
        check(&format!("{kind}18446744073709551616\r\n"), ":1\r\n", "malformed length").await;
        check(&format!("{kind}-2\r\n"), ":1\r\n", "malformed length").await;
    }
    for kind in ["%", "|"] {
        check(&format!("{kind}{MAX}\r\n"), ":1\r\n", "more than").await;
        check(&format!("{kind}4611686018427387904\r\n"), ":1\r\n", "more than").await;
    }
    check(":9223372036854775808\r\n", "", "malformed number").await;
}
