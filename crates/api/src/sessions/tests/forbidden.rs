//! A store whose user lacks a right: what was surely not done is told from what may have been.

use bowline_redis::{CallError, ServerError};

use super::super::store::shown;
use super::*;

#[tokio::test]
async fn a_script_that_may_not_run_at_all_changes_nothing() {
    let server = RedisServer::start().await;
    let world = World::on(&server).await;
    world.ask(put(one("a") + "?owner=x", "1")).await.expect(201, "");
    let requests = || {
        [
            get(one("a")),
            put(one("a"), "2"),
            put(one("a") + "?owner=x", "2"),
            ask("PATCH", one("a") + "?ttl=1h"),
            ask("DELETE", one("a")),
            get("/v1/user-sessions?owner=x"),
            ask("POST", "/v1/user-sessions:read").body(r#"{"keys":["a"]}"#),
        ]
    };
    for rules in [["-@scripting", "allkeys"], ["+@scripting", "resetkeys"]] {
        world.store(&["ACL", "SETUSER", "default", rules[0], rules[1]]).await;
        for request in requests() {
            world.ask(request).await.expect(503, "not_executed");
        }
    }
    world.store(&["ACL", "SETUSER", "default", "allkeys"]).await;
    assert_eq!(world.ask(get(one("a"))).await.expect(200, "").text(), "1");
}

#[test]
fn the_log_says_what_the_user_of_the_store_lacks() {
    for (message, is_about_rights) in [
        ("NOPERM this user has no permissions to run the 'evalsha' command", true),
        (
            "ERR The user executing the script can't run this command or subcommand script: 1f, on @user_script:1.",
            true,
        ),
        ("NOPERM ACL failure in script: User u has no permissions to run the 'get' command script: 1f", true),
        ("ERR of another kind script: 1f, on @user_script:1.", false),
    ] {
        let code = message.split(' ').next().unwrap_or_default().to_owned();
        let text = shown(&CallError::Server(ServerError { code, message: message.to_owned() }));
        assert_eq!(text.contains("docs/operations.md"), is_about_rights, "{message}");
        assert!(!text.contains("evalsha"), "{text}");
    }
}

/// The life of the session is longer, and then the script must not go on.
#[tokio::test]
async fn a_read_that_was_stopped_in_the_middle_does_not_say_that_nothing_happened() {
    let server = RedisServer::start().await;
    let world = World::on(&server).await;
    world.ask(put(one("a") + "?ttl=1m&sliding=false", "1")).await.expect(201, "");
    let session = "bowline:{session:orders/a}";
    world.store(&["HSET", session, "idle", "600000", "sliding", "1"]).await;
    world.store(&["ACL", "SETUSER", "default", "-hset"]).await;
    let answer = world.ask(get(one("a"))).await.expect(503, "outcome_unknown");
    assert!(answer.text().contains("its life may be longer now"), "{answer:?}");
    let Frame::Integer(left) = world.store(&["PTTL", session]).await else { panic!("no time") };
    assert!(left > 500_000, "{left}");
    // A read that lengthens nothing has nothing in the middle of which it could be stopped.
    world.store(&["ACL", "SETUSER", "default", "+hset", "-hmget"]).await;
    world.ask(get(one("a") + "?extend=false")).await.expect(503, "not_executed");
    world.ask(ask("HEAD", one("a"))).await.expect(503, "");
    world.ask(put(one("a"), "2")).await.expect(503, "outcome_unknown");
}
