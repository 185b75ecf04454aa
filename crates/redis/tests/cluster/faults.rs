//! Slots move and a primary is killed under load: every value names its key, every increment is counted, nothing hangs past its
//! deadline, and the client is back soon after the cluster.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bowline_redis::{CallError, Client, Command, Config, Frame, ReadFrom, Slot, Transaction};
use bowline_rt::{random, task, time};

use crate::support::{RealCluster, Server, wait_for};
use crate::{DEADLINE, client};

/// What a call may take beyond its deadline on a machine that is busy.
const SLACK: Duration = Duration::from_secs(3);
const KEYS: u64 = 500;
const COUNTERS: usize = 40;
const TASKS: usize = 16;

/// What came of the increments of one counter.
#[derive(Default)]
struct Counter {
    acknowledged: AtomicU64,
    unknown: AtomicU64,
}

#[derive(Default)]
struct Load {
    counters: Vec<Counter>,
    answered: AtomicU64,
    not_sent: AtomicU64,
    unknown: AtomicU64,
    refused: AtomicU64,
    /// Calls that each task has begun.
    begun: Vec<AtomicU64>,
    stop: AtomicBool,
}

fn counter(number: usize) -> String {
    format!("counter:{number}")
}

impl Load {
    fn new() -> Arc<Self> {
        let counters = std::iter::repeat_with(Counter::default).take(COUNTERS).collect();
        let begun = std::iter::repeat_with(AtomicU64::default).take(TASKS).collect();
        Arc::new(Self { counters, begun, ..Self::default() })
    }

    /// Waits until every task has begun so many calls more.
    async fn rounds(&self, count: u64) {
        let begun = || self.begun.iter().map(|begun| begun.load(Ordering::Relaxed)).collect::<Vec<_>>();
        let before = begun();
        let all_have = || before.iter().zip(begun()).all(|(before, now)| now >= before + count);
        wait_for("every task goes on", || async { all_have().then_some(()) }).await;
    }

    async fn run(self: Arc<Self>, task: usize, client: Client) {
        while !self.stop.load(Ordering::Relaxed) {
            self.begun[task].fetch_add(1, Ordering::Relaxed);
            let started = time::now();
            let key = format!("key:{}", random::below(KEYS));
            match random::below(6) {
                0 => self.count(&client.call(Command::new("SET").args([&key, &format!("{key}=1")])).await),
                1 => self.increment(&client).await,
                2 => self.read_two(&client, &key).await,
                3 => self.transact(&client, &key).await,
                4 => self.read(&client, &key, ReadFrom::Any).await,
                _ => self.read(&client, &key, ReadFrom::Primary).await,
            }
            let took = started.elapsed();
            assert!(took < DEADLINE + SLACK, "a call took {took:?}");
        }
    }

