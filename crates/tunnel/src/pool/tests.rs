//! Tables for the pool's rules, and a property test that drives it with everything at once.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;

fn settings() -> PoolSettings {
    PoolSettings {
        idle_min: 2,
        tunnels_max: 12,
        dial_step_max: 3,
        spare_max: 6,
        waiters_max: 4,
        ticket_life: Duration::from_secs(30),
        age_max: Duration::from_secs(3_600),
    }
}

/// A pool of numbered tunnels and numbered waiters, with its own clock and tickets.
struct Bench {
    pool: Pool<u32, u32>,
    now: Instant,
    tickets: Vec<Secret>,
    tunnels: u32,
    secrets: u8,
}

impl Bench {
    fn new() -> Self {
        Self {
            pool: Pool::new(settings()),
            now: bowline_rt::time::now(),
            tickets: Vec::new(),
            tunnels: 0,
            secrets: 0,
        }
    }

    /// Issues all wanted tickets and says how many.
    fn dial(&mut self) -> usize {
        let wanted = self.pool.wanted(self.now);
        for _ in 0..wanted {
            self.secrets = self.secrets.wrapping_add(1);
            let filler = self.secrets;
            let secret = Secret::from_random(|bytes| bytes.fill(filler));
            self.tickets.push(secret.clone());
            self.pool.issue(self.now, secret);
        }
        wanted
    }

    /// The agent says that no tunnels will come for the oldest tickets.
    fn fail(&mut self, tickets: usize) {
        let failed: Vec<Secret> = self.tickets.drain(..tickets).collect();
        self.pool.dial_failed(self.now, &failed, 0);
    }

    /// The oldest ticket comes back with a tunnel.
    fn arrive(&mut self) -> Option<Serial> {
        let secret = self.tickets.remove(0);
        self.pool.redeem(self.now, &secret).expect("the ticket is good");
        self.tunnels += 1;
        let aged = Aged { tunnel: self.tunnels, retires_at: self.now + self.pool.settings().age_max };
        self.pool.arrived(self.now, aged)
    }

    fn outputs(&mut self) -> Vec<Output<u32, u32>> {
        std::iter::from_fn(|| self.pool.poll_output()).collect()
    }

    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.pool.handle_timeout(self.now);
    }
}

#[test]
fn a_new_pool_wants_the_minimum_and_a_consumed_tunnel_is_replaced() {
    let mut bench = Bench::new();
    assert_eq!(bench.dial(), 2);
    assert_eq!(bench.dial(), 0, "what is coming is not asked for again");
    bench.arrive();
    bench.arrive();
    assert_eq!(bench.pool.take().expect("idle").tunnel, 2, "the youngest first");
    assert_eq!(bench.dial(), 1);
    assert_eq!(bench.pool.counts(), Counts { idle: 1, busy: 1, dialling: 1, waiting: 0 });
}

