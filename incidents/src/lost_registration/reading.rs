//! The mutant whose readers collect garbage: what looks expired by a reader's own clock is deleted, in a second request.

use crate::checker::{Checker, Key};
use crate::draw::Draw;
use crate::explore::Run;
use crate::lost_registration::store::{Milliseconds, Request, Store};
use crate::trace::Trace;

const AGENT: Key = 1;
/// The times of the incident, in seconds here: entries live for 5 min and are refreshed after 4.
const LIFETIME: Milliseconds = 300;
const REFRESH: Milliseconds = 240;
/// How far a reader's clock may be ahead.
const SKEW_MAX: usize = 120;
const STEPS_MAX: usize = 30;

/// The owner refreshes in time and in order; the reader lists, then deletes.
pub(super) fn reader_deletes_by_own_clock(seed: u64) -> Run {
    let mut draw = Draw::new(seed);
    let skew = u64::try_from(draw.below(SKEW_MAX)).expect("small");
    let mut store = Store::new(false);
    let mut checker = Checker::default();
    let mut trace = Trace::new(&["owner", "reader"]);
    let decision = checker.decided(AGENT, true);
    let mut now = 0;
    let set = Request {
        key: AGENT,
        present: true,
        fence: (0, 0),
        decision,
        lifetime: LIFETIME,
        not_after: u64::MAX,
    };
    store.write(now, &set, &mut checker);
    trace.step(0, "0 s: HSET, expires at 300 s");
    let mut refresh_at = REFRESH;
    let mut to_delete = false;
    for _ in 0..STEPS_MAX {
        if checker.is_violated() {
            break;
        }
        match draw.below(4) {
            _ if now >= refresh_at => {
                store.write(now, &set, &mut checker);
                refresh_at = now + REFRESH;
                trace.step(0, format!("{now} s: HSET, expires at {} s", now + LIFETIME));
            }
            0 if to_delete => {
                to_delete = false;
                let was_live = store.delete(now, AGENT);
                trace.step(1, format!("{now} s: HDEL"));
                checker.removed_by_another(AGENT, was_live);
            }
            1 if !to_delete => {
                let reader_now = now + skew;
                let expires_at = store.live(now, AGENT).map(|entry| entry.expires_at);
                to_delete = expires_at.is_some_and(|at| at <= reader_now);
                trace.step(1, format!("{now} s, {reader_now} s by its clock: HSCAN, expired: {to_delete}"));
            }
            _ => now = (now + 10 + u64::try_from(draw.below(60)).expect("small")).min(refresh_at),
        }
    }
    checker.quiet(|key| store.live(now, key).is_some());
    Run { violation: checker.verdict(), trace }
}
