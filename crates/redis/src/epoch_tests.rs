//! Tests of the epoch against a server in the test: first one property at every byte, then anything in any order.

use std::collections::BTreeMap;

use bowline_resp::{RequestDecoder, RequestLimits, encode};
use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::config::Settings;
use crate::request::Limit;

/// A caller is a number; its request is `ECHO <number>`, and so the right answer can be told from every other.
type Number = usize;

/// An epoch, the server at its other end, and what became of the callers.
struct Pair {
    core: EpochCore<Number>,
    now: Instant,
    /// What was handed over and the server has not read.
    requests: BytesMut,
    decoder: RequestDecoder,
    /// What the server has written and the epoch has not read.
    replies: BytesMut,
    protocol: Protocol,
    /// Requests that the server has seen whole.
    seen: Vec<Number>,
    ends: BTreeMap<Number, End>,
}

#[derive(Debug, Clone, PartialEq)]
enum End {
    Answered(Frame),
    Expired,
    Buried(Fate),
}

const DEADLINE: Duration = Duration::from_secs(1);
const SILENCE_MAX: Duration = Duration::from_secs(2);

fn config(fence: bool) -> Config {
    let mut config = Config::from_url("redis://h").unwrap();
    config.settings = Settings { fence, silence_max: SILENCE_MAX, ..Settings::default() };
    config
}

impl Pair {
    /// A pair that has shaken hands.
    fn new(protocol: Protocol, fence: bool) -> Self {
        let now = bowline_rt::time::now();
        let mut pair = Self {
            core: EpochCore::new(Epoch::from_bits(7), &config(fence), now),
            now,
            requests: BytesMut::new(),
            decoder: RequestDecoder::new(RequestLimits::default()),
            replies: BytesMut::new(),
            protocol,
            seen: Vec::new(),
            ends: BTreeMap::new(),
        };
        pair.run();
        assert_eq!(pair.core.protocol, protocol);
        assert!(pair.core.handshake.is_none() && pair.core.in_flight.is_empty());
        pair
    }

    /// Callers put in one batch of requests.
    fn append(&mut self, numbers: impl IntoIterator<Item = Number>) {
        let mut bytes = BytesMut::new();
        let mut requests = Vec::new();
        for number in numbers {
            let command = Command::new("ECHO").number(number);
            requests.push(Pending::write(&command, number, Limit::At(self.now + DEADLINE), &mut bytes));
        }
        self.core.append(&mut bytes, &mut requests, self.now);
        assert!(bytes.is_empty() && requests.is_empty());
    }

    /// The socket takes up to `count` bytes, and the server answers what is complete.
    fn send(&mut self, count: usize) {
        let count = count.min(self.core.outgoing().len());
        self.requests.extend_from_slice(&self.core.outgoing()[..count]);
        self.core.handed_over(count);
        while let Some(request) = self.decoder.decode(&mut self.requests).unwrap() {
            let reply = self.reply(&request);
            encode(&reply, self.protocol, &mut self.replies);
        }
    }

    fn reply(&mut self, request: &[Bytes]) -> Frame {
        match &request[0][..] {
            b"HELLO" if self.protocol == Protocol::Resp2 => Frame::error("ERR unknown command `HELLO`"),
            b"HELLO" => Frame::Map(vec![
                (Frame::bulk("proto"), Frame::Integer(3)),
                (Frame::bulk("role"), Frame::bulk("master")),
            ]),
            b"INFO" => Frame::bulk("run_id:1\r\nrole:master\r\n"),
            b"CLIENT" => Frame::Integer(7),
            b"PING" => Frame::Simple("PONG".into()),
            b"ECHO" => {
                let text = std::str::from_utf8(&request[1]).unwrap();
                self.seen.extend(text.parse::<Number>());
                Frame::Bulk(request[1].clone())
            }
            other => panic!("unexpected {other:?}"),
        }
    }

    /// The epoch reads up to `count` bytes.
    fn receive(&mut self, count: usize) {
        let count = count.min(self.replies.len());
        let bytes = self.replies.split_to(count);
        if count > 0 && self.core.death().is_none() {
            self.core.read_buffer().extend_from_slice(&bytes);
            self.core.received(self.now);
        }
        self.collect();
    }

