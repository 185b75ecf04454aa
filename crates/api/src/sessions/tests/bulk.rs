//! Answers to bulk reads that nobody reads: the memory that they hold is bounded, and is given back.

use axum::response::Response;

use super::*;
use crate::sessions::limits::{ANSWERS_OF_ONE_NAMESPACE, LISTED_BYTES_MAX};

const VALUE_BYTES: usize = 9_000;
/// What one namespace has: five keys and three of the values, as they stand in answers. An answer with two of them leaves room
/// for another with one.
const ROOM: usize = (5 * LISTED_BYTES_MAX + 3 * 12_000 + 1_000) * ANSWERS_OF_ONE_NAMESPACE;

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
    assert_eq!(statuses_now().await, ["found", "left_out", "left_out", "left_out", "left_out"]);
    drop(first);
    assert_eq!(statuses_now().await, ["found", "found", "absent", "found", "left_out"]);
}

#[tokio::test]
async fn without_room_for_a_single_value_nothing_is_executed() {
    let world = world(Duration::from_millis(500)).await;
    let mut held = Vec::new();
    loop {
        let answer = unread(&world, &read(r#""a""#)).await;
        if answer.status() != StatusCode::OK {
            break;
        }
        held.push(answer);
    }
    assert!((1..20).contains(&held.len()), "{}", held.len());
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

/// Each of them, with the longest that can be said of it.
#[tokio::test]
async fn what_is_said_of_a_session_has_a_bound() {
    let world = World::start().await;
    let (key, owner) = ("%22".repeat(256), "%5C".repeat(256));
    let asked = put(format!("{}?owner={owner}&ttl=86399999ms", one(&key)), "")
        .header("content-type", &format!("a/b;x=\"{}\"", "\"".repeat(120)));
    world.ask(asked).await.expect(201, "");
    let key = "\\\"".repeat(256);
    let bulk = world.ask(read(&format!("\"{key}\""))).await.expect(200, "");
    assert_eq!(statuses(&bulk), ["found"]);
    let listing = world.ask(get(format!("/v1/user-sessions?owner={owner}"))).await.expect(200, "");
    assert_eq!(listing.json()["sessions"].as_array().expect("a list").len(), 1);
    for answer in [bulk, listing] {
        let bytes = answer.body.len();
        assert!((LISTED_BYTES_MAX / 2..LISTED_BYTES_MAX).contains(&bytes), "{bytes}");
    }
}

/// A caller who does not read what it has listed keeps the others of its namespace waiting, and nobody else.
#[tokio::test]
async fn listings_have_a_share_as_bulk_reads_have() {
    let world = world(Duration::from_millis(500)).await;
    let all = get("/v1/user-sessions?owner=nobody&limit=7");
    let (orders, bytes) =
        ("orders".parse().expect("a name"), ROOM / ANSWERS_OF_ONE_NAMESPACE - LISTED_BYTES_MAX);
    let held = world.sessions.answers().share(&orders, bytes, BOUND).await.expect("there is room");
    world.ask(all.clone()).await.expect(503, "not_executed");
    world.ask_as(&world.billing, &all).await.expect(200, "");
    drop(held);
    world.ask(all).await.expect(200, "");
}
