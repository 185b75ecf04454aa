//! A client of a cluster whose nodes are scripted, over pipes in memory and with a paused clock.

use std::sync::Mutex;
use std::time::Duration;

use bowline_resp::Frame;
use bowline_rt::task;
use bowline_rt::time::{now, sleep, timeout};

use crate::batch::{Batch, Transaction};
use crate::cache::CacheSettings;
use crate::cluster::key::Slot;
use crate::cluster::{OnSlot, ReadFrom, RouteError};
use crate::command::Command;
use crate::config::Config;
use crate::error::{CallError, NotSent, Unknown};
use crate::limits::CLUSTER_REFRESH_PERIOD;
use crate::{ConversionError, QueryError};

#[path = "world_tests.rs"]
mod world;

#[path = "model_tests.rs"]
mod model;

#[path = "subscriber_tests.rs"]
mod subscriber;

use world::{DEADLINE, World, in_time};

fn ok(_: &str) -> Option<Frame> {
    Some(Frame::ok())
}

/// An error that names the slot of `k`.
fn redirect(kind: &str, to: &str) -> Frame {
    Frame::error(format!("{kind} {} {to}", Slot::of(b"k")))
}

fn set() -> Command {
    Command::new("SET").args(["k", "v"])
}

#[tokio::test(start_paused = true)]
async fn a_redirect_is_followed_once_and_remembered() {
    let world = World::default();
    world.layout(1, &["a:1"]);
    world.node("a:1", |_| Some(redirect("MOVED", "b:2")));
    world.node("b:2", ok);
    let client = world.client();
    assert_eq!(in_time(client.call(set())).await, Ok(Frame::ok()));
    assert_eq!(in_time(client.call(set())).await, Ok(Frame::ok()));
    assert_eq!(world.asked(), ["a:1 SET k v", "b:2 SET k v", "b:2 SET k v"]);
    assert_eq!(client.metrics().refusals("moved"), 1);
}

#[tokio::test(start_paused = true)]
async fn nodes_that_do_not_agree_cannot_keep_a_call_beyond_its_deadline_nor_busy() {
    let world = World::default();
    world.layout(1, &["a:1"]);
    world.node("a:1", |_| Some(redirect("MOVED", "b:2")));
    world.node("b:2", |_| Some(redirect("MOVED", "a:1")));
    let client = world.client();
    let error = in_time(client.call(set())).await.unwrap_err();
    // The deadline may also come while a node that had been forgotten is connected to again.
    let is_moved = matches!(&error, CallError::Server(error) if error.code == "MOVED");
    assert!(is_moved || matches!(error, CallError::NotSent(_)), "{error}");
    assert!(error.had_no_effect());
    let asked = world.asked().len();
    assert!((4..64).contains(&asked), "{asked}");
}

