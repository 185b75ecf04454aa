//! Reads from replicas that sentinels name.

use bowline_rt::time::sleep;

use super::*;
use crate::batch::Batch;
use crate::cluster::ReadFrom;
use crate::limits::REPLICA_SHARE;

const SOUND: &[[&str; 3]] = &[["r1:1", "slave", "ok"], ["r2:1", "slave", "ok"]];
const DEADLINE: Duration = Duration::from_secs(1);

impl Net {
    /// A primary and two replicas, of which the sentinel says this.
    fn watched(replicas: &'static [[&'static str; 3]]) -> Self {
        let net = Self::new([("s1:1", Host::Watching("a:1", 1, replicas)), ("a:1", Host::Server("master"))]);
        net.replicas_do(Reads::Well);
        net
    }

    fn replicas_do(&self, reads: Reads) {
        for replica in ["r1:1", "r2:1"] {
            self.put(replica, Host::Replica("up", reads));
        }
    }
}

fn client(net: &Net, read_from: ReadFrom) -> Client {
    let mut config = Config::from_url("redis-sentinel://s1:1/my").unwrap();
    config.settings.read_from = read_from;
    net.client_of(config)
}

fn get() -> Command {
    Command::new("GET").arg("k").deadline(DEADLINE)
}

/// Who answers 50 calls, without the usual wait for the first connections.
async fn readers(client: &Client) -> Vec<String> {
    let mut readers = Vec::new();
    for _ in 0..50 {
        readers.push(who(client).await);
    }
    readers.sort();
    readers.dedup();
    readers
}

/// Waits until calls are answered by these, and by no other.
async fn until_read_from(client: &Client, expected: &[&str]) {
    let read = async {
        while readers(client).await != expected {
            sleep(Duration::from_millis(10)).await;
        }
    };
    let found = timeout(3 * SENTINEL_LOOK_INTERVAL, read).await;
    assert!(found.is_ok(), "{expected:?} and not {:?}", readers(client).await);
}