    fn collect(&mut self) {
        while let Some(event) = self.core.poll_event(self.now) {
            match event {
                Event::Answer { caller: Some(number), frame, .. } => self.end(number, End::Answered(frame)),
                Event::Answer { caller: None, .. } | Event::Ready(_) | Event::Push(_) => {}
                Event::Expired(number) => self.end(number, End::Expired),
            }
        }
    }

    fn end(&mut self, number: Number, end: End) {
        if let End::Answered(frame) = &end {
            assert_eq!(*frame, answer(number), "INV-DRV-OWN");
        }
        assert_eq!(self.ends.insert(number, end), None, "INV-DRV-ONCE: {number} ended twice");
    }

    /// Everything flows until nothing moves.
    fn run(&mut self) {
        while !self.core.outgoing().is_empty() || !self.replies.is_empty() {
            self.send(usize::MAX);
            self.receive(usize::MAX);
        }
    }

    /// Time passes.
    fn wait(&mut self, duration: Duration) {
        self.now += duration;
        if self.core.poll_timeout().is_some_and(|at| at <= self.now) {
            self.core.handle_timeout(self.now);
        }
        self.collect();
    }

    /// Time passes as it does for a task that is woken whenever it asked to be.
    fn wait_awake(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(at) = self.core.poll_timeout().filter(|&at| at <= end && self.core.death().is_none()) {
            self.wait(at.saturating_duration_since(self.now));
        }
        self.now = end;
    }

    fn bury(&mut self) {
        for Bereaved { caller: number, fate, .. } in self.core.bury() {
            self.end(number, End::Buried(fate));
        }
    }
}

fn answer(number: Number) -> Frame {
    Frame::bulk(number.to_string())
}

fn answered(number: Number) -> End {
    End::Answered(answer(number))
}

#[test]
fn replies_cut_at_every_byte_reach_their_callers() {
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        for cut in 0..40 {
            let mut pair = Pair::new(protocol, true);
            pair.append([1, 22, 333]);
            pair.send(usize::MAX);
            pair.receive(cut);
            pair.receive(usize::MAX);
            assert_eq!(pair.ends, [1, 22, 333].map(|number| (number, answered(number))).into());
            assert_eq!(pair.core.owed(), 0);
        }
    }
}

#[test]
fn a_connection_that_ends_at_any_byte_of_the_replies_leaves_the_rest_unknown() {
    let reply_end = |count: usize| ["$1\r\n1\r\n", "$2\r\n22\r\n", "$3\r\n333\r\n"][..count].concat().len();
    for cut in 0..=reply_end(3) {
        let mut pair = Pair::new(Protocol::Resp3, false);
        pair.append([1, 22, 333]);
        pair.send(usize::MAX);
        pair.receive(cut);
        pair.core.die(Death::Closed);
        pair.bury();
        for (index, number) in [1, 22, 333].into_iter().enumerate() {
            let is_whole = cut >= reply_end(index + 1);
            let expected = if is_whole { answered(number) } else { End::Buried(Fate::Unknown) };
            assert_eq!(pair.ends[&number], expected, "cut at {cut}");
        }
    }
}

#[test]
fn a_request_of_which_no_byte_was_handed_over_was_not_sent() {
    let size_bytes = Command::new("ECHO").number(1).size_bytes();
    for cut in 0..=3 * size_bytes {
        let mut pair = Pair::new(Protocol::Resp3, false);
        pair.append([1, 2]);
        pair.append([3]);
        pair.send(cut);
        pair.core.die(Death::Write(std::io::ErrorKind::BrokenPipe));
        pair.bury();
        for number in 1..=3 {
            let fate = if cut > (number - 1) * size_bytes { Fate::Unknown } else { Fate::NotSent };
            assert_eq!(pair.ends[&number], End::Buried(fate), "cut at {cut}");
        }
    }
}

