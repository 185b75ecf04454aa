//! INV-SESS-AUTH: a request that is unsigned, stale, replayed or altered is refused, and nothing is read.

use bowline_redis::Frame;

use super::super::store::Failure;
use super::*;

/// Commands that the store ran for clients, beside those that look at it.
async fn evaluations(world: &World) -> String {
    let (Frame::Bulk(text) | Frame::Verbatim { text, .. }) = world.store(&["INFO", "commandstats"]).await
    else {
        panic!("no text")
    };
    let text = String::from_utf8(text.to_vec()).expect("text");
    let lines = text
        .lines()
        .filter(|line| line.contains("eval"))
        .map(|line| line.split(",usec").next().unwrap_or(""));
    lines.collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn what_is_not_rightly_signed_reaches_no_store() {
    let world = World::start().await;
    world.ask(put(one("42"), "secret")).await.expect(201, "");
    let before = evaluations(&world).await;
    assert!(before.contains("calls="), "the count means something: {before}");
    let now = || SignOptions::at(unix_time());
    let check = async |request: Request, code: &str| {
        let refused = world.send(request).await.expect(401, code);
        assert!(refused.header("www-authenticate").starts_with("Signature"));
        assert!(!refused.text().contains("secret"));
    };
    check(get(one("42")).unsigned(), "signature_missing").await;
    let stale = SignOptions {
        valid_for: Duration::from_secs(1),
        ..SignOptions::at(unix_time() - Duration::from_secs(60))
    };
    check(get(one("42")).signed(&world.orders, &stale), "expired").await;
    let early = SignOptions::at(unix_time() + Duration::from_secs(3_600));
    check(get(one("42")).signed(&world.orders, &early), "created_in_future").await;
    let long = SignOptions { valid_for: Duration::from_secs(3_600), ..now() };
    check(get(one("42")).signed(&world.orders, &long), "window_too_long").await;
    let stranger = signing_key("stranger", Algorithm::HmacSha256);
    check(get(one("42")).signed(&stranger, &now()), "key_unknown").await;
    let impostor = signing_key("orders-1", Algorithm::HmacSha256);
    check(get(one("42")).signed(&impostor, &now()), "signature_wrong").await;

    // Altered on the way: each part by itself.
    let altered = async |ask: Ask, alter: &dyn Fn(&mut Request), code: &str| {
        let mut request = ask.signed(&world.orders, &now());
        alter(&mut request);
        check(request, code).await;
    };
    let to = |target: &'static str| {
        move |request: &mut Request| *request.uri_mut() = target.parse().expect("a target")
    };
    altered(get(one("42")), &to("/v1/user-sessions/43"), "signature_wrong").await;
    altered(get(one("42")), &to("/v1/user-sessions/%34%32"), "signature_wrong").await;
    altered(get(one("42")), &to("/v1/user-sessions/42?extend=false"), "components_missing").await;
    altered(put(one("42") + "?ttl=1m", "x"), &to("/v1/user-sessions/42?ttl=9m"), "signature_wrong").await;
    altered(put(one("42") + "?ttl=1m", "x"), &to("/v1/user-sessions/42"), "signature_wrong").await;
    altered(get(one("42")), &|request| *request.method_mut() = http::Method::DELETE, "signature_wrong").await;
    let host =
        |request: &mut Request| drop(request.headers_mut().insert("host", HeaderValue::from_static("other")));
    altered(get(one("42")), &host, "signature_wrong").await;
    let two_hosts = |request: &mut Request| {
        assert!(request.headers_mut().append("host", HeaderValue::from_static(AUTHORITY)))
    };
    altered(get(one("42")), &two_hosts, "request_malformed").await;
    let body = |request: &mut Request| *request.body_mut() = Body::from("y");
    altered(put(one("42"), "x"), &body, "digest_wrong").await;
    let digest = |request: &mut Request| drop(request.headers_mut().remove("content-digest"));
    altered(put(one("42"), "x"), &digest, "digest_missing").await;
    let condition = |request: &mut Request| drop(request.headers_mut().remove("if-match"));
    altered(put(one("42"), "x").header("if-match", "*"), &condition, "component_absent").await;
    let more = |request: &mut Request| {
        drop(request.headers_mut().insert("if-none-match", HeaderValue::from_static("*")))
    };
    altered(put(one("42"), "x"), &more, "components_missing").await;

    assert_eq!(evaluations(&world).await, before, "the store ran something");
    assert_eq!(world.ask(get(one("42"))).await.text(), "secret");
}

