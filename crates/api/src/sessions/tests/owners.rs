//! Lists of sessions by owner.

use bowline_redis::Script;

use super::super::conditions::Conditions;
use super::super::index::{Entering, Index};
use super::super::key::{Owner, SessionKey};
use super::super::store::{Content, Draft, End, Wrote};
use super::*;

fn names(page: &Value) -> Vec<String> {
    let sessions = page["sessions"].as_array().expect("a list");
    sessions.iter().map(|session| session["key"].as_str().expect("a key").to_owned()).collect()
}

impl World {
    async fn list(&self, query: &str) -> Value {
        self.ask(get(format!("/v1/user-sessions?{query}"))).await.expect(200, "").json()
    }

    /// Makes an entry as if it had been written long ago.
    async fn old_entry(&self, owner: &str, name: &str, ends: &str) {
        self.store(&["HSET", &owner_key(owner), name, &format!("1 1000 {ends} abc")]).await;
    }
}

const FAR: &str = "4000000000000";

#[tokio::test]
async fn the_sessions_of_an_owner_are_listed_in_pages() {
    let world = World::start().await;
    for name in ["b", "a%2Fx", "d", "c"] {
        world.ask(put(one(name) + "?owner=al%20ice&ttl=1h", "value")).await.expect(201, "");
    }
    world.ask(put(one("e") + "?owner=bob", "value")).await.expect(201, "");
    let page = world.list("owner=al%20ice").await;
    assert_eq!(
        (names(&page), &page["next"]),
        (vec!["a/x".into(), "b".into(), "c".into(), "d".into()], &Value::Null)
    );
    let first = &page["sessions"][0];
    assert_eq!(
        (&first["bytes"], &first["owner"], &first["ttl"]),
        (&5.into(), &"al ice".into(), &"3600s".into())
    );
    assert!(!page.to_string().contains("value\""), "values are not listed");

    let page = world.list("owner=al%20ice&limit=3").await;
    assert_eq!(names(&page).len(), 3);
    let next = page["next"].as_str().expect("there is more");
    let page = world.list(&format!("owner=al%20ice&limit=3&cursor={next}")).await;
    assert_eq!((names(&page), &page["next"]), (vec!["d".into()], &Value::Null));
    assert!(names(&world.list("owner=nobody").await).is_empty());
    world.ask(get("/v1/user-sessions")).await.expect(400, "parameter_invalid");
    world.ask(get("/v1/user-sessions?owner=")).await.expect(400, "parameter_invalid");
    world.ask(get("/v1/user-sessions?owner=a&cursor=%7B")).await.expect(400, "parameter_invalid");
}

/// By the bytes of the escaped keys, in the embedded store and in Redis, and by whichever way of comparing the script takes: in a locale
/// that orders letters it has to go round Lua's own.
#[tokio::test]
async fn a_listing_has_the_order_of_bytes() {
    let server = RedisServer::start().await;
    for world in [World::start().await, World::on(&server).await] {
        for name in ["b", "A", "B", "a", "-a", "a-b", "ab", "aC", "_", "~", "1", "%25", "a%20"] {
            world.ask(put(one(name) + "?owner=x", "")).await.expect(201, "");
        }
        let mut sorted = world.entries("x").await;
        sorted.sort();
        let script = concat!(
            include_str!("../scripts/time.lua"),
            include_str!("../scripts/prelude.lua"),
            include_str!("../scripts/list.lua")
        );
        let condition = "'Z' > 'a'";
        assert_eq!(script.matches(condition).count(), 1);
        let (key, late) = (owner_key("x"), u64::MAX.to_string());
        for script in [script, &script.replace(condition, "true")] {
            let mut listed = vec![String::new()];
            loop {
                let after = listed.last().expect("there is one");
                let arguments = [late.as_bytes(), b"", b"", after.as_bytes(), b"2"];
                let reply = world.client.eval(&Script::new(script), &[key.as_bytes()], &arguments).await;
                let Ok(Frame::Array(reply)) = reply else { panic!("no list: {reply:?}") };
                let text = |frame: &Frame| match frame {
                    Frame::Bulk(text) => String::from_utf8(text.to_vec()).expect("text"),
                    other => panic!("no text: {other:?}"),
                };
                listed.extend(reply[3..].iter().step_by(2).map(text));
                if text(&reply[2]) == "0" {
                    break;
                }
            }
            assert_eq!(listed[1..], sorted);
        }
        let page = world.list("owner=x&limit=3").await;
        assert_eq!(names(&page), ["%", "-a", "1"]);
    }
}

