//! What a log at its finest shows: who did what and how it ended, but no session.

use std::io;
use std::sync::{Arc, Mutex};

use tracing_subscriber::fmt::MakeWriter;

use super::*;

/// A log in memory.
#[derive(Debug, Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;
    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn neither_keys_nor_owners_nor_values_reach_the_log() {
    let lines = Lines::default();
    let subscriber = || tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_ansi(false);
    // While there is a single one, `tracing` asks the thread that first comes to a line whether it is wanted, which may be that
    // of another test, and keeps the answer.
    let _second = tracing::Dispatch::new(subscriber().with_writer(io::sink).finish());
    let _guard = tracing::subscriber::set_default(subscriber().with_writer(lines.clone()).finish());
    let world = World::start().await;
    let json = put(one("hidden-key") + "?owner=hidden-owner", "{\"a\":\"hidden-value\"}");
    world.ask(json.header("content-type", "application/json")).await.expect(201, "");
    world.ask(get(one("hidden-key"))).await.expect(200, "");
    world.ask(ask("PATCH", one("hidden-key")).merge_patch("{\"b\":\"hidden-value\"}")).await.expect(204, "");
    world.ask(ask("PATCH", one("hidden-key")).merge_patch("hidden-value")).await.expect(400, "body_invalid");
    world.ask(get("/v1/user-sessions?owner=hidden-owner")).await.expect(200, "");
    world.ask(ask("POST", "/v1/user-sessions:read").body(r#"{"keys":["hidden-key"]}"#)).await.expect(200, "");
    world
        .ask(ask("POST", "/v1/user-sessions:read").body(r#"{"keys":"hidden-key"}"#))
        .await
        .expect(400, "body_invalid");
    world.send(get(one("hidden-key")).unsigned()).await.expect(401, "signature_missing");
    // The store does not give a session, but an error that may repeat what it was sent.
    world.store(&["SET", "bowline:{session:orders/hidden-key-2}", "hidden-value"]).await;
    world.ask(get(one("hidden-key-2"))).await.expect(503, "not_executed");
    world.ask(put(one("hidden-key-2"), "hidden-value")).await.expect(503, "not_executed");
    world.ask(ask("DELETE", one("hidden-key"))).await.expect(204, "");

    let text = String::from_utf8(lines.0.lock().expect("no panic").clone()).expect("text");
    for shown in [
        "operation=\"put\"",
        "key_id=\"orders-1\"",
        "namespace=\"orders\"",
        "outcome=\"refused\"",
        "WRONGTYPE",
    ] {
        assert!(text.contains(shown), "{shown} is missing:\n{text}");
    }
    assert!(!text.contains("hidden"), "{text}");
}
