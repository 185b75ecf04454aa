//! Tests of what an epoch takes for a sign of life, and for how long it waits for one.

use super::*;

/// The time for which a command asks the server to wait is not the server's silence.
#[test]
fn a_command_that_blocks_may_be_answered_late() {
    for (seconds, dies_after) in [("3", Some(Duration::from_secs(3) + SILENCE_MAX)), ("0", None)] {
        let mut pair = Pair::new(Protocol::Resp3, false);
        let pop = Command::new("BLPOP").args(["k", seconds]);
        let mut bytes = BytesMut::new();
        let mut requests = vec![Pending::write(&pop, 9, Limit::At(pair.now + DEADLINE * 1000), &mut bytes)];
        pair.core.append(&mut bytes, &mut requests, pair.now);
        let started = pair.now;
        while pair.core.death().is_none() && pair.now - started < Duration::from_secs(60) {
            pair.now = pair.core.poll_timeout().expect("an answer is owed").max(pair.now);
            pair.core.handle_timeout(pair.now);
        }
        assert_eq!(pair.core.death().map(|_| pair.now - started), dies_after);
    }
}

#[test]
fn who_was_suspended_does_not_blame_the_server_and_asks_it_at_once() {
    let mut pair = Pair::new(Protocol::Resp3, false);
    pair.core.woke_up(pair.now);
    assert!(pair.core.outgoing().ends_with(b"PING\r\n"));
    pair.run();
    assert_eq!((pair.core.owed(), pair.core.death()), (0, None));
}

/// Pushes show that the server lives, not that it works on what it was sent.
#[test]
fn a_server_that_only_pushes_is_given_up_and_one_that_answers_slowly_is_not() {
    let check = |first: &[u8], bytes: &[u8], dies: bool| {
        let mut pair = Pair::new(Protocol::Resp3, false);
        pair.append([1]);
        pair.core.handed_over(pair.core.outgoing().len());
        pair.core.read_buffer().extend_from_slice(first);
        let (started, step) = (pair.now, SILENCE_MAX / 8);
        while pair.core.death().is_none() && pair.now - started < SILENCE_MAX * 12 {
            pair.now += step;
            pair.core.read_buffer().extend_from_slice(bytes);
            pair.core.received(pair.now);
            while pair.core.poll_event(pair.now).is_some() {}
            pair.core.handle_timeout(pair.now);
        }
        let limit = SILENCE_MAX * PUSHES_FOR_SILENCES;
        assert_eq!(pair.core.death(), dies.then_some(Death::Unanswered(limit)));
        assert!(!dies || pair.now - started <= limit + SILENCE_MAX / 2);
    };
    check(b"", b">2\r\n+new\r\n+thing\r\n", true);
    // Cut within the push, and within its header.
    check(b">2\r\n+new\r\n", b"+thing\r\n>2\r\n+new\r\n", true);
    check(b">2\r", b"\n+new\r\n+thing\r\n>2\r", true);
    check(b"$100000\r\n", b"x", false);
}