#[tokio::test(start_paused = true)]
async fn ask_holds_once_and_asking_stands_right_before_the_command() {
    let world = World::default();
    world.layout(1, &["a:1"]);
    world.node("a:1", |_| Some(redirect("ASK", "b:2")));
    world.node("b:2", ok);
    let client = world.client();
    for _ in 0..2 {
        assert_eq!(in_time(client.call(set())).await, Ok(Frame::ok()));
        assert_eq!(world.asked(), ["a:1 SET k v", "b:2 ASKING", "b:2 SET k v"]);
    }
    let transaction = Transaction::new().command(set());
    drop(in_time(client.transaction(transaction)).await);
    let batch = Batch::new().command(set()).command(set());
    assert_eq!(in_time(client.batch(batch)).await, Ok(vec![Ok(Frame::ok()), Ok(Frame::ok())]));
    let asked = world.asked().join(", ");
    assert!(asked.ends_with("b:2 ASKING, b:2 SET k v, b:2 ASKING, b:2 SET k v"), "{asked}");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_was_to_be_asked_may_say_moved() {
    let world = World::default();
    world.layout(1, &["a:1"]);
    world.node("a:1", |_| Some(redirect("ASK", "b:2")));
    world.node(
        "b:2",
        |request| if request == "ASKING" { ok(request) } else { Some(redirect("MOVED", "c:3")) },
    );
    world.node("c:3", ok);
    let client = world.client();
    assert_eq!(in_time(client.call(set())).await, Ok(Frame::ok()));
    assert_eq!(world.asked(), ["a:1 SET k v", "b:2 ASKING", "b:2 SET k v", "c:3 SET k v"]);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_done_now_is_done_later_or_told_in_time() {
    for refusal in ["TRYAGAIN x", "CLUSTERDOWN x", "LOADING x"] {
        let world = World::default();
        world.layout(1, &["a:1"]);
        let refusals = Mutex::new(5);
        world.node("a:1", move |_| {
            let mut left = refusals.lock().unwrap();
            *left -= 1;
            Some(if *left >= 0 { Frame::error(refusal) } else { Frame::ok() })
        });
        let client = world.client();
        assert_eq!(in_time(client.call(set())).await, Ok(Frame::ok()));
        world.node("a:1", move |_| Some(Frame::error(refusal)));
        // Pauses are random, and one of them may end with the deadline.
        for _ in 0..100 {
            let error = in_time(client.call(set())).await.unwrap_err();
            assert!(error.had_no_effect() && matches!(error, CallError::Server(_)), "{error}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_lies_costs_the_call_and_nothing_else() {
    let world = World::default();
    world.layout(1, &["a:1"]);
    world.node("a:1", |request| {
        Some(if request.contains("{l}") { Frame::error("MOVED 1 nowhere:9") } else { Frame::ok() })
    });
    let client = world.client();
    let error = in_time(client.call(Command::new("SET").args(["{l}", "v"]))).await.unwrap_err();
    assert!(error.had_no_effect(), "{error}");
    for answer in ["MOVED 99999 a:1", "MOVED x y", "MOVED", "ASK 1"] {
        world.node("a:1", move |_| Some(Frame::error(answer)));
        let error = in_time(client.call(set())).await.unwrap_err();
        assert!(matches!(&error, CallError::Server(error) if error.message == answer), "{error}");
    }
    world.node("a:1", ok);
    assert_eq!(in_time(client.call(set())).await, Ok(Frame::ok()));
}

#[tokio::test(start_paused = true)]
async fn a_layout_that_is_none_is_told_and_not_believed() {
    let world = World::default();
    world.node("a:1", ok);
    world.say(1, vec![Frame::Integer(7)]);
    let client = world.client();
    let error = in_time(client.call(set())).await.unwrap_err();
    let CallError::NotSent(NotSent::Route(RouteError::NoLayout { last_error: Some(text), .. })) = error
    else {
        panic!("{error}")
    };
    assert_eq!(text, "a:1: the node describes its cluster in an unknown form: a range of slots is no array");
    assert!(world.asked().is_empty());
    world.layout(1, &["a:1"]);
    assert_eq!(in_time(client.call(set())).await, Ok(Frame::ok()));
}

#[tokio::test(start_paused = true)]
async fn a_transaction_goes_on_as_a_whole_if_nothing_of_it_has_run() {
    let world = World::default();
    world.layout(1, &["a:1"]);
    world.node("a:1", |request| {
        Some(match request {
            "MULTI" => Frame::ok(),
            "EXEC" => Frame::error("EXECABORT Transaction discarded because of previous errors."),
            _ => redirect("MOVED", "b:2"),
        })
    });
    world.node("b:2", |request| {
        Some(match request {
            "MULTI" => Frame::ok(),
            "EXEC" => Frame::Array(vec![Frame::ok(), Frame::Integer(1)]),
            _ => Frame::Simple("QUEUED".into()),
        })
    });
    let client = world.client();
    let transaction = || Transaction::new().command(set()).command(Command::new("INCR").arg("{k}n"));
    let answers = in_time(client.transaction(transaction())).await;
    assert_eq!(answers, Ok(vec![Ok(Frame::ok()), Ok(Frame::Integer(1))]));
    let lines = ["MULTI", "SET k v", "INCR {k}n", "EXEC"];
    let expected = ["a:1", "b:2"].iter().flat_map(|node| lines.map(|line| format!("{node} {line}")));
    assert_eq!(world.asked(), expected.collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_has_run_in_part_is_not_sent_again() {
    let world = World::default();
    world.layout(1, &["a:1"]);
    world.node("a:1", |request| {
        Some(if request.starts_with("INCR") { Frame::Integer(1) } else { redirect("MOVED", "b:2") })
    });
    world.node("b:2", ok);
    let client = world.client();
    let batch = Batch::new().command(Command::new("INCR").arg("k")).command(set());
    let answers = in_time(client.batch(batch)).await.unwrap();
    assert_eq!(answers[0], Ok(Frame::Integer(1)));
    assert!(answers[1].as_ref().is_err_and(|error| error.is_refusal()));
    assert_eq!(world.asked(), ["a:1 INCR k", "a:1 SET k v"]);
}

#[tokio::test(start_paused = true)]
async fn what_may_have_run_is_sent_again_only_if_that_is_as_good_as_once() {
    let world = World::default();
    world.layout(1, &["a:1"]);
    world.node("a:1", |_| None);
    world.node("b:2", ok);
    let client = world.client();
    let incr = in_time(client.call(Command::new("INCR").arg("k"))).await;
    assert!(matches!(incr, Err(CallError::Unknown(Unknown::Lost(_)))), "{incr:?}");
    assert_eq!(world.asked(), ["a:1 INCR k"]);
    let cuts = Mutex::new(1);
    world.node("a:1", move |_| {
        let mut left = cuts.lock().unwrap();
        *left -= 1;
        (*left < 0).then(|| redirect("MOVED", "b:2"))
    });
    assert_eq!(in_time(client.call(Command::new("TYPE").arg("k"))).await, Ok(Frame::ok()));
    assert_eq!(world.asked(), ["a:1 TYPE k", "a:1 TYPE k", "b:2 TYPE k"]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_for_a_dead_node_follows_the_map() {
    let world = World::default();
    world.layout(1, &["dead:1"]);
    world.node("a:1", ok);
    world.node("b:2", ok);
    let client = world.client();
    let call = task::spawn("call", {
        let client = client.clone();
        async move { client.call(set()).await }
    });
    assert!(timeout(DEADLINE / 2, client.call(set())).await.is_err(), "it waits");
    world.layout(2, &["b:2"]);
    assert_eq!(in_time(call).await.unwrap(), Ok(Frame::ok()));
    assert_eq!(world.asked(), ["b:2 SET k v"]);
}

#[tokio::test(start_paused = true)]
async fn connections_end_when_their_node_leaves_the_map() {
    let world = World::default();
    world.layout(1, &["b:2"]);
    for address in ["a:1", "b:2", "c:3"] {
        world.node(address, ok);
    }
    let client = world.client();
    in_time(client.call(set())).await.unwrap();
    assert_eq!(world.connections("b:2"), 1);
    world.layout(2, &["c:3"]);
    let started = now();
    while world.connections("b:2") + world.connections("a:1") > 0 || world.connections("c:3") != 1 {
        assert!(now() - started < Duration::from_secs(60), "they do not end");
        sleep(Duration::from_millis(100)).await;
    }
    in_time(client.call(set())).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn everything_ends_with_the_last_clone() {
    let world = World::default();
    world.layout(1, &["b:2", "r:9"]);
    for address in ["a:1", "b:2", "r:9"] {
        world.node(address, ok);
    }
    let client = world.client();
    let clone = client.clone();
    in_time(client.call(set())).await.unwrap();
    in_time(client.call(Command::new("TYPE").arg("k").read_from(ReadFrom::PreferReplica))).await.unwrap();
    drop(client);
    in_time(clone.call(set())).await.unwrap();
    drop(clone);
    let connections = || ["a:1", "b:2", "r:9"].map(|address| world.connections(address));
    let ended = async {
        while connections() != [0; 3] {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(Duration::from_millis(10), ended).await.expect("all connections end");
}

#[tokio::test(start_paused = true)]
async fn replicas_are_read_when_they_are_there_and_the_primary_otherwise() {
    let world = World::default();
    world.layout(1, &["a:1", "r:9"]);
    world.node("a:1", ok);
    let client = world.client();
    let get = || Command::new("TYPE").arg("k").read_from(ReadFrom::PreferReplica);
    in_time(client.call(get())).await.unwrap();
    assert_eq!(world.asked(), ["a:1 TYPE k"], "the replica cannot be reached");
    world.node("r:9", ok);
    while in_time(client.call(get())).await.is_ok() && world.asked() != ["r:9 TYPE k"] {
        sleep(Duration::from_millis(10)).await;
    }
    in_time(client.call(set().read_from(ReadFrom::PreferReplica))).await.unwrap();
    assert_eq!(world.asked(), ["a:1 SET k v"]);
    for refusal in ["LOADING x", "CLUSTERDOWN x", "MOVED 1 a:1", "TRYAGAIN x"] {
        world.node("r:9", move |_| Some(Frame::error(refusal)));
        in_time(client.call(get())).await.unwrap();
        assert_eq!(world.asked(), ["r:9 TYPE k", "a:1 TYPE k"], "{refusal}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_read_from_a_former_owner_is_not_kept() {
    let world = World::default();
    let node = |value: &'static str| {
        move |words: &str| match words {
            "GET k" => Some(Frame::bulk(value)),
            "PTTL k" => Some(Frame::Integer(-1)),
            "CLIENT CACHING YES" => Some(Frame::ok()),
            _ => Some(Frame::Simple("PONG".into())),
        }
    };
    world.layout(1, &["a:1"]);
    world.node("a:1", node("old"));
    world.node("b:2", node("new"));
    let config = Config::from_url("redis-cluster://a:1").unwrap();
    let client = world.client_with(config.client_side_cache(CacheSettings::default()));
    let get = || client.call_cached(Command::new("GET").arg("k"));
    for _ in 0..3 {
        assert_eq!(in_time(get()).await, Ok(Frame::bulk("old")));
    }
    assert_eq!(world.asked(), ["a:1 CLIENT CACHING YES", "a:1 GET k", "a:1 PTTL k"]);
    // The node at a:1 lives and never says that the key has changed: it has become a replica that nobody tells anything.
    world.layout(2, &["b:2", "a:1"]);
    let moved = async {
        while get().await != Ok(Frame::bulk("new")) {
            sleep(Duration::from_millis(100)).await;
        }
    };
    let found = timeout(2 * CLUSTER_REFRESH_PERIOD, moved).await;
    assert!(found.is_ok(), "the next refresh tells of it");
}

#[tokio::test(start_paused = true)]
async fn a_command_over_slots_has_one_deadline_and_an_outcome_for_each_slot() {
    let world = World::default();
    // `a` is in the upper half of the slots, `b` in the lower.
    world.say(1, vec![world::range(0, 8191, &["l:1"]), world::range(8192, 16383, &["u:1"])]);
    world.node("a:1", ok);
    world.node("l:1", |_| Some(Frame::Integer(1)));
    world.node("u:1", |_| Some(Frame::Integer(2)));
    let client = world.client();
    let del = || client.over_slots(Command::new("DEL").args(["a", "b", "{a}2"]));
    let part = |keys: &[usize], outcome| OnSlot { keys: keys.to_vec(), outcome };
    let both = vec![part(&[0, 2], Ok(Frame::Integer(2))), part(&[1], Ok(Frame::Integer(1)))];
    assert_eq!(in_time(del()).await, Ok(both));
    let mut asked = world.asked();
    asked.sort();
    assert_eq!(asked, ["l:1 DEL b", "u:1 DEL a {a}2"]);

    // One part is lost, and nobody else suffers.
    world.node("u:1", |_| None);
    let parts = in_time(del()).await.unwrap();
    assert!(matches!(parts[0].outcome, Err(CallError::Unknown(Unknown::Lost(_)))), "{parts:?}");
    assert_eq!(parts[1], part(&[1], Ok(Frame::Integer(1))));
    // One node is not there.
    world.remove("u:1");
    let started = now();
    let parts = in_time(del()).await.unwrap();
    assert!(matches!(parts[0].outcome, Err(CallError::NotSent(_))), "{parts:?}");
    assert_eq!(parts[1].outcome, Ok(Frame::Integer(1)));
    assert!(now() - started >= DEADLINE);

    // What comes is given to the keys that it belongs to.
    let client = world.client();
    let get = || client.mget_over_slots::<String>(["a", "b", "{b}2"]);
    world.node("l:1", |words| {
        let value = |key: &str| if key == "b" { Frame::bulk("vb") } else { Frame::Null };
        Some(Frame::Array(words.split(' ').skip(1).map(value).collect()))
    });
    let values = in_time(get()).await.unwrap();
    assert!(matches!(values[0], Err(QueryError::Call(CallError::NotSent(_)))), "{values:?}");
    assert_eq!(values[1..], [Ok(Some("vb".to_owned())), Ok(None)]);
    world.node("l:1", |_| Some(Frame::Array(vec![Frame::bulk("v")])));
    let values = in_time(get()).await.unwrap();
    let wrong = Err(QueryError::Conversion(ConversionError::Length { expected: 2, found: 1 }));
    assert_eq!(values[1..], [wrong.clone(), wrong]);

    let refused = in_time(client.over_slots(Command::new("SINTER").args(["a", "b"]))).await;
    assert!(matches!(refused, Err(CallError::NotSent(NotSent::Refused { .. }))), "{refused:?}");
}