#[tokio::test(start_paused = true)]
async fn replicas_are_read_from_if_that_is_asked_for_and_only_then() {
    let net = Net::watched(SOUND);
    let client = client(&net, ReadFrom::Primary);
    assert_eq!(readers(&client).await, ["a:1"]);
    sleep(2 * SENTINEL_LOOK_INTERVAL).await;
    assert_eq!(net.connections("r1:1") + net.connections("r2:1"), 0, "nobody has asked for it");

    let from = |read_from| client.call(get().read_from(read_from));
    assert_eq!(from(ReadFrom::PreferReplica).await, Ok(Frame::bulk("a:1")), "they are not known yet");
    let mut all = std::collections::BTreeSet::new();
    let begun = now();
    while all.len() < 3 {
        let answer = from(ReadFrom::Any).await.unwrap();
        all.insert(answer.as_text().unwrap().to_owned());
        sleep(Duration::from_millis(1)).await;
        assert!(now() - begun < Duration::from_secs(1), "{all:?}");
    }
    for _ in 0..50 {
        assert_ne!(from(ReadFrom::PreferReplica).await, Ok(Frame::bulk("a:1")));
        assert_eq!(from(ReadFrom::Primary).await, Ok(Frame::bulk("a:1")));
    }
    // What may write goes to the primary; a replica would know no SET here.
    let set = Command::new("SET").args(["k", "v"]).read_from(ReadFrom::PreferReplica);
    assert_eq!(client.call(set.clone()).await, Ok(Frame::ok()));
    let batch = client.batch(Batch::new().command(set).command(get().read_from(ReadFrom::PreferReplica)));
    assert_eq!(batch.await, Ok(vec![Ok(Frame::ok()), Ok(Frame::bulk("a:1"))]));
    let batch = client.batch(Batch::new().command(get().read_from(ReadFrom::PreferReplica)));
    assert_ne!(batch.await, Ok(vec![Ok(Frame::bulk("a:1"))]));
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_is_not_sound_is_not_read_from() {
    let net = Net::watched(SOUND);
    let client = client(&net, ReadFrom::PreferReplica);
    until_read_from(&client, &["r1:1", "r2:1"]).await;
    net.put("s1:1", Host::Watching("a:1", 1, &[["r1:1", "slave,s_down", "ok"], ["r2:1", "slave", "ok"]]));
    until_read_from(&client, &["r2:1"]).await;
    net.put("s1:1", Host::Watching("a:1", 1, &[["r1:1", "slave", "ok"], ["r2:1", "slave", "err"]]));
    until_read_from(&client, &["r1:1"]).await;
    net.put("s1:1", Host::Watching("a:1", 1, &[]));
    until_read_from(&client, &["a:1"]).await;
    sleep(Duration::from_millis(1)).await;
    assert_eq!(net.connections("r1:1") + net.connections("r2:1"), 0);
    // Those of which a sentinel tells nothing are known no more when the primary is another one.
    net.put("s1:1", Host::Watching("a:1", 1, SOUND));
    until_read_from(&client, &["r1:1", "r2:1"]).await;
    net.put("b:1", Host::Server("master"));
    net.put("s1:1", Host::Sentinel("b:1", 2, &[]));
    net.publish("my a 1 b 1");
    until_read_from(&client, &["b:1"]).await;
}

#[tokio::test(start_paused = true)]
async fn who_is_no_replica_or_not_in_step_is_not_read_from_whatever_sentinels_say() {
    for host in [
        Host::Server("master"),
        Host::Replica("down", Reads::Well),
        Host::Sentinel("a:1", 1, &[]),
        Host::Silent,
        Host::Says("+OK\r\n".into()),
    ] {
        let net = Net::watched(&[["r1:1", "slave", "ok"], ["a:1", "slave", "ok"]]);
        net.put("r1:1", host.clone());
        let client = client(&net, ReadFrom::PreferReplica);
        let started = now();
        for _ in 0..100 {
            assert_eq!(who(&client).await, "a:1", "{host:?}");
            sleep(Duration::from_millis(10)).await;
        }
        assert!(now() - started < Duration::from_millis(1100), "nobody waits for {host:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_primary_answers_what_a_replica_does_not() {
    for reads in [
        Reads::Refuses("LOADING x"),
        Reads::Refuses("MASTERDOWN x"),
        Reads::Refuses("READONLY x"),
        Reads::Cuts,
        Reads::Never,
    ] {
        let net = Net::watched(SOUND);
        let client = client(&net, ReadFrom::PreferReplica);
        until_read_from(&client, &["r1:1", "r2:1"]).await;
        net.replicas_do(reads);
        let started = now();
        assert_eq!(client.call(get()).await, Ok(Frame::bulk("a:1")), "{reads:?}");
        assert!(now() - started <= DEADLINE / REPLICA_SHARE + Duration::from_millis(20), "{reads:?}");
    }
    // It has the last word where the primary is gone too.
    let net = Net::watched(SOUND);
    let client = client(&net, ReadFrom::PreferReplica);
    until_read_from(&client, &["r1:1", "r2:1"]).await;
    net.kill("a:1");
    until_read_from(&client, &["r1:1", "r2:1"]).await;
    net.replicas_do(Reads::Never);
    let started = now();
    let outcome = client.call(get()).await;
    assert!(matches!(outcome, Err(CallError::Unknown(_))), "it was sent: {outcome:?}");
    assert!(now() - started <= DEADLINE + Duration::from_millis(20));
}

#[tokio::test(start_paused = true)]
async fn connections_to_replicas_end_with_the_last_client() {
    let net = Net::watched(SOUND);
    let client = client(&net, ReadFrom::PreferReplica);
    until_read_from(&client, &["r1:1", "r2:1"]).await;
    drop(client);
    sleep(Duration::from_millis(1)).await;
    for address in ["s1:1", "a:1", "r1:1", "r2:1"] {
        assert_eq!(net.connections(address), 0, "{address}");
    }
}
