//! A store that lost what it had, and with it the nonces: copies of requests from before are refused all the same.

use std::pin::pin;

use bowline_redis::Slot;

use super::*;

const MARK: &str = "bowline:{session-nonces}";

/// Requests are signed ahead by as much, and no test waits for longer.
const SOON: Policy = Policy { window_max: Duration::from_secs(300), clock_skew: Duration::from_secs(2) };

/// A world whose store has remembered nonces for a minute.
async fn remembering(world: World, mark: &str) -> World {
    let world = world.with_policy(SOON);
    let since = (unix_time() - Duration::from_secs(60)).as_millis().to_string();
    world.store(&["SET", mark, &since]).await;
    world
}

/// A request of 2 seconds ago, which works once.
async fn used(world: &World) -> impl Fn() -> Request {
    used_at(world, unix_time() - Duration::from_secs(2)).await
}

/// A request that was signed at `created`, which works once.
async fn used_at(world: &World, created: Duration) -> impl Fn() -> Request {
    let options = SignOptions { nonce: Some(nonce()), ..SignOptions::at(created) };
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
    until("it remembers", async || {
        world.send(copy()).await.expect(401, "unremembered");
        let answer = world.ask(get(one("42"))).await;
        if answer.status != 404 {
            answer.expect(401, "unremembered");
            return None;
        }
        Some(())
    })
    .await;
    world.send(copy()).await.expect(401, "unremembered");
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
    let mut world = World::over(client, settings());
    // The first request finds it out. It must not come in the second after the one in which it was signed.
    let ahead = SignOptions::at(unix_time() + Duration::from_secs(10));
    world.send(put(one("first"), "1").signed(&world.orders, &ahead)).await.expect(201, "");
    world.sessions.store().mark().await;
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
    world = remembering(world, &mark).await;
    let copy = used(&world).await;
    world.store(&["FLUSHALL"]).await;
    check(&world, copy).await;
    // One request shows that all are lost, and all are written.
    let sessions = world.sessions.clone();
    let marking = bowline_rt::task::spawn("marking", async move { sessions.keep_marked().await });
    let marks = async || match world.store(&["DBSIZE"]).await {
        Frame::Integer(count) => count,
        other => panic!("no number: {other:?}"),
    };
    until("all slots are marked", async || (marks().await >= 16_384).then_some(())).await;
    let old = SignOptions::at(unix_time() - Duration::from_secs(10));
    for _ in 0..2 {
        world.store(&["FLUSHALL"]).await;
        assert!(marks().await < 16_384);
        world.send(get(one("42")).signed(&world.orders, &old)).await.expect(401, "unremembered");
        until("all slots are marked again", async || (marks().await == 16_384).then_some(())).await;
    }
    marking.abort();
    drop(std::fs::remove_file(folder));
}

#[tokio::test]
async fn a_mark_is_written_once_and_again_where_it_makes_no_sense() {
    let world = World::start().await;
    let mark = async || world.store(&["GET", MARK]).await;
    let before = mark().await;
    assert!(matches!(before, Frame::Bulk(_)), "{before:?}");
    world.sessions.store().mark().await;
    world.ask(put(one("a"), "1")).await.expect(201, "");
    assert_eq!(mark().await, before);
    // A clock that was set back, or something else's value.
    let later = (unix_time() + Duration::from_secs(3_600)).as_millis().to_string();
    for wrong in [later.as_str(), "", "x", "nan", "-1"] {
        world.store(&["SET", MARK, wrong]).await;
        world.sessions.store().mark().await;
        let old = SignOptions::at(unix_time() - Duration::from_secs(2));
        world.send(put(one("a"), "1").signed(&world.orders, &old)).await.expect(401, "unremembered");
        assert!(matches!(mark().await, Frame::Bulk(text) if text != wrong.as_bytes()));
    }
    assert_eq!(world.store(&["PTTL", MARK]).await, Frame::Integer(-1), "it stays");
    assert_ne!(Slot::of(MARK.as_bytes()), Slot::of(b"bowline:{}"), "or marking would not notice slots");
}

/// Whoever signs with a clock that is ahead, as far as that is believed, is no way around it.
#[tokio::test]
async fn a_copy_that_was_signed_ahead_is_not_let_in_either() {
    let server = RedisServer::start().await;
    for world in [World::start().await, World::on(&server).await] {
        let world = remembering(world, MARK).await;
        let copy = used_at(&world, unix_time() + SOON.clock_skew).await;
        world.store(&["FLUSHALL"]).await;
        check(&world, copy).await;
    }
    let world = World::start().await;
    let copy = used_at(&world, unix_time() + Policy::default().clock_skew).await;
    world.store(&["FLUSHALL"]).await;
    world.sessions.store().mark().await;
    world.send(copy()).await.expect(401, "unremembered");
}

/// It does not know that the store lost anything: that is the price of serving at once.
#[tokio::test]
async fn a_gateway_that_never_saw_a_mark_serves_at_once() {
    let world = World::start().await;
    world.store(&["FLUSHALL"]).await;
    let world = world.with_policy(Policy::default());
    world.sessions.store().mark().await;
    let now = SignOptions::at(unix_time() + Duration::from_secs(1));
    world.send(put(one("a"), "1").signed(&world.orders, &now)).await.expect(201, "");
}