#[test]
fn a_caller_who_gives_up_at_any_byte_shifts_nobody() {
    for cut in 0..40 {
        let mut pair = Pair::new(Protocol::Resp3, true);
        pair.append([1, 22, 333]);
        pair.send(usize::MAX);
        pair.receive(cut);
        pair.wait(DEADLINE);
        pair.append([4, 5]);
        pair.run();
        for number in [1, 22, 333] {
            assert!([answered(number), End::Expired].contains(&pair.ends[&number]), "cut at {cut}");
        }
        for number in [4, 5] {
            assert_eq!(pair.ends[&number], answered(number), "cut at {cut}");
        }
        assert_eq!(pair.core.owed(), 0);
    }
}

#[test]
fn pushes_between_replies_pass_the_queue_by() {
    let kinds = ["message", "pmessage", "smessage", "subscribe", "sunsubscribe", "invalidate", "unheard-of"];
    for kind in kinds {
        let mut pair = Pair::new(Protocol::Resp3, false);
        let push = Frame::Push(vec![Frame::bulk(kind), Frame::bulk("1"), Frame::Integer(1)]);
        pair.append([1, 2]);
        encode(&push, Protocol::Resp3, &mut pair.replies);
        pair.send(usize::MAX);
        encode(&push, Protocol::Resp3, &mut pair.replies);
        pair.append([3]);
        pair.run();
        encode(&push, Protocol::Resp3, &mut pair.replies);
        pair.run();
        assert_eq!(pair.ends, [1, 2, 3].map(|number| (number, answered(number))).into(), "{kind}");
        assert_eq!(pair.core.death(), None);
    }
}

#[test]
fn a_server_that_became_a_replica_is_left_and_who_asked_it_is_told() {
    let check = |error: &'static str, death: Option<Death>| {
        let mut pair = Pair::new(Protocol::Resp3, false);
        pair.append([1, 2]);
        pair.core.handed_over(pair.core.outgoing().len());
        let mut replies = BytesMut::new();
        encode(&Frame::error(error), Protocol::Resp3, &mut replies);
        pair.core.read_buffer().extend_from_slice(&replies);
        let event = pair.core.poll_event(pair.now);
        let told = matches!(&event, Some(Event::Answer { caller: Some(1), frame: Frame::Error(text), .. })
            if &text[..] == error.as_bytes());
        assert!(told, "{error}: {event:?}");
        assert_eq!(pair.core.death(), death, "{error}");
        pair.bury();
        assert_eq!(pair.ends[&2], End::Buried(Fate::Unknown), "{error}");
    };
    let within =
        "ERR Error running script (call to f_1): @user_script:3: @user_script: 3: -READONLY You can't write";
    check(
        "READONLY You can't write against a read only replica. script: a, on @user_script:3.",
        Some(Death::Demoted),
    );
    check("MASTERDOWN Link with MASTER is down", Some(Death::Demoted));
    check(within, Some(Death::Demoted));
    check("ERR unknown command 'a: -READONLY b'", None);
    check("LOADING Redis is loading the dataset in memory", None);
}

/// fred takes such lists for messages by their content: its callers then get each other's answers.
#[test]
fn lists_that_look_like_messages_are_ordinary_answers() {
    let lists: [&[&str]; 8] = [
        &["subscribe", "a", "1"],
        &["unsubscribe", "a", "0"],
        &["message", "chan", "payload"],
        &["pmessage", "p*", "chan", "payload"],
        &["smessage", "chan", "payload"],
        &["invalidate", "k"],
        &["pubsub", "subscribe", "a", "1"],
        &["pubsub", "message", "chan", "payload"],
    ];
    for (protocol, list) in
        [Protocol::Resp2, Protocol::Resp3].into_iter().flat_map(|p| lists.map(|list| (p, list)))
    {
        let mut pair = Pair::new(protocol, false);
        let frame = Frame::Array(list.iter().map(|&text| Frame::bulk(text)).collect());
        let range = Command::new("LRANGE").args(["k", "0", "-1"]);
        let mut bytes = BytesMut::new();
        let mut requests = vec![Pending::write(&range, 9, Limit::At(pair.now + DEADLINE), &mut bytes)];
        let size_bytes = bytes.len();
        pair.core.append(&mut bytes, &mut requests, pair.now);
        pair.core.handed_over(size_bytes);
        pair.append([1, 2]);
        encode(&frame, protocol, &mut pair.replies);
        let replies = pair.replies.split();
        pair.core.read_buffer().extend_from_slice(&replies);
        let event = pair.core.poll_event(pair.now);
        assert!(
            matches!(event, Some(Event::Answer { caller: Some(9), frame: got, .. }) if got == frame),
            "{list:?}"
        );
        pair.run();
        assert_eq!(pair.ends, [1, 2].map(|number| (number, answered(number))).into(), "{list:?}");
    }
}

