//! Bodies that come slowly, or in tiny pieces: the memory that they take is what they bring.

use std::convert::Infallible;

use axum::response::Response;
use bowline_rt::task::JoinHandle;
use futures_util::{StreamExt as _, stream};
use tokio::sync::watch;

use super::*;
use crate::sessions::limits::{
    BODIES_AT_ONCE, BODIES_BYTES_MAX, BODIES_OF_ONE_NAMESPACE, SENDING_BYTES_MAX,
    VALUE_BYTES as VALUE_BYTES_DEFAULT, VALUE_BYTES_MAX,
};

const VALUE_BYTES: usize = 1_000;
/// Two values of one namespace.
const ROOM: usize = 2 * VALUE_BYTES * BODIES_OF_ONE_NAMESPACE;

async fn world(store_deadline: Duration) -> World {
    world_with(ROOM, store_deadline).await
}

async fn world_with(bodies_bytes_max: usize, store_deadline: Duration) -> World {
    let settings = Settings { bodies_bytes_max, value_bytes_max: VALUE_BYTES, store_deadline, ..settings() };
    World::with(settings).await
}

/// A request of which so much of the body has come, byte by byte, and whose rest does not.
fn begun(world: &World, key: &str, bytes: usize) -> JoinHandle<Response> {
    let whole = put(one(key), &"x".repeat(VALUE_BYTES));
    let mut request = whole.signed(&world.orders, &SignOptions::at(unix_time()));
    request.headers_mut().insert("content-length", HeaderValue::from(VALUE_BYTES));
    let pieces = stream::iter(whole.body.into_iter().take(bytes));
    let pieces = pieces.map(|byte| Ok::<_, Infallible>(Bytes::copy_from_slice(&[byte])));
    *request.body_mut() = Body::from_stream(pieces.chain(stream::pending()));
    sent(world, request)
}

/// A request whose body comes in quarters, as far as `quarters` says.
fn paced(world: &World, key: &str, quarters: watch::Receiver<usize>) -> JoinHandle<Response> {
    let whole = put(one(key), &"x".repeat(VALUE_BYTES));
    let mut request = whole.signed(&world.orders, &SignOptions::at(unix_time()));
    request.headers_mut().insert("content-length", HeaderValue::from(VALUE_BYTES));
    let quarter = whole.body.slice(..VALUE_BYTES / 4);
    let pieces = stream::iter(1..=4).then(move |number| {
        let (mut quarters, quarter) = (quarters.clone(), quarter.clone());
        async move { quarters.wait_for(|come| *come >= number).await.map(|_| quarter) }
    });
    *request.body_mut() = Body::from_stream(pieces);
    sent(world, request)
}

fn sent(world: &World, request: Request) -> JoinHandle<Response> {
    let router = world.sessions.router();
    bowline_rt::task::spawn("sent", async move { router.oneshot(request).await.expect("routes do not fail") })
}

async fn free(world: &World, namespace: &str, bytes: usize) -> bool {
    let namespace = namespace.parse().expect("a namespace");
    world.sessions.bodies().share(&namespace, bytes, Duration::ZERO).await.is_some()
}

#[tokio::test]
async fn a_body_in_tiny_pieces_is_one_text() {
    let world = world(BOUND).await;
    let whole = put(one("a"), &"x".repeat(VALUE_BYTES));
    let mut request = whole.signed(&world.orders, &SignOptions::at(unix_time()));
    let pieces =
        stream::iter(whole.body.clone()).map(|byte| Ok::<_, Infallible>(Bytes::copy_from_slice(&[byte])));
    *request.body_mut() = Body::from_stream(pieces);
    world.send(request).await.expect(201, "");
    assert_eq!(world.ask(get(one("a"))).await.body, whole.body);
    assert!(free(&world, "orders", 2 * VALUE_BYTES).await, "all is given back");

    let mut request = whole.signed(&world.orders, &SignOptions::at(unix_time()));
    let endless = stream::repeat(()).map(|()| Ok::<_, Infallible>(Bytes::from_static(b"x")));
    *request.body_mut() = Body::from_stream(endless);
    let refused = world.send(request).await.expect(413, "body_too_large");
    assert_eq!(refused.header("connection"), "close");
}

#[tokio::test]
async fn bodies_of_one_namespace_share_its_part() {
    let world = world(Duration::from_millis(500)).await;
    let slow = [begun(&world, "a", VALUE_BYTES - 1), begun(&world, "b", VALUE_BYTES - 1)];
    until("they take what there is", async || (!free(&world, "orders", 100).await).then_some(())).await;
    let value = put(one("c"), &"x".repeat(VALUE_BYTES));
    let refused = world.ask(value.clone()).await.expect(503, "not_executed");
    assert_eq!((refused.header("retry-after"), refused.header("connection")), ("1", "close"));
    world.ask(get(one("c"))).await.expect(404, "session_not_found");
    world.ask_as(&world.billing, &value).await.expect(201, "");
    slow.iter().for_each(JoinHandle::abort);
    until("it is given back", async || free(&world, "orders", 2 * VALUE_BYTES).await.then_some(())).await;
    world.ask(value).await.expect(201, "");
}