#[test]
fn demand_is_served_in_order_and_raises_the_number_of_spares_by_steps() {
    let mut bench = Bench::new();
    for waiter in 1..=4 {
        bench.pool.wait(bench.now, waiter).expect("room");
    }
    assert_eq!(bench.pool.wait(bench.now, 5), Err((5, Failure::Full)));
    assert_eq!(bench.dial(), 4 + 3, "one for each waiter, and one step of spares");
    for _ in 0..4 {
        assert_eq!(bench.arrive(), None);
    }
    let served: Vec<u32> = bench
        .outputs()
        .into_iter()
        .map(|output| match output {
            Output::Serve(waiter, _) => waiter,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(served, [1, 2, 3, 4]);
    for _ in 0..3 {
        assert!(bench.arrive().is_some());
    }
    assert_eq!(bench.dial(), 3, "the target is 6 spares by now");
    bench.pass(29);
    assert_eq!(bench.pool.counts().dialling, 3);
    bench.pass(1);
    assert_eq!(bench.pool.counts().dialling, 0, "tickets expire");
    assert_eq!(bench.pool.poll_timeout(), Some(bench.now + Duration::from_secs(30)));
    bench.pass(30);
    bench.pass(60);
    bench.pass(60);
    assert_eq!(bench.outputs(), [Output::Close(5)], "without demand the oldest spare goes");
    assert_eq!(bench.pool.counts().idle, 2);
}

#[test]
fn the_maximum_counts_every_state() {
    let mut bench = Bench::new();
    for waiter in 0.. {
        if bench.pool.counts().busy == 12 {
            break;
        }
        bench.pool.wait(bench.now, waiter).expect("room");
        bench.dial();
        while !bench.tickets.is_empty() {
            bench.arrive();
        }
        while bench.pool.take().is_some() {}
    }
    assert_eq!(bench.pool.counts().busy, 12);
    bench.pool.wait(bench.now, 99).expect("room");
    assert_eq!(bench.pool.wanted(bench.now), 0);
    bench.pool.finished();
    assert_eq!(bench.pool.wanted(bench.now), 1);
}

#[test]
fn a_ticket_is_good_once_and_for_its_time() {
    let mut bench = Bench::new();
    bench.dial();
    let [first, second] = [bench.tickets[0].clone(), bench.tickets[1].clone()];
    assert_eq!(bench.pool.redeem(bench.now, &first), Ok(()));
    assert_eq!(bench.pool.redeem(bench.now, &first), Err(TicketRefused));
    assert_eq!(
        bench.pool.redeem(bench.now, &Secret::from_random(|bytes| bytes.fill(77))),
        Err(TicketRefused)
    );
    bench.now += Duration::from_secs(30);
    assert_eq!(bench.pool.redeem(bench.now, &second), Err(TicketRefused));
}

#[test]
fn a_ticket_reads_back_and_hides_its_secret() {
    let ticket = Ticket { session: 258, secret: Secret::from_random(|bytes| bytes.fill(9)) };
    assert_eq!(ticket.to_bytes().len(), 32);
    assert_eq!(Ticket::from_bytes(&ticket.to_bytes()), Some(ticket.clone()));
    assert_eq!(Ticket::from_bytes(&ticket.to_bytes()[1..]), None);
    assert_eq!(Ticket::from_bytes(b"short"), None);
    assert_eq!(format!("{ticket:?}"), "Ticket { session: 258, secret: Secret(hidden) }");
}

#[test]
fn when_the_agent_cannot_dial_waiters_learn_of_it_and_dialling_pauses() {
    let mut bench = Bench::new();
    for waiter in 1..=3 {
        bench.pool.wait(bench.now, waiter).expect("room");
    }
    assert_eq!(bench.dial(), 6);
    bench.fail(4);
    assert_eq!(bench.outputs(), [Output::Fail(3, Failure::DialFailed)], "two are still coming");
    assert_eq!(bench.pool.counts().dialling, 2);
    assert_eq!(bench.pool.wanted(bench.now), 0);
    let pause = bench.pool.poll_timeout().expect("a pause") - bench.now;
    assert_eq!(pause, Duration::from_millis(100));
    bench.now += pause;
    bench.pool.handle_timeout(bench.now);
    assert!(bench.pool.wanted(bench.now) > 0);
    bench.fail(2);
    assert_eq!(bench.outputs().len(), 2);
    assert_eq!(bench.pool.counts().dialling, 0);
    bench.pool.wait(bench.now, 4).expect("room");
    bench.now += Duration::from_millis(400);
    bench.dial();
    bench.arrive();
    assert_eq!(bench.outputs().len(), 1);
    bench.fail(1);
    let pause = bench.pool.poll_timeout().expect("a pause") - bench.now;
    assert_eq!(pause, Duration::from_millis(100), "a tunnel that came began a new row");
}

#[test]
fn a_burst_that_fails_is_one_failure_and_leaves_room_for_the_next() {
    let mut bench = Bench::new();
    for waiter in 1..=4 {
        bench.pool.wait(bench.now, waiter).expect("room");
    }
    let most = settings().tunnels_max;
    let mut asked = bench.dial();
    while asked < most {
        bench.arrive();
        let more = bench.dial();
        if more == 0 {
            break;
        }
        asked += more;
    }
    let stranger = Secret::from_random(|bytes| bytes.fill(200));
    bench.pool.dial_failed(bench.now, &[stranger], 0);
    assert!(
        bench.pool.poll_timeout().is_none_or(|at| at > bench.now + Duration::from_secs(1)),
        "nothing of ours failed"
    );
    while !bench.tickets.is_empty() {
        bench.fail(1);
    }
    assert_eq!(bench.pool.counts().dialling, 0);
    let pause = bench.pool.poll_timeout().expect("a pause") - bench.now;
    assert_eq!(pause, Duration::from_millis(100), "however many messages it took to say so");
    bench.now += pause;
    bench.pool.handle_timeout(bench.now);
    assert!(bench.dial() > 0, "tickets that failed take no room");
}

#[test]
fn an_old_idle_tunnel_is_closed_and_a_closed_pool_takes_nothing() {
    let mut bench = Bench::new();
    bench.dial();
    let dead = bench.arrive().expect("idle");
    bench.arrive();
    assert_eq!(bench.pool.remove(dead), Some(1));
    assert_eq!(bench.pool.remove(dead), None);
    bench.pass(3_600);
    assert_eq!(bench.outputs(), [Output::Close(2)]);
    bench.dial();
    bench.arrive();
    let reserved = bench.pool.take().expect("idle");
    bench.pool.wait(bench.now, 1).expect("room");
    bench.pool.close();
    assert_eq!(bench.outputs(), [Output::Fail(1, Failure::Closed)]);
    assert_eq!(bench.pool.give_back(bench.now, reserved), None);
    assert_eq!(bench.outputs(), [Output::Close(3)]);
    assert_eq!(bench.pool.wait(bench.now, 2), Err((2, Failure::Closed)));
    assert_eq!(bench.pool.wanted(bench.now), 0);
}

#[derive(Debug, Clone)]
enum Step {
    Open,
    Cancel(usize),
    Dial,
    Arrive(usize),
    Replay(usize),
    DialFailed(usize),
    Die(usize),
    GiveBack(usize),
    Finish(usize),
    Pass(u64),
    Close,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => Just(Step::Open),
        2 => any::<usize>().prop_map(Step::Cancel),
        6 => Just(Step::Dial),
        8 => any::<usize>().prop_map(Step::Arrive),
        1 => any::<usize>().prop_map(Step::Replay),
        1 => (0_usize..5).prop_map(Step::DialFailed),
        2 => any::<usize>().prop_map(Step::Die),
        2 => any::<usize>().prop_map(Step::GiveBack),
        4 => any::<usize>().prop_map(Step::Finish),
        3 => (0_u64..40).prop_map(Step::Pass),
    ]
}

/// Where the outside world believes every tunnel and waiter to be.
#[derive(Default)]
struct World {
    idle: BTreeMap<u32, Serial>,
    busy: Vec<Aged<u32>>,
    closed: BTreeSet<u32>,
    waiting: BTreeMap<u32, Serial>,
    ended: BTreeSet<u32>,
    used: Vec<Secret>,
    opens: u32,
}

/// One of `length` things, if there are any.
fn pick(choice: usize, length: usize) -> Option<usize> {
    (length > 0).then(|| choice % length)
}

fn apply(bench: &mut Bench, world: &mut World, step: &Step) {
    match step {
        Step::Open => open(bench, world),
        Step::Cancel(choice) => {
            if let Some(index) = pick(*choice, world.waiting.len()) {
                let (waiter, serial) =
                    world.waiting.iter().map(|(w, s)| (*w, *s)).nth(index).expect("in range");
                assert_eq!(bench.pool.cancel(serial), Some(waiter));
                world.waiting.remove(&waiter);
                assert!(world.ended.insert(waiter));
            }
        }
        Step::Dial => drop(bench.dial()),
        Step::Arrive(choice) => {
            if let Some(index) = pick(*choice, bench.tickets.len()) {
                arrive(bench, world, index);
            }
        }
        Step::Replay(choice) => {
            if let Some(index) = pick(*choice, world.used.len()) {
                assert_eq!(bench.pool.redeem(bench.now, &world.used[index]), Err(TicketRefused));
            }
        }
        Step::DialFailed(tickets) => {
            let failed: Vec<Secret> = bench.tickets.drain(..(*tickets).min(bench.tickets.len())).collect();
            bench.pool.dial_failed(bench.now, &failed, 12_345);
            world.used.extend(failed);
        }
        Step::Die(choice) => {
            if let Some(index) = pick(*choice, world.idle.len()) {
                let (tunnel, serial) = world.idle.iter().map(|(t, s)| (*t, *s)).nth(index).expect("in range");
                assert_eq!(bench.pool.remove(serial), Some(tunnel));
                world.idle.remove(&tunnel);
                assert!(world.closed.insert(tunnel));
            }
        }
        Step::GiveBack(choice) => {
            if let Some(index) = pick(*choice, world.busy.len()) {
                let aged = world.busy.remove(index);
                let tunnel = aged.tunnel;
                if let Some(serial) = bench.pool.give_back(bench.now, aged) {
                    world.idle.insert(tunnel, serial);
                }
            }
        }
        Step::Finish(choice) => {
            if let Some(index) = pick(*choice, world.busy.len()) {
                assert!(world.closed.insert(world.busy.remove(index).tunnel));
                bench.pool.finished();
            }
        }
        Step::Pass(seconds) => bench.pass(*seconds),
        Step::Close => bench.pool.close(),
    }
    for output in bench.outputs() {
        take_note(world, output);
    }
}

fn open(bench: &mut Bench, world: &mut World) {
    if let Some(aged) = bench.pool.take() {
        assert!(world.idle.remove(&aged.tunnel).is_some());
        world.busy.push(aged);
        return;
    }
    world.opens += 1;
    match bench.pool.wait(bench.now, world.opens) {
        Ok(serial) => drop(world.waiting.insert(world.opens, serial)),
        Err((waiter, _)) => assert!(world.ended.insert(waiter)),
    }
}

fn arrive(bench: &mut Bench, world: &mut World, ticket: usize) {
    let secret = bench.tickets.remove(ticket);
    if bench.pool.redeem(bench.now, &secret).is_ok() {
        bench.tunnels += 1;
        let aged = Aged { tunnel: bench.tunnels, retires_at: bench.now + Duration::from_secs(100) };
        if let Some(serial) = bench.pool.arrived(bench.now, aged) {
            world.idle.insert(bench.tunnels, serial);
        }
    }
    world.used.push(secret);
}

fn take_note(world: &mut World, output: Output<u32, u32>) {
    match output {
        Output::Serve(waiter, aged) => {
            assert!(world.waiting.remove(&waiter).is_some());
            assert!(world.ended.insert(waiter));
            world.busy.push(aged);
        }
        Output::Fail(waiter, _) => {
            assert!(world.waiting.remove(&waiter).is_some());
            assert!(world.ended.insert(waiter));
        }
        Output::Close(tunnel) => {
            world.idle.remove(&tunnel);
            assert!(world.closed.insert(tunnel), "a tunnel is closed once");
        }
    }
}

fn check(bench: &Bench, world: &World) {
    let counts = bench.pool.counts();
    assert_eq!((counts.idle, counts.busy), (world.idle.len(), world.busy.len()));
    assert_eq!(counts.waiting, world.waiting.len());
    assert!(counts.waiting == 0 || counts.idle == 0, "nobody waits while a tunnel is idle");
    assert!(counts.waiting <= settings().waiters_max);
    assert!(counts.idle + counts.busy + counts.dialling <= settings().tunnels_max);
    let everywhere = world.idle.len() + world.busy.len() + world.closed.len();
    assert_eq!(everywhere, bench.tunnels as usize, "every tunnel is in one place");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() })]

    #[test]
    fn every_tunnel_is_in_one_place_and_every_waiter_ends_once(steps in prop::collection::vec(step(), 1..200)) {
        let mut bench = Bench::new();
        let mut world = World::default();
        for step in &steps {
            apply(&mut bench, &mut world, step);
            check(&bench, &world);
        }
        // Liveness: with an agent that dials, nobody waits and the minimum is there.
        bench.pass(40);
        while let Some(aged) = world.busy.pop() {
            assert!(world.closed.insert(aged.tunnel));
            bench.pool.finished();
        }
        bench.tickets.clear();
        loop {
            apply(&mut bench, &mut world, &Step::Dial);
            if bench.tickets.is_empty() {
                break;
            }
            while !bench.tickets.is_empty() {
                apply(&mut bench, &mut world, &Step::Arrive(0));
            }
        }
        prop_assert!(world.waiting.is_empty());
        prop_assert!(bench.pool.counts().idle >= settings().idle_min);
        apply(&mut bench, &mut world, &Step::Close);
        check(&bench, &world);
        prop_assert_eq!(bench.pool.counts().idle, 0);
    }
}
