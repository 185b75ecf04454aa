//! Tests of the core: against a server in the test that behaves, and against peers that say what a test says.

use bowline_resp::{RequestDecoder, RequestLimits, encode};
use proptest::prelude::*;

use super::*;
use crate::config::Settings;
use crate::limits::PUSHES_FOR_SILENCES;

const SILENCE_MAX: Duration = Duration::from_secs(2);
const PROBE_INTERVAL: Duration = Duration::from_secs(5);

/// A core, and the server at its other end.
struct Pair {
    core: SubscriberCore,
    now: Instant,
    protocol: Protocol,
    requests: BytesMut,
    decoder: RequestDecoder,
    /// What the server has written and the core has not read.
    replies: BytesMut,
    /// What the server holds for this connection.
    subscribed: BTreeSet<Topic>,
    /// What the server refuses to subscribe to.
    refused: BTreeSet<Topic>,
    commands: Vec<String>,
    events: Vec<Event>,
}

fn topics() -> [Topic; 4] {
    [Topic::channel("a"), Topic::channel("b"), Topic::pattern("a"), Topic::shard("a")]
}

impl Pair {
    fn silent(protocol: Protocol) -> Self {
        let mut config = Config::from_url("redis://h").unwrap();
        config.settings =
            Settings { silence_max: SILENCE_MAX, probe_interval: PROBE_INTERVAL, ..Settings::default() };
        let now = bowline_rt::time::now();
        Self {
            core: SubscriberCore::new(Epoch::from_bits(7), &config, now),
            now,
            protocol,
            requests: BytesMut::new(),
            decoder: RequestDecoder::new(RequestLimits::default()),
            replies: BytesMut::new(),
            subscribed: BTreeSet::new(),
            refused: BTreeSet::new(),
            commands: Vec::new(),
            events: Vec::new(),
        }
    }

    /// A pair that has shaken hands.
    fn new(protocol: Protocol) -> Self {
        let mut pair = Self::silent(protocol);
        pair.run();
        assert!(matches!(&pair.events[..], [Event::Ready(server)] if server.protocol == protocol));
        pair.events.clear();
        pair.commands.clear();
        pair
    }

    fn wish(&mut self, topic: &Topic, is_wanted: bool) {
        self.core.wish(topic, is_wanted, self.now);
        self.poll();
    }

    /// Brings everything there and back until nothing moves.
    fn run(&mut self) {
        while !self.core.outgoing().is_empty() || !self.replies.is_empty() {
            self.serve(usize::MAX);
            self.receive(usize::MAX);
            if self.core.death().is_some() {
                return;
            }
        }
    }

    /// The server reads up to `count` bytes and answers what is complete.
    fn serve(&mut self, count: usize) {
        for request in self.sent(count) {
            let name = String::from_utf8_lossy(&request[0]).into_owned();
            let topic = request.get(1).cloned().unwrap_or_default();
            match name.as_str() {
                "PING" if self.protocol == Protocol::Resp2 && !self.subscribed.is_empty() => {
                    self.say(&Frame::Array(vec![Frame::bulk("pong"), Frame::Bulk(topic)]));
                }
                "PING" => self.say(&Frame::Bulk(topic)),
                "SUBSCRIBE" => self.subscribe(Topic::new(Kind::Channel, topic)),
                "PSUBSCRIBE" => self.subscribe(Topic::new(Kind::Pattern, topic)),
                "SSUBSCRIBE" => self.subscribe(Topic::new(Kind::Shard, topic)),
                "UNSUBSCRIBE" => self.unsubscribe(&Topic::new(Kind::Channel, topic)),
                "PUNSUBSCRIBE" => self.unsubscribe(&Topic::new(Kind::Pattern, topic)),
                "SUNSUBSCRIBE" => self.unsubscribe(&Topic::new(Kind::Shard, topic)),
                "HELLO" if self.protocol == Protocol::Resp2 => self.say(&Frame::error("NOPROTO")),
                "HELLO" => self.say(&Frame::Map(vec![(Frame::bulk("proto"), Frame::Integer(3))])),
                "INFO" => self.say(&Frame::bulk("run_id:1\r\n")),
                "CLIENT" => self.say(&Frame::Integer(1)),
                other => panic!("unexpected {other}"),
            }
            if name.ends_with("SUBSCRIBE") {
                self.commands.push(name);
            }
        }
    }

