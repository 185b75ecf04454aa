//! The client-side cache with a real redis-server.
#![expect(clippy::unwrap_used, reason = "a test; the lint sees tests only where they are marked as such")]

#[path = "support/server.rs"]
mod server;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bowline_redis::{CacheSettings, CallError, Client, Command, Config, Connection, Frame, Tracking};
use bowline_rt::{task, time};

use server::{Server, wait_for};

fn config(server: &Server) -> Config {
    let mut config = Config::from_url(&format!("redis://127.0.0.1:{}", server.port)).unwrap();
    // The machine of the test may be busy.
    config.settings.call_deadline = Duration::from_secs(10);
    config.settings.silence_max = Duration::from_secs(10);
    config
}

fn get(key: &str) -> Command {
    Command::new("GET").arg(key)
}

async fn set(writer: &Client, key: &str, value: &str) {
    writer.call(Command::new("SET").args([key, value])).await.unwrap();
}

/// Reads until the answer is this.
async fn sees(reader: &Client, key: &str, value: &Frame) {
    wait_for("the new value", || async {
        (reader.call_cached(get(key)).await.as_ref() == Ok(value)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_value_is_read_once_until_somebody_changes_it() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]).await;
    let writer = Client::start(config(&server));
    let reader = Client::start(config(&server).client_side_cache(CacheSettings::default()));
    set(&writer, "a", "1").await;
    for _ in 0..10 {
        assert_eq!(reader.call_cached(get("a")).await, Ok(Frame::bulk("1")));
    }
    let cache = &reader.metrics().cache;
    assert_eq!((cache.hits.get(), cache.misses.get(), cache.untracked.get()), (9, 1, 0));

    set(&writer, "a", "2").await;
    sees(&reader, "a", &Frame::bulk("2")).await;
    // What is not there is known, too, and so is that it came.
    assert_eq!(reader.call_cached(get("b")).await, Ok(Frame::Null));
    set(&writer, "b", "3").await;
    sees(&reader, "b", &Frame::bulk("3")).await;
    writer.call(Command::new("FLUSHALL")).await.unwrap();
    sees(&reader, "a", &Frame::Null).await;
    // An own write is a change as well.
    set(&reader, "a", "4").await;
    sees(&reader, "a", &Frame::bulk("4")).await;

    // Errors are not kept, and a command with more than one key is refused.
    writer.call(Command::new("HSET").args(["hash", "f", "v"])).await.unwrap();
    for _ in 0..2 {
        let wrong = reader.call_cached(get("hash")).await;
        assert!(matches!(&wrong, Err(CallError::Server(error)) if error.code == "WRONGTYPE"), "{wrong:?}");
    }
    assert!(reader.call_cached(Command::new("MGET").args(["a", "b"])).await.unwrap_err().had_no_effect());
    assert!(reader.call_cached(Command::new("TTL").arg("a")).await.unwrap_err().had_no_effect());
}

#[tokio::test]
async fn a_value_is_not_served_after_its_end_or_without_a_connection() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::start(directory.path(), &[]).await;
    let mut short = config(&server).client_side_cache(CacheSettings::default());
    short.settings.call_deadline = Duration::from_millis(500);
    let reader = Client::start(short);
    reader.call(Command::new("SET").args(["brief", "1", "PX", "300"])).await.unwrap();
    assert_eq!(reader.call_cached(get("brief")).await, Ok(Frame::bulk("1")));
    sees(&reader, "brief", &Frame::Null).await;
    assert!(reader.call_cached(get("brief")).await.is_ok());

    server.kill();
    let mut connection = reader.connection();
    connection.wait_for(|connection| matches!(connection, Connection::Down { .. })).await.unwrap();
    let outcome = reader.call_cached(get("brief")).await;
    assert!(outcome.is_err(), "nobody can say whether it is still so: {outcome:?}");
    assert_eq!(reader.metrics().cache.entries.get(), 0);
}