#[tokio::test]
async fn a_session_moves_with_its_owner_and_leaves_with_its_end() {
    let world = World::start().await;
    let check = async |owner: &str, expected: &[&str]| {
        assert_eq!(names(&world.list(&format!("owner={owner}")).await), expected, "{owner}");
        assert_eq!(world.entries(owner).await, expected, "{owner}: nothing is left behind");
    };
    world.ask(put(one("a") + "?owner=x", "1")).await.expect(201, "");
    check("x", &["a"]).await;
    world.ask(put(one("a") + "?owner=y", "1")).await.expect(204, "");
    check("x", &[]).await;
    check("y", &["a"]).await;
    world.ask(ask("PATCH", one("a") + "?owner=z")).await.expect(204, "");
    check("y", &[]).await;
    check("z", &["a"]).await;
    world.ask(put(one("a") + "?keep=true&absolute=1h", "2")).await.expect(204, "");
    world.ask(put(one("a") + "?keep=true&owner=w", "2")).await.expect(204, "");
    // Two writes entered it within a minute, of which each could have been the one that is late.
    assert!(names(&world.list("owner=z").await).is_empty());
    assert_eq!(world.entries("z").await, ["a"]);
    check("w", &["a"]).await;
    world.ask(ask("PATCH", one("a") + "?owner=")).await.expect(204, "");
    check("w", &[]).await;
    world.ask(put(one("b") + "?owner=w", "1")).await.expect(201, "");
    world.ask(ask("DELETE", one("b"))).await.expect(204, "");
    check("w", &[]).await;
    world.ask(put(one("b") + "?owner=w", "1")).await.expect(201, "");
    world.ask(put(one("b"), "1")).await.expect(204, "");
    check("w", &[]).await;
}

#[tokio::test]
async fn wrong_entries_are_not_believed_and_removed() {
    let world = World::start().await;
    world.ask(put(one("mine") + "?owner=x", "1")).await.expect(201, "");
    world.ask(put(one("theirs") + "?owner=y", "1")).await.expect(201, "");
    for name in ["gone", "theirs"] {
        world.old_entry("x", name, FAR).await;
    }
    assert_eq!(names(&world.list("owner=x").await), ["mine"]);
    assert_eq!(world.entries("x").await, ["mine"]);
    let mut registry = prometheus_client::registry::Registry::default();
    world.sessions.register_metrics(&mut registry);
    let text = crate::metrics::encode(&registry);
    assert!(text.contains("bowline_session_owner_entries_removed_total 2"), "{text}");
    assert!(text.contains("bowline_session_requests_total{operation=\"put\",outcome=\"ok\"} 2"), "{text}");

    // A session may be on its way: its entry is young.
    let young = format!("1 {} {FAR} abc", unix_time().as_millis());
    world.store(&["HSET", &owner_key("x"), "coming", &young]).await;
    // A later version's entries are left alone.
    world.store(&["HSET", &owner_key("x"), "mine too", "2 something else"]).await;
    assert_eq!(names(&world.list("owner=x").await), ["mine"]);
    assert_eq!(world.entries("x").await, ["coming", "mine", "mine too"]);
}

#[tokio::test]
async fn a_list_has_a_bound_and_makes_room_for_who_lives() {
    let world = World::start().await;
    let young = unix_time().as_millis();
    let mut words = vec!["HSET".to_owned(), owner_key("x")];
    for index in 0..1_000 {
        words.extend([format!("s{index}"), format!("1 {young} {FAR} abc")]);
    }
    let fill = async |words: &[String]| {
        world.store(&words.iter().map(String::as_str).collect::<Vec<_>>()).await;
    };
    fill(&words).await;
    world.ask(put(one("new") + "?owner=x", "1")).await.expect(409, "owner_full");
    world.ask(get(one("new"))).await.expect(404, "session_not_found");
    // The same list, an hour later: what is not there any more is found out.
    let old = words.iter().map(|word| word.replace(&format!("1 {young} "), "1 1000 ")).collect::<Vec<_>>();
    fill(&old).await;
    world.ask(put(one("new") + "?owner=x", "1")).await.expect(201, "");
    assert_eq!(world.entries("x").await, ["new"]);
    assert_eq!(names(&world.list("owner=x").await), ["new"]);
}

