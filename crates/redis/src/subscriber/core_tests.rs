//! Tests of the core: against a server in the test that behaves, and against peers that say what a test says.

#[path = "core_pair_tests.rs"]
mod pair;

use proptest::prelude::*;

use self::pair::{PROBE_INTERVAL, Pair, SILENCE, topics};
use super::*;
use crate::limits::PUSHES_FOR_SILENCES;

fn payloads(events: &[Event]) -> Vec<&[u8]> {
    fn payload(event: &Event) -> Option<&[u8]> {
        match event {
            Event::Message(_, message) => Some(&message.payload),
            _ => None,
        }
    }
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
        pair.pass(SILENCE / 4);
    }
    assert_eq!(pair.core.death(), Some(Death::Silent(SILENCE)));
}

#[test]
fn an_answer_that_never_comes_is_noticed_while_messages_do() {
    let mut pair = Pair::new(Protocol::Resp3);
    let [topic, ..] = topics();
    pair.wish(&topic, true);
    pair.run();
    pair.wish(&Topic::channel("b"), true);
    drop(pair.sent(usize::MAX));
    let step = SILENCE / 4;
    for _ in 0..4 * PUSHES_FOR_SILENCES {
        assert_eq!(pair.core.death(), None);
        pair.publish("a", "x", &[Kind::Channel]);
        pair.receive(usize::MAX);
        pair.pass(step);
    }
    assert_eq!(pair.core.death(), Some(Death::Unanswered(SILENCE * PUSHES_FOR_SILENCES)));
}

#[test]
fn our_own_sleep_is_not_the_servers_silence() {
    let mut pair = Pair::new(Protocol::Resp3);
    pair.pass(PROBE_INTERVAL);
    pair.pass(100 * SILENCE);
    assert_eq!(pair.core.death(), None);
    pair.run();
    pair.core.woke_up(pair.now);
    assert_eq!(pair.core.in_flight.len(), 1, "asked at once");
}

#[test]
fn a_process_that_is_starved_for_good_notices_a_dead_server_all_the_same() {
    let mut pair = Pair::new(Protocol::Resp3);
    pair.wish(&Topic::channel("a"), true);
    // Each look comes too late to prove anything by itself.
    for _ in 0..2 {
        assert_eq!(pair.core.death(), None);
        pair.pass(2 * SILENCE);
    }
    assert_eq!(pair.core.death(), Some(Death::Silent(SILENCE)));
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
        let (mut number, mut passed) = (0, Duration::ZERO);
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
                Step::Pass(milliseconds) => {
                    // A server that answers within the time that it has.
                    let time = Duration::from_millis(milliseconds);
                    if passed + time >= SILENCE {
                        pair.run();
                        passed = Duration::ZERO;
                    }
                    passed += time;
                    pair.pass(time);
                }
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