    /// Requests that the core has sent, and nobody answers.
    fn sent(&mut self, count: usize) -> Vec<Vec<Bytes>> {
        let count = count.min(self.core.outgoing().len());
        self.requests.extend_from_slice(&self.core.outgoing()[..count]);
        self.core.handed_over(count);
        std::iter::from_fn(|| self.decoder.decode(&mut self.requests).unwrap()).collect()
    }

    /// The core reads up to `count` bytes.
    fn receive(&mut self, count: usize) {
        let count = count.min(self.replies.len());
        let bytes = self.replies.split_to(count);
        if count > 0 && self.core.death().is_none() {
            self.core.read_buffer().extend_from_slice(&bytes);
            self.core.received(self.now);
        }
        self.poll();
    }

    fn poll(&mut self) {
        let (core, now) = (&mut self.core, self.now);
        self.events.extend(std::iter::from_fn(|| core.poll_event(now)));
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.core.handle_timeout(self.now);
        self.poll();
    }

    fn say(&mut self, frame: &Frame) {
        encode(frame, self.protocol, &mut self.replies);
    }

    /// A push, which is an array in RESP2.
    fn push(&mut self, word: &str, rest: Vec<Frame>) {
        let elements = [vec![Frame::bulk(word.to_owned())], rest].concat();
        self.say(&Frame::Push(elements));
    }

    fn subscribe(&mut self, topic: Topic) {
        if self.refused.contains(&topic) {
            return self.say(&Frame::error("NOPERM no"));
        }
        self.confirm(topic.kind().subscribe(), &topic);
        self.subscribed.insert(topic);
    }

    fn unsubscribe(&mut self, topic: &Topic) {
        self.subscribed.remove(topic);
        self.confirm(topic.kind().unsubscribe(), topic);
    }

    fn confirm(&mut self, command: &str, topic: &Topic) {
        let count = Frame::Integer(i64::try_from(self.subscribed.len()).unwrap());
        self.push(&command.to_lowercase(), vec![Frame::Bulk(topic.name().clone()), count]);
    }

    /// Something is published on the channel or shard channel `name`; what comes of it for this connection.
    fn publish(&mut self, name: &str, payload: &str, kinds: &[Kind]) {
        let [channel, payload] = [name, payload].map(|text| Frame::bulk(text.to_owned()));
        for topic in self.subscribed.clone() {
            if *topic.name() != name || !kinds.contains(&topic.kind()) {
                continue;
            }
            match topic.kind() {
                Kind::Channel => self.push("message", vec![channel.clone(), payload.clone()]),
                Kind::Shard => self.push("smessage", vec![channel.clone(), payload.clone()]),
                Kind::Pattern => {
                    let pattern = Frame::Bulk(topic.name().clone());
                    self.push("pmessage", vec![pattern, channel.clone(), payload.clone()]);
                }
            }
        }
    }

    /// Takes the fence and the command before it, and answers with `frames`, `TOKEN` standing for the token.
    fn answer(&mut self, frames: &[Frame]) {
        let requests = self.sent(usize::MAX);
        let ping = requests.last().expect("a fence was sent");
        assert_eq!(&ping[0][..], b"PING");
        let token = Frame::Bulk(ping[1].clone());
        for frame in frames {
            self.say(if *frame == Frame::bulk("TOKEN") { &token } else { frame });
        }
        self.receive(usize::MAX);
    }
}

fn payloads(events: &[Event]) -> Vec<&[u8]> {
    let payload = |event| match event {
        &Event::Message(_, ref message) => Some(&message.payload[..]),
        _ => None,
    };
    events.iter().filter_map(payload).collect()
}

fn confirmation(word: &str, name: &str) -> Frame {
    Frame::Push(vec![Frame::bulk(word.to_owned()), Frame::bulk(name.to_owned()), Frame::Integer(1)])
}

fn token() -> Frame {
    Frame::bulk("TOKEN")
}