#[tokio::test]
async fn what_ended_is_swept_with_the_writes_of_others() {
    let world = World::start().await;
    for index in 0..4 {
        world.old_entry("x", &format!("ended{index}"), "2000").await;
    }
    until("all are swept", async || {
        world.ask(put(one("a") + "?owner=x", "1")).await;
        (world.entries("x").await == ["a"]).then_some(())
    })
    .await;
    // The list ends with the longest session, and a little later.
    let Frame::Integer(left) = world.store(&["PTTL", &owner_key("x")]).await else { panic!("no time") };
    let month = 30 * 24 * 3_600_000;
    assert!((month..=month + 60_000).contains(&left), "{left}");
}

/// The end of the session of an entry of the owner `x`.
async fn end_of_entry(world: &World, name: &str) -> u128 {
    let Frame::Bulk(entry) = world.store(&["HGET", &owner_key("x"), name]).await else { panic!("no entry") };
    let entry = String::from_utf8(entry.to_vec()).expect("text");
    entry.split(' ').nth(2).and_then(|ends| ends.parse().ok()).expect("an end")
}

/// A session that is given more time is not swept from its list meanwhile.
#[tokio::test]
async fn an_entry_ends_no_earlier_than_its_session() {
    let world = World::start().await;
    for (key, change) in
        [("a", ask("PATCH", one("a") + "?absolute=9d")), ("b", put(one("b") + "?keep=true&absolute=9d", ""))]
    {
        world.ask(put(one(key) + "?owner=x&absolute=1h", "1")).await.expect(201, "");
        world.ask(change).await.expect(204, "");
        let nine_days = unix_time().as_millis() + 9 * 24 * 3_600_000;
        assert!(end_of_entry(&world, key).await > nine_days - 60_000);
    }
}

/// A write that fails must not make the entry end before the session that is there.
#[tokio::test]
async fn an_entry_never_ends_earlier_than_before() {
    let world = World::start().await;
    world.ask(put(one("a") + "?owner=x", "1")).await.expect(201, "");
    let refused = put(one("a") + "?owner=x&absolute=1s", "2").header("if-none-match", "*");
    world.ask(refused).await.expect(412, "precondition_failed");
    let ends = end_of_entry(&world, "a").await;
    assert!(ends > unix_time().as_millis() + 29 * 24 * 3_600_000, "{ends}");
}

/// A write enters a session, another one overtakes it, and a third one gives the session away. Then the first one arrives:
/// the entry is needed again, whatever the third one does with it.
#[tokio::test]
async fn a_write_that_was_overtaken_is_listed() {
    let world = World::start().await;
    let (store, metrics) = (world.sessions.store(), world.sessions.metrics());
    let (index, key) = (Index { store, metrics }, SessionKey::new("k").expect("a key"));
    let owner = |name: &str| Owner::new(name).expect("fit").expect("an owner");
    let enter = async |name: &str, token: &str| {
        index
            .enter(&caller(BOUND), &owner(name), &key, token, End::In(60_000), Entering::New)
            .await
            .expect("entered");
    };
    let write = async |name: &str, token: &str| {
        let content = Content { value: Bytes::new(), content_type: "a/b".to_owned() };
        let draft = Draft {
            version: &format!("{token:0>32}"),
            content: &content,
            owner: Some(&owner(name)),
            token,
            idle_ms: 60_000,
            sliding: true,
            absolute: End::In(60_000),
            expires_unix_ms: None,
        };
        store.write(&caller(BOUND), &key, &Conditions::default(), &draft).await.expect("written")
    };
    enter("x", "1").await;
    enter("x", "2").await;
    write("x", "2").await;
    enter("y", "3").await;
    let Wrote::Written { token_before, .. } = write("y", "3").await else { panic!("no condition") };
    write("x", "1").await;
    index.forget(&caller(BOUND), &owner("x"), &key, &token_before).await;
    assert_eq!(names(&world.list("owner=x").await), ["k"]);
    assert!(names(&world.list("owner=y").await).is_empty());
}

/// An entry that two writes made goes with a listing, once both have ended.
#[tokio::test]
async fn a_shared_entry_goes_later() {
    let world = World::start().await;
    for (name, entry) in [
        ("old", format!("1 1000 {FAR} abc shared")),
        ("young", format!("1 {} {FAR} abc shared", unix_time().as_millis())),
    ] {
        world.store(&["HSET", &owner_key("x"), name, &entry]).await;
    }
    assert!(names(&world.list("owner=x").await).is_empty());
    assert_eq!(world.entries("x").await, ["young"]);
}
