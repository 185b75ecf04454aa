//! Known faults of other drivers as tests of the client over real sockets, one for each, under the reference where it was
//! reported. What needs no socket is in [`super::history`].

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bowline_redis::{CallError, Client, Command, Frame, NotSent, Protocol, Settings, Unknown};
use bowline_rt::task::{self, JoinHandle};
use bowline_rt::time::{now, timeout};
use bytes::Bytes;

use super::peer::{Peer, SOON, until_lost, wait_until_written};

/// A deadline that passes soon.
const SHORT: Duration = Duration::from_millis(60);

fn settings(settings: &mut Settings) {
    settings.call_deadline = SOON;
    settings.reconnect_pause_max = Duration::from_millis(20);
}

/// A call in the background.
fn call(client: &Client, command: Command) -> JoinHandle<Result<Frame, CallError>> {
    let client = client.clone();
    task::spawn("caller", async move { client.call(command).await })
}

fn get(key: &str) -> Command {
    Command::new("GET").arg(key)
}

/// A command that may run once only.
fn once(key: &str) -> Command {
    Command::new("EVAL").arg(key)
}

fn own(request: &[Bytes]) -> Frame {
    Frame::Bulk(request[1].clone())
}

/// redis-py#2579, #2624 (the outage of 2023-03-20), redis-rs#325, go-redis#1568, hiredis#306, asyncmy#100, redis-rb#61: a caller
/// is dropped between its request and the answer, and the next one reads what was left.
#[tokio::test]
async fn redis_py_2579_a_dropped_call_leaves_nothing_to_the_next_one() {
    let (mut peer, client) = Peer::new(settings).await;
    let dropped = call(&client, get("dropped"));
    let mut server = peer.accept().await;
    let first = server.take(1).await;
    dropped.abort();
    assert!(dropped.await.is_err_and(|error| error.is_cancelled()));
    let next = call(&client, get("next"));
    let second = server.take(1).await;
    for request in first.iter().chain(&second) {
        server.reply(&own(request)).await;
    }
    assert_eq!(next.await.unwrap(), Ok(Frame::bulk("next")));
    assert_eq!(peer.accepted, 1, "and the connection goes on");
}

/// redis-rs#489, #733: dropped while its request is being written.
#[tokio::test]
async fn redis_rs_489_a_call_dropped_in_mid_write_sends_its_request_whole() {
    let (mut peer, client) = Peer::new(settings).await;
    let large = vec![b'x'; 16 * 1024 * 1024];
    let dropped = call(&client, Command::new("SET").arg("large").arg(&large));
    let mut server = peer.accept().await;
    // Nobody reads: the socket is full.
    wait_until_written(&client, 64 * 1024).await;
    dropped.abort();
    assert!(dropped.await.is_err_and(|error| error.is_cancelled()));
    let next = call(&client, get("next"));
    let requests = server.take(2).await;
    assert_eq!((requests[0][2].len(), &requests[1][1][..]), (large.len(), &b"next"[..]));
    server.reply(&Frame::ok()).await;
    server.reply(&own(&requests[1])).await;
    assert_eq!(next.await.unwrap(), Ok(Frame::bulk("next")));
}

/// deadpool#97, #102, mobc#28, #29: the answer to the pool's own PING went to the next user.
#[tokio::test]
async fn deadpool_97_the_answer_to_a_probe_reaches_no_caller() {
    let (mut peer, client) = Peer::new(|change| {
        settings(change);
        change.probe_interval = Duration::from_millis(30);
    })
    .await;
    let mut server = peer.accept().await;
    let probe = server.take(1).await;
    assert_eq!(probe[0][0], "PING");
    let caller = call(&client, get("key"));
    let request = server.take(1).await;
    server.reply(&Frame::Simple("PONG".into())).await;
    server.reply(&own(&request[0])).await;
    assert_eq!(caller.await.unwrap(), Ok(Frame::bulk("key")));
}

