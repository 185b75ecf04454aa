//! Every kind of push, known and unknown, at every place of a full queue: it passes by, or it proves that the stream is broken.

use bowline_redis::{Command, Death, Frame, Protocol};
use bowline_resp::{ProtocolError, encode};
use bytes::BytesMut;

use super::pair::{Pair, answer};

const CALLERS: usize = 16;

/// What servers push, what they might, and what looks like nothing at all.
fn pushes() -> Vec<Frame> {
    let kinds = [
        "subscribe",
        "unsubscribe",
        "psubscribe",
        "punsubscribe",
        "ssubscribe",
        "sunsubscribe",
        "message",
        "pmessage",
        "smessage",
        "invalidate",
        "monitor",
        "server-cpu-usage",
        "pubsub",
        "",
        "\r\n",
    ];
    let named = kinds
        .iter()
        .flat_map(|&kind| {
            let (kind, value) = (Frame::bulk(kind), Frame::bulk("value:1"));
            [
                Frame::Push(vec![kind.clone()]),
                Frame::Push(vec![kind.clone(), value.clone(), Frame::Integer(1)]),
                Frame::Push(vec![kind, Frame::Null, Frame::Array(vec![value])]),
            ]
        })
        .collect::<Vec<_>>();
    let nameless = [vec![], vec![Frame::Integer(1)], vec![Frame::error("ERR value:1")], vec![Frame::Null]];
    named.into_iter().chain(nameless.map(Frame::Push)).collect()
}

/// A full queue, with the answers to all.
fn full(protocol: Protocol) -> (Pair, Vec<BytesMut>) {
    let mut pair = Pair::new(protocol, false);
    pair.ask(0..CALLERS);
    pair.send(usize::MAX);
    pair.replies.clear();
    let answers = (0..CALLERS).map(|number| encoded(&answer(number, protocol), protocol));
    (pair, answers.collect())
}

fn encoded(frame: &Frame, protocol: Protocol) -> BytesMut {
    let mut bytes = BytesMut::new();
    encode(frame, protocol, &mut bytes);
    bytes
}

/// redis-rs takes a subscription's push for the answer at the head of the queue, rustis and fred others
/// (driver.md 2.2 and 2.3; dragonfly#5139; rueidis#331).
#[test]
fn a_push_at_any_place_of_a_full_queue_passes_by() {
    for push in pushes() {
        let push = encoded(&push, Protocol::Resp3);
        for place in 0..=CALLERS {
            let (mut pair, answers) = full(Protocol::Resp3);
            for (index, answer) in answers.iter().enumerate() {
                if index == place {
                    pair.feed(&push);
                }
                pair.feed(answer);
            }
            pair.feed(&push);
            assert_eq!(pair.ends.len(), CALLERS);
            assert_eq!((pair.core.owed(), pair.core.death()), (0, None), "{push:?} at {place}");
            pair.demand_service(CALLERS..CALLERS + 8);
        }
    }
}

/// All pushes before every answer, byte by byte.
#[test]
fn pushes_everywhere_pass_by() {
    let (mut pair, answers) = full(Protocol::Resp3);
    let pushes: Vec<_> = pushes().iter().map(|push| encoded(push, Protocol::Resp3)).collect();
    for answer in answers {
        pushes.iter().flat_map(|push| push.iter()).for_each(|byte| pair.feed(&[*byte]));
        pair.feed(&answer);
    }
    assert_eq!((pair.ends.len(), pair.core.owed(), pair.core.death()), (CALLERS, 0, None));
}

/// RESP2 has no pushes: there it is something that nobody asked for.
#[test]
fn a_push_in_resp2_ends_the_epoch() {
    for place in 0..CALLERS {
        let (mut pair, answers) = full(Protocol::Resp2);
        answers[..place].iter().for_each(|answer| pair.feed(answer));
        pair.feed(b">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$7\r\nvalue:1\r\n");
        assert_eq!(pair.core.death(), Some(Death::Unsolicited("push")));
        answers[place..].iter().for_each(|answer| pair.feed(answer));
        assert_eq!(pair.ends.len(), place, "nothing comes out of the dead");
        pair.bury(CALLERS);
    }
}

/// A confirmation or a message in RESP2's form, to somebody who cannot have subscribed: an array like any other. It stands in
/// the place of an answer, and what the type shows is shown.
#[test]
fn a_message_of_resp2_is_an_answer_of_the_wrong_type() {
    let message = b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$7\r\nvalue:1\r\n";
    let (mut pair, _) = full(Protocol::Resp2);
    pair.feed(message);
    assert_eq!(pair.core.death(), Some(Death::Shape("array")), "the first is GET");
    pair.bury(CALLERS);

    let mut pair = Pair::new(Protocol::Resp2, false);
    pair.feed(message);
    assert_eq!(pair.core.death(), Some(Death::Unsolicited("array")));
    pair.bury(0);
}

