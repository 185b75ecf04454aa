//! Tests of the whole client against servers in the test, over pipes in memory and with a paused clock: time passes only when
//! everybody waits.

use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bowline_resp::{Protocol, RequestDecoder, RequestLimits, encode};
use bowline_rt::task;
use bowline_rt::time::timeout;
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::*;
use crate::error::{Death, NotSent};
use crate::handshake::Predecessor;
use crate::topology::Address;

/// Hands the far end of every new connection to the test.
#[derive(Clone)]
pub(super) struct Wire(pub mpsc::UnboundedSender<DuplexStream>);

impl Dial for Wire {
    type Stream = DuplexStream;

    async fn dial(&self, _: &Address, _: Duration) -> io::Result<DuplexStream> {
        let (near, far) = tokio::io::duplex(4096);
        self.0.send(far).map_err(|_| io::ErrorKind::ConnectionRefused)?;
        Ok(near)
    }
}

/// A client, and the connections that it makes.
fn client(change: impl FnOnce(&mut Settings)) -> (Client, mpsc::UnboundedReceiver<DuplexStream>) {
    let mut config = Config::from_url("redis://:hunter2@h").unwrap();
    change(&mut config.settings);
    let (sender, connections) = mpsc::unbounded_channel();
    let wire = Wire(sender);
    (Client::start_with(config, wire.clone(), wire), connections)
}

/// The server's end of a connection.
pub(super) struct Server {
    stream: DuplexStream,
    decoder: RequestDecoder,
    buffer: BytesMut,
}

impl Server {
    pub fn new(stream: DuplexStream) -> Self {
        Self { stream, decoder: RequestDecoder::new(RequestLimits::default()), buffer: BytesMut::new() }
    }

    /// A server that has shaken hands.
    pub async fn accept(connections: &mut mpsc::UnboundedReceiver<DuplexStream>) -> Self {
        let mut server = Self::new(connections.recv().await.unwrap());
        for _ in 0..2 {
            let request = server.request().await.unwrap();
            server.reply(&introduce(&request).unwrap()).await;
        }
        server
    }

    /// The next request; `None` at the end.
    pub async fn request(&mut self) -> Option<Vec<Bytes>> {
        loop {
            if let Some(request) = self.decoder.decode(&mut self.buffer).unwrap() {
                return Some(request);
            }
            self.stream.read_buf(&mut self.buffer).await.ok().filter(|&count| count > 0)?;
        }
    }

    pub async fn reply(&mut self, frame: &Frame) {
        let mut bytes = BytesMut::new();
        encode(frame, Protocol::Resp3, &mut bytes);
        // The client may be gone; then nobody misses the answer.
        drop(self.stream.write_all(&bytes).await);
    }

    /// Answers every request until the end.
    pub async fn serve(mut self, mut answer: impl FnMut(&[Bytes]) -> Frame) {
        while let Some(request) = self.request().await {
            let frame = introduce(&request).unwrap_or_else(|| answer(&request));
            self.reply(&frame).await;
        }
    }
}

/// The answers to a handshake. Each is that of another server process, so that none has to end the connection before.
fn introduce(request: &[Bytes]) -> Option<Frame> {
    static PROCESSES: AtomicU64 = AtomicU64::new(0);
    match &request[0][..] {
        b"HELLO" => Some(Frame::Map(vec![
            (Frame::bulk("proto"), Frame::Integer(3)),
            (Frame::bulk("role"), Frame::bulk("master")),
            (Frame::bulk("id"), Frame::Integer(7)),
        ])),
        b"INFO" => {
            let process = PROCESSES.fetch_add(1, Ordering::Relaxed);
            Some(Frame::bulk(format!("redis_version:7.0.15\r\nrun_id:process-{process}\r\n")))
        }
        _ => None,
    }
}

fn echo(request: &[Bytes]) -> Frame {
    Frame::Bulk(request[1].clone())
}

/// Waits until the client says what `is_it` looks for.
async fn until(client: &Client, is_it: impl FnMut(&Connection) -> bool) -> Connection {
    let mut connection = client.connection();
    let seen = timeout(Duration::from_secs(60), connection.wait_for(is_it)).await;
    seen.expect("it comes within a minute").unwrap().clone()
}