#[tokio::test]
async fn a_request_works_once() {
    let world = World::start().await;
    world
        .ask(put(one("42") + "?owner=o", "{}").header("content-type", "application/json"))
        .await
        .expect(201, "");
    let requests = [
        get(one("42")),
        ask("HEAD", one("42")),
        put(one("42"), "1"),
        put(one("42") + "?keep=true", "{}"),
        put(one("42") + "?owner=o", "{}").header("content-type", "application/json"),
        ask("PATCH", one("42")).merge_patch("{\"a\":1}"),
        ask("PATCH", one("42") + "?owner=p"),
        get("/v1/user-sessions?owner=o"),
        ask("POST", "/v1/user-sessions:read").body(r#"{"keys":["42"]}"#),
        ask("DELETE", one("42")),
        // What found nothing is used up as well.
        ask("DELETE", one("42")),
        get(one("none")),
    ];
    for request in requests {
        let options = SignOptions { nonce: Some(nonce()), ..SignOptions::at(unix_time()) };
        let send = async || world.send(request.signed(&world.orders, &options)).await;
        let first = send().await;
        assert!(first.status.as_u16() < 400 || first.status == 404, "{request:?} {first:?}");
        let (entries, value) = (world.entries("o").await, world.ask(get(one("42"))).await.body);
        for _ in 0..3 {
            // HEAD has no body on the wire; the routes give one.
            send().await.expect(401, "replayed");
        }
        assert_eq!(world.entries("o").await, entries, "{request:?}");
        assert_eq!(world.ask(get(one("42"))).await.body, value, "{request:?}");
    }
}

#[tokio::test]
async fn of_copies_that_come_at_once_one_works() {
    let world = World::start().await;
    for request in [put(one("42"), "1"), put(one("43") + "?owner=o", "1"), get(one("42"))] {
        let options = SignOptions { nonce: Some(nonce()), ..SignOptions::at(unix_time()) };
        let copies = (0..16).map(|_| world.send(request.signed(&world.orders, &options)));
        let answers = futures_util::future::join_all(copies).await;
        let good = answers.iter().filter(|answer| answer.status.is_success()).count();
        let replayed =
            answers.iter().filter(|answer| answer.status == 401 && answer.code() == "replayed").count();
        assert_eq!((good, replayed), (1, 15), "{request:?}");
    }
}

#[tokio::test]
async fn nonces_are_remembered_for_as_long_as_a_signature_can_be_believed() {
    let world = World::start().await;
    let options = SignOptions { nonce: Some("n".repeat(20)), ..SignOptions::at(unix_time()) };
    world.send(put(one("42"), "1").signed(&world.orders, &options)).await.expect(201, "");
    let key = format!("bowline:{{session:orders/42}}:nonce:orders-1:{}", "n".repeat(20));
    let Frame::Integer(left) = world.store(&["PTTL", &key]).await else { panic!("no time") };
    // The minute of the signature, 30 s of skew, 10 s of margin.
    assert!((95_000..=100_000).contains(&left), "{left}");
}

/// A store that was born empty has forgotten who was there before.
#[tokio::test]
async fn what_was_signed_before_the_store_was_born_is_refused() {
    let born = Duration::from_secs(unix_time().as_secs()) + Duration::from_millis(900);
    let world = World::with(Settings { remembers_since: Some(born), ..settings() }).await;
    let before = evaluations(&world).await;
    let signed = |created| put(one("42"), "1").signed(&world.orders, &SignOptions::at(created));
    world.send(signed(born - Duration::from_secs(1))).await.expect(401, "unremembered");
    assert_eq!(evaluations(&world).await, before, "the store ran something");
    world.send(signed(born)).await.expect(201, "");
    world.send(signed(born + Duration::from_secs(1))).await.expect(204, "");
}

/// As if its body had come so late.
#[tokio::test]
async fn what_expired_on_its_way_to_the_store_is_refused() {
    let world = World::start().await;
    world.sessions.store().admit(&caller(BOUND)).await.expect("in time");
    let before = evaluations(&world).await;
    assert_eq!(world.sessions.store().admit(&caller(Duration::ZERO)).await, Err(Failure::Expired));
    assert_eq!(evaluations(&world).await, before, "the store ran something");
}

#[tokio::test]
async fn a_namespace_does_not_see_another() {
    let world = World::start().await;
    world.ask(put(one("42") + "?owner=alice", "orders")).await.expect(201, "");
    let other = async |request: Ask| world.ask_as(&world.billing, &request).await;
    other(get(one("42"))).await.expect(404, "session_not_found");
    other(ask("HEAD", one("42"))).await.expect(404, "");
    other(ask("DELETE", one("42"))).await.expect(404, "session_not_found");
    other(ask("PATCH", one("42") + "?ttl=1s")).await.expect(404, "session_not_found");
    other(put(one("42"), "x").header("if-match", "*")).await.expect(412, "precondition_failed");
    assert_eq!(
        other(get("/v1/user-sessions?owner=alice")).await.json()["sessions"].as_array().map(Vec::len),
        Some(0)
    );
    let answer = other(ask("POST", "/v1/user-sessions:read").body(r#"{"keys":["42"]}"#)).await.json();
    assert_eq!(answer["results"][0]["status"], "absent");
    // It can have a session of that name itself.
    other(put(one("42"), "billing").header("if-none-match", "*")).await.expect(201, "");
    assert_eq!(world.ask(get(one("42"))).await.text(), "orders");
    // Keys and owners that would reach over.
    for reach in ["orders%2F42", "..%2Forders%2F42", "%7Bsession%3Aorders%2F42%7D"] {
        other(get(one(reach))).await.expect(404, "session_not_found");
    }
}
