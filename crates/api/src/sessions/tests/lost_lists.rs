//! A list of an owner that is lost without its sessions, as when only its node of a cluster loses data.

use super::*;

const FAR: &str = "4000000000000";

impl World {
    /// Puts the session `a` of the owner `x`, and takes what `names` lists away.
    async fn with_a_lost_list(&self) {
        self.ask(put(one("a") + "?owner=x", "{}").header("content-type", "application/json")).await;
        self.store(&["DEL", &owner_key("x")]).await;
        assert!(self.listed().await.is_empty());
    }

    /// The keys of the sessions of `x`.
    async fn listed(&self) -> Vec<String> {
        let page = self.ask(get("/v1/user-sessions?owner=x")).await.expect(200, "").json();
        let sessions = page["sessions"].as_array().expect("a list");
        sessions.iter().map(|session| session["key"].as_str().expect("a key").to_owned()).collect()
    }

    /// As if nothing had looked after the session's entry for long.
    async fn let_an_entry_be_due(&self) {
        self.store(&["HSET", "bowline:{session:orders/a}", "entered", "1000"]).await;
    }

    async fn entry(&self) -> String {
        let Frame::Bulk(entry) = self.store(&["HGET", &owner_key("x"), "a"]).await else {
            panic!("no entry")
        };
        String::from_utf8(entry.to_vec()).expect("text")
    }

    fn restored(&self) -> String {
        let mut registry = prometheus_client::registry::Registry::default();
        self.sessions.register_metrics(&mut registry);
        let text = crate::metrics::encode(&registry);
        let line =
            text.lines().find_map(|line| line.strip_prefix("bowline_session_owner_entries_restored_total "));
        line.expect("it is counted").to_owned()
    }
}

fn json(key: &str) -> Ask {
    put(key, "{}").header("content-type", "application/json")
}

#[tokio::test]
async fn every_write_of_a_session_enters_it() {
    let world = World::start().await;
    for (index, change) in [
        ask("PATCH", one("a")).merge_patch("{\"b\":1}"),
        ask("PATCH", one("a") + "?ttl=1h"),
        ask("PATCH", one("a") + "?owner=x"),
        ask("PATCH", one("a") + "?absolute=1h"),
        json(&(one("a") + "?keep=true")),
        json(&(one("a") + "?keep=true&owner=x")),
        json(&(one("a") + "?owner=x")),
    ]
    .into_iter()
    .enumerate()
    {
        world.with_a_lost_list().await;
        world.ask(change).await.expect(204, "");
        assert_eq!(world.listed().await, ["a"], "change {index}");
        world.ask(ask("DELETE", one("a"))).await.expect(204, "");
        assert!(world.entries("x").await.is_empty(), "change {index}: the entry is the session's own");
    }
    assert_eq!(world.restored(), "5", "those that did not enter it anew");
}

#[tokio::test]
async fn a_read_that_lengthens_lives_enters_a_session_when_it_is_time() {
    let world = World::start().await;
    let bulk =
        |extend: &str| ask("POST", format!("/v1/user-sessions:read{extend}")).body(r#"{"keys":["a"]}"#);
    for (read, without_a_trace) in
        [(get(one("a")), get(one("a") + "?extend=false")), (bulk(""), bulk("?extend=false"))]
    {
        world.with_a_lost_list().await;
        world.ask(read.clone()).await.expect(200, "");
        assert!(world.listed().await.is_empty(), "the write has just entered it");
        world.let_an_entry_be_due().await;
        world.ask(without_a_trace).await.expect(200, "");
        world.ask(ask("HEAD", one("a"))).await.expect(200, "");
        assert!(world.listed().await.is_empty());
        world.ask(read.clone()).await.expect(200, "");
        assert_eq!(world.listed().await, ["a"]);
        world.store(&["DEL", &owner_key("x")]).await;
        world.ask(read).await.expect(200, "");
        assert!(world.listed().await.is_empty(), "it costs one step now and then");
    }
    // Who belongs to nobody has nothing to be entered in.
    world.ask(put(one("a"), "")).await.expect(204, "");
    world.let_an_entry_be_due().await;
    world.ask(get(one("a"))).await.expect(200, "");
    assert_eq!(world.restored(), "2");
}

/// A list that cannot be written to, or is full, keeps nobody from reading.
#[tokio::test]
async fn a_read_does_not_need_the_list() {
    let world = World::start().await;
    world.with_a_lost_list().await;
    world.store(&["SET", &owner_key("x"), "no list"]).await;
    world.let_an_entry_be_due().await;
    world.ask(get(one("a"))).await.expect(200, "");
    world.store(&["DEL", &owner_key("x")]).await;
    let names: Vec<String> = (0..1_000).map(|index| format!("s{index}")).collect();
    let value = format!("1 {} {FAR} abc", unix_time().as_millis());
    let key = owner_key("x");
    let mut words = vec!["HSET", &key];
    words.extend(names.iter().flat_map(|name| [name.as_str(), &value]));
    world.store(&words).await;
    world.let_an_entry_be_due().await;
    world.ask(get(one("a"))).await.expect(200, "");
    // A write would not be in the list, so there is none.
    world.ask(ask("PATCH", one("a") + "?ttl=1h")).await.expect(409, "owner_full");
    assert_eq!(world.entries("x").await.len(), 1_000);
}

/// An entry that is there may be the one that another write needs, and is only given more time.
#[tokio::test]
async fn an_entry_that_is_there_stays_whose_it_is() {
    let world = World::start().await;
    world.ask(json(&(one("a") + "?owner=x&absolute=1h"))).await.expect(201, "");
    let before = world.entry().await;
    world.ask(ask("PATCH", one("a") + "?ttl=1m")).await.expect(204, "");
    assert_eq!(world.entry().await, before);
    for (there, kept) in [
        (format!("1 1000 {FAR} abc"), true),
        (format!("1 1000 {FAR} abc shared"), true),
        ("2 of a later version".to_owned(), true),
        ("1 1000 2000000000000 abc shared".to_owned(), true),
        // What ended long ago is swept.
        ("1 1000 2000 abc shared".to_owned(), false),
    ] {
        world.store(&["HSET", &owner_key("x"), "a", &there]).await;
        world.ask(ask("PATCH", one("a") + "?ttl=1m")).await.expect(204, "");
        assert_eq!(world.entry().await == there, kept, "{there}");
    }
    let ends = unix_time().as_millis() + 3_000_000;
    let entry = world.entry().await;
    let entry: Vec<&str> = entry.split(' ').collect();
    assert!(entry[2].parse::<u128>().expect("an end") > ends, "{entry:?}");
}