    fn count<T>(&self, outcome: &Result<T, CallError>) {
        let counter = match outcome {
            Ok(_) => &self.answered,
            Err(CallError::NotSent(_)) => &self.not_sent,
            Err(CallError::Unknown(_)) => &self.unknown,
            Err(CallError::Server(error)) => {
                assert!(error.is_refusal(), "{error}");
                &self.refused
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    async fn increment(&self, client: &Client) {
        let number = usize::try_from(random::below(COUNTERS as u64)).unwrap();
        let outcome = client.call(Command::new("INCR").arg(counter(number))).await;
        self.count(&outcome);
        let counter = &self.counters[number];
        match outcome {
            Ok(_) => counter.acknowledged.fetch_add(1, Ordering::Relaxed),
            Err(CallError::Unknown(_)) => counter.unknown.fetch_add(1, Ordering::Relaxed),
            Err(_) => 0,
        };
    }

    async fn read(&self, client: &Client, key: &str, read_from: ReadFrom) {
        let outcome = client.call(Command::new("GET").arg(key).read_from(read_from)).await;
        self.count(&outcome);
        if let Ok(value) = outcome {
            check_value(key, &value);
        }
    }

    /// Two keys of one slot, which may be on their way one behind the other.
    async fn read_two(&self, client: &Client, key: &str) {
        let (one, two) = (format!("{{{key}}}:1"), format!("{{{key}}}:2"));
        let outcome = client.call(Command::new("MGET").args([&one, &two])).await;
        self.count(&outcome);
        if let Ok(values) = outcome {
            let values = values.into_elements().unwrap();
            check_value(&one, &values[0]);
            check_value(&two, &values[1]);
        }
    }

    async fn transact(&self, client: &Client, key: &str) {
        let (one, two) = (format!("{{{key}}}:1"), format!("{{{key}}}:2"));
        let set = |key: &str| Command::new("SET").args([key, &format!("{key}=1")]);
        let transaction = Transaction::new().command(set(&one)).command(set(&two));
        let outcome = client.transaction(transaction.command(Command::new("GET").arg(&one))).await;
        self.count(&outcome);
        if let Ok(answers) = outcome {
            let answers: Vec<Frame> = answers.into_iter().map(Result::unwrap).collect();
            assert_eq!(answers, [Frame::ok(), Frame::ok(), Frame::bulk(format!("{one}=1"))]);
        }
    }

    /// Acknowledged ≤ counter ≤ acknowledged + unknown; `may_lose` for a counter whose primary has died with writes that its
    /// replica had not got.
    async fn check_counters(&self, client: &Client, may_lose: impl Fn(Slot) -> bool) {
        for (number, expected) in self.counters.iter().enumerate() {
            let name = counter(number);
            let value = client.call(Command::new("GET").arg(&name)).await.unwrap();
            let value: u64 = value.as_text().map_or(0, |text| text.parse().unwrap());
            let acknowledged = expected.acknowledged.load(Ordering::Relaxed);
            let most = acknowledged + expected.unknown.load(Ordering::Relaxed);
            assert!(value <= most, "{name} is {value}, at most {most} were sent");
            assert!(
                value >= acknowledged || may_lose(Slot::of(name.as_bytes())),
                "{name} is {value}, {acknowledged} were acknowledged"
            );
        }
    }

    fn report(&self, when: &str, client: &Client) -> [u64; 4] {
        let counts = [&self.answered, &self.not_sent, &self.unknown, &self.refused];
        let counts = counts.map(|count| count.load(Ordering::Relaxed));
        let refusals =
            ["moved", "ask", "not_now", "demoted"].map(|kind| (kind, client.metrics().refusals(kind)));
        let refreshes =
            ["changed", "same", "stale", "failed"].map(|kind| (kind, client.metrics().refreshes(kind)));
        tell(&format!(
            "{when}: answered, not sent, unknown, refused = {counts:?}; refusals {refusals:?}; refreshes {refreshes:?}"
        ));
        counts
    }
}

fn check_value(key: &str, value: &Frame) {
    match value {
        Frame::Null => {}
        value => assert_eq!(value.as_text(), Some(&*format!("{key}=1")), "the value of {key}"),
    }
}

/// Moves a slot with its keys, as redis-cli does. Between its steps the load meets ASK and TRYAGAIN.
async fn move_slot(cluster: &RealCluster, admins: &[Client], slot: u16, from: usize, to: usize) {
    let setslot = |state: &str, node: usize| {
        Command::new("CLUSTER").args(["SETSLOT", &slot.to_string(), state, &cluster.ids[node]])
    };
    admins[to].call(setslot("IMPORTING", from)).await.unwrap();
    admins[from].call(setslot("MIGRATING", to)).await.unwrap();
    loop {
        let keys = Command::new("CLUSTER").args(["GETKEYSINSLOT", &slot.to_string(), "1"]);
        let keys = admins[from].call(keys).await.unwrap().into_elements().unwrap();
        let Some(key) = keys.first().and_then(Frame::as_bytes) else { break };
        let port = cluster.nodes[to].port.to_string();
        let migrate = Command::new("MIGRATE").args(["127.0.0.1", &port]).arg(key).args(["0", "1000"]);
        admins[from].call(migrate).await.unwrap();
    }
    for node in [to, from] {
        admins[node].call(setslot("NODE", to)).await.unwrap();
    }
}

fn slots_in_use() -> BTreeSet<u16> {
    let keys = (0..KEYS).map(|number| format!("key:{number}"));
    keys.chain((0..COUNTERS).map(counter)).map(|key| Slot::of(key.as_bytes()).number()).collect()
}

/// Runs `story` under load, and returns the load when it has ended.
async fn under_load(client: &Client, story: impl AsyncFnOnce(&Load)) -> Arc<Load> {
    let load = Load::new();
    let run = |task| task::spawn("load", load.clone().run(task, client.clone()));
    let tasks: Vec<_> = (0..TASKS).map(run).collect();
    story(&load).await;
    load.stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
    load
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_move_and_a_primary_dies_under_load() {
    let mut cluster = RealCluster::start().await;
    let client = client(&cluster);
    let to_move: BTreeSet<u16> = slots_in_use().into_iter().filter(|&slot| slot <= 5460).collect();
    let load = under_load(&client, async |_| {
        let admins: Vec<Client> = (cluster.nodes[..3].iter())
            .map(|node| Client::start(Config::from_url(&format!("redis://{}", node.address())).unwrap()))
            .collect();
        let started = time::now();
        for &slot in &to_move {
            move_slot(&cluster, &admins, slot, 0, 1).await;
        }
        tell(&format!("moved {} slots in {:?}", to_move.len(), started.elapsed()));
    })
    .await;
    let [answered, not_sent, unknown, refused] = load.report("resharding", &client);
    assert!(answered > 1000, "there was load");
    assert_eq!([not_sent, unknown, refused], [0; 3], "a resharding costs no call");
    assert!(client.metrics().refusals("ask") > 0 && client.metrics().refusals("moved") > 0);
    load.check_counters(&client, |_| false).await;
    client.on_all_primaries(Command::new("FLUSHALL")).await.unwrap();

    let load = under_load(&client, async |load| {
        wait_for("there is load", || async { (load.answered.load(Ordering::Relaxed) > 500).then_some(()) })
            .await;
        cluster.nodes[1].kill();
        let killed = time::now();
        take_over(&cluster.nodes[4]).await;
        tell(&format!("the replica took over after {:?}", killed.elapsed()));
        recover(&client, 5461..=10922).await;
        let before = load.report("death", &client);
        // What was under way at the moment of the recovery may fail yet; what begins later does not.
        load.rounds(2).await;
        let [_, calm @ ..] = load.report("recovered", &client);
        load.rounds(100).await;
        let [answered, later @ ..] = load.report("calm", &client);
        assert_eq!(later, calm, "nothing fails any more");
        assert!(answered > before[0]);
    })
    .await;
    let may_lose = |slot: Slot| to_move.contains(&slot.number()) || (5461..=10922).contains(&slot.number());
    load.check_counters(&client, may_lose).await;
}

/// The primary stands still for longer than the cluster puts up with, and comes back as a replica.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_stands_still_is_replaced_and_comes_back() {
    let cluster = RealCluster::start().await;
    let client = client(&cluster);
    let load = under_load(&client, async |load| {
        load.rounds(30).await;
        cluster.nodes[2].signal("STOP");
        let stopped = time::now();
        take_over(&cluster.nodes[5]).await;
        tell(&format!("the replica took over after {:?}", stopped.elapsed()));
        recover(&client, 10923..=16383).await;
        cluster.nodes[2].signal("CONT");
        wait_for("the old primary is a replica", || async {
            cluster.nodes[2].cli(&["ROLE"]).await.starts_with("slave").then_some(())
        })
        .await;
        load.rounds(2).await;
        let [_, calm @ ..] = load.report("recovered", &client);
        load.rounds(100).await;
        let [_, later @ ..] = load.report("calm", &client);
        assert_eq!(later, calm, "nothing fails any more");
    })
    .await;
    load.check_counters(&client, |slot| slot.number() >= 10923).await;
}

/// Waits until `replica` is a primary and the cluster sound.
async fn take_over(replica: &Server) {
    wait_for("the replica takes over", || async {
        let is_primary = replica.cli(&["ROLE"]).await.starts_with("master");
        let is_ok = replica.cli(&["CLUSTER", "INFO"]).await.contains("cluster_state:ok");
        (is_primary && is_ok).then_some(())
    })
    .await;
}

/// Waits until the client reaches these slots again.
async fn recover(client: &Client, slots: RangeInclusive<u16>) {
    let started = time::now();
    let is_there = |key: &String| slots.contains(&Slot::of(key.as_bytes()).number());
    let key = (0..KEYS).map(|number| format!("key:{number}")).find(is_there).unwrap();
    wait_for("the client finds it", || async { client.call(Command::new("GET").arg(&key)).await.ok() }).await;
    tell(&format!("the client was back {:?} after the cluster", started.elapsed()));
    assert!(started.elapsed() < Duration::from_secs(1));
}

#[expect(clippy::print_stdout, reason = "figures for whoever runs it with --nocapture")]
fn tell(text: &str) {
    println!("{text}");
}
