//! What each promise looks like in one small run.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::world::{World, settings};
use bowline_converge::{Before, Converge, Held, Input, Outcome, Output, SetError, Settings, Write};
use bowline_model::Generation;

fn milliseconds(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// A world in which key 1 is stored and acknowledged.
fn stored() -> World {
    let mut world = World::new(settings(), 1);
    world.set(1, 7);
    world.apply(0);
    world.deliver(0);
    assert_eq!(world.core.pending(), 0);
    world
}

#[test]
fn a_flap_within_the_linger_costs_no_write() {
    let mut world = stored();
    let before = world.core.counters().writes;
    for _ in 0..100 {
        world.remove(1);
        world.set(1, 7);
    }
    world.elapse(settings().linger * 2);
    assert_eq!(world.core.counters().writes, before);
}

#[test]
fn changes_during_a_write_are_written_once() {
    let mut world = World::new(settings(), 1);
    for value in 0..50 {
        world.set(1, value);
    }
    world.apply(0);
    world.deliver(0);
    assert_eq!(world.core.counters().writes, 2);
    assert_eq!(world.flights[0].write.value, Some(49));
}

#[test]
fn what_was_never_written_is_forgotten_without_a_write() {
    let mut world = World::new(settings(), 1);
    world.set_reachable(false);
    for _ in 0..1_000 {
        world.set(1, 7);
        world.remove(1);
    }
    assert_eq!((world.core.keys(), world.core.pending()), (0, 0));
    world.set_reachable(true);
    assert_eq!(world.core.counters().writes, 0);
}

#[test]
fn an_unknown_write_is_made_again_with_a_higher_generation() {
    let mut world = World::new(settings(), 1);
    world.set(1, 7);
    let first = world.flights[0].write.generation;
    world.elapse(settings().write_timeout + settings().backoff_cap);
    assert!(world.flights[0].write.generation > first);
    assert_eq!(world.core.counters().unknown, 1);
    world.heal();
    world.apply_late(0);
    world.assert_converged();
}

#[test]
fn a_lease_is_renewed_before_it_ends() {
    let mut world = stored();
    for _ in 0..100 {
        world.elapse(milliseconds(100));
        world.apply(0);
        world.deliver(0);
        world.answer();
        world.assert_converged();
    }
    assert!(world.core.counters().writes >= 10, "10 s of leases of 3 s, renewed after 1 s");
    assert_eq!(world.core.counters().drift.total(), 0);
}

#[test]
fn a_loss_is_found_by_the_audit_and_counted() {
    let mut world = stored();
    world.lose_data();
    // Renewal and audit are both due within this time, and each finds it.
    world.elapse(settings().audit_period);
    world.heal();
    world.assert_converged();
    assert_eq!(world.core.counters().drift.missing, 1);
}

#[test]
fn after_a_reconnect_a_loss_is_found_at_once() {
    let mut world = stored();
    world.lose_data();
    world.set_reachable(false);
    world.set_reachable(true);
    world.elapse(settings().doubt_spread);
    world.answer();
    assert_eq!(world.core.counters().drift.missing, 1);
    world.apply(0);
    world.deliver(0);
    world.assert_converged();
}

/// Found by the replay of incident 1, seed 346.
#[test]
fn an_answer_from_before_a_doubt_proves_nothing_after_it() {
    let mut world = World::new(settings(), 1);
    world.set(1, 7);
    world.apply(0);
    world.lose_data();
    world.core.handle(world.now, Input::Doubtful);
    world.deliver(0);
    world.elapse(settings().doubt_spread);
    world.answer();
    assert_eq!(world.core.counters().drift.missing, 1);
}

#[test]
fn nothing_is_sent_to_a_copy_that_cannot_be_reached_and_everything_once_it_can() {
    let mut world = stored();
    world.set_reachable(false);
    world.set(2, 1);
    world.set(3, 1);
    world.elapse(milliseconds(500));
    assert!(world.flights.is_empty() && world.questions.is_empty());
    world.set_reachable(true);
    assert_eq!(world.flights.len(), 2);
}

#[test]
fn a_removed_key_that_comes_back_is_removed_again() {
    let mut world = stored();
    let core = &mut world.core;
    let held = Held { value: 9, generation: Generation(1) };
    core.handle(world.now, Input::Reachable);
    core.handle(world.now + settings().doubt_spread, Input::Timer);
    let Some(Output::Observe { audit, .. }) = core.poll_output() else { panic!("the audit is due") };
    core.handle(world.now, Input::Observed { audit, copies: vec![(5, Some(held))] });
    assert_eq!(core.counters().drift.unexpected, 1);
    let Some(Output::Write { writes }) = core.poll_output() else { panic!("a removal is due") };
    assert_eq!((writes[0].key, writes[0].value), (5, None));
}

#[test]
fn a_refusal_stops_all_writes_until_the_writer_is_admitted_again() {
    let World { mut core, now, .. } = World::new(settings(), 1);
    core.set(now, &1, 7).expect("room");
    let Some(Output::Write { writes }) = core.poll_output() else { panic!("a write is due") };
    let generation = writes[0].generation;
    core.handle(now, Input::Written { key: 1, generation, outcome: Outcome::Refused });
    core.set(now, &2, 7).expect("room");
    assert_eq!(core.poll_output(), Some(Output::Refused { key: 1 }));
    core.handle(now, Input::Unreachable);
    assert_eq!(core.poll_output(), None);
    assert!(core.is_refused());
    assert_eq!(core.pending(), 2);
    core.handle(now, Input::Reachable);
    let Some(Output::Write { writes }) = core.poll_output() else { panic!("both are due") };
    let keys: BTreeSet<u8> = writes.iter().map(|write| write.key).collect();
    assert_eq!(keys, BTreeSet::from([1, 2]));
}

#[test]
fn a_late_outcome_is_ignored() {
    let World { mut core, now, .. } = World::new(settings(), 1);
    core.set(now, &1, 7).expect("room");
    let Some(Output::Write { writes }) = core.poll_output() else { panic!("a write is due") };
    let late = now + settings().write_timeout;
    let outcome = Outcome::Applied { before: Before::Absent };
    core.handle(late, Input::Written { key: 1, generation: writes[0].generation, outcome });
    assert_eq!(core.counters().late_outcomes, 1);
    assert_eq!(core.pending(), 1);
}

#[test]
fn writes_in_flight_are_bounded_and_hanging_ones_make_room_when_they_time_out() {
    let mut world = World::new(settings(), 1);
    for key in 0..40 {
        world.set(key, 1);
    }
    world.elapse(settings().batch_patience * 20 - milliseconds(150));
    assert_eq!(world.flights.len(), 16);
    let first: BTreeSet<u8> = world.flights.iter().map(|flight| flight.write.key).collect();
    world.elapse(settings().write_timeout);
    assert!(world.flights.iter().any(|flight| !first.contains(&flight.write.key)));
    assert!(world.flights.len() <= 16);
    world.heal();
    world.assert_converged();
}

/// A store that answers, and takes no writes: it is full, or a replica.
#[test]
fn many_keys_that_fail_do_not_storm_the_store_and_are_written_soon_after_it_takes_writes() {
    const KEYS: u32 = 20_000;
    let mut now = World::new(settings(), 1).now;
    let mut core: Converge<u32, u8> = Converge::new(Settings::default(), 1, now);
    core.handle(now, Input::Reachable);
    for key in 0..KEYS {
        core.set(now, &key, 1).expect("below the limit");
    }
    // Answers every write at once, for this long.
    let mut run = |core: &mut Converge<u32, u8>, duration: Duration, outcome: &Outcome<u8>| {
        let (before, end) = (core.counters().writes, now + duration);
        while now < end && core.pending() > 0 {
            while let Some(output) = core.poll_output() {
                let Output::Write { writes } = output else { continue };
                for Write { key, generation, .. } in writes {
                    core.handle(now, Input::Written { key, generation, outcome: outcome.clone() });
                }
            }
            now += milliseconds(1);
            core.handle(now, Input::Timer);
        }
        core.counters().writes - before
    };
    run(&mut core, Duration::from_secs(3), &Outcome::Failed);
    let retries = run(&mut core, Duration::from_secs(1), &Outcome::Failed);
    assert!((1_000..25_000).contains(&retries), "{retries} a second");
    run(&mut core, milliseconds(500), &Outcome::Applied { before: Before::Unseen });
    assert_eq!(core.pending(), 0, "INV-REG-CONVERGE");
}

#[test]
fn the_limit_of_keys_is_an_error() {
    let world = World::new(settings(), 1);
    let tiny = Settings { keys_max: 2, ..settings() };
    let mut core: Converge<u8, u8> = Converge::new(tiny, 1, world.now);
    assert_eq!(core.set(world.now, &1, 0), Ok(()));
    assert_eq!(core.set(world.now, &2, 0), Ok(()));
    let error = core.set(world.now, &3, 0).expect_err("the limit is 2");
    assert_eq!(error, SetError::TooManyKeys { limit: 2 });
    assert_eq!(error.to_string(), "the limit of 2 keys is reached");
    assert_eq!(core.set(world.now, &2, 1), Ok(()), "a known key can always be set");
    core.remove_all_now(world.now);
    assert_eq!((core.keys(), core.pending()), (0, 0));
}

#[test]
fn shutting_down_removes_everything_without_linger() {
    let mut world = stored();
    world.core.remove_all_now(world.now);
    let Some(Output::Write { writes }) = world.core.poll_output() else { panic!("a removal is due") };
    assert_eq!((writes[0].key, writes[0].value), (1, None));
}
