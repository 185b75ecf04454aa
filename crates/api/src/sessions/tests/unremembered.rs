//! A store that lost what it had, and with it the nonces: copies of requests from before are refused all the same.

use bowline_redis::Slot;

use super::*;

const MARK: &str = "bowline:{session-nonces}";

/// A world whose store has remembered nonces for a minute.
async fn remembering(world: World, mark: &str) -> World {
    let since = (unix_time() - Duration::from_secs(60)).as_millis().to_string();
    world.store(&["SET", mark, &since]).await;
    world
}

/// A request of 2 seconds ago, which works once.
async fn used(world: &World) -> impl Fn() -> Request {
    let options =
        SignOptions { nonce: Some(nonce()), ..SignOptions::at(unix_time() - Duration::from_secs(2)) };
    let copy = move || put(one("42"), "1").signed(&world.orders, &options);
    world.send(copy()).await.expect(201, "");
    world.send(copy()).await.expect(401, "replayed");
    copy
}

/// After the store lost everything.
async fn check(world: &World, copy: impl Fn() -> Request) {
    for _ in 0..3 {
        world.send(copy()).await.expect(401, "unremembered");
    }
    world.ask(get(one("42"))).await.expect(404, "session_not_found");
    let options = SignOptions { nonce: Some(nonce()), ..SignOptions::at(unix_time()) };
    let fresh = || put(one("42"), "1").signed(&world.orders, &options);
    world.send(fresh()).await.expect(201, "");
    world.send(fresh()).await.expect(401, "replayed");
}

#[tokio::test]
async fn a_store_that_was_emptied_lets_no_copy_in() {
    let server = RedisServer::start().await;
    for world in [World::start().await, World::on(&server).await] {
        let world = remembering(world, MARK).await;
        let copy = used(&world).await;
        world.store(&["FLUSHALL"]).await;
        check(&world, copy).await;
    }
}

#[tokio::test]
async fn a_server_that_was_restarted_without_its_data_lets_no_copy_in() {
    let mut server = RedisServer::start().await;
    let world = remembering(World::on(&server).await, MARK).await;
    let copy = used(&world).await;
    server.restart().await;
    check(&world, copy).await;
}

/// Keys of several slots are refused by a server that divides them, to whom we speak as to a single one.
#[tokio::test]
async fn in_a_cluster_every_slot_remembers_for_itself() {
    let folder = std::env::temp_dir().join(format!("bowline-{}.conf", nonce()));
    let port = 12_000 + bowline_rt::random::below(20_000);
    let (port, file) = (port.to_string(), folder.display().to_string());
    let server =
        RedisServer::with(&["--port", &port, "--cluster-enabled", "yes", "--cluster-config-file", &file])
            .await;
    let client = server.client();
    let slots = Command::new("CLUSTER").args(["ADDSLOTSRANGE", "0", "16383"]);
    client.call(slots).await.expect("they are its own");
    until("the cluster is whole", async || {
        let info = client.call(Command::new("CLUSTER").arg("INFO")).await;
        format!("{info:?}").contains("cluster_state:ok").then_some(())
    })
    .await;
    let world = World::over(client, settings());
    // The first request finds it out. It must not come in the second after the one in which it was signed.
    let ahead = SignOptions::at(unix_time() + Duration::from_secs(10));
    world.send(put(one("first"), "1").signed(&world.orders, &ahead)).await.expect(201, "");
    world.sessions.mark().await;
    assert_eq!(
        world.store(&["DBSIZE"]).await,
        Frame::Integer(16_384 + 2),
        "one for each slot, the session, its nonce"
    );
    let key = "bowline:{session:orders/42}";
    let slot = Slot::of(key.as_bytes());
    let Frame::Array(names) = world.store(&["CLUSTER", "GETKEYSINSLOT", &slot.to_string(), "10"]).await
    else {
        panic!("no list")
    };
    let [Frame::Bulk(mark)] = &names[..] else { panic!("one mark: {names:?}") };
    let mark = std::str::from_utf8(mark).expect("text").to_owned();
    let world = remembering(world, &mark).await;
    let copy = used(&world).await;
    world.store(&["FLUSHALL"]).await;
    check(&world, copy).await;
    drop(std::fs::remove_file(folder));
}

#[tokio::test]
async fn a_mark_is_written_once_and_again_where_it_makes_no_sense() {
    let world = World::start().await;
    let mark = async || world.store(&["GET", MARK]).await;
    let before = mark().await;
    assert!(matches!(before, Frame::Bulk(_)), "{before:?}");
    world.sessions.mark().await;
    world.ask(put(one("a"), "1")).await.expect(201, "");
    assert_eq!(mark().await, before);
    // A clock that was set back, or something else's value.
    let later = (unix_time() + Duration::from_secs(3_600)).as_millis().to_string();
    for wrong in [later.as_str(), "", "x"] {
        world.store(&["SET", MARK, wrong]).await;
        world.sessions.mark().await;
        world.ask(put(one("a"), "1")).await.expect(204, "");
        assert!(matches!(mark().await, Frame::Bulk(text) if text != wrong.as_bytes()));
    }
    assert_eq!(world.store(&["PTTL", MARK]).await, Frame::Integer(-1), "it stays");
    assert_ne!(Slot::of(MARK.as_bytes()), Slot::of(b"bowline:{}"), "or marking would not notice slots");
}