/// A connection that is killed may have missed changes.
#[tokio::test]
async fn a_new_connection_starts_cold() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]).await;
    let writer = Client::start(config(&server));
    let reader = Client::start(config(&server).client_side_cache(CacheSettings::default()));
    for round in 0..20_u32 {
        set(&writer, "a", &format!("before {round}")).await;
        sees(&reader, "a", &Frame::bulk(format!("before {round}"))).await;
        let number = {
            let mut connection = reader.connection();
            let up =
                connection.wait_for(|connection| matches!(connection, Connection::Up { .. })).await.unwrap();
            let Connection::Up { server, .. } = &*up else { unreachable!("awaited") };
            assert_eq!(server.tracking, Tracking::On);
            server.client_id.unwrap()
        };
        writer.call(Command::new("CLIENT").args(["KILL", "ID"]).number(number)).await.unwrap();
        set(&writer, "a", &format!("after {round}")).await;
        sees(&reader, "a", &Frame::bulk(format!("after {round}"))).await;
    }
}

#[tokio::test]
async fn a_user_without_the_right_asks_every_time_and_it_is_counted() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]).await;
    server.cli(&["ACL", "SETUSER", "u", "on", ">p", "~*", "+@all", "-client|tracking"]).await;
    let url = format!("redis://u:p@127.0.0.1:{}", server.port);
    let reader = Client::start(Config::from_url(&url).unwrap().client_side_cache(CacheSettings::default()));
    for _ in 0..3 {
        assert_eq!(reader.call_cached(get("a")).await, Ok(Frame::Null));
    }
    let cache = &reader.metrics().cache;
    assert_eq!((cache.hits.get(), cache.misses.get(), cache.untracked.get()), (0, 3, 3));
    let connection = reader.connection();
    let Connection::Up { server, .. } = &*connection.borrow() else { panic!("it is up") };
    assert!(
        matches!(&server.tracking, Tracking::Refused { reason } if reason.contains("NOPERM")),
        "{server:?}"
    );
}

/// Versions only grow. Once a reader has seen one, through the cache or not, the cache never shows an older one.
#[tokio::test]
async fn under_load_no_reader_goes_back_in_time() {
    const KEYS: usize = 4;
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]).await;
    let writer = Client::start(config(&server));
    let reader = Client::start(config(&server).client_side_cache(CacheSettings::default()));
    let written: Arc<[AtomicU64; KEYS]> = Arc::default();
    let end = time::now() + Duration::from_secs(3);
    let mut tasks = task::JoinSet::new();
    for key in 0..KEYS {
        let (writer, written) = (writer.clone(), written.clone());
        tasks.spawn(async move {
            for version in 1_u64.. {
                set(&writer, &key.to_string(), &version.to_string()).await;
                written[key].store(version, Ordering::SeqCst);
                if time::now() > end {
                    return;
                }
                // The keys change at different rates.
                for _ in 0..key * 100 {
                    task::yield_now().await;
                }
            }
        });
    }
    for number in 0..16_usize {
        let (reader, key) = (reader.clone(), number % KEYS);
        tasks.spawn(async move {
            let mut newest = 0;
            let mut is_cached = true;
            while time::now() < end {
                is_cached = !is_cached;
                let command = get(&key.to_string());
                let answer =
                    if is_cached { reader.call_cached(command).await } else { reader.call(command).await };
                let version: u64 = answer.unwrap().as_text().unwrap_or("0").parse().unwrap();
                assert!(version >= newest, "key {key} went from {newest} back to {version}");
                newest = version;
                task::yield_now().await;
            }
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
    // The last version of each comes through.
    for (key, written) in written.iter().enumerate() {
        let last = written.load(Ordering::SeqCst).to_string();
        sees(&reader, &key.to_string(), &Frame::bulk(last)).await;
    }
    let cache = &reader.metrics().cache;
    assert!(cache.hits.get() > 100 && cache.invalidated.get() > 100, "{cache:?}");
}
