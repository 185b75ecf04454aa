//! Subscriptions at a real redis-server, also while it ends connections, stands still, and moves slots.
#![expect(clippy::unwrap_used, reason = "a test; the lint sees tests only where they are marked as such")]

#[path = "support/server.rs"]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bowline_redis::subscriber::{Gap, Item, Message};
use bowline_redis::{
    CallError, Client, Command, Config, Connection, Frame, Protocol, Subscriber, Subscription, Topic,
};
use bowline_rt::{task, time};
use tempfile::TempDir;

use support::{SOON, wait_for};

/// A redis-server without persistence, and a connection for what the test itself asks.
struct Server {
    process: support::Server,
    admin: Client,
    _directory: TempDir,
}

impl Server {
    async fn start(arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let arguments = [&["--save", "", "--appendonly", "no"], arguments].concat();
        let process = support::Server::start(directory.path(), &arguments).await;
        let admin = Client::start(config(process.port));
        Self { process, admin, _directory: directory }
    }

    fn config(&self) -> Config {
        config(self.process.port)
    }

    async fn call(&self, words: &[&str]) -> Frame {
        self.admin.call(Command::new(words[0]).args(&words[1..])).await.unwrap()
    }

    /// Ends the connections whose name is `name`, and says how many there were.
    async fn kill_connections(&self, name: &str) -> usize {
        let list = self.call(&["CLIENT", "LIST"]).await.as_text().unwrap().to_owned();
        let named = format!(" name={name} ");
        let ids = list.lines().filter(|line| line.contains(&named)).filter_map(|line| {
            line.strip_prefix("id=").and_then(|rest| rest.split(' ').next()).map(str::to_owned)
        });
        let mut killed = 0;
        for id in ids.collect::<Vec<_>>() {
            let count = self.call(&["CLIENT", "KILL", "ID", &id]).await;
            killed += usize::try_from(count.as_integer().unwrap()).unwrap();
        }
        killed
    }
}

/// How to connect. The machine of the test may be busy.
fn config(port: u16) -> Config {
    let mut config = Config::from_url(&format!("redis://127.0.0.1:{port}")).unwrap();
    config.settings.call_deadline = SOON;
    config.settings.silence_max = SOON;
    config.settings.reconnect_pause_max = Duration::from_millis(20);
    config
}

/// Lets a process stand still, or go on.
async fn signal(process_id: u32, name: &'static str) {
    let script = format!("kill -{name} {process_id}");
    let status = task::blocking(move || std::process::Command::new("sh").args(["-c", &script]).status());
    assert!(status.await.unwrap().success());
}

/// Publishes, and says to how many.
async fn publish(server: &Server, command: &str, channel: &str, payload: &str) -> i64 {
    server.call(&[command, channel, payload]).await.as_integer().unwrap()
}

async fn next(subscription: &mut Subscription) -> Item {
    time::timeout(SOON, subscription.next()).await.expect("an item comes")
}

async fn established(subscriber: &Subscriber, topic: Topic) -> Subscription {
    let subscription = subscriber.subscribe(topic).unwrap().established();
    time::timeout(SOON, subscription).await.expect("the server answers").expect("the server agrees")
}

fn message(channel: &'static str, pattern: Option<&'static str>, payload: &'static str) -> Item {
    let pattern = pattern.map(Into::into);
    Item::Message(Message { channel: channel.into(), pattern, payload: payload.into() })
}

/// All kinds, there and back, and again after the connection was ended.
async fn check_all_kinds(server: &Server, protocol: Protocol) {
    let subscriber = Subscriber::start(server.config().name("subscriber"));
    let mut channel = established(&subscriber, Topic::channel("a")).await;
    let mut pattern = established(&subscriber, Topic::pattern("a*")).await;
    let mut shard = established(&subscriber, Topic::shard("a")).await;
    assert!(matches!(
        &*subscriber.connection().borrow(),
        Connection::Up { server, .. } if server.protocol == protocol
    ));
    for _ in 0..2 {
        for payload in ["unsubscribe", "message", "+OK"] {
            assert_eq!(publish(server, "PUBLISH", "a", payload).await, 2);
            assert_eq!(publish(server, "SPUBLISH", "a", payload).await, 1);
            assert_eq!(next(&mut channel).await, message("a", None, payload));
            assert_eq!(next(&mut pattern).await, message("a", Some("a*"), payload));
            assert_eq!(next(&mut shard).await, message("a", None, payload));
        }
        assert_eq!(server.kill_connections("subscriber").await, 1);
        for subscription in [&mut channel, &mut pattern, &mut shard] {
            assert!(matches!(next(subscription).await, Item::Gap(Gap::Lost(_))));
            assert_eq!(next(subscription).await, Item::Established);
        }
    }
    let deaf = established(&subscriber, Topic::channel("b")).await;
    drop((channel, pattern, shard, deaf));
    wait_for("nobody is subscribed", || async {
        let channels =
            publish(server, "PUBLISH", "a", "x").await + publish(server, "PUBLISH", "b", "x").await;
        (channels + publish(server, "SPUBLISH", "a", "x").await == 0).then_some(())
    })
    .await;
    assert_eq!((subscriber.metrics().connected.get(), subscriber.metrics().gaps.get()), (3, 6));
}