#[test]
fn what_proves_a_shift_kills_the_epoch_and_everybody_learns_it() {
    let check = |protocol, extra: &str, death: Death| {
        let mut pair = Pair::new(protocol, false);
        pair.append([1]);
        pair.send(usize::MAX);
        pair.append([2]);
        let replies = pair.replies.split();
        pair.replies.extend_from_slice(extra.as_bytes());
        pair.replies.extend_from_slice(&replies);
        pair.receive(usize::MAX);
        assert_eq!(pair.core.death(), Some(death), "{extra:?}");
        assert!(pair.core.poll_event(pair.now).is_none(), "nothing comes out of the dead");
        pair.bury();
        let expected = [(1, End::Buried(Fate::Unknown)), (2, End::Buried(Fate::NotSent))];
        assert_eq!(pair.ends, expected.into(), "{extra:?}");
    };
    check(Protocol::Resp3, ":1\r\n", Death::Shape("integer"));
    check(Protocol::Resp3, "*0\r\n", Death::Shape("array"));
    check(Protocol::Resp3, "?\r\n", Death::Protocol(bowline_resp::ProtocolError::UnknownType(b'?')));
    check(Protocol::Resp2, ">1\r\n+message\r\n", Death::Unsolicited("push"));
}

#[test]
fn an_answer_to_nobody_kills_the_epoch() {
    for extra in ["+OK\r\n", "$1\r\nx\r\n", "-ERR max number of clients reached\r\n"] {
        let mut pair = Pair::new(Protocol::Resp3, false);
        pair.replies.extend_from_slice(extra.as_bytes());
        pair.receive(usize::MAX);
        assert!(matches!(pair.core.death(), Some(Death::Unsolicited(_))), "{extra:?}");
    }
}

/// Among answers of one type only the fence can see that they are out of step.
#[test]
fn a_fence_bounds_a_shift_to_one_batch() {
    let mut pair = Pair::new(Protocol::Resp3, true);
    let mut bytes = BytesMut::new();
    let mut requests = Vec::new();
    for number in [1, 2] {
        let command = Command::new("ECHO").number(number);
        let pending = Pending::write(&command, number, Limit::At(pair.now + DEADLINE), &mut bytes);
        requests.push(Pending { replies: Replies::One(Shape::ANY), ..pending });
    }
    pair.core.append(&mut bytes, &mut requests, pair.now);
    pair.send(usize::MAX);
    pair.core.read_buffer().extend_from_slice(b"$5\r\nextra\r\n");
    pair.core.read_buffer().extend_from_slice(&pair.replies);
    while pair.core.poll_event(pair.now).is_some() {}
    assert_eq!(pair.core.death(), Some(Death::Fence));
}

#[test]
fn silence_is_measured_from_reads_and_writes_do_not_renew_it() {
    let mut pair = Pair::new(Protocol::Resp3, false);
    pair.append([1]);
    for number in 2..20 {
        pair.wait_awake(SILENCE_MAX / 10);
        pair.append([number]);
        pair.send(usize::MAX);
        let silent_for = SILENCE_MAX / 10 * (u32::try_from(number).unwrap() - 1);
        assert_eq!(pair.core.death().is_some(), silent_for >= SILENCE_MAX, "after {silent_for:?}");
    }
    assert_eq!(pair.core.death(), Some(Death::Silent(SILENCE_MAX)));
}

#[test]
fn a_peer_that_sends_is_alive_however_slow() {
    let mut pair = Pair::new(Protocol::Resp3, false);
    pair.append([1]);
    pair.send(usize::MAX);
    while !pair.replies.is_empty() {
        pair.wait_awake(SILENCE_MAX - Duration::from_millis(1));
        pair.receive(1);
    }
    assert_eq!(pair.core.death(), None);
    assert_eq!(pair.core.owed(), 0);
}

