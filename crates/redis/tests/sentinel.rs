//! Failovers of real servers under load: a primary, a replica and three sentinels on loopback.
//!
//! What is demanded: no call hangs past its deadline, no value belongs to another key, no increment is counted twice, and the
//! load goes on at the new primary in time. That every acknowledged increment is still there afterwards is *not* demanded:
//! replication is asynchronous, so a failover may lose what the old primary had acknowledged and not passed on yet, whatever
//! a client does.
#![expect(clippy::unwrap_used, reason = "a test; the lint sees tests only where they are marked as such")]

#[path = "support/server.rs"]
mod support;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bowline_redis::{CallError, Client, Command, Config, Connection, Frame, ReadFrom};
use bowline_rt::task::{self, JoinHandle};
use bowline_rt::time;

use support::{SOON, Server, wait_for};

const DEADLINE: Duration = Duration::from_secs(1);
/// What a call may take beyond its deadline on a machine that is busy.
const SLACK: Duration = Duration::from_secs(3);
const CALLERS: usize = 16;
/// Silence after which the sentinels give a server up.
const DOWN_AFTER: Duration = Duration::from_millis(1000);

/// Servers under the watch of sentinels.
struct Watched {
    primary: Server,
    replica: Server,
    sentinels: Vec<Server>,
    _directory: tempfile::TempDir,
}

impl Watched {
    /// Starts all and waits until the sentinels know of everybody.
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = ["--save", "", "--repl-diskless-sync-delay", "0", "--enable-debug-command", "yes"];
        let primary = Server::start(directory.path(), &options).await;
        let port = primary.port.to_string();
        let follows = [&options[..], &["--replicaof", "127.0.0.1", &port]].concat();
        let replica = Server::start(directory.path(), &follows).await;
        wait_for("the replica is in step", || async {
            replica.cli(&["INFO", "replication"]).await.contains("master_link_status:up").then_some(())
        })
        .await;
        let mut sentinels = Vec::new();
        for number in 0..3 {
            let configuration = sentinel_file(directory.path(), number, primary.port);
            sentinels.push(Server::start(directory.path(), &[&configuration, "--sentinel"]).await);
        }
        for sentinel in &sentinels {
            wait_for("the sentinels know each other", || async {
                let quorum = sentinel.cli(&["SENTINEL", "CKQUORUM", "my"]).await;
                let replicas = sentinel.cli(&["SENTINEL", "REPLICAS", "my"]).await;
                (quorum.starts_with("OK 3") && replicas.contains(&replica.port.to_string())).then_some(())
            })
            .await;
        }
        Self { primary, replica, sentinels, _directory: directory }
    }

    /// A client that knows one sentinel.
    fn client(&self) -> Client {
        self.client_that_reads_from(ReadFrom::Primary)
    }

    fn client_that_reads_from(&self, read_from: ReadFrom) -> Client {
        let url = format!("redis-sentinel://127.0.0.1:{}/my", self.sentinels[0].port);
        let mut config = Config::from_url(&url).unwrap();
        config.settings.call_deadline = DEADLINE;
        config.settings.read_from = read_from;
        Client::start(config)
    }
}

/// How many `GET`s a server has run.
async fn reads(server: &Server) -> u64 {
    let stats = server.cli(&["INFO", "commandstats"]).await;
    let line = stats.lines().find_map(|line| line.strip_prefix("cmdstat_get:calls="));
    line.map_or(0, |rest| rest.split(',').next().unwrap().parse().unwrap())
}

async fn until_read_from(server: &Server) {
    let before = reads(server).await;
    wait_for("it is read from", || async { (reads(server).await > before + 1000).then_some(()) }).await;
}

