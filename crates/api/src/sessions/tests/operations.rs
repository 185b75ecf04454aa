//! What each operation does to one session.

use super::*;

#[tokio::test]
async fn a_session_is_written_read_changed_and_removed() {
    let world = World::start().await;
    world.ask(get(one("42"))).await.expect(404, "session_not_found");
    let request = put(one("42"), "hello").header("content-type", "text/plain; charset=utf-8");
    let created = world.ask(request).await.expect(201, "");
    assert_eq!(created.header("location"), "/v1/user-sessions/42");
    assert_eq!(created.header("bowline-session-ttl"), "1800s");
    assert_eq!(created.header("bowline-session-sliding"), "true");
    assert!(created.body.is_empty());

    let read = world.ask(get(one("42"))).await.expect(200, "");
    assert_eq!((read.text(), read.header("content-type")), ("hello", "text/plain; charset=utf-8"));
    assert_eq!(read.etag(), created.etag(), "a read makes no version");
    assert_eq!(read.header("cache-control"), "no-store");
    let look = world.ask(ask("HEAD", one("42"))).await.expect(200, "");
    assert_eq!((look.header("content-length"), look.body.len()), ("5", 0));

    let replaced = world.ask(put(one("42"), "")).await.expect(204, "");
    assert_ne!(replaced.etag(), created.etag());
    let read = world.ask(get(one("42"))).await.expect(200, "");
    assert_eq!((read.text(), read.header("content-type")), ("", "application/octet-stream"));

    world.ask(ask("DELETE", one("42"))).await.expect(204, "");
    world.ask(ask("DELETE", one("42"))).await.expect(404, "session_not_found");
    world.ask(get(one("42"))).await.expect(404, "session_not_found");
    world.ask(ask("PATCH", one("42") + "?ttl=1m")).await.expect(404, "session_not_found");
}

#[tokio::test]
async fn any_bytes_come_back_and_keys_never_meet() {
    let world = World::start().await;
    let bytes: Vec<u8> = (0..=255).cycle().take(64 * 1024).collect();
    world.ask(put(one("blob"), "").body(bytes.clone())).await.expect(201, "");
    assert!(world.ask(get(one("blob"))).await.body == bytes, "the value differs");
    world.ask(put(one("big"), "").body(vec![0; 64 * 1024 + 1])).await.expect(413, "body_too_large");

    let keys =
        ["a%2Fb", "a", "%7Ba%7D", "a%7D%3Anonce%3A", "a%3Ab", "..%2Fa", "%C3%BC", "a%20b", "orders%2Fa"];
    for key in keys {
        world.ask(put(one(key), key)).await.expect(201, "");
    }
    for key in keys {
        assert_eq!(world.ask(get(one(key))).await.text(), key);
    }
    // Another spelling of the same key.
    assert_eq!(world.ask(get(one("%61%2fb"))).await.text(), "a%2Fb");
    for key in ["%", "%zz", "..", ".", "%2e", "a%00", &"a".repeat(257)] {
        world.ask(get(one(key))).await.expect(400, "key_invalid");
    }
    for path in
        ["/v1/user-sessions/", "/v1/user-sessions/a/b", "/v1//user-sessions/a", "/v1/user-sessions/a/", "/"]
    {
        world.ask(get(path)).await.expect(404, "not_found");
    }
    let wrong = world.ask(ask("POST", one("a"))).await.expect(405, "method_not_allowed");
    assert_eq!(wrong.header("allow"), "GET, HEAD, PUT, PATCH, DELETE");
    assert_eq!(world.ask(get("/v1/user-sessions:read")).await.expect(405, "").header("allow"), "POST");
}

/// Seconds between two instants of one day in headers.
fn seconds(from: &str, to: &str) -> f64 {
    let of_day = |instant: &str| {
        let time = instant.split_once('T').expect("an instant").1.trim_end_matches('Z').to_owned();
        let mut parts = time.split(':').map(|part| part.parse::<f64>().expect("a number"));
        parts.by_ref().fold(0.0, |sum, part| sum * 60.0 + part)
    };
    (of_day(to) - of_day(from)).rem_euclid(86_400.0)
}