#[tokio::test]
async fn all_kinds_in_resp3() {
    check_all_kinds(&Server::start(&[]).await, Protocol::Resp3).await;
}

#[tokio::test]
async fn all_kinds_in_resp2() {
    let server = Server::start(&["--rename-command", "HELLO", "\"\""]).await;
    check_all_kinds(&server, Protocol::Resp2).await;
}

/// Numbers are published without a pause while connections are ended. Nothing is missing but where a gap stands, nothing comes
/// twice, nothing out of order.
#[tokio::test]
async fn what_is_missing_is_only_where_a_gap_is() {
    const ROUNDS: usize = 40;
    let server = Arc::new(Server::start(&[]).await);
    let subscriber = Subscriber::start(server.config().name("subscriber"));
    let mut subscription = established(&subscriber, Topic::channel("numbers")).await;
    let is_over = Arc::new(AtomicBool::new(false));
    let publisher = {
        let (server, is_over) = (server.clone(), is_over.clone());
        task::spawn("publisher", async move {
            let mut number = 0_u64;
            while !is_over.load(Ordering::Relaxed) {
                publish(&server, "PUBLISH", "numbers", &number.to_string()).await;
                number += 1;
            }
            // Whoever is subscribed now sees that it is over.
            wait_for("somebody listens", || async {
                (publish(&server, "PUBLISH", "numbers", "end").await == 1).then_some(())
            })
            .await;
        })
    };
    let killer = {
        let (server, is_over) = (server.clone(), is_over.clone());
        task::spawn("killer", async move {
            for _ in 0..ROUNDS {
                wait_for("a connection to end", || async {
                    (server.kill_connections("subscriber").await == 1).then_some(())
                })
                .await;
            }
            is_over.store(true, Ordering::Relaxed);
        })
    };
    let (mut last, mut has_gap, mut messages) = (None::<u64>, false, 0);
    loop {
        match next(&mut subscription).await {
            Item::Message(message) if &message.payload[..] == b"end" => break,
            Item::Message(message) => {
                let number: u64 = std::str::from_utf8(&message.payload).unwrap().parse().unwrap();
                match last {
                    Some(last) if has_gap => assert!(number > last, "{number} after {last}"),
                    Some(last) => assert_eq!(number, last + 1),
                    None => {}
                }
                (last, has_gap, messages) = (Some(number), false, messages + 1);
            }
            Item::Gap(_) => has_gap = true,
            Item::Established => {}
            other => panic!("unexpected {other:?}"),
        }
    }
    publisher.await.unwrap();
    killer.await.unwrap();
    assert!(messages > ROUNDS, "{messages} messages");
    // Some were ended while they were introduced. There is one connection for each end, and the first.
    let metrics = subscriber.metrics();
    assert_eq!(metrics.connected.get() + metrics.connect_failures.get(), ROUNDS as u64 + 1);
}

#[tokio::test]
async fn who_may_not_is_told_and_may_as_soon_as_the_server_agrees() {
    let server = Server::start(&[]).await;
    let user = ["ACL", "SETUSER", "u", "on", ">p", "+@all", "~*", "resetchannels", "&open"];
    server.call(&user).await;
    let url = format!("redis://u:p@127.0.0.1:{}", server.process.port);
    let subscriber = Subscriber::start(Config::from_url(&url).unwrap());
    let mut closed = subscriber.subscribe(Topic::channel("closed")).unwrap();
    let mut open = established(&subscriber, Topic::channel("open")).await;
    assert!(matches!(next(&mut closed).await, Item::Refused(error) if error.code == "NOPERM"));
    publish(&server, "PUBLISH", "open", "1").await;
    assert_eq!(next(&mut open).await, message("open", None, "1"));
    server.call(&["ACL", "SETUSER", "u", "&closed"]).await;
    assert_eq!(next(&mut closed).await, Item::Established);
    publish(&server, "PUBLISH", "closed", "2").await;
    assert_eq!(next(&mut closed).await, message("closed", None, "2"));
    assert_eq!(subscriber.metrics().gaps.get(), 0);
}

#[tokio::test]
async fn a_server_that_stands_still_is_noticed_although_nobody_asks_it_anything() {
    let server = Server::start(&[]).await;
    let mut config = server.config();
    config.settings.silence_max = Duration::from_millis(400);
    config.settings.probe_interval = Duration::from_millis(300);
    config.settings.handshake_timeout = Duration::from_millis(500);
    let subscriber = Subscriber::start(config);
    let mut subscription = established(&subscriber, Topic::channel("a")).await;
    let process_id = server.process.id();
    signal(process_id, "STOP").await;
    let stopped_at = time::now();
    assert!(matches!(next(&mut subscription).await, Item::Gap(Gap::Lost(_))));
    let noticed_after = time::now() - stopped_at;
    signal(process_id, "CONT").await;
    assert!(noticed_after < Duration::from_secs(5), "{noticed_after:?}");
    assert_eq!(next(&mut subscription).await, Item::Established);
    assert_eq!(subscriber.metrics().deaths("silent"), 1);
}

