//! Each fault at each byte of a conversation, in both directions at once: for every number of bytes that the server has got and
//! every number of bytes that came back, the connection is cut, stalls, is slept through, brings late bytes, or everybody gives
//! up. Nothing is drawn; nothing is left out.

use bowline_redis::{Death, Protocol};

use super::pair::{DEADLINE, End, Pair, SILENCE_MAX};

/// One caller of each kind, and some more behind them.
const CALLERS: usize = 8;
const LATER: std::ops::Range<usize> = CALLERS..CALLERS + 8;

/// What happens at a byte.
#[derive(Debug, Clone, Copy)]
enum Fault {
    /// The server closes.
    Cut,
    /// Writing fails, and what is on its way is lost.
    WriteError,
    /// The connection is given up; the rest comes all the same, where a task may still read it.
    LateBytes,
    /// Everybody gives up, others ask, and then it goes on.
    Cancel,
    /// Silence for as long as a server may be silent, then nothing more.
    Silence,
    /// This process stands still for long, then it goes on.
    Sleep,
    /// It goes on byte by byte.
    SingleBytes,
}

/// A conversation that has got so far.
fn at(protocol: Protocol, fence: bool, sent: usize, received: usize) -> Option<Pair> {
    let mut pair = Pair::new(protocol, fence);
    pair.ask(0..CALLERS / 2);
    pair.ask(CALLERS / 2..CALLERS);
    if sent > pair.core.outgoing().len() {
        return None;
    }
    pair.send(sent);
    if received > pair.replies.len() {
        return None;
    }
    pair.receive(received);
    Some(pair)
}

/// Calls `check` with the conversation at every pair of positions, and returns how many there are.
fn everywhere(mut check: impl FnMut(Pair)) -> usize {
    let at = |sent, received| at(Protocol::Resp3, false, sent, received);
    (0..)
        .map(|sent| (0..).map_while(|received| at(sent, received)).map(&mut check).count())
        .take_while(|&count| count > 0)
        .sum()
}

/// The same in RESP2 and with fences: at each byte of the requests when all answers to them have come, and at each byte of the
/// answers when all requests have gone.
fn along_the_edges(mut check: impl FnMut(Pair)) -> usize {
    let at = |sent, received| at(Protocol::Resp2, true, sent, received);
    let requests = (0..)
        .map_while(|sent| at(sent, 0))
        .map(|mut pair| {
            pair.receive(usize::MAX);
            check(pair);
        })
        .count();
    let answers = (0..).map_while(|received| at(requests - 1, received)).map(check).count();
    requests + answers
}

/// The fault, and what must be true after it.
fn strike(mut pair: Pair, fault: Fault) {
    match fault {
        Fault::Cut => pair.die(Death::Closed, CALLERS),
        Fault::WriteError => pair.die(Death::Write(std::io::ErrorKind::BrokenPipe), CALLERS),
        Fault::LateBytes => {
            pair.core.die(Death::Silent(SILENCE_MAX));
            let ends = pair.ends.clone();
            pair.receive(usize::MAX);
            assert_eq!(pair.ends, ends, "INV-DRV-OWN: a dead connection answered");
            pair.bury(CALLERS);
            let ends = pair.ends.clone();
            pair.feed(b"$7\r\nvalue:0\r\n");
            assert_eq!(pair.ends, ends, "INV-DRV-OWN: a buried connection answered");
        }
        Fault::Cancel => {
            pair.wait(DEADLINE);
            assert_eq!(pair.ends.len(), CALLERS, "everybody has an answer or an error in time");
            pair.demand_service(LATER);
            pair.die(Death::Closed, LATER.end);
        }
        Fault::Silence => {
            let owes = pair.core.owed() > 0;
            pair.wait(SILENCE_MAX);
            assert_eq!(pair.core.death(), owes.then_some(Death::Silent(SILENCE_MAX)));
            pair.bury(CALLERS);
        }
        Fault::Sleep => {
            pair.sleep_through(10 * SILENCE_MAX);
            assert_eq!(pair.core.death(), None, "the server is not to blame");
            assert_eq!(pair.ends.len(), CALLERS);
            pair.demand_service(LATER);
            pair.die(Death::Closed, LATER.end);
        }
        Fault::SingleBytes => {
            while !(pair.core.outgoing().is_empty() && pair.replies.is_empty()) {
                pair.send(1);
                pair.receive(1);
            }
            let answers = pair.ends.values().filter(|end| matches!(end, End::Answered(_))).count();
            assert_eq!(answers, CALLERS);
            pair.demand_service(LATER);
            pair.die(Death::Closed, LATER.end);
        }
    }
}