/// redis#8935: a push inside another value breaks the grammar; whatever is at its place, and whatever the queue expects.
#[test]
fn a_push_inside_a_value_ends_the_epoch() {
    let insides = [
        "*2\r\n>1\r\n$1\r\nx\r\n:1\r\n",
        "*2\r\n:1\r\n>1\r\n$1\r\nx\r\n",
        "*1\r\n*1\r\n>0\r\n",
        "%1\r\n>1\r\n$1\r\nx\r\n:1\r\n",
        "%1\r\n:1\r\n>1\r\n$1\r\nx\r\n",
        "~1\r\n>1\r\n$1\r\nx\r\n",
        ">2\r\n$7\r\nmessage\r\n>1\r\n$1\r\nx\r\n",
        "|1\r\n$1\r\na\r\n>1\r\n$1\r\nx\r\n:1\r\n",
    ];
    for (inside, place) in insides.iter().flat_map(|inside| (0..CALLERS).map(move |place| (inside, place))) {
        let (mut pair, answers) = full(Protocol::Resp3);
        answers[..place].iter().for_each(|answer| pair.feed(answer));
        pair.feed(inside.as_bytes());
        assert_eq!(pair.core.death(), Some(Death::Protocol(ProtocolError::PushInside)), "{inside:?}");
        pair.feed(&answers[place]);
        assert_eq!(pair.ends.len(), place);
        pair.bury(CALLERS);
    }
}

/// driver.md 2.4: a surplus answer in front of every place. Another type is seen at once; nothing is taken for what it is not
/// until then, and nothing is dropped to go on.
#[test]
fn a_surplus_answer_of_another_type_ends_the_epoch_at_any_place() {
    for surplus in [Frame::Double(0.5), Frame::Boolean(true)] {
        // A script may answer anything.
        for place in (0..CALLERS).filter(|number| ![3, 7].contains(&(number % 8))) {
            let (mut pair, answers) = full(Protocol::Resp3);
            answers[..place].iter().for_each(|answer| pair.feed(answer));
            pair.feed(&encoded(&surplus, Protocol::Resp3));
            assert!(matches!(pair.core.death(), Some(Death::Shape(_))), "{surplus:?} at {place}");
            answers[place..].iter().for_each(|answer| pair.feed(answer));
            assert_eq!(pair.ends.len(), place);
            pair.bury(CALLERS);
        }
    }
}

/// With the queue empty any answer proves a shift: redis-rs, fred and rustis drop it and go on.
#[test]
fn a_surplus_answer_with_nobody_waiting_ends_the_epoch() {
    for number in 0..8 {
        let (mut pair, answers) = full(Protocol::Resp3);
        answers.iter().for_each(|answer| pair.feed(answer));
        pair.feed(&encoded(&answer(number, Protocol::Resp3), Protocol::Resp3));
        assert!(matches!(pair.core.death(), Some(Death::Unsolicited(_))), "{number}");
        pair.bury(CALLERS);
    }
}

/// A surplus answer of the same type: only the fence can see it, and it bounds the damage to one batch, at any place of it.
#[test]
fn a_fence_sees_a_surplus_answer_of_the_same_type() {
    for place in 0..CALLERS {
        let mut pair = Pair::new(Protocol::Resp3, true);
        let get = |number: usize| (number, Command::new("EXISTS").number(number));
        pair.ask_with((0..CALLERS).map(get));
        pair.ask_with((CALLERS..2 * CALLERS).map(get));
        // The server's answers are read raw: what is wrong here is wrong on purpose.
        let outgoing = pair.core.outgoing().len();
        pair.core.handed_over(outgoing);
        for index in 0..=place {
            pair.core.read_buffer().extend_from_slice(format!(":{index}\r\n").as_bytes());
        }
        pair.core.read_buffer().extend_from_slice(b":77\r\n");
        for index in place + 1..CALLERS {
            pair.core.read_buffer().extend_from_slice(format!(":{index}\r\n").as_bytes());
        }
        let mut answers = 0;
        while pair.core.poll_event(pair.now).is_some() {
            answers += 1;
        }
        assert_eq!((answers, pair.core.death()), (CALLERS, Some(Death::Fence)), "at {place}");
        assert_eq!(pair.core.bury().len(), CALLERS, "the next batch is spared");
    }
}
