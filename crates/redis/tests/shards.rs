//! Subscriptions in a cluster: shard channels are followed to their nodes, when slots move and when a node is killed. They are
//! apart from the other tests of clusters, so that they do not run at the same time.
#![expect(clippy::unwrap_used, reason = "a test; the lint sees tests only where they are marked as such")]

#[path = "support/cluster.rs"]
mod support;

use bowline_redis::subscriber::{Gap, Item};
use bowline_redis::{Client, Config, Slot, Subscriber, Subscription, Topic};
use bowline_rt::time;

use support::{RealCluster, Server, wait_for};

/// Longest wait for an item: a failover takes its time.
const PATIENCE: time::Duration = time::Duration::from_secs(30);

async fn next(subscription: &mut Subscription) -> Item {
    time::timeout(PATIENCE, subscription.next()).await.expect("an item comes")
}

/// Waits until the subscription holds again, and says what came before that.
async fn until_established(subscription: &mut Subscription) -> Vec<Item> {
    let started = time::now();
    let mut items = Vec::new();
    loop {
        match next(subscription).await {
            Item::Established => return items,
            item => items.push(item),
        }
        let is_in_time = time::now() - started < PATIENCE;
        assert!(is_in_time, "{:?}: {} items, {items:?}", subscription.topic(), items.len());
    }
}

/// A shard channel whose slot is in the n-th third.
fn channel(third: u16) -> String {
    let is_there = |name: &String| Slot::of(name.as_bytes()).number() / 5462 == third;
    (0..).map(|number| format!("shard:{number}")).find(is_there).expect("there is one")
}

/// Publishes at a node, and checks that it comes.
async fn check(cluster: &RealCluster, node: usize, subscription: &mut Subscription) {
    let name = String::from_utf8(subscription.topic().name().to_vec()).unwrap();
    let published = cluster.nodes[node].cli(&["SPUBLISH", &name, "hello"]).await;
    assert_eq!(published, "1", "at node {node}");
    match next(subscription).await {
        Item::Message(message) => assert_eq!(&message.payload[..], b"hello"),
        other => panic!("unexpected {other:?}"),
    }
}

async fn subscribe(subscriber: &Subscriber, topic: Topic) -> Subscription {
    let mut subscription = subscriber.subscribe(topic).unwrap();
    assert_eq!(until_established(&mut subscription).await, []);
    subscription
}

#[tokio::test]
async fn shard_channels_are_followed_when_slots_move_and_nodes_die() {
    let mut cluster = RealCluster::start().await;
    let subscriber = Client::start(Config::from_url(&cluster.url()).unwrap()).subscriber();
    let mut ordinary = subscribe(&subscriber, Topic::channel("ordinary")).await;
    let mut shards = Vec::new();
    for third in 0..3 {
        shards.push(subscribe(&subscriber, Topic::shard(channel(third))).await);
    }
    for (node, shard) in shards.iter_mut().enumerate() {
        check(&cluster, node, shard).await;
    }
    assert_eq!(subscriber.metrics().connected.get(), 3, "one connection to each node");
    cluster.nodes[2].cli(&["PUBLISH", "ordinary", "hello"]).await;
    assert!(matches!(next(&mut ordinary).await, Item::Message(_)), "it comes from every node");

    // The slot of the second channel moves to the third node.
    let slot = Slot::of(shards[1].topic().name()).number().to_string();
    let steps = [(2, "IMPORTING", 1), (1, "MIGRATING", 2), (2, "NODE", 2), (1, "NODE", 2), (0, "NODE", 2)];
    for (node, state, owner) in steps {
        let setslot = ["CLUSTER", "SETSLOT", &slot, state, &cluster.ids[owner]];
        assert_eq!(cluster.nodes[node].cli(&setslot).await, "OK", "{state} at node {node}");
    }
    assert_eq!(until_established(&mut shards[1]).await, [Item::Gap(Gap::Unsubscribed)]);
    check(&cluster, 2, &mut shards[1]).await;

    // A replica takes over the slots of which it knows.
    wait_for("the replica knows of the slot", || async {
        let nodes = cluster.nodes[5].cli(&["CLUSTER", "NODES"]).await;
        let owner = nodes.lines().find(|line| line.starts_with(&cluster.ids[2]))?;
        owner.split(' ').any(|word| word == slot).then_some(())
    })
    .await;
    // The third node is killed; its replica takes over.
    cluster.nodes[2].kill();
    for shard in &mut shards[1..] {
        let items = until_established(shard).await;
        assert!(matches!(items[0], Item::Gap(Gap::Lost(_))), "{items:?}");
        check(&cluster, 5, shard).await;
    }
    check(&cluster, 0, &mut shards[0]).await;
    assert_eq!(subscriber.metrics().gaps.get(), 3, "nobody else was disturbed");
}

/// How often a node was asked for the layout.
async fn layouts_told(node: &Server) -> u64 {
    let stats = node.cli(&["INFO", "commandstats"]).await;
    let line = stats.lines().find_map(|line| line.strip_prefix("cmdstat_cluster|slots:calls="));
    line.map_or(0, |rest| rest.split(',').next().unwrap().parse().unwrap())
}

/// The only node that was named is gone for good, and then the one that was found in its place.
#[tokio::test]
async fn a_subscriber_goes_on_without_the_nodes_that_were_named() {
    let mut cluster = RealCluster::start().await;
    let mut told_before = Vec::new();
    for node in &cluster.nodes {
        told_before.push(layouts_told(node).await);
    }
    let subscriber = Subscriber::start(Config::from_url(&cluster.url()).unwrap());
    let mut ordinary = subscribe(&subscriber, Topic::channel("ordinary")).await;
    for round in 0..2 {
        let mut home = None;
        for (index, node) in cluster.nodes.iter().enumerate().skip(round) {
            if node.cli(&["PUBSUB", "NUMSUB", "ordinary"]).await.ends_with('1') {
                home = Some(index);
            }
        }
        let home = home.expect("it is subscribed somewhere");
        wait_for("it has asked for the layout", || async {
            (layouts_told(&cluster.nodes[home]).await > told_before[home]).then_some(())
        })
        .await;
        if round == 0 {
            assert_eq!(home, 0);
        }
        cluster.nodes[home].kill();
        let killed = time::now();
        let items = until_established(&mut ordinary).await;
        assert!(matches!(items[..], [Item::Gap(Gap::Lost(_))]), "{items:?}");
        println!("node {home} was replaced after {:?}", killed.elapsed());
        let speaker = (0..6).find(|&index| index != 0 && index != home).unwrap();
        cluster.nodes[speaker].cli(&["PUBLISH", "ordinary", "hello"]).await;
        assert!(matches!(next(&mut ordinary).await, Item::Message(_)));
    }
}

/// With several nodes named, a first one that stands still is no more than a gap.
#[tokio::test]
async fn another_node_that_was_named_takes_the_place_of_the_first() {
    let cluster = RealCluster::start().await;
    let url = format!("{},{}", cluster.url(), cluster.nodes[1].address());
    let subscriber = Subscriber::start(Config::from_url(&url).unwrap());
    let mut ordinary = subscribe(&subscriber, Topic::channel("ordinary")).await;
    cluster.nodes[0].signal("STOP");
    let items = until_established(&mut ordinary).await;
    assert!(matches!(items[..], [Item::Gap(Gap::Lost(_))]), "{items:?}");
    wait_for("a message", || async {
        let heard = cluster.nodes[1].cli(&["PUBLISH", "ordinary", "hello"]).await;
        (heard == "1").then_some(())
    })
    .await;
    assert!(matches!(next(&mut ordinary).await, Item::Message(_)));
}