fn check(fault: Fault) {
    let positions = everywhere(|pair| strike(pair, fault));
    assert!(positions > 15_000, "{positions} positions");
    let positions = along_the_edges(|pair| strike(pair, fault));
    assert!(positions > 500, "{positions} positions");
}

#[test]
fn the_connection_is_cut_at_every_byte() {
    check(Fault::Cut);
}

#[test]
fn writing_fails_at_every_byte() {
    check(Fault::WriteError);
}

#[test]
fn the_rest_comes_late_from_every_byte_on() {
    check(Fault::LateBytes);
}

#[test]
fn everybody_gives_up_at_every_byte() {
    check(Fault::Cancel);
}

#[test]
fn the_server_falls_silent_at_every_byte() {
    check(Fault::Silence);
}

#[test]
fn this_process_is_asleep_at_every_byte() {
    check(Fault::Sleep);
}

#[test]
fn the_rest_comes_in_single_bytes_from_every_byte_on() {
    check(Fault::SingleBytes);
}

/// A caller whose deadline passes at any byte gets its error, and those beside it, whose deadlines are later, their answers.
#[test]
fn one_caller_gives_up_at_every_byte_and_the_others_get_their_answers() {
    let outcome = |sent, received| {
        let mut pair = Pair::new(Protocol::Resp3, false);
        pair.ask(0..4);
        pair.wait(DEADLINE / 2);
        pair.ask(4..CALLERS);
        let sent = (sent <= pair.core.outgoing().len()).then(|| pair.send(sent));
        sent.filter(|()| received <= pair.replies.len())?;
        pair.receive(received);
        let answered = pair.ends.len();
        pair.wait(DEADLINE / 2);
        assert_eq!(pair.ends.len(), answered.max(4), "exactly those whose deadline has passed end");
        pair.run();
        let expired = pair.ends.values().filter(|end| **end == End::Expired).count();
        assert_eq!((pair.ends.len(), expired), (CALLERS, 4_usize.saturating_sub(answered)));
        assert_eq!((pair.core.owed(), pair.core.death()), (0, None));
        pair.die(Death::Closed, CALLERS);
        Some(())
    };
    let positions: usize = (0..)
        .map(|sent| (0..).map_while(|received| outcome(sent, received)).count())
        .take_while(|&count| count > 0)
        .sum();
    assert!(positions > 15_000, "{positions} positions");
}

/// Nobody may come before the introduction is over, and one that ends half-way leaves nothing behind.
#[test]
fn the_introduction_ends_at_every_byte() {
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        let mut whole = None;
        for cut in 0.. {
            let mut pair = Pair::fresh(protocol, true);
            let mut left = cut;
            while left > 0 && !pair.is_ready {
                pair.send(usize::MAX);
                let count = left.min(pair.replies.len());
                assert!(count > 0, "the introduction goes on");
                pair.receive(count);
                left -= count;
            }
            if pair.is_ready {
                whole = Some(cut);
                break;
            }
            pair.wait(SILENCE_MAX);
            assert_eq!(pair.core.death(), Some(Death::Silent(SILENCE_MAX)), "cut at {cut}");
            pair.feed(b"%1\r\n$5\r\nproto\r\n:3\r\n$10\r\nrun_id:1\r\n\r\n");
            assert!(!pair.is_ready, "a dead connection is not published");
            pair.bury(0);
        }
        assert!(whole.is_some_and(|bytes| bytes > 60), "{whole:?}");
    }
}
