//! Answers to bulk reads that nobody reads: the memory that they hold is bounded, and is given back.

use axum::response::Response;

use super::*;
use crate::sessions::limits::ANSWERS_OF_ONE_NAMESPACE;

const VALUE_BYTES: usize = 900;
/// Three values of one namespace, as they stand in answers.
const ROOM: usize = 3 * 1_200 * ANSWERS_OF_ONE_NAMESPACE;

async fn world(store_deadline: Duration) -> World {
    let settings =
        Settings { answers_bytes_max: ROOM, value_bytes_max: VALUE_BYTES, store_deadline, ..settings() };
    let world = World::with(settings).await;
    for key in ["a", "b", "c", "d"] {
        world.ask(put(one(key), &"x".repeat(VALUE_BYTES))).await.expect(201, "");
    }
    world
}

fn read(keys: &str) -> Ask {
    ask("POST", "/v1/user-sessions:read").body(format!("{{\"keys\":[{keys}]}}"))
}

/// Asks, and does not read the answer.
async fn unread(world: &World, ask: &Ask) -> Response {
    let request = ask.signed(&world.orders, &SignOptions::at(unix_time()));
    world.sessions.router().oneshot(request).await.expect("routes do not fail")
}

fn statuses(answer: &Answer) -> Vec<String> {
    let json = answer.json();
    let results = json["results"].as_array().expect("a list").iter();
    results.map(|result| result["status"].as_str().expect("a word").to_owned()).collect()
}

#[tokio::test]
async fn what_finds_no_room_is_left_out() {
    let world = world(BOUND).await;
    let all = read(r#""a","b","none","c","d""#);
    let statuses_now = async || statuses(&world.ask(all.clone()).await.expect(200, ""));
    assert_eq!(statuses_now().await, ["found", "found", "absent", "found", "left_out"]);
    let first = unread(&world, &read(r#""a","b""#)).await;
    assert_eq!(statuses_now().await, ["found", "left_out", "absent", "left_out", "left_out"]);
    drop(first);
    assert_eq!(statuses_now().await, ["found", "found", "absent", "found", "left_out"]);
}

#[tokio::test]
async fn without_room_for_a_single_value_nothing_is_executed() {
    let world = world(Duration::from_millis(500)).await;
    let held = unread(&world, &read(r#""a","b","c""#)).await;
    let request = read(r#""d""#);
    let options = SignOptions { nonce: Some(nonce()), ..SignOptions::at(unix_time()) };
    let again = || world.send(request.signed(&world.orders, &options));
    let refused = again().await.expect(503, "not_executed");
    assert_eq!(refused.header("retry-after"), "1");
    world.ask(get(one("d"))).await.expect(200, "");
    drop(held);
    // Its nonce was not used.
    assert_eq!(statuses(&again().await), ["found"]);
}
