//! A store that holds something in the place of a session that this service did not write: an error that says so.

use super::*;

const SESSION: &str = "bowline:{session:orders/a}";

async fn session(world: &World) {
    world.ask(ask("DELETE", one("a"))).await;
    let made = put(one("a") + "?owner=x", "{}").header("content-type", "application/json");
    world.ask(made).await.expect(201, "");
}

#[tokio::test]
async fn what_is_no_session_is_called_that_and_can_be_replaced() {
    let server = RedisServer::start().await;
    for world in [World::start().await, World::on(&server).await] {
        for (field, strange) in [
            ("type", "a\nb"),
            ("owner", "a\nb"),
            ("owner", "%zz"),
            ("owner", "%61"),
            ("version", "x\ny"),
            ("version", ""),
            ("token", "a b"),
            ("idle", "x"),
            ("sliding", "yes"),
            ("absolute", "-1"),
            ("expires", "x"),
            ("expires", "1e300"),
        ] {
            session(&world).await;
            world.store(&["HSET", SESSION, field, strange]).await;
            world.ask(get(one("a"))).await.expect(500, "session_unreadable");
            world.ask(ask("HEAD", one("a"))).await.expect(500, "");
            world.ask(get("/v1/user-sessions?owner=x")).await.expect(500, "session_unreadable");
            world.ask(ask("PATCH", one("a") + "?ttl=1m")).await.expect(500, "session_unreadable");
            world.ask(put(one("a") + "?keep=true", "")).await.expect(500, "session_unreadable");
            let read = ask("POST", "/v1/user-sessions:read").body(r#"{"keys":["a"]}"#);
            let read = world.ask(read).await.expect(200, "").json();
            assert_eq!(read["results"][0]["status"], "unreadable", "{field} {strange:?}");
            let repair = if field == "owner" { ask("DELETE", one("a")) } else { put(one("a"), "") };
            world.ask(repair).await.expect(204, "");
        }
        for field in ["type", "owner", "token", "idle", "sliding", "absolute", "expires", "value"] {
            session(&world).await;
            world.store(&["HDEL", SESSION, field]).await;
            world.ask(get(one("a"))).await.expect(500, "session_unreadable");
            world.ask(put(one("a"), "")).await.expect(204, "");
        }
    }
}

#[tokio::test]
async fn what_is_not_even_a_hash_is_not_touched() {
    let world = World::start().await;
    world.store(&["SET", SESSION, "text"]).await;
    for request in [get(one("a")), put(one("a"), ""), put(one("a") + "?owner=x", ""), ask("DELETE", one("a"))]
    {
        world.ask(request).await.expect(503, "not_executed");
    }
    assert_eq!(world.store(&["GET", SESSION]).await, Frame::Bulk(Bytes::from_static(b"text")));
}
