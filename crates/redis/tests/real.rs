//! The driver against Debian's redis-server on loopback: what only a real server can show. Load and faults at length are in
//! `torture/tests/driver*.rs`.
#![expect(clippy::unwrap_used, reason = "a test; the lint sees tests only where they are marked as such")]

#[path = "support/server.rs"]
mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use bowline_redis::{
    Batch, CallError, Client, Command, Config, Connection, Frame, NotSent, Protocol, QueryError, Script,
    ServerError, SetOptions, Settings, Transaction, Unknown, convert,
};
use bowline_rt::task;
use bowline_rt::time::{self, timeout};
use tempfile::TempDir;

use support::{Server, wait_for};

/// A client that gives up soon, so that what must outlast its limits shows.
fn impatient() -> Settings {
    Settings {
        call_deadline: Duration::from_millis(400),
        silence_max: Duration::from_millis(400),
        probe_interval: Duration::from_millis(100),
        ..Settings::default()
    }
}

async fn wait_out(duration: Duration) {
    time::sleep(duration).await;
}

async fn server(arguments: &[&str]) -> (Server, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let arguments = [&["--save", ""], arguments].concat();
    (Server::start(directory.path(), &arguments).await, directory)
}

fn client_with(server: &Server, settings: Settings) -> Client {
    let mut config = Config::from_url(&format!("redis://127.0.0.1:{}", server.port)).unwrap();
    config.settings = settings;
    Client::start(config)
}

fn client(server: &Server) -> Client {
    client_with(server, Settings::default())
}

fn incr(key: &str) -> Command {
    Command::new("INCR").arg(key)
}

#[tokio::test]
async fn commands_that_travel_together_are_answered_in_their_order() -> Result<(), QueryError> {
    let (server, _directory) = server(&[]).await;
    let client = client(&server);
    let batch = Batch::new()
        .command(Command::new("SET").args(["text", "a"]))
        .command(incr("text"))
        .command(Command::new("GET").arg("text"));
    let answers: ((), Result<i64, ServerError>, String) = client.query_batch(batch.clone()).await?;
    assert_eq!(answers.1.unwrap_err().code, "ERR");
    assert_eq!(answers.2, "a");
    let failed = client.query_batch::<((), i64, String)>(batch).await;
    assert!(matches!(failed, Err(QueryError::Call(CallError::Server(_)))), "{failed:?}");

    let transaction = Transaction::new().command(incr("n")).command(incr("n"));
    assert_eq!(client.query_transaction::<(u8, u8)>(transaction).await?, (1, 2));
    // What the server does not queue, it does not run.
    let broken = Transaction::new().command(incr("n")).command(Command::new("INCR"));
    let refused = client.transaction(broken).await.unwrap_err();
    assert!(
        matches!(&refused, CallError::Server(error) if error.message.contains("wrong number")),
        "{refused}"
    );
    assert_eq!(client.get::<u8>("n").await?, Some(2));
    assert_eq!(client.metrics().connected.get(), 1);
    Ok(())
}

#[tokio::test]
async fn both_dialects_bring_the_same_values() -> Result<(), QueryError> {
    for (arguments, protocol) in
        [(&[][..], Protocol::Resp3), (&["--rename-command", "HELLO", ""], Protocol::Resp2)]
    {
        let (server, _directory) = server(arguments).await;
        let client = client(&server);
        client.hset("h", "f", "1").await?;
        client.query::<i64>(Command::new("ZADD").args(["z", "1.5", "a", "2", "b"])).await?;
        client.query::<i64>(Command::new("SADD").args(["s", "x"])).await?;
        let Connection::Up { server: info, .. } = client.connection().borrow().clone() else { panic!("up") };
        assert_eq!(info.protocol, protocol);

        assert_eq!(client.hgetall::<BTreeMap<String, u8>>("h").await?, BTreeMap::from([("f".to_owned(), 1)]));
        let scores: Vec<(String, f64)> =
            client.query(Command::new("ZRANGE").args(["z", "0", "-1", "WITHSCORES"])).await?;
        assert_eq!(scores, [("a".to_owned(), 1.5), ("b".to_owned(), 2.0)]);
        assert_eq!(client.query::<f64>(Command::new("ZSCORE").args(["z", "a"])).await?, 1.5);
        assert_eq!(client.query::<Option<f64>>(Command::new("ZSCORE").args(["z", "none"])).await?, None);
        assert_eq!(client.query::<Vec<String>>(Command::new("SMEMBERS").arg("s")).await?, ["x"]);
        let (cursor, keys): (u64, Vec<String>) = client.query(Command::new("SCAN").arg("0")).await?;
        assert_eq!((cursor, keys.len()), (0, 3));
        let setting: Vec<(String, String)> =
            client.query(Command::new("CONFIG").args(["GET", "maxmemory"])).await?;
        assert_eq!(setting, [("maxmemory".to_owned(), "0".to_owned())]);
        let sum = Script::new("return {KEYS[1], ARGV[1] + 1}");
        let answer: (String, u8) = client.query_eval(&sum, &[b"k"], &[b"41"]).await?;
        assert_eq!(answer, ("k".to_owned(), 42));
    }
    Ok(())
}