/// A whole conversation, read in two pieces that are cut at `cut`.
fn converse(protocol: Protocol, cut: usize) -> (Vec<Event>, usize) {
    let mut pair = Pair::new(protocol);
    for topic in topics() {
        pair.wish(&topic, true);
    }
    pair.serve(usize::MAX);
    // What looks like something else, and is not.
    for payload in ["unsubscribe", "message", "pong", "+OK\r\n", ">3\r\n", ""] {
        pair.publish("a", payload, &[Kind::Channel, Kind::Pattern, Kind::Shard]);
    }
    pair.say(&Frame::Bulk(Bytes::new()));
    let length = pair.replies.len() - "$0\r\n\r\n".len();
    pair.replies.truncate(length);
    pair.receive(cut);
    pair.receive(usize::MAX);
    pair.run();
    assert_eq!(pair.core.death(), None, "cut at {cut}");
    (pair.events, length)
}

#[test]
fn how_the_bytes_are_cut_never_shows() {
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        let (whole, length) = converse(protocol, usize::MAX);
        let established = whole.iter().filter(|event| matches!(event, Event::Established(_))).count();
        assert_eq!((established, payloads(&whole).len()), (4, 18));
        for cut in 0..length {
            assert_eq!(converse(protocol, cut).0, whole, "{protocol:?} cut at {cut}");
        }
    }
}

#[test]
fn wishes_that_change_faster_than_the_server_answers_end_in_the_last_one() {
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        let mut pair = Pair::new(protocol);
        let [topic, ..] = topics();
        for is_wanted in [true, false, true, false, true, false] {
            pair.wish(&topic, is_wanted);
        }
        pair.run();
        assert!(pair.subscribed.is_empty());
        assert_eq!(
            pair.commands,
            ["SUBSCRIBE", "UNSUBSCRIBE"],
            "one under way at a time, the newest wish only"
        );
        assert!(pair.core.topics.is_empty(), "nothing is kept of what is over");
        pair.wish(&topic, true);
        pair.run();
        pair.events.clear();
        // Wanted again before the server has been asked to end it, and then after.
        pair.wish(&topic, false);
        pair.wish(&topic, true);
        pair.publish("a", "late", &[Kind::Channel]);
        pair.run();
        assert_eq!(pair.events, [Event::Established(topic.clone())], "what was late is not for the new one");
        assert!(pair.subscribed.contains(&topic));
    }
}

#[test]
fn late_messages_are_legal_until_the_fence_and_poison_behind_it() {
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        let mut pair = Pair::new(protocol);
        pair.wish(&Topic::channel("a"), true);
        pair.run();
        pair.events.clear();
        pair.wish(&Topic::channel("a"), false);
        pair.publish("a", "late", &[Kind::Channel]);
        let late = pair.replies.clone();
        pair.run();
        assert_eq!((&pair.events[..], pair.core.death()), (&[][..], None));
        pair.replies = late;
        pair.receive(usize::MAX);
        assert_eq!(pair.core.death(), Some(Death::Unsolicited("a message")));
    }
}

#[test]
fn an_error_is_for_one_topic_and_is_tried_again_with_growing_pauses() {
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        let mut pair = Pair::new(protocol);
        let [good, bad, ..] = topics();
        pair.refused.insert(bad.clone());
        pair.wish(&bad, true);
        pair.wish(&good, true);
        pair.run();
        let refused = Event::Refused(bad.clone(), ServerError::new(b"NOPERM no"));
        assert_eq!(pair.events, [refused, Event::Established(good)]);
        for pause in [100, 200, 400, 800, 1600, 3200, 5000, 5000_u64].map(Duration::from_millis) {
            pair.commands.clear();
            pair.pass(pause - Duration::from_millis(1));
            pair.run();
            assert_eq!(pair.commands.len(), 0, "{pause:?}");
            pair.pass(Duration::from_millis(1));
            pair.run();
            assert_eq!(pair.commands, ["SUBSCRIBE"], "{pause:?}");
        }
        pair.refused.clear();
        // Somebody else wants it: at once.
        pair.wish(&bad, true);
        pair.run();
        assert_eq!(pair.events.last(), Some(&Event::Established(bad)));
        assert!(pair.core.retries.is_empty());
    }
}