/// redis-rs#1252, jedis#186, #258, #359, #2125, go-redis#1571: a read that timed out, and the next caller gets its answer, of
/// another type even.
#[tokio::test]
async fn redis_rs_1252_a_call_that_timed_out_leaves_nothing_to_the_next_one() {
    let (mut peer, client) = Peer::new(settings).await;
    let late = call(&client, Command::new("HGETALL").arg("late").deadline(SHORT));
    let mut server = peer.accept().await;
    server.take(1).await;
    assert_eq!(late.await.unwrap(), Err(Unknown::Deadline.into()));
    let next = call(&client, get("next"));
    let request = server.take(1).await;
    server.reply(&Frame::Map(vec![(Frame::bulk("late"), Frame::bulk("late"))])).await;
    server.reply(&own(&request[0])).await;
    assert_eq!(next.await.unwrap(), Ok(Frame::bulk("next")));
    assert_eq!(peer.accepted, 1);
}

/// node-redis#601: bytes that the dead connection had not sent went out on the new one, whose queue did not know them.
#[tokio::test]
async fn node_redis_601_what_was_not_flushed_dies_with_its_connection() {
    let (mut peer, client) = Peer::new(settings).await;
    let large = call(&client, once("large").arg(vec![b'x'; 16 * 1024 * 1024]));
    let server = peer.accept().await;
    let last = call(&client, once("last"));
    wait_until_written(&client, 64 * 1024).await;
    server.reset();
    assert!(matches!(large.await.unwrap(), Err(CallError::Unknown(Unknown::Lost(_)))));
    let mut server = peer.accept().await;
    // Of the second request no byte was handed over, and so it is sent again, whole, and nothing before it.
    let request = server.take(1).await;
    assert_eq!(request[0][1], "last");
    server.reply(&own(&request[0])).await;
    assert_eq!(last.await.unwrap(), Ok(Frame::bulk("last")));
}

/// lettuce#253, #315: after kill and restart two connections fed one queue. What the old one says late is heard by nobody.
#[tokio::test]
async fn lettuce_253_an_old_connection_that_speaks_late_is_not_heard() {
    let (mut peer, client) = Peer::new(|change| {
        settings(change);
        change.silence_max = Duration::from_millis(100);
    })
    .await;
    let old_call = call(&client, once("old"));
    let mut old = peer.accept().await;
    let old_request = old.take(1).await;
    assert!(matches!(old_call.await.unwrap(), Err(CallError::Unknown(Unknown::Lost(_)))));
    let mut new = peer.accept().await;
    let new_call = call(&client, get("new"));
    let new_request = new.take(1).await;
    old.reply(&Frame::Simple("PONG".into())).await;
    old.reply(&own(&old_request[0])).await;
    new.reply(&own(&new_request[0])).await;
    assert_eq!(new_call.await.unwrap(), Ok(Frame::bulk("new")));
}

/// ioredis#965, #800 (#1084), driver.md 2.6 (fred): what was in flight, or the rest of a partly answered pipeline, was sent again.
#[tokio::test]
async fn ioredis_965_a_partly_answered_pipeline_is_not_sent_again() {
    let (mut peer, client) = Peer::new(settings).await;
    let mut server = peer.accept().await;
    let callers: Vec<_> = (0..8).map(|number| call(&client, once(&number.to_string()))).collect();
    let requests = server.take(8).await;
    for request in &requests[..3] {
        server.reply(&own(request)).await;
    }
    drop(server);
    let mut answered = 0;
    for caller in callers {
        match caller.await.unwrap() {
            Ok(_) => answered += 1,
            Err(error) => assert!(matches!(error, CallError::Unknown(Unknown::Lost(_))), "{error:?}"),
        }
    }
    assert_eq!(answered, 3);
    let mut server = peer.accept().await;
    let last = call(&client, once("last"));
    let request = server.take(1).await;
    assert_eq!(request[0][1], "last", "nothing stands before it");
    server.reply(&own(&request[0])).await;
    assert_eq!(last.await.unwrap(), Ok(Frame::bulk("last")));
}