#[tokio::test]
async fn conditions_and_expiry() -> Result<(), QueryError> {
    let (server, _directory) = server(&[]).await;
    let client = client(&server);
    let lock = SetOptions::new().if_absent().expires_in(Duration::from_secs(60));
    assert!(client.set_with("lock", "me", lock).await?);
    assert!(!client.set_with("lock", "you", lock).await?);
    assert!(client.set_with("lock", "us", SetOptions::new().if_present().keeps_expiry()).await?);
    let left_ms: u64 = client.query(Command::new("PTTL").arg("lock")).await?;
    assert!((1..=60_000).contains(&left_ms), "{left_ms}");
    assert!(client.expire("lock", Duration::ZERO).await?);
    assert!(!client.exists("lock").await?);
    // A value of another type fails its own call, and the connection lives.
    client.set("text", "a").await?;
    let wrong = client.get::<u32>("text").await.unwrap_err();
    assert!(matches!(wrong, QueryError::Conversion(_)), "{wrong}");
    assert_eq!(client.del(["text", "none"]).await?, 1);
    assert_eq!(client.metrics().connected.get(), 1);
    Ok(())
}

#[tokio::test]
async fn a_watched_key_that_changes_stops_the_transaction() -> Result<(), QueryError> {
    let (server, _directory) = server(&[]).await;
    let client = client(&server);
    let mut dedicated = client.dedicated().await?;
    let double = |value: i64| Transaction::new().command(Command::new("SET").arg("n").number(2 * value));

    client.set("n", "1").await?;
    dedicated.watch(["n"]).await?;
    let seen: i64 = dedicated.query(Command::new("GET").arg("n")).await?;
    client.set("n", "10").await?;
    assert_eq!(dedicated.query_transaction::<((),)>(double(seen)).await?, None);
    // Nothing is watched any more, and the connection is as good as before.
    dedicated.watch(["n"]).await?;
    let seen: i64 = dedicated.query(Command::new("GET").arg("n")).await?;
    assert_eq!(dedicated.query_transaction(double(seen)).await?, Some(((),)));
    assert_eq!(client.get::<i64>("n").await?, Some(20));
    Ok(())
}

#[tokio::test]
async fn a_call_that_blocks_outlasts_every_other_limit() -> Result<(), QueryError> {
    let (server, _directory) = server(&[]).await;
    let client = client_with(&server, impatient());
    let mut dedicated = client.dedicated().await?;
    let limit = impatient().silence_max * 3;
    let block = |seconds: f64| Command::new("BLPOP").args(["queue", &seconds.to_string()]);

    let started = time::now();
    let nothing: Option<(String, String)> = dedicated.query(block(limit.as_secs_f64())).await?;
    assert_eq!(nothing, None);
    assert!(time::now() - started >= limit);

    let pushing = client.clone();
    let push = task::spawn("push", async move {
        wait_out(limit).await;
        pushing.query::<i64>(Command::new("RPUSH").args(["queue", "job"])).await
    });
    let job: Option<(String, String)> = dedicated.query(block(30.0)).await?;
    assert_eq!(job, Some(("queue".to_owned(), "job".to_owned())));
    assert_eq!(push.await.unwrap()?, 1);
    // The shared connection served all the while.
    assert_eq!(client.metrics().deaths("silent"), 0);
    Ok(())
}

#[tokio::test]
async fn a_dropped_call_ends_its_connection_and_takes_nothing() -> Result<(), QueryError> {
    let (server, _directory) = server(&[]).await;
    let client = client(&server);
    let mut dedicated = client.dedicated().await?;
    let waiting = dedicated.call(Command::new("BLPOP").args(["queue", "0"]));
    assert!(timeout(Duration::from_millis(100), waiting).await.is_err());
    let next = dedicated.call(Command::new("PING")).await;
    assert_eq!(next, Err(NotSent::GivenUp.into()));
    drop(dedicated);
    wait_for("the server sees that it is gone", || async {
        (server.cli(&["INFO", "clients"]).await.contains("blocked_clients:0")).then_some(())
    })
    .await;
    assert_eq!(client.query::<u8>(Command::new("RPUSH").args(["queue", "job"])).await?, 1);
    assert_eq!(client.query::<u8>(Command::new("LLEN").arg("queue")).await?, 1);
    Ok(())
}

#[tokio::test]
async fn answers_are_kept_apart_from_errors() -> Result<(), QueryError> {
    let (server, _directory) = server(&[]).await;
    let client = client(&server);
    let answers = client.batch(Batch::new().command(incr("n")).command(Command::new("NONSENSE"))).await?;
    let (n, nonsense): (i64, Result<String, ServerError>) = convert(answers)?;
    assert_eq!((n, nonsense.unwrap_err().code.as_str()), (1, "ERR"));
    Ok(())
}

/// Without the right to `MULTI` each command is run by itself, which must neither look like a transaction nor cost others
/// their connection.
#[tokio::test]
async fn a_transaction_without_the_right_to_one_is_torn_and_harms_nobody() {
    let (server, _directory) = server(&[]).await;
    server.cli(&["ACL", "SETUSER", "u", "on", ">p", "~*", "+@all", "-multi"]).await;
    let client = Client::start(Config::from_url(&format!("redis://u:p@127.0.0.1:{}", server.port)).unwrap());
    let outcome = client.transaction(Transaction::new().command(incr("n"))).await;
    assert_eq!(outcome, Err(Unknown::Torn.into()));
    assert_eq!(client.call(Command::new("GET").arg("n")).await, Ok(Frame::bulk("1")));
    assert_eq!(client.metrics().connected.get(), 1);
}