/// In the incident it was the client's host that had been asleep.
#[test]
fn a_process_that_was_asleep_does_not_blame_the_server() {
    let mut pair = Pair::new(Protocol::Resp3, false);
    pair.append([1]);
    pair.send(usize::MAX);
    pair.wait(SILENCE_MAX * 10);
    assert_eq!(pair.core.death(), None);
    assert_eq!(pair.ends[&1], End::Expired);
    pair.wait_awake(SILENCE_MAX);
    assert_eq!(pair.core.death(), Some(Death::Silent(SILENCE_MAX)));
}

/// A process that is starved makes every check too late.
#[test]
fn a_process_that_is_starved_for_good_notices_a_dead_server_all_the_same() {
    let mut pair = Pair::new(Protocol::Resp3, false);
    pair.append([1]);
    pair.send(usize::MAX);
    let started = pair.now;
    while pair.core.death().is_none() && pair.now - started < SILENCE_MAX * 10 {
        pair.wait(SILENCE_MAX);
    }
    assert!(pair.core.death().is_some() && pair.now - started <= SILENCE_MAX * 3, "{:?}", pair.now - started);
}

#[test]
fn an_idle_connection_is_probed() {
    let mut pair = Pair::new(Protocol::Resp3, false);
    let interval = pair.core.patience.probe_interval;
    for _ in 0..3 {
        pair.wait_awake(interval);
        assert_eq!(pair.core.owed(), 1);
        pair.run();
        assert_eq!((pair.core.owed(), pair.core.death()), (0, None));
    }
    pair.wait_awake(interval + SILENCE_MAX);
    assert_eq!(pair.core.death(), Some(Death::Silent(SILENCE_MAX)));
}

#[test]
fn debug_shows_no_secret() {
    let config = Config::from_url("redis://:hunter2@h").unwrap();
    let core = EpochCore::<Number>::new(Epoch::from_bits(7), &config, bowline_rt::time::now());
    assert!(String::from_utf8_lossy(core.outgoing()).contains("hunter2"));
    assert!(!format!("{core:?}").contains("hunter2"));
}

#[test]
fn a_refused_introduction_is_told_and_ends_the_epoch() {
    let mut core = EpochCore::<Number>::new(Epoch::from_bits(1), &config(false), bowline_rt::time::now());
    core.handed_over(core.outgoing().len());
    core.read_buffer()
        .extend_from_slice(b"-NOAUTH HELLO must be called with the client already authenticated\r\n");
    assert!(core.poll_event(bowline_rt::time::now()).is_none());
    assert_eq!(core.death(), Some(Death::Handshake));
    assert_eq!(core.take_handshake_error().map(|error| error.step), Some("HELLO"));
}

/// One thing that happens.
#[derive(Debug, Clone)]
enum Step {
    Append(usize),
    Send(usize),
    Receive(usize),
    Push,
    Wait(u64),
    Surplus,
    Die,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1_usize..4).prop_map(Step::Append),
        6 => (1_usize..60).prop_map(Step::Send),
        6 => (1_usize..60).prop_map(Step::Receive),
        1 => Just(Step::Push),
        2 => (0_u64..900).prop_map(Step::Wait),
        1 => prop_oneof![4 => Just(Step::Wait(1)), 1 => Just(Step::Surplus), 1 => Just(Step::Die)],
    ]
}

proptest! {
    /// INV-DRV-OWN, INV-DRV-CANCEL and INV-DRV-ONCE under any interleaving: who is answered gets the own answer, everybody
    /// ends exactly once, and what is called not sent was never seen by the server.
    #[test]
    fn every_caller_ends_once_with_the_own_answer_or_a_true_error(
        steps in prop::collection::vec(any_step(), 1..60),
        resp3 in any::<bool>(),
        fence in any::<bool>(),
    ) {
        let protocol = if resp3 { Protocol::Resp3 } else { Protocol::Resp2 };
        let mut pair = Pair::new(protocol, fence);
        let mut next = 0;
        for step in steps {
            match step {
                Step::Append(count) if pair.core.death().is_none() => {
                    pair.append(next..next + count);
                    next += count;
                }
                Step::Send(count) if pair.core.death().is_none() => pair.send(count),
                Step::Receive(count) => pair.receive(count),
                Step::Push if resp3 => encode(&Frame::Push(vec![Frame::bulk("7")]), protocol, &mut pair.replies),
                Step::Wait(duration_ms) => pair.wait(Duration::from_millis(duration_ms)),
                // A status is no answer to `ECHO`'s callers; type alone shows it.
                Step::Surplus => encode(&Frame::Integer(1), protocol, &mut pair.replies),
                Step::Die => pair.core.die(Death::Closed),
                _ => {}
            }
        }
        pair.bury();
        prop_assert_eq!(pair.ends.len(), next, "everybody ends");
        for number in &pair.seen {
            prop_assert_ne!(&pair.ends[number], &End::Buried(Fate::NotSent), "{} was executed", number);
        }
    }
}