#[tokio::test]
async fn times_are_set_kept_and_extended() {
    let world = World::start().await;
    let expires = |answer: &Answer| answer.header("bowline-session-expires").to_owned();
    let absolute = |answer: &Answer| answer.header("bowline-session-absolute").to_owned();

    // Fixed: neither reads nor kept writes move the end.
    let fixed = world
        .ask(put(one("f") + "?ttl=10m&absolute=1h&sliding=false&owner=al%20ice", "1"))
        .await
        .expect(201, "");
    assert_eq!(fixed.header("bowline-session-ttl"), "600s");
    assert_eq!(fixed.header("bowline-session-owner"), "al%20ice");
    let span = seconds(&expires(&fixed), &absolute(&fixed));
    assert!((span - 3_000.0).abs() < 1.0, "{span}");
    assert_eq!(expires(&world.ask(get(one("f"))).await), expires(&fixed));
    let kept = world.ask(put(one("f") + "?keep=true", "2")).await.expect(204, "");
    assert_eq!((expires(&kept), absolute(&kept)), (expires(&fixed), absolute(&fixed)));
    assert_eq!(kept.header("bowline-session-owner"), "al%20ice");
    assert_eq!(world.ask(get(one("f"))).await.text(), "2");
    // What is named of it changes.
    let longer = world.ask(ask("PATCH", one("f") + "?ttl=20m")).await.expect(204, "");
    assert!((seconds(&expires(&fixed), &expires(&longer)) - 600.0).abs() < 2.0);
    assert_eq!(absolute(&longer), absolute(&fixed));
    // A whole write forgets it all.
    let whole = world.ask(put(one("f"), "3")).await.expect(204, "");
    assert_eq!(
        (whole.header("bowline-session-owner"), whole.header("bowline-session-sliding")),
        ("", "true")
    );

    // Sliding: a read moves the end, unless it is told not to; the absolute end holds.
    let sliding = world.ask(put(one("s") + "?ttl=10m", "1")).await.expect(201, "");
    for request in [get(one("s") + "?extend=false"), ask("HEAD", one("s"))] {
        assert_eq!(expires(&world.ask(request).await), expires(&sliding));
    }
    until("a read moves the end", async || {
        (expires(&world.ask(get(one("s"))).await) > expires(&sliding)).then_some(())
    })
    .await;
    let bound = world.ask(ask("PATCH", one("s") + "?absolute=1m")).await.expect(204, "");
    assert_eq!(expires(&bound), absolute(&bound));
    assert_eq!(expires(&world.ask(get(one("s"))).await), absolute(&bound));
    // There is nothing to keep: it is new.
    world.ask(put(one("n") + "?keep=true&ttl=5s", "1")).await.expect(201, "");
}

#[tokio::test]
async fn a_session_ends_by_the_clock_of_the_store() {
    let world = World::start().await;
    world.ask(put(one("short") + "?ttl=1s&sliding=false&owner=o", "1")).await.expect(201, "");
    world.ask(get(one("short"))).await.expect(200, "");
    until("it is over", async || (world.ask(get(one("short"))).await.status == 404).then_some(())).await;
    assert_eq!(world.store(&["EXISTS", "bowline:{session:orders/short}"]).await, Frame::Integer(0));
    // Reads keep a sliding one alive beyond its first end.
    let first = world.ask(put(one("busy") + "?ttl=1s", "1")).await.expect(201, "");
    let end = first.header("bowline-session-expires").to_owned();
    until("it lived for longer", async || {
        let read = world.ask(get(one("busy"))).await.expect(200, "");
        // The next end is a second away, so that the first is over.
        (seconds(&end, read.header("bowline-session-expires")) > 1.2).then_some(())
    })
    .await;
}

