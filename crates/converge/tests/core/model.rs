//! Random runs of the core against a store that delays, reorders, drops, applies after a time-out, and forgets.

use std::time::Duration;

use crate::world::{Key, Value, World, settings};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

#[derive(Debug, Clone)]
enum Step {
    Set(Key, Value),
    Remove(Key),
    Elapse(u64),
    Apply(usize),
    Deliver(usize),
    Fail(usize),
    Lose(usize),
    ApplyLate(usize),
    Answer,
    LoseData,
    Reachable(bool),
}

fn step(keys: u8, may_lose_data: bool) -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..keys, 0..3_u8).prop_map(|(key, value)| Step::Set(key, value)),
        4 => (0..keys).prop_map(Step::Remove),
        6 => (0..400_u64).prop_map(Step::Elapse),
        8 => any::<usize>().prop_map(Step::Apply),
        8 => any::<usize>().prop_map(Step::Deliver),
        1 => any::<usize>().prop_map(Step::Fail),
        2 => any::<usize>().prop_map(Step::Lose),
        3 => any::<usize>().prop_map(Step::ApplyLate),
        4 => Just(Step::Answer),
        1 => Just(if may_lose_data { Step::LoseData } else { Step::Answer }),
        1 => any::<bool>().prop_map(Step::Reachable),
    ]
}

fn run(world: &mut World, step: &Step) {
    match step {
        Step::Set(key, value) => world.set(*key, *value),
        Step::Remove(key) => world.remove(*key),
        Step::Elapse(milliseconds) => world.elapse(Duration::from_millis(*milliseconds)),
        Step::Apply(index) => world.apply(*index),
        Step::Deliver(index) => world.deliver(*index),
        Step::Fail(index) => world.fail(*index),
        Step::Lose(index) => world.lose(*index),
        Step::ApplyLate(index) => world.apply_late(*index),
        Step::Answer => world.answer(),
        Step::LoseData => world.lose_data(),
        Step::Reachable(reachable) => world.set_reachable(*reachable),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() })]

    /// INV-REG-CONVERGE and INV-REG-ORDER as long as the store keeps what it acknowledged.
    #[test]
    fn the_store_equals_the_truth_whenever_nothing_is_pending(
        seed in any::<u64>(),
        steps in prop::collection::vec(step(4, false), 1..120),
    ) {
        let mut world = World::new(settings(), seed);
        steps.iter().for_each(|step| run(&mut world, step));
        world.heal();
        world.assert_converged();
        prop_assert_eq!(world.core.counters().drift.total(), 0, "nothing was lost, so nothing can have drifted");
    }

    /// INV-REG-REPAIR: the store may forget everything at any time, fences included.
    #[test]
    fn a_store_that_forgets_is_repaired(
        seed in any::<u64>(),
        steps in prop::collection::vec(step(4, true), 1..120),
    ) {
        let mut world = World::new(settings(), seed);
        steps.iter().for_each(|step| run(&mut world, step));
        world.heal();
        // What a late write brought back where its tombstone was lost goes with the audit, at the latest with its lease.
        world.elapse(Duration::ZERO);
        for _ in 0..4 {
            world.heal();
        }
        world.assert_converged();
    }

    /// INV-REG-NOBLOCK: writes that never end delay nobody beyond the patience of a batch.
    #[test]
    fn keys_that_hang_delay_no_other(
        seed in any::<u64>(),
        hanging in prop::collection::vec((0..8_u8, 0..30_u64), 1..40),
    ) {
        let mut world = World::new(settings(), seed);
        for (key, pause) in hanging {
            world.set(key, 1);
            world.elapse(Duration::from_millis(pause));
        }
        world.set(200, 7);
        // At most eight hanging keys stand before it in the queue: two batches of two at a time, each with its patience.
        world.elapse(settings().batch_patience * 3);
        prop_assert!(world.flights.iter().any(|flight| flight.write.key == 200), "key 200 waits for hanging keys");
    }
}