/// rustis: a mirror of CLIENT REPLY OFF outlived its socket, and what had been set at run time was lost with it. What changes the
/// connection for everybody cannot be sent at all, and is said not to have been.
#[tokio::test]
async fn rustis_nobody_can_change_the_connection_of_all() {
    let (mut peer, client) = Peer::new(settings).await;
    peer.accept().await.serve();
    for command in [
        Command::new("CLIENT").args(["REPLY", "OFF"]),
        Command::new("client").args(["reply", "skip"]),
        Command::new("CLIENT").args(["TRACKING", "ON"]),
        Command::new("SELECT").arg("1"),
        Command::new("AUTH").arg("x"),
        Command::new("HELLO").arg("2"),
        Command::new("RESET"),
        Command::new("QUIT"),
        Command::new("MONITOR"),
        Command::new("SUBSCRIBE").arg("c"),
        Command::new("SUNSUBSCRIBE"),
        Command::new("MULTI"),
        Command::new("WATCH").arg("k"),
    ] {
        let outcome = call(&client, command.clone()).await.unwrap();
        assert!(
            matches!(outcome, Err(CallError::NotSent(NotSent::Refused { .. }))),
            "{command:?}: {outcome:?}"
        );
    }
    assert_eq!(call(&client, get("key")).await.unwrap(), Ok(Frame::bulk("key")));
}

/// rustis: after a reconnect the database was 0, without an error. Every connection selects its own, before anybody may use it.
#[tokio::test]
async fn rustis_every_connection_selects_the_database_again() {
    let (mut peer, client) = Peer::with_database(3, settings).await;
    for _ in 0..3 {
        let server = peer.accept().await;
        assert!(peer.introduction.contains(&vec![Bytes::from("SELECT"), Bytes::from("3")]));
        server.reset();
    }
    peer.accept().await.serve();
    assert_eq!(call(&client, get("key")).await.unwrap(), Ok(Frame::bulk("key")));
}

/// driver.md 2.9, redis-rs#1924, #2269: a blocking command on the shared connection holds up everybody, or is killed by a default.
#[tokio::test]
async fn redis_rs_1924_blocking_commands_do_not_go_through_the_shared_connection() {
    let (mut peer, client) = Peer::new(settings).await;
    peer.accept().await.serve();
    for command in [
        Command::new("BLPOP").args(["k", "0"]),
        Command::new("BLMOVE").args(["a", "b", "LEFT", "RIGHT", "0"]),
        Command::new("WAIT").args(["1", "0"]),
        Command::new("XREAD").args(["BLOCK", "0", "STREAMS", "s", "$"]),
    ] {
        let outcome = call(&client, command.clone()).await.unwrap();
        assert!(
            matches!(outcome, Err(CallError::NotSent(NotSent::Refused { .. }))),
            "{command:?}: {outcome:?}"
        );
    }
}

/// StackExchange.Redis#3200: a writer enqueues into a connection while it is torn down. Callers ask without a pause while
/// connections end at every stage; each call ends, and with its own answer if with any.
/// driver.md 2.8, redis-rs' manager: no more connections than cuts, and one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn se_3200_who_asks_a_dying_connection_is_told() {
    const CUTS: usize = 60;
    let (mut peer, client) = Peer::new(settings).await;
    let stop = Arc::new(AtomicU64::new(0));
    let callers: Vec<_> = (0..16_u64)
        .map(|caller| {
            let (client, stop) = (client.clone(), stop.clone());
            task::spawn("caller", async move {
                let mut calls = 0_u64;
                while stop.load(Ordering::Relaxed) == 0 {
                    let key = format!("{caller}:{calls}");
                    match timeout(SOON, client.call(once(&key))).await.expect("every call ends") {
                        Ok(answer) => assert_eq!(answer, Frame::bulk(key)),
                        Err(error) => assert!(matches!(error, CallError::Unknown(_)), "{error:?}"),
                    }
                    calls += 1;
                }
            })
        })
        .collect();
    for cut in 0..CUTS {
        let mut server = peer.accept().await;
        for _ in 0..cut % 20 {
            let request = server.take(1).await;
            server.reply(&own(&request[0])).await;
        }
        if cut % 2 == 0 { server.reset() } else { drop(server) }
    }
    stop.store(1, Ordering::Relaxed);
    peer.accept().await.serve();
    for caller in callers {
        caller.await.unwrap();
    }
    assert_eq!((peer.accepted, client.metrics().connected.get()), (CUTS + 1, CUTS as u64 + 1));
}

