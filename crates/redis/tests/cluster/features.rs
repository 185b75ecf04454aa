//! What a client of a cluster can do beside commands with one key.

use std::collections::BTreeSet;
use std::time::Duration;

use bowline_redis::{
    Batch, CacheSettings, CallError, Client, Command, Config, Frame, NotSent, OnSlot, ReadFrom, RouteError,
    Script, Slot,
};

use bowline_rt::time::now;
use futures_util::future::join_all;

use crate::support::{RealCluster, Server, wait_for};
use crate::{DEADLINE, client};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_client_of_a_cluster_can_do() {
    let cluster = RealCluster::start().await;
    let client = client(&cluster);
    let set = |key: &str| Command::new("SET").args([key, &format!("{key}=1")]);
    for number in 0..100 {
        client.call(set(&format!("key:{number}"))).await.unwrap();
    }
    assert_eq!(client.metrics().refusals("moved"), 0, "the layout was known");
    let mut addresses = client.primaries().await.unwrap();
    addresses.sort();
    let mut expected: Vec<String> = cluster.nodes[..3].iter().map(Server::address).collect();
    expected.sort();
    assert_eq!(addresses, expected);

    let sizes = client.on_all_primaries(Command::new("DBSIZE")).await.unwrap();
    let sizes: i64 = sizes.into_iter().map(|(_, size)| size.unwrap().as_integer().unwrap()).sum();
    assert_eq!(sizes, 100);
    let dbsize = client.call(Command::new("DBSIZE")).await;
    assert_eq!(dbsize, Err(NotSent::Route(RouteError::OfNode).into()));
    let unknown = client.call_on("127.0.0.1:1", Command::new("DBSIZE")).await;
    assert!(matches!(unknown, Err(CallError::NotSent(NotSent::Route(RouteError::UnknownNode { .. })))));
    let role = client.call_on(&cluster.nodes[3].address(), Command::new("ROLE")).await.unwrap();
    assert_eq!(role.into_elements().unwrap()[0], Frame::bulk("slave"));

    let crossing = client.call(Command::new("MGET").args(["key:1", "key:2"])).await;
    assert!(matches!(crossing, Err(CallError::NotSent(NotSent::Route(RouteError::CrossSlot { .. })))));
    let crossing = crossing.unwrap_err().to_string();
    assert!(crossing.contains("Client::over_slots"), "{crossing}");
    check_over_slots(&cluster, &client).await;
    let crossing = client.batch(Batch::new().command(set("a")).command(set("b"))).await;
    assert!(matches!(crossing, Err(CallError::NotSent(NotSent::Route(RouteError::CrossSlot { .. })))));
    let batch = Batch::new().command(set("{a}1")).command(Command::new("GET").arg("{a}1"));
    assert_eq!(client.batch(batch).await.unwrap(), [Ok(Frame::ok()), Ok(Frame::bulk("{a}1=1"))]);

    // A script is sent in full once to each node that does not know it.
    let script = Script::new("return redis.call('GET', KEYS[1])");
    for number in 0..30 {
        let key = format!("key:{number}");
        let value = client.eval(&script, &[key.as_bytes()], &[]).await.unwrap();
        assert_eq!(value, Frame::bulk(format!("{key}=1")));
    }
    assert_eq!(client.call(Command::new("PING")).await, Ok(Frame::Simple("PONG".into())));

    let mut dedicated = client.dedicated_for(b"list").await.unwrap();
    client.call(Command::new("RPUSH").args(["list", "x"])).await.unwrap();
    let popped = dedicated.call(Command::new("BLPOP").args(["list", "1"])).await.unwrap();
    assert_eq!(popped, Frame::Array(vec![Frame::bulk("list"), Frame::bulk("x")]));
    check_replica_reads(&cluster, &client).await;
    check_cached_reads(&cluster).await;
}

