//! A store that is not there: an error in time that says that nothing was done.

use super::*;

#[tokio::test]
async fn without_a_store_nothing_is_executed_and_that_is_said_in_time() {
    let World { store, client, sessions, orders, billing, .. } = World::with(Settings::default()).await;
    store.expect("it is in this process").stop().await.expect("it ends");
    // What is sent before the driver knows may have been read, for all that it can tell.
    until("the driver knows that the store is gone", async || {
        let outcome = client.call(Command::new("PING").deadline(Duration::from_millis(100))).await;
        outcome.is_err_and(|error| error.had_no_effect()).then_some(())
    })
    .await;
    let requests = [
        get(one("a")),
        ask("HEAD", one("a")),
        put(one("a"), "1"),
        put(one("a") + "?owner=x", "1"),
        ask("PATCH", one("a") + "?ttl=1m"),
        ask("DELETE", one("a")),
        get("/v1/user-sessions?owner=x"),
        ask("POST", "/v1/user-sessions:read").body(r#"{"keys":["a"]}"#),
    ];
    let began = bowline_rt::time::now();
    let sends = requests.iter().map(|request| {
        let request = request.signed(&orders, &SignOptions::at(unix_time()));
        let sessions = &sessions;
        async move { send(sessions, request).await }
    });
    for answer in futures_util::future::join_all(sends).await {
        let answer = answer.expect(503, "not_executed");
        assert_eq!(answer.header("retry-after"), "1");
    }
    assert!(began.elapsed() < BOUND / 2, "{:?}", began.elapsed());
    drop((client, billing));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let orders = signing_key("orders-1", Algorithm::HmacSha256);
    let table = orders.table_entry(&"orders".parse().expect("a namespace"));
    let keys = Keys::from_toml("test", &table).expect("keys");
    let sessions =
        Sessions::new(client("127.0.0.1:1".parse().expect("an address")), keys, Settings::default());
    for request in [
        put(one("a"), "x"),
        ask("PATCH", one("a")).merge_patch("{}"),
        ask("POST", "/v1/user-sessions:read").body("{}"),
    ] {
        let mut request = request.signed(&orders, &SignOptions::at(unix_time()));
        *request.body_mut() =
            Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());
        send(&sessions, request).await.expect(408, "body_timeout");
    }
    // And one that is longer than announced.
    let mut request = put(one("a"), "x").signed(&orders, &SignOptions::at(unix_time()));
    let chunks =
        futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from_static(&[0; 4096])));
    *request.body_mut() = Body::from_stream(chunks);
    send(&sessions, request).await.expect(413, "body_too_large");
}