/// An epoch with one batch of `ECHO 1`, `INCR k`, `ECHO 2` on its way.
fn with_a_batch() -> Pair {
    let mut pair = Pair::new(Protocol::Resp3, false);
    let echo = |text: &str| Command::new("ECHO").arg(text);
    let batch = crate::batch::Batch::new()
        .command(echo("1"))
        .command(Command::new("INCR").arg("k"))
        .command(echo("2"));
    let mut bytes = BytesMut::new();
    let mut requests = vec![Pending::write(&batch, 9, Limit::At(pair.now + DEADLINE), &mut bytes)];
    pair.core.append(&mut bytes, &mut requests, pair.now);
    pair.core.handed_over(pair.core.outgoing().len());
    pair
}

#[test]
fn a_batch_ends_when_the_last_of_its_answers_has_come_and_not_before() {
    let mut pair = with_a_batch();
    pair.append([5]);
    pair.core.handed_over(pair.core.outgoing().len());
    for part in [&b"$1\r\n1\r\n"[..], b"-ERR no\r\n", b">2\r\n+new\r\n+thing\r\n"] {
        pair.core.read_buffer().extend_from_slice(part);
        while let Some(event) = pair.core.poll_event(pair.now) {
            assert!(matches!(event, Event::Push(_)), "{event:?}");
        }
    }
    pair.core.read_buffer().extend_from_slice(b"$1\r\n2\r\n$1\r\n5\r\n");
    let Some(Event::Answer { caller: Some(9), frame, .. }) = pair.core.poll_event(pair.now) else {
        panic!("the batch is answered")
    };
    assert_eq!(frame, Frame::Array(vec![Frame::bulk("1"), Frame::error("ERR no"), Frame::bulk("2")]));
    assert!(matches!(pair.core.poll_event(pair.now), Some(Event::Answer { caller: Some(5), .. })));
    assert_eq!(pair.core.owed(), 0);
}

#[test]
fn a_batch_that_is_answered_in_part_is_unknown_when_its_epoch_dies() {
    for replies in [&b""[..], b"$1\r\n1\r\n", b"$1\r\n1\r\n$5\r\nwrong\r\n"] {
        let mut pair = with_a_batch();
        pair.core.read_buffer().extend_from_slice(replies);
        assert!(pair.core.poll_event(pair.now).is_none());
        assert_eq!(pair.core.death().is_some(), replies.len() > 10, "a string is no answer to INCR");
        let fates: Vec<_> = pair.core.bury().into_iter().map(|it| (it.caller, it.fate)).collect();
        assert_eq!(fates, [(9, Fate::Unknown)]);
    }
}

#[path = "epoch_patience_tests.rs"]
mod patience;

#[test]
fn a_large_buffer_that_was_copied_is_given_back() {
    let mut pair = Pair::new(Protocol::Resp3, false);
    // The first buffer becomes the one that is sent; the second is copied to it.
    for number in 1..=2 {
        let command = Command::new("ECHO").arg(vec![b'x'; 2 * WRITE_BUFFER_KEPT_BYTES]);
        let (mut bytes, limit) = (BytesMut::new(), Limit::At(pair.now + DEADLINE));
        let mut requests = vec![Pending::write(&command, number, limit, &mut bytes)];
        pair.core.append(&mut bytes, &mut requests, pair.now);
        assert!(bytes.capacity() <= WRITE_BUFFER_KEPT_BYTES, "{number}");
    }
}
