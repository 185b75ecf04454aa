//! Conditions on versions.

use std::pin::pin;

use super::*;

#[tokio::test]
async fn conditions_hold_or_nothing_happens() {
    let world = World::start().await;
    let create = || put(one("c") + "?owner=o", "1").header("if-none-match", "*");
    let first = world.ask(create()).await.expect(201, "").etag().to_owned();
    world.ask(create()).await.expect(412, "precondition_failed");
    let second =
        world.ask(put(one("c"), "2").header("if-match", &first)).await.expect(204, "").etag().to_owned();
    world.ask(put(one("c"), "3").header("if-match", &first)).await.expect(412, "precondition_failed");
    world.ask(put(one("none"), "3").header("if-match", "*")).await.expect(412, "precondition_failed");
    world
        .ask(put(one("none") + "?keep=true", "3").header("if-match", "*"))
        .await
        .expect(412, "precondition_failed");
    world
        .ask(put(one("c") + "?keep=true", "3").header("if-none-match", "*"))
        .await
        .expect(412, "precondition_failed");
    world
        .ask(put(one("c") + "?keep=true", "2").header("if-match", &first))
        .await
        .expect(412, "precondition_failed");
    assert_eq!(world.ask(get(one("c"))).await.text(), "2");

    // Reads.
    let both = format!("{first}, {second}");
    let same = world.ask(get(one("c")).header("if-none-match", &both)).await.expect(304, "");
    assert_eq!((same.etag(), same.body.len()), (second.as_str(), 0));
    world.ask(get(one("c")).header("if-none-match", &format!("W/{second}"))).await.expect(304, "");
    world.ask(get(one("c")).header("if-none-match", "*")).await.expect(304, "");
    world.ask(get(one("c")).header("if-none-match", &first)).await.expect(200, "");
    world.ask(ask("HEAD", one("c")).header("if-none-match", &second)).await.expect(304, "");
    world.ask(get(one("c")).header("if-match", &second)).await.expect(200, "");
    world.ask(get(one("c")).header("if-match", &first)).await.expect(412, "precondition_failed");
    world
        .ask(get(one("c")).header("if-match", &format!("W/{second}")))
        .await
        .expect(412, "precondition_failed");
    world.ask(get(one("none")).header("if-match", "*")).await.expect(404, "session_not_found");
    world.ask(get(one("c")).header("if-match", "x")).await.expect(400, "condition_invalid");

    // Changes and removals.
    let patch = |tag: &str| ask("PATCH", one("c") + "?ttl=1m").header("if-match", tag);
    world.ask(patch(&first)).await.expect(412, "precondition_failed");
    world.ask(ask("PATCH", one("c") + "?ttl=1m").header("if-none-match", &second)).await.expect(412, "");
    let third = world.ask(patch(&second)).await.expect(204, "").etag().to_owned();
    let delete = |name, tag: &str| ask("DELETE", one("c")).header(name, tag);
    world.ask(delete("if-match", &second)).await.expect(412, "precondition_failed");
    world.ask(delete("if-none-match", "*")).await.expect(412, "precondition_failed");
    world.ask(delete("if-match", &third)).await.expect(204, "");
    // A version never comes back.
    world.ask(create()).await.expect(201, "");
    world.ask(delete("if-match", &third)).await.expect(412, "precondition_failed");
}

/// A kept write that finds nothing creates, and then the condition is about what is there by now.
#[tokio::test]
async fn a_kept_write_with_none_match_creates_once() {
    let world = World::start().await;
    let create = || put(one("k") + "?keep=true", "1").header("if-none-match", "*");
    world.ask(create()).await.expect(201, "");
    world.ask(create()).await.expect(412, "precondition_failed");
}

/// A session is made while another write finds that there is none: what that one is conditional on is asked of the new session.
#[tokio::test]
async fn a_condition_is_asked_of_the_session_that_is_replaced() {
    let world = World::start().await;
    let other = format!("\"{:032x}\"", 1);
    for (name, value, status) in [("if-none-match", other.as_str(), 204), ("if-none-match", "*", 412)] {
        world.ask(ask("DELETE", one("c"))).await;
        let mut write = pin!(world.ask(put(one("c") + "?keep=true&owner=x", "late").header(name, value)));
        // It enters the session that it is about to make, and is held there.
        until("it has entered the session", async || {
            assert!(futures_util::poll!(&mut write).is_pending());
            (!world.entries("x").await.is_empty()).then_some(())
        })
        .await;
        world.ask(put(one("c") + "?ttl=5m", "early")).await.expect(201, "");
        let written = write.await.expect(status, "");
        let text = if status == 204 { "late" } else { "early" };
        assert_eq!(world.ask(get(one("c"))).await.text(), text, "{written:?}");
        world.store(&["DEL", &owner_key("x")]).await;
    }
}
