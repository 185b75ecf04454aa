//! Tests of what the parts of a client do together: batches that are sent twice, the cache, settings at their limits.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use bowline_rt::time::{sleep, timeout};
use tokio::sync::mpsc;

use super::tests::{Server, Wire};
use super::*;
use crate::cache::CacheSettings;
use crate::error::Death;
use crate::limits::READ_BYTES;

fn started(config: Config) -> (Client, mpsc::UnboundedReceiver<tokio::io::DuplexStream>) {
    let (sender, connections) = mpsc::unbounded_channel();
    let wire = Wire(sender);
    (Client::start_with(config, wire.clone(), wire), connections)
}

fn config() -> Config {
    Config::from_url("redis://h").unwrap()
}

async fn until_up(client: &Client) {
    let mut connection = client.connection();
    let is_up = connection.wait_for(|connection| matches!(connection, Connection::Up { .. }));
    timeout(Duration::from_secs(60), is_up).await.expect("it comes up within a minute").unwrap();
}

fn words(request: &[bytes::Bytes]) -> String {
    request.iter().map(|word| String::from_utf8_lossy(word)).collect::<Vec<_>>().join(" ")
}

fn get(key: &str) -> Command {
    Command::new("GET").arg(key)
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_the_second_attempt_does_not_make_a_batch_unsent() {
    let loading = || Frame::error("LOADING Redis is loading the dataset in memory");
    let set = || Command::new("SET").args(["k", "v"]).idempotent();
    let lost: Result<(), CallError> = Err(Unknown::Lost(Death::Closed).into());

    let (client, mut connections) = started(config());
    let batch = Batch::new().command(set()).command(set());
    let (outcome, ()) = tokio::join!(client.batch(batch), async {
        let mut first = Server::accept(&mut connections).await;
        first.request().await.unwrap();
        // It dies half answered.
        first.reply(&Frame::ok()).await;
        drop(first);
        let mut second = Server::accept(&mut connections).await;
        for answer in [Frame::ok(), loading()] {
            second.request().await.unwrap();
            second.reply(&answer).await;
        }
    });
    assert_eq!(outcome.map(drop), lost);

    let (client, mut connections) = started(config());
    let (outcome, ()) = tokio::join!(client.transaction(Transaction::new().command(set())), async {
        Server::accept(&mut connections).await.request().await.unwrap();
        let mut second = Server::accept(&mut connections).await;
        for answer in [Frame::ok(), loading(), Frame::error("EXECABORT Transaction discarded")] {
            second.request().await.unwrap();
            second.reply(&answer).await;
        }
    });
    assert_eq!(outcome.map(drop), lost);
}

#[tokio::test(start_paused = true)]
async fn settings_at_their_limits_are_no_reason_to_panic() {
    let mut config = config();
    let (far, many) = (Duration::MAX, usize::MAX);
    config.settings = Settings {
        call_deadline: far,
        connect_timeout: far,
        handshake_timeout: far,
        silence_max: far,
        probe_interval: far,
        reconnect_pause_max: far,
        in_flight_max: many,
        in_flight_bytes_max: u32::MAX,
        waiting_max: many,
        waiting_bytes_max: many,
        dedicated_max: many,
        ..Settings::default()
    };
    let (client, mut connections) = started(config);
    for _ in 0..2 {
        let (value, ()) = tokio::join!(client.call(get("k")), async {
            let mut server = Server::accept(&mut connections).await;
            server.request().await.unwrap();
            server.reply(&Frame::bulk("v")).await;
        });
        assert_eq!(value, Ok(Frame::bulk("v")));
    }
    let (dedicated, _server) = tokio::join!(client.dedicated(), Server::accept(&mut connections));
    assert!(dedicated.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_ends_with_its_client_is_not_counted_as_up_any_more() {
    let (client, mut connections) = started(config());
    let metrics = client.metrics().clone();
    let mut server = Server::accept(&mut connections).await;
    until_up(&client).await;
    assert_eq!(metrics.up.get(), 1);
    drop(client);
    assert!(server.request().await.is_none());
    assert_eq!(metrics.up.get(), 0);
}

/// Introduces a server that tracks keys; a push comes before the introduction is over.
async fn tracking(connections: &mut mpsc::UnboundedReceiver<tokio::io::DuplexStream>) -> Server {
    let mut server = Server::accept(connections).await;
    assert_eq!(words(&server.request().await.unwrap()), "CLIENT TRACKING ON OPTIN");
    // Somebody empties the database.
    server.reply(&Frame::Push(vec![Frame::bulk("invalidate"), Frame::Null])).await;
    server.reply(&Frame::ok()).await;
    server
}

#[tokio::test(start_paused = true)]
async fn a_kept_answer_does_not_outlive_its_key_however_late_it_came() {
    let (client, mut connections) = started(config().client_side_cache(CacheSettings::default()));
    let mut server = tracking(&mut connections).await;
    until_up(&client).await;
    let mut call = pin!(client.call_cached(get("k")));
    assert!(poll_fn(|context| Poll::Ready(call.as_mut().poll(context))).await.is_pending());
    for expected in ["CLIENT CACHING YES", "GET k", "PTTL k"] {
        assert_eq!(words(&server.request().await.unwrap()), expected);
    }
    for answer in [Frame::ok(), Frame::bulk("v"), Frame::Integer(100)] {
        server.reply(&answer).await;
    }
    // The caller looks for its answer long after it has come.
    sleep(Duration::from_millis(80)).await;
    assert_eq!(call.await, Ok(Frame::bulk("v")));
    assert_eq!(client.metrics().connected.get(), 1);
    assert_eq!(client.call_cached(get("k")).await, Ok(Frame::bulk("v")));
    sleep(Duration::from_millis(30)).await;
    let again = client.call_cached(get("k").deadline(Duration::from_millis(10))).await;
    assert_eq!(again, Err(Unknown::Deadline.into()), "the key has ended, so the server is asked");
}

#[tokio::test(start_paused = true)]
async fn a_cached_call_that_never_has_room_is_refused_at_once() {
    let mut config = config().client_side_cache(CacheSettings::default());
    config.settings.in_flight_bytes_max = 1000;
    let (client, _connections) = started(config);
    let outcome = client.call_cached(get(&"k".repeat(READ_BYTES))).await;
    assert!(matches!(outcome, Err(CallError::NotSent(NotSent::TooLarge { .. }))), "{outcome:?}");
}
