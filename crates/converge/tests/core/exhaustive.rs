//! Every run of a small scope: two keys, six steps, each possible fate of each write.

use std::time::Duration;

use crate::world::{Truth, World, settings};

const STEPS: usize = 6;

/// All worlds one step away; steps that would change nothing are left out.
fn successors(world: &World) -> Vec<World> {
    let mut worlds = Vec::new();
    let mut step = |change: &dyn Fn(&mut World)| {
        let mut next = world.clone();
        change(&mut next);
        worlds.push(next);
    };
    for key in [0, 1] {
        // Values are symmetric: a second one matters only where the key has had the first, a removal where it has one.
        step(&|world| world.set(key, 1));
        if world.truth(key).is_some() {
            step(&|world| world.set(key, 2));
        }
        if matches!(world.truth(key), Some(Truth::Present(_))) {
            step(&|world| world.remove(key));
        }
    }
    for index in 0..world.flights.len() {
        step(&|world| {
            world.apply(index);
            world.deliver(0);
        });
        step(&|world| world.lose(index));
    }
    for index in 0..world.late.len() {
        step(&|world| world.apply_late(index));
    }
    // Past the linger, and past any back-off.
    step(&|world| world.elapse(Duration::from_millis(150)));
    worlds
}

fn explore(world: &World, depth: usize, runs: &mut u64) {
    if depth == 0 {
        *runs += 1;
        let mut world = world.clone();
        // The worst end: every write that was given up lands now, oldest last.
        while !world.late.is_empty() {
            world.apply_late(world.late.len() - 1);
        }
        for _ in 0..4 {
            while !world.flights.is_empty() {
                world.apply(0);
                world.deliver(0);
            }
            world.elapse(Duration::from_millis(110));
        }
        world.assert_converged();
        assert_eq!(world.core.counters().drift.total(), 0);
        return;
    }
    for next in successors(world) {
        explore(&next, depth - 1, runs);
    }
}

#[test]
fn every_small_run_converges() {
    let mut runs = 0;
    explore(&World::new(settings(), 1), STEPS, &mut runs);
    assert!(runs > 50_000, "the scope is not trivial: {runs} runs");
}