/// rueidis#331, #690; valkey#1066, #759: the server's own `sunsubscribe`, at every place where it can meet SUNSUBSCRIBE.
#[test]
fn a_subscription_that_the_server_ends_crosses_its_own_end() {
    let shard = Topic::shard("a");
    let own = || confirmation("sunsubscribe", "a");
    let moved = || Frame::error("MOVED 1 h:1");
    let endings: [&[Frame]; 4] = [
        &[own(), token()],
        &[own(), own(), token()],
        &[own(), moved(), token()],
        // It was ended after the command had been refused for another reason.
        &[Frame::error("CLUSTERDOWN x"), own(), token()],
    ];
    for ending in endings {
        let mut pair = Pair::new(Protocol::Resp3);
        pair.wish(&shard, true);
        pair.run();
        pair.events.clear();
        pair.wish(&shard, false);
        pair.answer(ending);
        assert_eq!((&pair.events[..], pair.core.death()), (&[][..], None), "{ending:?}");
        assert!(pair.core.topics.is_empty());
    }
    // Before the command is at the head of the queue.
    let mut pair = Pair::new(Protocol::Resp3);
    pair.wish(&shard, true);
    pair.run();
    pair.wish(&Topic::channel("b"), true);
    pair.wish(&shard, false);
    let requests = pair.sent(usize::MAX);
    let tokens = [1, 3].map(|index: usize| Frame::Bulk(requests[index][1].clone()));
    for frame in [&own(), &confirmation("subscribe", "b"), &tokens[0], &moved(), &tokens[1]] {
        pair.say(frame);
    }
    pair.receive(usize::MAX);
    assert_eq!(pair.core.death(), None);
    assert_eq!(pair.core.topics.len(), 1);
}

#[test]
fn a_subscription_that_the_server_ends_is_a_loss_and_tried_again() {
    let mut pair = Pair::new(Protocol::Resp3);
    let shard = Topic::shard("a");
    pair.wish(&shard, true);
    pair.run();
    pair.events.clear();
    pair.unsubscribe(&shard);
    pair.receive(usize::MAX);
    assert_eq!(pair.events, [Event::Lost(shard.clone())]);
    pair.answer(&[Frame::error("MOVED 1 h:1"), token()]);
    assert_eq!(pair.events[1..], [Event::Refused(shard.clone(), ServerError::new(b"MOVED 1 h:1"))]);
    // Lost between the confirmation and the fence.
    pair.pass(SUBSCRIBE_PAUSE_MIN);
    pair.events.clear();
    let both = [confirmation("ssubscribe", "a"), confirmation("sunsubscribe", "a"), token()];
    pair.answer(&both);
    assert_eq!(pair.events, [Event::Established(shard.clone()), Event::Lost(shard.clone())]);
    pair.run();
    assert_eq!(pair.events[2..], [Event::Established(shard)]);
}

/// redis#11784 and what other drivers make of it: anything but a confirmation or an error, and then the token.
#[test]
fn whatever_is_out_of_step_is_poison() {
    let subscribed = || confirmation("subscribe", "a");
    let error = || Frame::error("NOPERM no");
    let surplus = Death::Unsolicited("a subscription");
    let wrong: [(&[Frame], Death); 14] = [
        (&[token()], Death::Fence),
        (&[subscribed(), Frame::bulk("7:1")], Death::Fence),
        (&[subscribed(), subscribed()], surplus),
        (&[confirmation("subscribe", "b")], surplus),
        (&[confirmation("psubscribe", "a")], surplus),
        (&[error(), subscribed()], surplus),
        (&[error(), error()], Death::Unsolicited("error")),
        (&[subscribed(), error()], Death::Unsolicited("error")),
        (&[confirmation("unsubscribe", "a")], Death::Unsolicited("the end of a subscription")),
        (&[subscribed(), token(), token()], Death::Unsolicited("bulk string")),
        (&[subscribed(), token(), subscribed()], surplus),
        (&[subscribed(), token(), error()], Death::Unsolicited("error")),
        (
            &[Frame::Push(vec![Frame::bulk("message"), Frame::bulk("a"), Frame::bulk("x")])],
            Death::Unsolicited("a message"),
        ),
        (&[Frame::Integer(1)], Death::Unsolicited("integer")),
    ];
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        for (frames, death) in wrong {
            let mut pair = Pair::new(protocol);
            pair.wish(&Topic::channel("a"), true);
            pair.answer(frames);
            assert_eq!(pair.core.death(), Some(death), "{protocol:?} {frames:?}");
            assert_eq!(pair.core.poll_event(pair.now), None);
        }
    }
}