/// StackExchange.Redis#3091 at the client: what is too large or not allowed costs nobody else anything.
#[tokio::test]
async fn se_3091_a_command_that_is_too_large_costs_nobody_anything() {
    let (mut peer, client) = Peer::new(|change| {
        settings(change);
        change.in_flight_bytes_max = 1000;
    })
    .await;
    peer.accept().await.serve();
    for round in 0..20 {
        let large = call(&client, Command::new("SET").arg("k").arg([0; 1000]));
        let key = round.to_string();
        let small = call(&client, get(&key));
        assert!(matches!(large.await.unwrap(), Err(CallError::NotSent(NotSent::TooLarge { .. }))));
        assert_eq!(small.await.unwrap(), Ok(Frame::bulk(key)));
    }
    assert_eq!(peer.accepted, 1);
}

/// node-redis#1593: a write that fails at once (EPIPE), before or while its request is queued.
#[tokio::test]
async fn node_redis_1593_a_request_written_to_a_closed_socket_ends() {
    let (mut peer, client) = Peer::new(settings).await;
    for round in 0..20 {
        let server = peer.accept().await;
        server.reset();
        let outcome = timeout(SHORT, client.call(once("a"))).await;
        if let Ok(outcome) = outcome {
            assert!(matches!(outcome, Err(CallError::Unknown(Unknown::Lost(_)))), "{round}: {outcome:?}");
        }
    }
    peer.accept().await.serve();
    assert_eq!(call(&client, get("key")).await.unwrap(), Ok(Frame::bulk("key")));
}

/// StackExchange.Redis#1440, #2177, redis-rs#1215: what is sent first is written first.
#[tokio::test]
async fn se_1440_requests_stand_on_the_wire_in_the_order_of_their_calls() {
    let (mut peer, client) = Peer::new(settings).await;
    let mut server = peer.accept().await;
    let commands: Vec<_> = (0..500).map(|number: usize| once(&number.to_string())).collect();
    let calls = futures_in_order(commands.into_iter().map(|command| client.call(command)));
    let (outcomes, requests) = tokio::join!(calls, async {
        let requests = server.take(500).await;
        for request in &requests {
            server.reply(&own(request)).await;
        }
        requests
    });
    let keys: Vec<String> = (0..500).map(|number| number.to_string()).collect();
    assert_eq!(requests.iter().map(|request| request[1].clone()).collect::<Vec<_>>(), keys);
    assert_eq!(outcomes, keys.into_iter().map(|key| Ok(Frame::bulk(key))).collect::<Vec<_>>());
}

/// Polls all in order until all are done.
async fn futures_in_order<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut futures: Vec<_> = futures.map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(move |context| {
        for (future, output) in &mut futures {
            if output.is_none()
                && let std::task::Poll::Ready(value) = future.as_mut().poll(context)
            {
                *output = Some(value);
            }
        }
        if futures.iter().any(|(_, output)| output.is_none()) {
            return std::task::Poll::Pending;
        }
        std::task::Poll::Ready(futures.iter_mut().filter_map(|(_, output)| output.take()).collect())
    })
    .await
}

