//! A store that is full: what only reads or frees goes on, and is as safe as ever; what needs memory is refused and says so.

use super::*;

#[tokio::test]
async fn a_full_embedded_store_still_reads_and_removes() {
    check(World::start().await).await;
}

#[tokio::test]
async fn a_full_redis_server_still_reads_and_removes() {
    let server = RedisServer::start().await;
    check(World::on(&server).await).await;
}

async fn check(world: World) {
    let json = |target: String| put(target, "{}").header("content-type", "application/json");
    for key in ["a", "b", "c"] {
        world.ask(json(one(key) + "?owner=o&ttl=1m")).await.expect(201, "");
    }
    let before = world.ask(ask("HEAD", one("a"))).await.expect(200, "");
    world.store(&["CONFIG", "SET", "maxmemory", "1"]).await;
    let refused = world.client.call(Command::new("SET").args(["x", "y"])).await;
    assert!(format!("{refused:?}").contains("OOM"), "the store is not full: {refused:?}");

    let read_many = || ask("POST", "/v1/user-sessions:read").body(r#"{"keys":["a","none"]}"#);
    let requests = [
        (get(one("a")), 200),
        (get(one("a") + "?extend=false"), 200),
        (get(one("none")), 404),
        (ask("HEAD", one("a")), 200),
        (get("/v1/user-sessions?owner=o"), 200),
        (read_many(), 200),
        (ask("DELETE", one("b")), 204),
        (ask("DELETE", one("none")), 404),
    ];
    for (request, status) in requests {
        let options = SignOptions { nonce: Some(nonce()), ..SignOptions::at(unix_time()) };
        let send = async || world.send(request.signed(&world.orders, &options)).await;
        assert_eq!(send().await.status.as_u16(), status, "{request:?}");
        for _ in 0..2 {
            send().await.expect(401, "replayed");
        }
    }
    let read = world.ask(read_many()).await.json();
    assert_eq!(read["results"][0]["status"], "found", "{read}");
    assert_eq!(world.entries("o").await, ["a", "c"], "what was removed left its owner's list");
    let after = world.ask(ask("HEAD", one("a"))).await.expect(200, "");
    let expires = |answer: &Answer| answer.header("bowline-session-expires").to_owned();
    assert!(expires(&after) > expires(&before), "a sliding session lives on");

    let needs_memory = [
        put(one("a"), "1"),
        put(one("new"), "1"),
        put(one("a") + "?owner=o", "1"),
        put(one("a") + "?keep=true", "1"),
        ask("PATCH", one("a")).merge_patch("{\"a\":1}"),
        ask("PATCH", one("a") + "?ttl=1h"),
    ];
    for request in needs_memory {
        let answer = world.ask(request.clone()).await.expect(503, "not_executed");
        assert!(answer.text().contains("the store is full"), "{request:?} {answer:?}");
    }
    assert_eq!(world.ask(get(one("a"))).await.text(), "{}", "nothing was changed");

    world.store(&["CONFIG", "SET", "maxmemory", "0"]).await;
    world.ask(put(one("a"), "1")).await.expect(204, "");
}

/// What `docs/sessions.md` says of the memory that reads of a full store take beyond its bound.
#[tokio::test]
async fn a_nonce_takes_less_than_300_bytes() {
    const READS: u64 = 2_000;
    let server = RedisServer::start().await;
    for world in [World::start().await, World::on(&server).await] {
        let key = nonce();
        world.ask(get(one(&key))).await.expect(404, "");
        let before = used_bytes(&world).await;
        for _ in 0..READS {
            world.ask(get(one(&key))).await.expect(404, "");
        }
        let each = used_bytes(&world).await.saturating_sub(before) / READS;
        assert!((100..300).contains(&each), "{each} bytes");
    }
}

async fn used_bytes(world: &World) -> u64 {
    let (Frame::Bulk(text) | Frame::Verbatim { text, .. }) = world.store(&["INFO", "memory"]).await else {
        panic!("no text")
    };
    let text = String::from_utf8(text.to_vec()).expect("text");
    let line = text.lines().find_map(|line| line.strip_prefix("used_memory:")).expect("it says so");
    line.parse().expect("a number")
}
