//! A subscriber of a cluster of scripted nodes.

use bowline_rt::time::sleep;

use super::*;
use crate::subscriber::Item;
use crate::{Subscriber, Subscription, Topic};

/// A node that lets everybody subscribe.
fn confirm(words: &str) -> Option<Frame> {
    let (name, topic) = words.split_once(' ')?;
    Some(match name {
        "PING" => Frame::bulk(topic.to_owned()),
        name => Frame::Push(vec![
            Frame::bulk(name.to_lowercase()),
            Frame::bulk(topic.to_owned()),
            Frame::Integer(1),
        ]),
    })
}

fn subscribe(world: &World) -> (Subscriber, Subscription) {
    let config = Config::from_url("redis-cluster://a:1").unwrap();
    let subscriber = Subscriber::start_with(config, world.clone(), world.clone());
    let subscription = subscriber.subscribe(Topic::channel("news")).unwrap();
    (subscriber, subscription)
}

async fn until_established(subscription: &mut Subscription) {
    let established = async { while subscription.next().await != Item::Established {} };
    timeout(Duration::from_secs(10), established).await.expect("a node is found");
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_finds_nodes_that_nobody_has_named() {
    let world = World::default();
    let all = ["a:1", "b:2", "c:3", "d:4"];
    all.iter().for_each(|address| world.node(address, confirm));
    world.layout(1, &all[..3]);
    let (subscriber, mut subscription) = subscribe(&world);
    until_established(&mut subscription).await;
    sleep(DEADLINE).await;
    assert_eq!(world.connections("a:1"), 2, "one for the messages, and one to ask for the layout");
    // Those who were named, and then those who were found, die for good, one after the other.
    world.remove("a:1");
    until_established(&mut subscription).await;
    sleep(DEADLINE).await;
    let [found, left] = if world.connections("b:2") > 0 { ["b:2", "c:3"] } else { ["c:3", "b:2"] };
    world.layout(2, &[found, "d:4"]);
    sleep(2 * CLUSTER_REFRESH_PERIOD).await;
    world.remove(found);
    until_established(&mut subscription).await;
    sleep(DEADLINE).await;
    assert_eq!((world.connections("d:4"), world.connections(left)), (2, 0), "{left} has left the cluster");

    drop((subscriber, subscription));
    sleep(Duration::from_millis(1)).await;
    assert_eq!(world.connections("d:4"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_does_not_tell_the_layout_serves_subscribers_all_the_same() {
    let world = World::default();
    world.node("a:1", confirm);
    world.say(1, vec![Frame::Integer(7)]);
    let (_subscriber, mut subscription) = subscribe(&world);
    until_established(&mut subscription).await;
    let nothing = timeout(3 * CLUSTER_REFRESH_PERIOD, subscription.next()).await;
    assert!(nothing.is_err(), "{nothing:?}");
}