fn sentinel_file(directory: &Path, number: usize, primary: u16) -> String {
    let path = directory.join(format!("sentinel-{number}.conf"));
    let down_after = DOWN_AFTER.as_millis();
    let text = format!(
        "sentinel monitor my 127.0.0.1 {primary} 2\n\
         sentinel down-after-milliseconds my {down_after}\n\
         sentinel failover-timeout my 3000\n"
    );
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Callers that never pause for long, each with a counter and a key of its own.
#[derive(Default)]
struct Load {
    acknowledged: [AtomicU64; CALLERS],
    unknown: [AtomicU64; CALLERS],
    values: AtomicU64,
    failures: AtomicU64,
    stop: AtomicBool,
}

impl Load {
    fn start(client: &Client) -> (Arc<Self>, Vec<JoinHandle<()>>) {
        let load = Arc::new(Self::default());
        let callers =
            (0..CALLERS).map(|caller| task::spawn("load", load.clone().run(caller, client.clone())));
        let callers = callers.collect();
        (load, callers)
    }

    async fn run(self: Arc<Self>, caller: usize, client: Client) {
        let key = format!("key:{caller}");
        let mut round: u64 = 0;
        while !self.stop.load(Ordering::Relaxed) {
            round += 1;
            match timed(&client, Command::new("INCR").arg(counter(caller))).await {
                Ok(frame) => {
                    assert!(matches!(frame, Frame::Integer(1..)), "{frame:?}");
                    self.acknowledged[caller].fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => self.note(caller, &error),
            }
            let set = Command::new("SET").args([&key, &format!("{key}={round}")]);
            if let Err(error) = timed(&client, set).await {
                self.note_failure(&error);
            }
            match timed(&client, Command::new("GET").arg(&key)).await {
                // Until the first value got through, or was lost.
                Ok(Frame::Null) => {}
                Ok(frame) => {
                    let value = frame.as_text().expect("a text");
                    assert!(value.starts_with(&format!("{key}=")), "{key} holds {value}");
                    self.values.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => self.note_failure(&error),
            }
        }
    }

    fn note(&self, caller: usize, error: &CallError) {
        if !error.had_no_effect() {
            self.unknown[caller].fetch_add(1, Ordering::Relaxed);
        }
        self.note_failure(error);
    }

    fn note_failure(&self, error: &CallError) {
        if let CallError::Server(error) = error {
            assert!(["READONLY", "LOADING", "MASTERDOWN"].contains(&error.code.as_str()), "{error}");
        }
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    fn answered(&self) -> u64 {
        self.acknowledged.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// Ends the load; nothing was counted twice.
    async fn finish(&self, callers: Vec<JoinHandle<()>>, client: &Client) {
        self.stop.store(true, Ordering::Relaxed);
        for caller in callers {
            caller.await.unwrap();
        }
        for caller in 0..CALLERS {
            let get = Command::new("GET").arg(counter(caller));
            let value = client.call(get).await.unwrap();
            let value: u64 = value.as_text().map_or(0, |text| text.parse().unwrap());
            let [acknowledged, unknown] =
                [&self.acknowledged, &self.unknown].map(|counts| counts[caller].load(Ordering::Relaxed));
            assert!(value <= acknowledged + unknown, "{value} of {acknowledged} + {unknown}");
        }
        assert!(self.values.load(Ordering::Relaxed) > 0);
    }
}

fn counter(caller: usize) -> String {
    format!("counter:{caller}")
}

async fn timed(client: &Client, command: Command) -> Result<Frame, CallError> {
    let started = time::now();
    let outcome = client.call(command).await;
    let took = started.elapsed();
    assert!(took < DEADLINE + SLACK, "a call took {took:?}: {outcome:?}");
    outcome
}

/// Waits until the client is connected to the process `run_id`, and the load goes on there.
async fn until_load_goes_on(client: &Client, load: &Load, run_id: &str) {
    let mut connection = client.connection();
    let is_there = |connection: &Connection| matches!(connection, Connection::Up { server, .. } if server.run_id.as_deref() == Some(run_id));
    time::timeout(SOON, connection.wait_for(is_there)).await.expect("a connection in time").unwrap();
    let before = load.answered();
    wait_for("the load goes on", || async { (load.answered() > before + 1000).then_some(()) }).await;
}

async fn run_id(server: &Server) -> String {
    let info = server.cli(&["INFO", "server"]).await;
    info.lines().find_map(|line| line.strip_prefix("run_id:")).unwrap().trim().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_load_goes_on_when_the_primary_and_a_sentinel_are_killed() {
    let mut watched = Watched::start().await;
    let client = watched.client();
    let (load, callers) = Load::start(&client);
    until_load_goes_on(&client, &load, &run_id(&watched.primary).await).await;

    let next = run_id(&watched.replica).await;
    // The only sentinel that the client was told of. The two that are left are as many as it takes.
    watched.sentinels[0].kill();
    watched.primary.kill();
    let killed = time::now();
    until_load_goes_on(&client, &load, &next).await;
    println!("{:?} after the kill; {} calls failed", killed.elapsed(), load.failures.load(Ordering::Relaxed));
    load.finish(callers, &client).await;
}

/// The old primary stays alive, and for several seconds it takes writes, which are lost when it is made a replica at last: who
/// waits for its errors waits too long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_old_primary_is_left_as_soon_as_the_sentinels_say_so() {
    let watched = Watched::start().await;
    let client = watched.client();
    let (load, callers) = Load::start(&client);
    until_load_goes_on(&client, &load, &run_id(&watched.primary).await).await;

    let next = run_id(&watched.replica).await;
    assert_eq!(watched.sentinels[1].cli(&["SENTINEL", "FAILOVER", "my"]).await, "OK");
    let asked = time::now();
    let promoted = format!("127.0.0.1\n{}", watched.replica.port);
    wait_for("the sentinel names the replica", || async {
        let named = watched.sentinels[0].cli(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "my"]).await;
        (named == promoted).then_some(())
    })
    .await;
    let switched = time::now();
    until_load_goes_on(&client, &load, &next).await;
    println!("{:?} after the request, {:?} after the switch", asked.elapsed(), switched.elapsed());
    assert_eq!(client.metrics().deaths("replaced"), 1);
    assert!(watched.primary.cli(&["ROLE"]).await.starts_with("master"), "it believes to be one still");
    load.finish(callers, &client).await;
}

/// As under SIGSTOP. When it wakes up, it takes itself for the primary for some more seconds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_slept_through_its_own_failover_is_not_gone_back_to() {
    let watched = Watched::start().await;
    let client = watched.client();
    let (load, callers) = Load::start(&client);
    until_load_goes_on(&client, &load, &run_id(&watched.primary).await).await;

    let next = run_id(&watched.replica).await;
    let fell_asleep = time::now();
    let sleep = async { watched.primary.cli(&["DEBUG", "SLEEP", "5"]).await };
    let switch = async {
        until_load_goes_on(&client, &load, &next).await;
        fell_asleep.elapsed()
    };
    let (slept, switched) = tokio::join!(sleep, switch);
    assert_eq!(slept, "OK");
    println!("{switched:?} after it fell asleep; {} calls failed", load.failures.load(Ordering::Relaxed));

    let connected = client.metrics().connected.get();
    assert!(watched.primary.cli(&["ROLE"]).await.starts_with("master"), "it believes to be one still");
    until_load_goes_on(&client, &load, &next).await;
    assert_eq!(client.metrics().connected.get(), connected);
    load.finish(callers, &client).await;
}

/// No value belongs to another key, no call takes longer than it may, and a replica that stands still costs nobody an answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_are_read_from_through_their_own_sleep_and_the_death_of_the_primary() {
    let mut watched = Watched::start().await;
    let client = watched.client_that_reads_from(ReadFrom::Any);
    let (load, callers) = Load::start(&client);
    until_load_goes_on(&client, &load, &run_id(&watched.primary).await).await;
    until_read_from(&watched.replica).await;
    until_read_from(&watched.primary).await;

    // Longer than the driver and the sentinels look on.
    let slept = async { watched.replica.cli(&["DEBUG", "SLEEP", "4"]).await };
    let (slept, went_on) = tokio::join!(slept, async {
        let (begun, before) = (time::now(), load.answered());
        wait_for("the load goes on", || async { (load.answered() > before + 1000).then_some(()) }).await;
        begun.elapsed()
    });
    assert_eq!(slept, "OK");
    assert_eq!(load.failures.load(Ordering::Relaxed), 0, "the primary answers");
    println!("1000 rounds took {went_on:?} beside a replica that slept");
    until_read_from(&watched.replica).await;

    let next = run_id(&watched.replica).await;
    watched.primary.kill();
    until_load_goes_on(&client, &load, &next).await;
    until_read_from(&watched.replica).await;
    println!("{} calls failed", load.failures.load(Ordering::Relaxed));
    load.finish(callers, &client).await;
}