#[tokio::test]
async fn what_is_announced_and_does_not_come_takes_nothing_from_others() {
    let world = world(BOUND).await;
    let slow: Vec<_> = (0..100).map(|number| begun(&world, &format!("slow-{number}"), 1)).collect();
    for key in ["a", "b", "c"] {
        world.ask(put(one(key), &"x".repeat(VALUE_BYTES))).await.expect(201, "");
    }
    slow.iter().for_each(JoinHandle::abort);
}

/// As many as there is room for, side by side: none takes what another needs to its end.
#[tokio::test]
async fn bodies_that_come_side_by_side_do_not_starve_each_other() {
    let world = world_with(BODIES_AT_ONCE * VALUE_BYTES, BOUND).await;
    let count = BODIES_AT_ONCE / BODIES_OF_ONE_NAMESPACE;
    let (quarters, come) = watch::channel(0);
    let paced: Vec<_> =
        (0..count).map(|number| paced(&world, &format!("s-{number}"), come.clone())).collect();
    for (number, free_bytes) in [(1, VALUE_BYTES * 3 / 4), (2, VALUE_BYTES / 2), (3, 0)] {
        quarters.send_replace(number);
        let is_taken = async || (!free(&world, "orders", count * free_bytes + 1).await).then_some(());
        until("all have room for what has come", is_taken).await;
    }
    assert!(free(&world, "billing", count * VALUE_BYTES).await, "what is others' is free");
    quarters.send_replace(4);
    for paced in paced {
        assert_eq!(paced.await.expect("no panic").status(), 201);
    }
}

#[test]
fn there_is_room_for_as_many_bodies_of_any_size() {
    let room = |value_bytes_max| Settings::for_values(value_bytes_max).bodies_bytes_max;
    assert_eq!(Settings::for_values(VALUE_BYTES_DEFAULT), Settings::default());
    assert_eq!((room(1), room(VALUE_BYTES_DEFAULT)), (BODIES_BYTES_MAX, BODIES_BYTES_MAX));
    assert_eq!(room(VALUE_BYTES_MAX), BODIES_AT_ONCE * VALUE_BYTES_MAX);
}

#[tokio::test]
async fn values_wait_for_their_turn_to_be_sent() {
    let world = world(Duration::from_secs(1)).await;
    let sending = &world.sessions.store().sending;
    let all = sending.acquire_many(SENDING_BYTES_MAX as u32).await.expect("it is never closed");
    let value = put(one("a"), &"x".repeat(VALUE_BYTES));
    // What brings no value does not wait.
    world.ask(put(one("b"), "")).await.expect(201, "");
    world.ask(get(one("a"))).await.expect(404, "session_not_found");
    world.ask(value.clone()).await.expect(503, "not_executed");
    let (answer, ()) = tokio::join!(world.ask(value), async { drop(all) });
    answer.expect(201, "");
    assert_eq!(sending.available_permits(), SENDING_BYTES_MAX, "all is given back");
}

#[tokio::test]
async fn a_body_that_breaks_off_ends_its_connection() {
    let world = world(BOUND).await;
    let whole = put(one("a"), "whole");
    let mut request = whole.signed(&world.orders, &SignOptions::at(unix_time()));
    let pieces = [Ok(Bytes::from_static(b"who")), Err(std::io::Error::other("the peer is gone"))];
    *request.body_mut() = Body::from_stream(stream::iter(pieces));
    let refused = world.send(request).await.expect(400, "body_invalid");
    assert_eq!(refused.header("connection"), "close");

    // What is too large when it is put together was read.
    let json = |text: &str| format!(r#"{{"{text}":"{}"}}"#, "x".repeat(VALUE_BYTES / 2));
    let typed = put(one("a"), &json("a")).header("content-type", "application/json");
    world.ask(typed).await.expect(201, "");
    let refused =
        world.ask(ask("PATCH", one("a")).merge_patch(&json("b"))).await.expect(413, "body_too_large");
    assert_eq!(refused.header("connection"), "");
}

/// Whoever proves nothing keeps no place; whoever has a key may go on.
#[tokio::test]
async fn connections_end_with_answers_to_nobody_in_particular() {
    let world = World::start().await;
    let closes = |answer: Answer| answer.header("connection") == "close";
    for unsigned in [get(one("a")), get("/v1/openapi.json"), get("/"), ask("POST", one("a"))] {
        assert!(closes(world.send(unsigned.unsigned()).await), "{unsigned:?}");
    }
    for signed in [put(one("a"), "1"), get(one("a")), get(one("none")), get(one("a") + "?what=1")] {
        assert!(!closes(world.ask(signed.clone()).await), "{signed:?}");
    }
}