#[tokio::test]
async fn json_is_patched() {
    let world = World::start().await;
    let json = r#"{"cart":{"a":1,"b":12345678901234567890123},"user":"x"}"#;
    world.ask(put(one("j"), json).header("content-type", "application/json")).await.expect(201, "");
    let patch = ask("PATCH", one("j") + "?ttl=7m").merge_patch(r#"{"cart":{"a":null,"c":3},"user":"y"}"#);
    let patched = world.ask(patch).await.expect(204, "");
    assert_eq!(patched.header("bowline-session-ttl"), "420s");
    let read = world.ask(get(one("j"))).await;
    assert_eq!(read.text(), r#"{"cart":{"b":12345678901234567890123,"c":3},"user":"y"}"#);
    assert_eq!(read.header("content-type"), "application/json");

    world.ask(ask("PATCH", one("j")).merge_patch("{")).await.expect(400, "body_invalid");
    world.ask(ask("PATCH", one("j"))).await.expect(400, "body_invalid");
    let text = ask("PATCH", one("j")).header("content-type", "application/json").body("{}");
    let refused = world.ask(text).await.expect(415, "type_unsupported");
    assert_eq!(refused.header("accept-patch"), "application/merge-patch+json");
    let huge = format!("{{\"x\":\"{}\"}}", "x".repeat(64 * 1024 - 10));
    world.ask(ask("PATCH", one("j")).merge_patch(&huge)).await.expect(413, "body_too_large");
    world.ask(put(one("t"), "{}")).await.expect(201, "");
    world.ask(ask("PATCH", one("t")).merge_patch("{}")).await.expect(409, "not_json");
    world.ask(put(one("t"), "x").header("content-type", "application/ld+json; a=b")).await.expect(204, "");
    world.ask(ask("PATCH", one("t")).merge_patch("{}")).await.expect(409, "not_json");
    let zipped = put(one("z"), "x").header("content-encoding", "gzip");
    world.ask(zipped).await.expect(415, "encoding_unsupported");
}

#[tokio::test]
async fn no_patch_of_many_is_lost() {
    let world = World::start().await;
    world.ask(put(one("j"), "{}").header("content-type", "application/json")).await.expect(201, "");
    let patch = async |name: usize| {
        let body = format!("{{\"n{name}\":{name}}}");
        until("it is patched", async || {
            let answer = world.ask(ask("PATCH", one("j")).merge_patch(&body)).await;
            // Only what was said to have changed nothing is tried again.
            (answer.status == 204).then_some(()).or_else(|| {
                assert_eq!((answer.status.as_u16(), answer.code().as_str()), (409, "conflict"));
                None
            })
        })
        .await;
    };
    futures_util::future::join_all((0..32).map(patch)).await;
    let value = world.ask(get(one("j"))).await.json();
    assert_eq!(value.as_object().expect("an object").len(), 32);
}

#[tokio::test]
async fn several_are_read_at_once() {
    let world = World::with(Settings { value_bytes_max: 1024 * 1024, ..settings() }).await;
    world.ask(put(one("a%20b") + "?owner=o", "one")).await.expect(201, "");
    world.ask(put(one("c"), "").body(vec![0, 255])).await.expect(201, "");
    let read =
        async |body: &str| world.ask(ask("POST", "/v1/user-sessions:read?extend=false").body(body)).await;
    let answer = read(r#"{"keys":["c","none","a b"]}"#).await.expect(200, "").json();
    let result = |index: usize, field: &str| answer["results"][index][field].clone();
    assert_eq!((result(0, "status"), result(0, "value_base64")), ("found".into(), "AP8=".into()));
    assert_eq!((result(1, "status"), result(1, "key")), ("absent".into(), "none".into()));
    assert_eq!((result(2, "key"), result(2, "owner")), ("a b".into(), "o".into()));
    assert_eq!(result(2, "value_base64"), "b25l");

    let many = serde_json::json!({ "keys": vec!["k"; 101] }).to_string();
    for body in ["", "[]", "{}", r#"{"keys":[]}"#, r#"{"keys":["a"],"x":1}"#, r#"{"keys":[".."]}"#, &many] {
        read(body).await.expect(400, "body_invalid");
    }
    // Together they are more than one answer may have.
    let mut keys = Vec::new();
    for index in 0..9 {
        keys.push(format!("big-{index}"));
        world.ask(put(one(&keys[index]), "").body(vec![b'x'; 1024 * 1024])).await.expect(201, "");
    }
    let answer = read(&serde_json::json!({ "keys": keys }).to_string()).await.expect(200, "").json();
    assert_eq!(answer["results"][7]["status"], "found");
    assert_eq!(answer["results"][8]["status"], "left_out");
}