/// Answers are delivered in portions, and a pipe is read as long as there are answers left in the buffer: the end that follows
/// them must not be seen first.
#[tokio::test(start_paused = true)]
async fn answers_that_came_before_the_end_of_the_connection_are_delivered_however_many() {
    const CALLS: usize = 3 * crate::limits::ANSWERS_PER_TURN_MAX;
    let (client, mut connections) = client(|_| {});
    task::spawn("server", async move {
        let mut server = Server::accept(&mut connections).await;
        let mut answers = BytesMut::new();
        for _ in 0..CALLS {
            let request = server.request().await.unwrap();
            encode(&echo(&request), Protocol::Resp3, &mut answers);
        }
        server.stream.write_all(&answers).await.unwrap();
    });
    let mut calls = JoinSet::new();
    for number in 0..CALLS {
        let client = client.clone();
        calls.spawn(async move {
            let text = number.to_string();
            assert_eq!(client.call(Command::new("ECHO").arg(&text)).await, Ok(Frame::bulk(text)));
        });
    }
    while let Some(call) = calls.join_next().await {
        call.unwrap();
    }
    assert_eq!(client.metrics().resent.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn many_callers_share_a_connection_and_each_gets_the_own_answer() {
    let (client, mut connections) = client(|settings| settings.fence = true);
    task::spawn("server", async move { Server::new(connections.recv().await.unwrap()).serve(echo).await });
    let mut calls = JoinSet::new();
    for number in 0..2000 {
        let client = client.clone();
        calls.spawn(async move {
            let text = number.to_string();
            let call = client.call(Command::new("ECHO").arg(&text));
            if number % 3 == 0 {
                // A third of the callers give up at some point.
                drop(timeout(Duration::from_micros(number), call).await);
            } else {
                assert_eq!(call.await, Ok(Frame::bulk(text)));
            }
        });
    }
    while let Some(call) = calls.join_next().await {
        call.unwrap();
    }
    let connection = until(&client, |connection| matches!(connection, Connection::Up { .. })).await;
    let Connection::Up { server, .. } = connection else { unreachable!("awaited") };
    assert!(server.run_id.is_some_and(|id| id.starts_with("process-")));
    assert_eq!((server.version.as_str(), server.client_id), ("7.0.15", Some(7)));
    assert_eq!(client.metrics().connected.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_error_reply_fails_its_own_call_only() {
    let (client, mut connections) = client(|_| {});
    task::spawn("server", async move {
        let answer = |request: &[Bytes]| match &request[0][..] {
            b"ECHO" => echo(request),
            _ => Frame::error("WRONGTYPE Operation against a key"),
        };
        Server::new(connections.recv().await.unwrap()).serve(answer).await;
    });
    let (wrong, right) = tokio::join!(
        client.call(Command::new("GET").arg("k")),
        client.call(Command::new("ECHO").arg("right"))
    );
    let expected =
        ServerError { code: "WRONGTYPE".to_owned(), message: "WRONGTYPE Operation against a key".to_owned() };
    assert_eq!(wrong, Err(expected.into()));
    assert_eq!(right, Ok(Frame::bulk("right")));
}

#[tokio::test(start_paused = true)]
async fn without_a_server_a_call_is_not_sent_and_ends_at_its_deadline() {
    let (client, connections) = client(|_| {});
    drop(connections);
    let started = now();
    let limit = Duration::from_millis(1234);
    let outcome = client.call(Command::new("GET").arg("k").deadline(limit)).await;
    let Err(CallError::NotSent(NotSent::Down { waited, last_error })) = outcome else {
        panic!("{outcome:?}")
    };
    assert!(waited >= limit && now() - started < limit + Duration::from_millis(10));
    assert_eq!(last_error.as_deref(), Some("cannot connect to h:6379: connection refused"));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_may_have_been_executed_is_repeated_only_if_that_is_harmless() {
    let (client, mut connections) = client(|_| {});
    let check = async |command: Command, expected: Result<Frame, CallError>, connections: &mut _| {
        let (outcome, ()) = tokio::join!(client.call(command), async {
            let mut first = Server::accept(connections).await;
            first.request().await.unwrap();
            drop(first);
            if expected.is_ok() {
                let mut second = Server::accept(connections).await;
                let request = second.request().await.unwrap();
                second.reply(&echo(&request)).await;
            }
        });
        assert_eq!(outcome, expected);
    };
    let lost = Unknown::Lost(Death::Closed).into();
    check(Command::new("EVAL").arg("x"), Err(lost), &mut connections).await;
    check(Command::new("EVAL").arg("x").idempotent(), Ok(Frame::bulk("x")), &mut connections).await;
    check(Command::new("GET").arg("x"), Ok(Frame::bulk("x")), &mut connections).await;
    assert_eq!(client.metrics().resent.get(), 2);
    assert_eq!(client.metrics().unknown.get(), 1);
}

/// An answer that must not be would end every connection that it is asked for on.
#[tokio::test(start_paused = true)]
async fn a_call_whose_answer_may_be_the_poison_is_not_repeated() {
    let (client, mut connections) = client(|_| {});
    for (poison, expected) in [
        (&b"?what\r\n"[..], "the store broke the protocol"),
        (b"*0\r\n", "to a command that never returns one"),
    ] {
        let (outcome, ()) = tokio::join!(client.call(Command::new("GET").arg("k")), async {
            let mut server = Server::accept(&mut connections).await;
            server.request().await.unwrap();
            server.stream.write_all(poison).await.unwrap();
            // Until the client hangs up.
            assert_eq!(server.request().await, None);
        });
        let Err(CallError::Unknown(Unknown::Lost(death))) = outcome else { panic!("{outcome:?}") };
        assert!(death.to_string().contains(expected), "{death}");
    }
    assert_eq!(client.metrics().resent.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_beyond_the_clock_is_far_away() {
    let (client, mut connections) = client(|_| {});
    task::spawn("server", async move { Server::new(connections.recv().await.unwrap()).serve(echo).await });
    let call = client.call(Command::new("ECHO").arg("x").deadline(Duration::MAX));
    assert_eq!(call.await, Ok(Frame::bulk("x")));
}

/// Whatever happens afterwards, the first attempt may have been executed.
#[tokio::test(start_paused = true)]
async fn a_lost_call_that_finds_no_second_connection_stays_unknown() {
    let (client, mut connections) = client(|_| {});
    let (outcome, ()) = tokio::join!(client.call(Command::new("GET").arg("x")), async {
        Server::accept(&mut connections).await.request().await.unwrap();
        drop(connections);
    });
    assert_eq!(outcome, Err(Unknown::Lost(Death::Closed).into()));
}

/// A server that was restarted refuses for a while. That says nothing about the attempt before the restart.
#[tokio::test(start_paused = true)]
async fn a_refusal_of_the_second_attempt_does_not_make_the_first_unsent() {
    let (client, mut connections) = client(|_| {});
    let command = Command::new("EVAL").arg("x").idempotent();
    let (outcome, ()) = tokio::join!(client.call(command), async {
        Server::accept(&mut connections).await.request().await.unwrap();
        let mut second = Server::accept(&mut connections).await;
        second.request().await.unwrap();
        second.reply(&Frame::error("LOADING Redis is loading the dataset in memory")).await;
    });
    let error = outcome.unwrap_err();
    assert!(!error.had_no_effect(), "INV-DRV-ONCE: {error}");
    assert_eq!(error, Unknown::Lost(Death::Closed).into());
}

#[tokio::test(start_paused = true)]
async fn both_attempts_of_a_script_share_one_deadline() {
    let (client, mut connections) = client(|_| {});
    let script = Script::new("return 1").deadline(Duration::from_secs(1));
    let started = now();
    let timed = async { (client.eval(&script, &[b"key"], &[]).await, now() - started) };
    let ((outcome, took), ()) = tokio::join!(timed, async {
        let mut server = Server::accept(&mut connections).await;
        server.request().await.unwrap();
        bowline_rt::time::sleep(Duration::from_millis(900)).await;
        server.reply(&Frame::error("NOSCRIPT No matching script")).await;
        assert_eq!(server.request().await.unwrap()[0], "EVAL");
        bowline_rt::time::sleep(Duration::from_millis(900)).await;
    });
    assert_eq!(outcome, Err(Unknown::Deadline.into()));
    assert!(took < Duration::from_millis(1_010), "{took:?}");
}

/// The first attempt goes out at once: nobody has looked at the clock when it is lost.
#[tokio::test(start_paused = true)]
async fn both_attempts_of_a_lost_call_share_one_deadline() {
    let (client, mut connections) = client(|_| {});
    let mut server = Server::accept(&mut connections).await;
    until(&client, |connection| matches!(connection, Connection::Up { .. })).await;
    let command = Command::new("GET").arg("x").deadline(Duration::from_secs(1));
    let started = now();
    let timed = async { (client.call(command).await, now() - started) };
    let ((outcome, took), ()) = tokio::join!(timed, async {
        server.request().await.unwrap();
        bowline_rt::time::sleep(Duration::from_millis(700)).await;
        drop(server);
        let mut second = Server::accept(&mut connections).await;
        second.request().await.unwrap();
        bowline_rt::time::sleep(Duration::from_millis(900)).await;
    });
    assert_eq!(outcome, Err(Unknown::Deadline.into()));
    assert!((Duration::from_millis(990)..Duration::from_millis(1_010)).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_passes_after_sending_leaves_the_outcome_unknown_and_shifts_nobody() {
    let (client, mut connections) = client(|_| {});
    let mut server = Server::accept(&mut connections).await;
    let slow = client.call(Command::new("ECHO").arg("slow").deadline(Duration::from_millis(50))).await;
    assert_eq!(slow, Err(Unknown::Deadline.into()));
    let (next, ()) = tokio::join!(client.call(Command::new("ECHO").arg("next")), async {
        for _ in 0..2 {
            let request = server.request().await.unwrap();
            server.reply(&echo(&request)).await;
        }
    });
    assert_eq!(next, Ok(Frame::bulk("next")));
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_is_given_up_and_a_new_connection_serves() {
    let (client, mut connections) = client(|_| {});
    let silent = Server::accept(&mut connections).await;
    let Connection::Up { epoch: first, .. } = until(&client, |c| matches!(c, Connection::Up { .. })).await
    else {
        unreachable!("awaited")
    };
    let started = now();
    let lost = client.call(Command::new("EVAL").arg("x").deadline(Duration::from_secs(60))).await;
    assert_eq!(lost, Err(Unknown::Lost(Death::Silent(Duration::from_secs(2))).into()));
    assert!(now() - started < Duration::from_millis(2050), "after {:?}", now() - started);

    let server = Server::accept(&mut connections).await;
    task::spawn("server", server.serve(echo));
    let is_new =
        |connection: &Connection| matches!(connection, Connection::Up { epoch, .. } if *epoch != first);
    until(&client, is_new).await;
    assert_eq!(client.call(Command::new("ECHO").arg("x")).await, Ok(Frame::bulk("x")));
    assert_eq!(client.metrics().deaths("silent"), 1);
    drop(silent);
}

/// INV-DRV-BOUND: what does not fit is refused at once, what waits ends in time, and nothing is kept.
#[tokio::test(start_paused = true)]
async fn a_stopped_server_costs_bounded_memory_and_every_caller_learns_in_time() {
    const IN_FLIGHT: usize = 64;
    const WAITING: usize = 1000;
    let (client, mut connections) = client(|settings| {
        settings.in_flight_max = IN_FLIGHT;
        settings.waiting_max = WAITING;
        settings.silence_max = Duration::from_secs(3600);
    });
    let stopped = Server::accept(&mut connections).await;
    until(&client, |connection| matches!(connection, Connection::Up { .. })).await;
    let started = now();
    let mut calls = JoinSet::new();
    for _ in 0..100_000 {
        let client = client.clone();
        calls.spawn(async move { client.call(Command::new("INCR").arg("k")).await });
    }
    let (mut unknown, mut full, mut overloaded) = (0, 0, 0);
    while let Some(outcome) = calls.join_next().await {
        match outcome.unwrap() {
            Err(CallError::Unknown(Unknown::Deadline)) => unknown += 1,
            Err(CallError::NotSent(NotSent::Full { .. })) => full += 1,
            Err(CallError::NotSent(NotSent::Overloaded)) => overloaded += 1,
            outcome => panic!("{outcome:?}"),
        }
    }
    assert!(now() - started < client.shared.settings.call_deadline + Duration::from_millis(50));
    assert_eq!((unknown, full, overloaded), (IN_FLIGHT, WAITING, 100_000 - IN_FLIGHT - WAITING));
    let Servers::One(node) = client.servers() else { panic!("it is one server") };
    assert_eq!(node.waiting(), (0, 0));
    // Room comes back with the answers, not with the callers' patience.
    task::spawn("server", stopped.serve(|_| Frame::Integer(1)));
    assert_eq!(client.call(Command::new("INCR").arg("k")).await, Ok(Frame::Integer(1)));
}

#[tokio::test(start_paused = true)]
async fn reads_go_on_while_the_server_does_not_read() {
    let (client, mut connections) = client(|_| {});
    let mut server = Server::accept(&mut connections).await;
    until(&client, |connection| matches!(connection, Connection::Up { .. })).await;
    let small = Command::new("ECHO").arg("small").deadline(Duration::from_millis(100));
    let large = Command::new("ECHO").arg(vec![b'x'; 100_000]);
    let client_2 = client.clone();
    let large = task::spawn("large", async move { client_2.call(large).await });
    let small = client.call(small);
    let (small, ()) = tokio::join!(small, async {
        // The pipe is full of what the server does not read; its answers go through all the same.
        assert_eq!(server.request().await.unwrap()[1], "small");
        while server.buffer.is_empty() {
            server.stream.read_buf(&mut server.buffer).await.unwrap();
        }
        server.reply(&Frame::bulk("one")).await;
        server.reply(&Frame::bulk("two")).await;
    });
    let answers = [small, large.await.unwrap()].map(|answer| answer.unwrap());
    assert!(answers.contains(&Frame::bulk("one")) && answers.contains(&Frame::bulk("two")));
}

#[tokio::test(start_paused = true)]
async fn a_script_is_sent_in_full_only_where_it_is_not_known() {
    let (client, mut connections) = client(|_| {});
    let script = Script::new("return ARGV[1]");
    let digest = script.digest().to_owned();
    task::spawn("server", async move {
        let mut is_known = false;
        let answer = |request: &[Bytes]| {
            let is_digest = request[1] == digest;
            assert_eq!(request[0], if is_digest { "EVALSHA" } else { "EVAL" });
            assert!(is_digest || !is_known, "a known script is not sent again");
            is_known |= !is_digest;
            if is_known {
                Frame::Bulk(request[4].clone())
            } else {
                Frame::error("NOSCRIPT No matching script")
            }
        };
        Server::new(connections.recv().await.unwrap()).serve(answer).await;
    });
    for value in [b"a", b"b"] {
        assert_eq!(client.eval(&script, &[b"key"], &[value]).await, Ok(Frame::bulk(value.to_vec())));
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_password_is_reported_and_never_shown() {
    let (client, mut connections) = client(|_| {});
    let mut server = Server::new(connections.recv().await.unwrap());
    server.request().await.unwrap();
    server.reply(&Frame::error("WRONGPASS invalid username-password pair")).await;
    let down = until(&client, |connection| matches!(connection, Connection::Down { error: Some(_) })).await;
    let error =
        "h:6379 refused the user or the password: WRONGPASS invalid username-password pair".to_owned();
    assert_eq!(down, Connection::Down { error: Some(error) });
    assert!(!format!("{client:?} {:?}", client.metrics()).contains("hunter2"));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_answers_the_handshake_is_tried_again() {
    let (client, mut connections) = client(|_| {});
    let mute = connections.recv().await.unwrap();
    let server = Server::accept(&mut connections).await;
    task::spawn("server", server.serve(echo));
    assert_eq!(client.call(Command::new("ECHO").arg("x")).await, Ok(Frame::bulk("x")));
    drop(mute);
}

#[tokio::test(start_paused = true)]
async fn the_connection_ends_with_the_last_client() {
    let (client, mut connections) = client(|_| {});
    let mut server = Server::accept(&mut connections).await;
    until(&client, |connection| matches!(connection, Connection::Up { .. })).await;
    let clone = client.clone();
    drop(client);
    let mut connection = clone.connection();
    drop(clone);
    assert_eq!(server.request().await, None);
    while connection.changed().await.is_ok() {}
}

/// INV-DRV-ONCE as a count: acknowledged ≤ counter ≤ acknowledged + unknown, through connections that are cut at any byte.
#[tokio::test(start_paused = true)]
async fn no_increment_is_doubled_or_lost_silently_when_connections_are_cut() {
    let (client, mut connections) = client(|settings| settings.call_deadline = Duration::from_secs(30));
    let counter = Arc::new(Mutex::new(0_u64));
    let counted = counter.clone();
    task::spawn("server", async move {
        for life in 1_u64.. {
            let Some(stream) = connections.recv().await else { return };
            let mut server = Server::new(stream);
            // After the handshake a connection lives for some requests and breaks in the middle of an answer.
            for turn in 0..life % 40 + 2 {
                let Some(request) = server.request().await else { break };
                let frame = introduce(&request).unwrap_or_else(|| {
                    *counted.lock().unwrap() += 1;
                    Frame::Integer(1_000_000)
                });
                if turn == life % 40 + 1 {
                    drop(
                        server
                            .stream
                            .write_all(&b":1000000\r\n"[..usize::try_from(life % 10).unwrap()])
                            .await,
                    );
                } else {
                    server.reply(&frame).await;
                }
            }
        }
    });
    let mut calls = JoinSet::new();
    for _ in 0..2000 {
        let client = client.clone();
        calls.spawn(async move { client.call(Command::new("INCR").arg("k")).await });
    }
    let (mut acknowledged, mut unknown) = (0, 0);
    while let Some(outcome) = calls.join_next().await {
        match outcome.unwrap() {
            Ok(_) => acknowledged += 1,
            Err(CallError::Unknown(_)) => unknown += 1,
            Err(error) => panic!("{error:?}"),
        }
    }
    let counter = *counter.lock().unwrap();
    assert!(
        acknowledged <= counter && counter <= acknowledged + unknown,
        "{acknowledged} {counter} {unknown}"
    );
    assert!(acknowledged > 0 && unknown > 0);
}

/// What the server has not read of a connection could run after what is sent on the next one.
#[tokio::test(start_paused = true)]
async fn the_next_connection_ends_the_one_before_in_the_same_server() {
    let check = async |run_ids: [Option<&str>; 2], kill: Option<Frame>, expected: Predecessor| {
        let (client, mut connections) = client(|_| {});
        for (number, run_id) in run_ids.into_iter().enumerate() {
            let mut server = Server::new(connections.recv().await.unwrap());
            let hello = server.request().await.unwrap();
            server.reply(&introduce(&hello).unwrap()).await;
            server.request().await.unwrap();
            let refused = || Frame::error("NOPERM x");
            server.reply(&run_id.map_or_else(refused, |id| Frame::bulk(format!("run_id:{id}\r\n")))).await;
            if let (1, Some(kill)) = (number, &kill) {
                assert_eq!(server.request().await.unwrap(), ["CLIENT", "KILL", "ID", "7"]);
                server.reply(kill).await;
            }
            let up = until(&client, |connection| matches!(connection, Connection::Up { .. })).await;
            let Connection::Up { server: info, .. } = up else { unreachable!("awaited") };
            assert_eq!(info.predecessor, if number == 0 { Predecessor::None } else { expected.clone() });
            drop(server);
            until(&client, |connection| matches!(connection, Connection::Down { .. })).await;
        }
    };
    let unfenced = |reason: &str| Predecessor::Unfenced { reason: reason.to_owned() };
    check([Some("a"), Some("a")], Some(Frame::Integer(1)), Predecessor::Ended).await;
    check([Some("a"), Some("a")], Some(Frame::Integer(0)), Predecessor::Ended).await;
    check([Some("a"), Some("a")], Some(Frame::error("NOPERM x")), unfenced("NOPERM x")).await;
    check([Some("a"), Some("b")], None, Predecessor::Elsewhere).await;
    check([Some("a"), None], None, unfenced("the server does not tell its run_id (INFO server)")).await;
}