/// driver.md 2.2, redis-rs (62–65 wrong values), rueidis#331, #690, valkey#1066, #759: the server's own `sunsubscribe` when a slot
/// goes away was taken for an answer, under 64 callers. Here it reaches no caller.
#[tokio::test]
async fn redis_rs_the_servers_own_sunsubscribe_answers_nobody() {
    let (mut peer, client) = Peer::new(settings).await;
    let mut server = peer.accept().await;
    for _ in 0..10 {
        let callers: Vec<_> = (0..64).map(|number| call(&client, get(&number.to_string()))).collect();
        let requests = server.take(64).await;
        for request in &requests {
            server
                .reply(&Frame::Push(vec![Frame::bulk("sunsubscribe"), own(request), Frame::Integer(0)]))
                .await;
            server.reply(&own(request)).await;
        }
        for (number, caller) in callers.into_iter().enumerate() {
            assert_eq!(caller.await.unwrap(), Ok(Frame::bulk(number.to_string())));
        }
    }
    assert_eq!(peer.accepted, 1);
}

/// driver.md 2.4: one surplus bulk before four GETs gave four wrong values in redis-rs, fred and rustis. With the fence on, at
/// most the batch that it stands in can be wrong, and then the connection ends.
#[tokio::test]
async fn all_a_surplus_answer_of_the_same_type_is_bounded_by_the_fence() {
    let (mut peer, client) = Peer::new(|change| {
        settings(change);
        change.fence = true;
    })
    .await;
    let mut server = peer.accept().await;
    let first = call(&client, once("first"));
    server.take(2).await;
    server.reply(&Frame::bulk("surplus")).await;
    server.reply(&Frame::bulk("first")).await;
    drop(first.await.unwrap());
    assert!(until_lost(&client).await.contains("out of step"));
    peer.accept().await.serve();
    assert_eq!(call(&client, get("next")).await.unwrap(), Ok(Frame::bulk("next")));
}

/// driver.md 2.5: a peer that takes bytes and never answers, while new connections work. redis-rs, fred and rustis never noticed
/// it under traffic, and traffic must not renew it; idle, it is the probe that finds it.
#[tokio::test]
async fn all_a_half_open_peer_is_left_within_the_bound() {
    const SILENCE_MAX: Duration = Duration::from_millis(400);
    const PROBE_INTERVAL: Duration = Duration::from_millis(200);
    // The machine may be busy.
    const SLACK: Duration = Duration::from_secs(2);
    for (is_idle, bound) in [(false, SILENCE_MAX), (true, SILENCE_MAX + PROBE_INTERVAL)] {
        let (mut peer, client) = Peer::new(|change| {
            settings(change);
            change.silence_max = SILENCE_MAX;
            change.probe_interval = PROBE_INTERVAL;
        })
        .await;
        let mut silent = peer.accept().await;
        let started = now();
        let traffic = task::spawn("traffic", {
            let client = client.clone();
            async move {
                let is_busy = || !is_idle;
                while is_busy() {
                    drop(client.call(get("a").deadline(Duration::from_millis(10))).await);
                }
            }
        });
        let reader = task::spawn("reader", async move { silent.closed().await });
        let next = peer.accept().await;
        assert!(started.elapsed() <= bound + SLACK, "idle {is_idle}: {:?}", started.elapsed());
        assert!(started.elapsed() >= SILENCE_MAX, "and not before");
        next.serve();
        assert_eq!(call(&client, get("next")).await.unwrap(), Ok(Frame::bulk("next")));
        traffic.abort();
        reader.await.unwrap();
    }
}