/// Keys all over the cluster in one call; with a node that stands still all other keys have their answer in time.
async fn check_over_slots(cluster: &RealCluster, client: &Client) {
    let keys: Vec<String> = (0..200).map(|number| format!("over:{number}")).collect();
    let pairs = keys.iter().flat_map(|key| [key.clone(), format!("{key}=1")]);
    let set = client.over_slots(Command::new("MSET").args(pairs)).await.unwrap();
    assert!(set.iter().all(|part| part.outcome == Ok(Frame::ok())));
    let slots: BTreeSet<_> = keys.iter().map(|key| Slot::of(key.as_bytes())).collect();
    assert_eq!(set.len(), slots.len(), "one part for each slot");
    let value = |key: &String| Ok(Some(format!("{key}=1")));
    let values = client.mget_over_slots::<String>(&keys).await.unwrap();
    assert_eq!(values, keys.iter().map(value).collect::<Vec<_>>());

    // Shorter than it takes for a replica to take over.
    let deadline = Duration::from_millis(300);
    cluster.nodes[1].signal("STOP");
    let started = now();
    let parts = client.over_slots(Command::new("MGET").args(&keys).deadline(deadline)).await.unwrap();
    let took = started.elapsed();
    cluster.nodes[1].signal("CONT");
    assert!(took < deadline + DEADLINE, "{took:?}");
    for OnSlot { keys: places, outcome } in parts {
        if (5461..10923).contains(&Slot::of(keys[places[0]].as_bytes()).number()) {
            assert!(matches!(outcome, Err(CallError::Unknown(_))), "{outcome:?}");
        } else {
            let values = places.iter().map(|&key| Frame::bulk(format!("{}=1", keys[key])));
            assert_eq!(outcome, Ok(Frame::Array(values.collect())));
        }
    }
    let count = |parts: Vec<OnSlot>| {
        parts.into_iter().map(|part| part.outcome.unwrap().as_integer().unwrap()).sum::<i64>()
    };
    for (name, expected) in [("EXISTS", 200), ("TOUCH", 200), ("UNLINK", 200), ("DEL", 0)] {
        // The node that stood still may be slow for a moment.
        let command = Command::new(name).args(&keys).deadline(10 * DEADLINE);
        assert_eq!(count(client.over_slots(command).await.unwrap()), expected, "{name}");
    }
}

/// Each node tracks the keys that are read from it.
async fn check_cached_reads(cluster: &RealCluster) {
    let config = Config::from_url(&cluster.url()).unwrap().client_side_cache(CacheSettings::default());
    let (reader, writer) = (Client::start(config), client(cluster));
    for key in ["key:1", "key:2", "key:3", "key:4"] {
        let get = || reader.call_cached(Command::new("GET").arg(key));
        let value = Frame::bulk(format!("{key}=1"));
        assert_eq!((get().await, get().await), (Ok(value.clone()), Ok(value)));
        writer.call(Command::new("SET").args([key, "2"])).await.unwrap();
        wait_for("the new value", || async { (get().await == Ok(Frame::bulk("2"))).then_some(()) }).await;
    }
    assert_eq!(reader.metrics().cache.untracked.get(), 0);
    assert!(reader.metrics().cache.hits.get() >= 4);
}

/// Reads reach replicas once they are connected, and the primary before.
async fn check_replica_reads(cluster: &RealCluster, client: &Client) {
    let replica_reads = || async {
        let mut sum = 0;
        for node in &cluster.nodes[3..] {
            let stats = node.cli(&["INFO", "commandstats"]).await;
            let line = stats.lines().find_map(|line| line.strip_prefix("cmdstat_get:calls="));
            sum += line.map_or(0, |rest| rest.split(',').next().unwrap().parse::<u64>().unwrap());
        }
        sum
    };
    assert_eq!(replica_reads().await, 0);
    wait_for("replicas answer", || async {
        for number in 0..100 {
            let key = format!("key:{number}");
            let get = Command::new("GET").arg(&key).read_from(ReadFrom::PreferReplica);
            assert_eq!(client.call(get).await, Ok(Frame::bulk(format!("{key}=1"))));
        }
        (replica_reads().await > 100).then_some(())
    })
    .await;
    // A write goes to the primary, whatever is asked for.
    let set = Command::new("SET").args(["key:1", "key:1=1"]).read_from(ReadFrom::PreferReplica);
    assert_eq!(client.call(set).await, Ok(Frame::ok()));
    assert_eq!(client.metrics().refusals("moved"), 0);

    // Replicas that stand still cost nobody an answer.
    cluster.nodes[3..].iter().for_each(|node| node.signal("STOP"));
    let gets = (0..30).map(|number| {
        let key = format!("key:{number}");
        let get = Command::new("GET").arg(&key).read_from(ReadFrom::PreferReplica);
        async move { (client.call(get).await, Frame::bulk(format!("{key}=1"))) }
    });
    for (value, expected) in join_all(gets).await {
        assert_eq!(value, Ok(expected));
    }
    cluster.nodes[3..].iter().for_each(|node| node.signal("CONT"));
}