const CALLERS: usize = 64;
const KEYS: usize = 1000;

/// A cluster of one node, and callers of one shared connection whose answers are checked.
struct Loaded {
    server: Server,
    client: Client,
    is_over: Arc<AtomicBool>,
    answers: Arc<AtomicUsize>,
    callers: Vec<task::JoinHandle<()>>,
}

impl Loaded {
    async fn start() -> Self {
        let arguments = ["--cluster-enabled", "yes", "--cluster-require-full-coverage", "no"];
        let server = Server::start(&arguments).await;
        server.call(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]).await;
        wait_for("the cluster is sound", || async {
            let info = server.call(&["CLUSTER", "INFO"]).await;
            info.as_text()?.contains("cluster_state:ok").then_some(())
        })
        .await;
        let client = Client::start(server.config().name("shared"));
        for key in 0..KEYS {
            let key = format!("key:{key}");
            client.call(Command::new("SET").args([&key, &key])).await.unwrap();
        }
        let (is_over, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let callers = (0..CALLERS).map(|caller| {
            let (client, is_over, answers) = (client.clone(), is_over.clone(), answers.clone());
            task::spawn("caller", async move {
                for number in caller.. {
                    if is_over.load(Ordering::Relaxed) {
                        return;
                    }
                    let key = format!("key:{}", number % KEYS);
                    match client.call(Command::new("GET").arg(&key)).await {
                        Ok(value) => assert_eq!(value.as_text(), Some(key.as_str()), "another's value"),
                        // Its slot was taken away.
                        Err(CallError::Server(error)) => assert_eq!(error.code, "CLUSTERDOWN"),
                        Err(other) => panic!("{other}"),
                    }
                    answers.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        let callers = callers.collect();
        Self { server, client, is_over, answers, callers }
    }

    /// Waits for many more answers.
    async fn wait_for_answers(&self) {
        let before = self.answers.load(Ordering::Relaxed);
        wait_for("answers", || async {
            (self.answers.load(Ordering::Relaxed) > before + 10 * CALLERS).then_some(())
        })
        .await;
    }

    async fn finish(self) {
        self.is_over.store(true, Ordering::Relaxed);
        for caller in self.callers {
            caller.await.expect("every answer was the caller's own");
        }
        assert_eq!(self.client.metrics().connected.get(), 1, "nothing was out of step");
    }
}

/// driver.md 2.2: the slot of a subscribed shard channel goes away under a load of GETs. redis-rs gave 62 to 65 of them another
/// key's value.
#[tokio::test]
async fn a_slot_that_goes_away_ends_a_subscription_and_shifts_nobody() {
    let loaded = Loaded::start().await;
    let server = &loaded.server;
    let subscriber = loaded.client.subscriber();
    let mut subscription = established(&subscriber, Topic::shard("shard")).await;
    let slot = server.process.cli(&["CLUSTER", "KEYSLOT", "shard"]).await;
    for round in 0..10 {
        assert_eq!(publish(server, "SPUBLISH", "shard", "1").await, 1, "round {round}");
        assert_eq!(next(&mut subscription).await, message("shard", None, "1"));
        server.call(&["CLUSTER", "DELSLOTS", &slot]).await;
        assert_eq!(next(&mut subscription).await, Item::Gap(Gap::Unsubscribed));
        assert!(matches!(next(&mut subscription).await, Item::Refused(error) if error.code == "CLUSTERDOWN"));
        loaded.wait_for_answers().await;
        server.call(&["CLUSTER", "ADDSLOTS", &slot]).await;
        assert_eq!(next(&mut subscription).await, Item::Established);
    }
    assert_eq!((subscriber.metrics().connected.get(), subscriber.metrics().gaps.get()), (1, 10));
    loaded.finish().await;
}

/// The server's own end of a subscription crosses ours, many times, at whatever moment.
#[tokio::test]
async fn ends_that_cross_shift_nobody() {
    let loaded = Loaded::start().await;
    let server = &loaded.server;
    let subscriber = loaded.client.subscriber();
    let slot = server.process.cli(&["CLUSTER", "KEYSLOT", "shard"]).await;
    for _ in 0..50 {
        let subscription = established(&subscriber, Topic::shard("shard")).await;
        let words = ["CLUSTER", "DELSLOTS", &slot];
        let taken = server.call(&words);
        let dropped = async {
            task::yield_now().await;
            drop(subscription);
        };
        let (_, ()) = tokio::join!(taken, dropped);
        server.call(&["CLUSTER", "ADDSLOTS", &slot]).await;
    }
    loaded.wait_for_answers().await;
    assert_eq!(subscriber.metrics().connected.get(), 1);
    loaded.finish().await;
}