#[test]
fn the_end_of_a_subscription_is_fenced_too() {
    let ended = || confirmation("unsubscribe", "a");
    let surplus = Death::Unsolicited("the end of a subscription");
    let wrong: [(&[Frame], Option<Death>); 6] = [
        (&[ended(), token()], None),
        (&[Frame::error("NOPERM no"), token()], None),
        (&[token()], Some(Death::Fence)),
        (&[ended(), ended()], Some(surplus)),
        (&[Frame::error("NOPERM no"), ended()], Some(surplus)),
        (&[ended(), Frame::error("NOPERM no")], Some(Death::Unsolicited("error"))),
    ];
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        for (frames, death) in wrong {
            let mut pair = Pair::new(protocol);
            pair.wish(&Topic::channel("a"), true);
            pair.run();
            pair.wish(&Topic::channel("a"), false);
            pair.answer(frames);
            assert_eq!(pair.core.death(), death, "{protocol:?} {frames:?}");
        }
    }
}

#[test]
fn an_end_that_is_refused_is_asked_for_again_and_nobody_is_bothered() {
    let mut pair = Pair::new(Protocol::Resp3);
    let [topic, ..] = topics();
    pair.wish(&topic, true);
    pair.run();
    pair.events.clear();
    pair.wish(&topic, false);
    pair.answer(&[Frame::error("NOPERM no"), token()]);
    pair.publish("a", "still", &[Kind::Channel]);
    pair.run();
    assert_eq!((&pair.events[..], pair.core.death()), (&[][..], None));
    pair.pass(SUBSCRIBE_PAUSE_MIN);
    pair.run();
    assert!(pair.subscribed.is_empty() && pair.core.topics.is_empty());
}

#[test]
fn a_silent_server_is_dead_whether_it_owes_an_answer_or_is_only_idle() {
    let mut pair = Pair::new(Protocol::Resp3);
    pair.pass(PROBE_INTERVAL);
    assert_eq!(pair.core.in_flight.len(), 1, "asked whether it is there");
    pair.run();
    assert_eq!(pair.core.in_flight.len(), 0);
    pair.pass(PROBE_INTERVAL);
    for _ in 0..8 {
        pair.pass(SILENCE_MAX / 4);
    }
    assert_eq!(pair.core.death(), Some(Death::Silent(SILENCE_MAX)));
}

#[test]
fn an_answer_that_never_comes_is_noticed_while_messages_do() {
    let mut pair = Pair::new(Protocol::Resp3);
    let [topic, ..] = topics();
    pair.wish(&topic, true);
    pair.run();
    pair.wish(&Topic::channel("b"), true);
    drop(pair.sent(usize::MAX));
    let step = SILENCE_MAX / 4;
    for _ in 0..4 * PUSHES_FOR_SILENCES {
        assert_eq!(pair.core.death(), None);
        pair.publish("a", "x", &[Kind::Channel]);
        pair.receive(usize::MAX);
        pair.pass(step);
    }
    assert_eq!(pair.core.death(), Some(Death::Unanswered(SILENCE_MAX * PUSHES_FOR_SILENCES)));
}

#[test]
fn our_own_sleep_is_not_the_servers_silence() {
    let mut pair = Pair::new(Protocol::Resp3);
    pair.pass(PROBE_INTERVAL);
    pair.pass(100 * SILENCE_MAX);
    assert_eq!(pair.core.death(), None);
    pair.run();
    pair.core.woke_up(pair.now);
    assert_eq!(pair.core.in_flight.len(), 1, "asked at once");
}

#[test]
fn many_topics_go_out_in_bounded_portions() {
    let mut pair = Pair::new(Protocol::Resp3);
    for number in 0..1000 {
        pair.wish(&Topic::channel(format!("c{number}")), true);
    }
    assert_eq!(pair.core.in_flight.len(), SUBSCRIBER_IN_FLIGHT_MAX);
    pair.run();
    assert_eq!(pair.subscribed.len(), 1000);
    assert!(pair.core.waiting.is_empty());
}

