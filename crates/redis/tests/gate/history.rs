//! Known faults of other drivers as tests of the core, one for each, under the reference where it was reported. What needs
//! sockets is in [`super::history_clients`]; pushes are in [`super::pushes`].

use std::collections::BTreeSet;

use bowline_redis::epoch::{Event, Pending};
use bowline_redis::{Command, Death, Frame, Protocol};
use bowline_resp::{ProtocolError, encode};
use bytes::BytesMut;

use super::pair::{DEADLINE, End, Pair, answer};

/// radix#287 (#292): after a cancellation the counter of replies to discard forgot that a pipeline owes several.
#[test]
fn radix_287_as_many_answers_are_discarded_as_are_owed() {
    for gave_up in 1..20 {
        let mut pair = Pair::new(Protocol::Resp3, false);
        pair.ask(0..gave_up);
        pair.send(usize::MAX);
        pair.wait(DEADLINE);
        assert_eq!(pair.core.owed(), gave_up, "they are owed still");
        pair.demand_service(gave_up..gave_up + 8);
    }
}

/// redis-py#2665 (#2666): a pipeline of which one command was cancelled, behind a proxy that delays.
#[test]
fn redis_py_2665_a_pipeline_given_up_half_way_shifts_nobody() {
    for answered in 0..8 {
        let mut pair = Pair::new(Protocol::Resp2, false);
        pair.ask(0..8);
        pair.send(usize::MAX);
        let whole = pair.replies.split();
        let length: usize = (0..answered).map(|number| encoded(number).len()).sum();
        pair.feed(&whole[..length]);
        pair.wait(DEADLINE);
        pair.ask(8..16);
        pair.feed(&whole[length..]);
        pair.run();
        let expired = pair.ends.values().filter(|end| **end == End::Expired).count();
        assert_eq!((pair.ends.len(), expired), (16, 8 - answered));
    }
}

fn encoded(number: usize) -> BytesMut {
    let mut bytes = BytesMut::new();
    encode(&answer(number, Protocol::Resp2), Protocol::Resp2, &mut bytes);
    bytes
}

/// valkey-glide#5442: identities of calls were used again while their answers were under way. Thousands of callers give up and
/// ask again, and every late answer is discarded.
#[test]
fn glide_5442_a_late_answer_reaches_nobody_who_came_later() {
    let mut pair = Pair::new(Protocol::Resp3, false);
    for round in 0..300 {
        pair.ask(round * 8..round * 8 + 8);
        pair.send(60);
        pair.receive(25);
        if round % 3 == 0 {
            pair.wait(DEADLINE);
        }
    }
    pair.run();
    assert_eq!((pair.ends.len(), pair.core.owed(), pair.core.death()), (2400, 0, None));
}

/// scredis (incident 2) and lettuce#253, #315: bytes of the old connection, half-parsed or late, stand before those of the new
/// one. A new connection is a new core: whatever the old one had read, the new one begins with nothing.
#[test]
fn scredis_half_a_reply_of_the_old_connection_means_nothing_to_the_new_one() {
    let mut old = Pair::new(Protocol::Resp3, false);
    old.ask(0..8);
    old.send(usize::MAX);
    for cut in 0..old.replies.len() {
        let mut old = Pair::new(Protocol::Resp3, false);
        old.ask(0..8);
        old.send(usize::MAX);
        old.receive(cut);
        old.die(Death::Closed, 8);
        let mut new = Pair::new(Protocol::Resp3, false);
        new.demand_service(8..16);
        let ends = old.ends.clone();
        old.receive(usize::MAX);
        assert_eq!(old.ends, ends);
    }
}

/// StackExchange.Redis#3091, lettuce#1029: encoding failed after the entry was queued. Here a command that may not be sent
/// leaves no byte and no entry, and so its neighbours are not shifted.
#[test]
fn se_3091_a_command_that_cannot_be_encoded_leaves_nothing_behind() {
    let mut pair = Pair::new(Protocol::Resp3, false);
    let mut bytes = BytesMut::new();
    let many = Command::new("DEL").args((0..=1024 * 1024).map(|_| "k"));
    for refused in [Command::new("SUBSCRIBE").arg("a"), Command::new("CLIENT").args(["REPLY", "OFF"]), many] {
        assert!(Pending::encode(&refused, 1, pair.now + DEADLINE, &mut bytes).is_err(), "{refused:?}");
        assert!(bytes.is_empty());
    }
    assert_eq!(pair.core.owed(), 0);
    pair.demand_service(0..8);
}

/// rustis: a flush error rolled entries back and kept the connection. Here it is the end, even of what would still fit.
#[test]
fn rustis_a_write_error_ends_the_connection() {
    let mut pair = Pair::new(Protocol::Resp3, false);
    pair.ask(0..8);
    pair.send(40);
    pair.core.die(Death::Write(std::io::ErrorKind::BrokenPipe));
    pair.feed(&encoded(0));
    assert!(pair.ends.is_empty(), "nothing comes out of the dead");
    pair.bury(8);
    assert!(pair.ends.values().all(|end| matches!(end, End::Buried(_))));
}