#[tokio::test]
async fn what_was_never_made_is_not_called_a_replay() {
    let world = World::start().await;
    let mut registry = prometheus_client::registry::Registry::default();
    world.sessions.register_metrics(&mut registry);
    let old = SignOptions::at(unix_time() - Duration::from_secs(2));
    world.send(put(one("42"), "1").signed(&world.orders, &old)).await.expect(401, "unremembered");
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).expect("it can be written");
    let line = "bowline_session_requests_total{operation=\"put\",outcome=\"unremembered\"} 1";
    assert!(text.contains(line), "{text}");
}

/// The clock by which signatures are judged is the gateway's, and no other has a part in it.
#[tokio::test]
async fn a_mark_says_what_it_is_told_and_is_lowered_only_where_it_makes_no_sense() {
    let server = RedisServer::start().await;
    for world in [World::start().await, World::on(&server).await] {
        let mark = async |new: u64, latest: u64| {
            let arguments = [new.to_string(), latest.to_string()];
            let arguments = arguments.each_ref().map(String::as_bytes);
            let script = &world.sessions.store().scripts.mark;
            let Ok(Frame::Bulk(since)) = world.client.eval(script, &[MARK.as_bytes()], &arguments).await
            else {
                panic!("no answer")
            };
            String::from_utf8(since.to_vec()).expect("text").parse::<u64>().expect("a number")
        };
        world.store(&["DEL", MARK]).await;
        assert_eq!(mark(1_000, 1_500).await, 1_000);
        assert_eq!(mark(900, 1_000).await, 1_000, "it may be as it should be");
        assert_eq!(mark(2_000, 2_500).await, 1_000);
        assert_eq!(mark(900, 999).await, 900);
        world.store(&["EXPIRE", MARK, "100"]).await;
        assert_eq!(mark(2_000, 2_500).await, 900);
        assert_eq!(world.store(&["PTTL", MARK]).await, Frame::Integer(-1), "it stays");
    }
}

/// A caller who goes away, and an answer that goes with the store, leave a nonce behind all the same.
#[tokio::test]
async fn a_request_whose_answer_nobody_saw_is_not_let_in_after_a_loss() {
    let server = RedisServer::start().await;
    let world = remembering(World::on(&server).await, MARK).await;
    let ahead = SignOptions { nonce: Some(nonce()), ..SignOptions::at(unix_time() + SOON.clock_skew) };
    let copy = || put(one("42"), "1").signed(&world.orders, &ahead);
    // So that the clock and the script are known, and the first step is the only one.
    world.ask(put(one("other"), "1")).await.expect(201, "");
    {
        let mut asked = pin!(world.send(copy()));
        assert!(futures_util::poll!(asked.as_mut()).is_pending());
        until("it was carried out", async || {
            (world.store(&["EXISTS", "bowline:{session:orders/42}"]).await == Frame::Integer(1)).then_some(())
        })
        .await;
    }
    world.store(&["FLUSHALL"]).await;
    // Not the copy itself, which would be counted as well.
    world.ask(get(one("42"))).await.expect(401, "unremembered");
    check(&world, copy).await;
}

/// Be it that of the gateway or of another one.
#[tokio::test]
async fn a_clock_that_was_ahead_keeps_nobody_out_for_long() {
    let world = World::start().await.with_policy(SOON);
    world.sessions.store().mark().await;
    let later = (unix_time() + Duration::from_secs(3_600)).as_millis().to_string();
    world.store(&["SET", MARK, &later]).await;
    until("somebody is let in", async || (world.ask(put(one("a"), "1")).await.status == 201).then_some(()))
        .await;
}

/// A store that refuses at first is asked until it does what it is to do.
#[tokio::test]
async fn marking_goes_on_until_it_is_done() {
    let server = RedisServer::start().await;
    let world = World::over(server.client(), settings());
    world.store(&["CONFIG", "SET", "min-replicas-to-write", "1"]).await;
    let sessions = world.sessions.clone();
    let marking = bowline_rt::task::spawn("marking", async move { sessions.store().mark().await });
    until("it was refused twice", async || {
        let (Frame::Bulk(text) | Frame::Verbatim { text, .. }) = world.store(&["INFO", "errorstats"]).await
        else {
            return None;
        };
        let text = String::from_utf8_lossy(&text).into_owned();
        let count = text.lines().find_map(|line| line.strip_prefix("errorstat_NOREPLICAS:count="))?;
        (count.trim().parse::<u64>().ok()? >= 2).then_some(())
    })
    .await;
    assert!(!marking.is_finished());
    world.store(&["CONFIG", "SET", "min-replicas-to-write", "0"]).await;
    timeout(BOUND, marking).await.expect("it ends").expect("no panic");
    assert_eq!(world.store(&["EXISTS", MARK]).await, Frame::Integer(1));
}