#[test]
fn a_server_without_ping_is_refused_in_words() {
    let mut pair = Pair::silent(Protocol::Resp3);
    while pair.core.handshake.is_some() {
        pair.serve(usize::MAX);
        pair.receive(usize::MAX);
    }
    pair.answer(&[Frame::error("NOPERM no PING")]);
    assert_eq!(pair.core.death(), Some(Death::Handshake));
    let error = pair.core.take_handshake_error().unwrap();
    assert_eq!((error.step, error.reason.as_str()), ("PING", "NOPERM no PING"));
}

#[derive(Debug, Clone)]
enum Step {
    Wish(usize, bool),
    Serve(usize),
    Receive(usize),
    Publish,
    /// The server ends the subscription to the shard channel.
    Move,
    Refuse(usize),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..4_usize, any::<bool>()).prop_map(|(topic, is_wanted)| Step::Wish(topic, is_wanted)),
        4 => (1..60_usize).prop_map(Step::Serve),
        4 => (1..40_usize).prop_map(Step::Receive),
        3 => Just(Step::Publish),
        1 => Just(Step::Move),
        1 => (0..4_usize).prop_map(Step::Refuse),
        1 => (1..500_u64).prop_map(Step::Pass),
    ]
}

proptest! {
    /// In whatever order things happen: the connection lives, what is wanted and what the server holds become equal, and between
    /// an establishment and a loss no message is missing and none is doubled.
    #[test]
    fn wishes_and_truth_converge(steps in proptest::collection::vec(step(), 0..80), old in any::<bool>()) {
        let mut pair = Pair::new(if old { Protocol::Resp2 } else { Protocol::Resp3 });
        let mut wanted = BTreeSet::new();
        let topics = topics();
        let mut number = 0;
        for step in steps {
            match step {
                Step::Wish(index, true) => {
                    wanted.insert(topics[index].clone());
                    pair.wish(&topics[index], true);
                }
                Step::Wish(index, false) => {
                    wanted.remove(&topics[index]);
                    pair.wish(&topics[index], false);
                }
                Step::Serve(count) => pair.serve(count),
                Step::Receive(count) => pair.receive(count),
                Step::Publish => {
                    number += 1;
                    pair.publish("a", &number.to_string(), &[Kind::Channel, Kind::Pattern, Kind::Shard]);
                }
                Step::Move if pair.subscribed.contains(&topics[3]) => pair.unsubscribe(&topics[3]),
                Step::Move => {}
                Step::Refuse(index) => {
                    if !pair.refused.remove(&topics[index]) {
                        pair.refused.insert(topics[index].clone());
                    }
                }
                Step::Pass(milliseconds) => pair.pass(Duration::from_millis(milliseconds)),
            }
            prop_assert_eq!(pair.core.death(), None);
        }
        pair.refused.clear();
        for _ in 0..8 {
            pair.run();
            pair.pass(SUBSCRIBE_PAUSE_MAX);
        }
        pair.run();
        prop_assert_eq!(pair.core.death(), None);
        prop_assert_eq!(&pair.subscribed, &wanted);
        let confirmed = pair.core.topics.iter().filter(|(_, state)| state.is_confirmed);
        prop_assert_eq!(confirmed.map(|(topic, _)| topic.clone()).collect::<BTreeSet<_>>(), wanted);
        check_streams(&pair.events)?;
    }
}

/// Numbers of messages rise one by one while a topic is established.
fn check_streams(events: &[Event]) -> Result<(), TestCaseError> {
    let mut last: BTreeMap<Topic, Option<u64>> = BTreeMap::new();
    for event in events {
        match event {
            Event::Established(topic) | Event::Lost(topic) => drop(last.insert(topic.clone(), None)),
            Event::Message(topic, message) => {
                let number: u64 = std::str::from_utf8(&message.payload).unwrap().parse().unwrap();
                let before = last.insert(topic.clone(), Some(number));
                prop_assert!(before.is_some(), "a message before its topic was established");
                if let Some(Some(before)) = before {
                    prop_assert_eq!(number, before + 1);
                }
            }
            Event::Ready(_) | Event::Refused(..) => {}
        }
    }
    Ok(())
}