/// redis-rs#698, go-redis#629, redis-py#414, rustis: the first error of a pipeline stopped the counting of its answers.
#[test]
fn redis_rs_698_an_error_in_a_pipeline_is_one_answer() {
    let scripts = [3, 11, 19];
    for errors in 1..=scripts.len() {
        let mut pair = Pair::new(Protocol::Resp2, false);
        let numbers: BTreeSet<usize> = scripts[..errors].iter().copied().chain([0, 8, 16, 24]).collect();
        pair.demand_service(numbers);
        pair.demand_service(32..40);
    }
}

/// lettuce#1512, #512: nesting was counted wrongly, and the next answers were eaten; what is corrupt must end the connection.
#[test]
fn lettuce_1512_nested_answers_end_where_they_end() {
    let nested = [
        "*0\r\n",
        "*-1\r\n",
        "*1\r\n*0\r\n",
        "*3\r\n*2\r\n:1\r\n*0\r\n$-1\r\n*1\r\n*1\r\n*1\r\n:1\r\n",
        "%1\r\n+a\r\n%0\r\n",
        "~2\r\n*1\r\n-ERR inside\r\n%1\r\n:1\r\n*0\r\n",
        "*2\r\n|1\r\n+ttl\r\n:1\r\n:1\r\n$0\r\n\r\n",
        "|1\r\n+ttl\r\n*1\r\n:1\r\n*1\r\n_\r\n",
    ];
    for text in nested {
        let mut pair = Pair::new(Protocol::Resp3, false);
        pair.ask_with([(5, Command::new("EVAL").arg("nested").number(5))]);
        pair.core.handed_over(pair.core.outgoing().len());
        for byte in text.as_bytes() {
            pair.core.read_buffer().extend_from_slice(&[*byte]);
        }
        let event = pair.core.poll_event(pair.now);
        assert!(matches!(event, Some(Event::Answer { caller: Some(5), .. })), "{text:?}: {event:?}");
        assert!(pair.core.poll_event(pair.now).is_none());
        assert_eq!((pair.core.owed(), pair.core.death()), (0, None), "{text:?}");
    }
}

/// StackExchange.Redis#913: HLEN got PONG. A type that a command cannot have ends the connection, whoever is behind it.
#[test]
fn se_913_hlen_never_gets_pong() {
    let mut pair = Pair::new(Protocol::Resp2, false);
    pair.ask_with([(1, Command::new("HLEN").arg("h")), (2, Command::new("GET").arg("k"))]);
    pair.core.handed_over(pair.core.outgoing().len());
    pair.feed(b"+PONG\r\n:1\r\n");
    assert_eq!(pair.core.death(), Some(Death::Shape("simple string")));
    pair.bury(2);
}

/// driver.md 2.1, fred: a list that reads like a message was taken for one, whoever wrote the list. Must be 0 of 8, one at a
/// time and between others, in both dialects. (The same against a real server: `torture/tests/driver_content.rs`.)
#[test]
fn fred_lists_that_read_like_messages_are_answers() {
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
    let mut wrong = Vec::new();
    for (protocol, list) in [Protocol::Resp2, Protocol::Resp3].into_iter().flat_map(|p| lists.map(|l| (p, l)))
    {
        for behind in [0, 3] {
            let mut pair = Pair::new(protocol, false);
            let range = |number| (number, Command::new("LRANGE").args(["k", "0", "-1"]));
            pair.ask_with((0..=behind).map(range));
            pair.core.handed_over(pair.core.outgoing().len());
            let frame = Frame::Array(list.iter().map(|&text| Frame::bulk(text)).collect());
            for number in 0..=behind {
                let mut bytes = BytesMut::new();
                encode(&frame, protocol, &mut bytes);
                pair.core.read_buffer().extend_from_slice(&bytes);
                let event = pair.core.poll_event(pair.now);
                let is_right = matches!(&event, Some(Event::Answer { caller: Some(caller), frame: got, .. })
                    if *caller == number && *got == frame);
                if !is_right {
                    wrong.push((list, event));
                }
            }
            pair.demand_service(8..16);
        }
    }
    assert!(wrong.is_empty(), "{} of 8: {wrong:?}", wrong.len());
}

/// driver.md 2.10, fred: after an error the same bytes were parsed again in the other grammar. Here the first error is the end,
/// whatever would make sense of the rest.
#[test]
fn fred_what_is_broken_is_not_parsed_again_in_another_grammar() {
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        let mut pair = Pair::new(protocol, false);
        pair.ask(0..2);
        pair.core.handed_over(pair.core.outgoing().len());
        pair.feed(b"^7\r\nvalue:0\r\n$7\r\nvalue:0\r\n:1\r\n");
        assert_eq!(pair.core.death(), Some(Death::Protocol(ProtocolError::UnknownType(b'^'))));
        pair.feed(b"$7\r\nvalue:0\r\n:1\r\n");
        assert!(pair.ends.is_empty());
        pair.bury(2);
    }
}

/// driver.md 2.4, rueidis: an answer that nobody asked for. fred, rustis and redis-rs drop it, rueidis panics.
#[test]
fn rueidis_an_answer_to_nobody_ends_the_connection_without_a_panic() {
    let mut pair = Pair::new(Protocol::Resp3, false);
    pair.ask([0]);
    pair.send(usize::MAX);
    let reply = pair.replies.split();
    pair.feed(&[&reply[..], &reply[..]].concat());
    assert_eq!(pair.ends.len(), 1);
    assert_eq!(pair.core.death(), Some(Death::Unsolicited("bulk string")));
    pair.bury(1);
}