/// driver.md 2.6 and 2.7: of commands that may run once only, each runs at most once, and whoever is told "not sent" is right.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fred_nothing_runs_twice_and_not_sent_is_true() {
    const CUTS: usize = 52;
    let (mut peer, client) = Peer::new(settings).await;
    let callers: Vec<_> = (0..16_usize)
        .map(|caller| {
            let client = client.clone();
            task::spawn("caller", async move {
                let mut outcomes = Vec::new();
                for number in 0..200 {
                    let key = format!("{caller}:{number}");
                    outcomes.push((key.clone(), client.call(once(&key)).await));
                }
                outcomes
            })
        })
        .collect();
    let server = task::spawn("server", async move {
        let mut executed: Vec<Bytes> = Vec::new();
        for cut in 0..CUTS {
            let mut server = peer.accept().await;
            let requests = server.take(cut % 12).await;
            executed.extend(requests.iter().map(|request| request[1].clone()));
            // Some are answered, the others are executed and not answered.
            for request in &requests[..requests.len() / 2] {
                server.reply(&own(request)).await;
            }
        }
        let mut server = peer.accept().await;
        while let Some(request) = server.request().await {
            executed.push(request[1].clone());
            server.reply(&own(&request)).await;
        }
        executed
    });
    let mut outcomes = Vec::new();
    for caller in callers {
        outcomes.extend(caller.await.unwrap());
    }
    drop(client);
    let executed = server.await.unwrap();
    let distinct: BTreeSet<&[u8]> = executed.iter().map(|key| &key[..]).collect();
    assert_eq!(distinct.len(), executed.len(), "nothing runs twice");
    let acknowledged = outcomes.iter().filter(|(_, outcome)| outcome.is_ok()).count();
    let unknown =
        outcomes.iter().filter(|(_, outcome)| matches!(outcome, Err(CallError::Unknown(_)))).count();
    assert!((acknowledged..=acknowledged + unknown).contains(&executed.len()));
    for (key, outcome) in &outcomes {
        match outcome {
            Ok(answer) => assert_eq!(*answer, Frame::bulk(key.clone())),
            Err(CallError::Unknown(_)) => {}
            Err(error) => assert!(!distinct.contains(key.as_bytes()), "{key}: {error:?}"),
        }
    }
}

/// driver.md 2.11, fred PR #381: a handshake that hangs kept every command waiting for 10 s and more. Here calls end at their
/// deadlines, and another server's client does not hear of it.
#[tokio::test]
async fn fred_381_a_handshake_that_hangs_delays_nobody_beyond_the_deadline() {
    let (mut peer, client) = Peer::new(settings).await;
    let _silent = peer.accept_silently().await;
    let (mut other_peer, other) = Peer::new(settings).await;
    other_peer.accept().await.serve();
    let started = now();
    let outcome = call(&client, get("key").deadline(SHORT)).await.unwrap();
    assert!(matches!(outcome, Err(CallError::NotSent(NotSent::Down { .. }))), "{outcome:?}");
    assert_eq!(call(&other, get("key")).await.unwrap(), Ok(Frame::bulk("key")));
    assert!(started.elapsed() < SOON / 4, "{:?}", started.elapsed());
}

/// driver.md 2.12, rustis, redis-rs#1955, glide#5892: no reads while a write waits for the peer.
#[tokio::test]
async fn rustis_answers_arrive_while_a_write_waits() {
    let (mut peer, client) = Peer::new(settings).await;
    let mut server = peer.accept().await;
    let small = call(&client, get("small"));
    let request = server.take(1).await;
    let large = call(&client, Command::new("SET").arg("large").arg(vec![b'x'; 16 * 1024 * 1024]));
    wait_until_written(&client, 64 * 1024).await;
    server.reply(&own(&request[0])).await;
    assert_eq!(small.await.unwrap(), Ok(Frame::bulk("small")), "the server has not read on");
    server.take(1).await;
    server.reply(&Frame::ok()).await;
    assert_eq!(large.await.unwrap(), Ok(Frame::ok()));
}

/// redis#11784, dragonfly#5139, node-redis#342, #343, #356: in RESP2 a message looks like an answer. Nobody can subscribe on a
/// shared connection, and what a server sends all the same ends it.
#[tokio::test]
async fn node_redis_342_a_message_in_resp2_is_nobodys_answer() {
    let (mut peer, client) = Peer::new(settings).await;
    let mut server = peer.accept_as(Protocol::Resp2).await;
    let caller = call(&client, Command::new("INCR").arg("a"));
    server.take(1).await;
    server.raw(b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nx\r\n:1\r\n").await;
    assert!(matches!(caller.await.unwrap(), Err(CallError::Unknown(Unknown::Lost(_)))));
}
