//! The fake, as users of the crate meet it: their code against the real driver, under every fault that it can make.
#![expect(clippy::unwrap_used, reason = "a test; the lint sees tests only where they are marked as such")]

use std::collections::BTreeMap;
use std::time::Duration;

use bowline_redis::fake::Fake;
use bowline_redis::subscriber::Item;
use bowline_redis::{
    Batch, CacheSettings, CallError, Client, Command, Config, Connection, Death, Frame, NotSent, Predecessor,
    Protocol, QueryError, Script, ServerError, SetOptions, Topic, Transaction, Unknown,
};
use bowline_rt::time::{now, sleep, timeout};

const MINUTE: Duration = Duration::from_secs(60);

fn incr() -> Command {
    Command::new("INCR").arg("n")
}

fn server_error(text: &str) -> CallError {
    let code = text.split(' ').next().unwrap_or_default().to_owned();
    ServerError { code, message: text.to_owned() }.into()
}

async fn wait_until_up(client: &Client) -> Connection {
    let mut connection = client.connection();
    let up = connection.wait_for(|connection| matches!(connection, Connection::Up { .. }));
    timeout(MINUTE, up).await.expect("it comes within a minute").unwrap().clone()
}

/// The connection after `before`. The time between the two may be too short to be seen.
async fn wait_until_another(client: &Client, before: &Connection) -> Connection {
    let mut connection = client.connection();
    let another =
        connection.wait_for(|connection| matches!(connection, Connection::Up { .. }) && connection != before);
    timeout(MINUTE, another).await.expect("it comes within a minute").unwrap().clone()
}

async fn wait_until_down(client: &Client) {
    let mut connection = client.connection();
    let down = connection.wait_for(|connection| matches!(connection, Connection::Down { .. }));
    timeout(MINUTE, down).await.expect("it comes within a minute").unwrap();
}

#[tokio::test(start_paused = true)]
async fn it_keeps_data_in_either_dialect() -> Result<(), QueryError> {
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        let fake = Fake::speaking(protocol);
        let client = fake.client_of(Config::from_url("redis://user:secret@anywhere/2").unwrap().name("app"));
        client.set("greeting", "hello").await?;
        assert_eq!(client.get::<String>("greeting").await?.as_deref(), Some("hello"));
        assert!(client.hset("h", "a", "1").await?);
        assert_eq!(client.hgetall::<BTreeMap<String, u8>>("h").await?, BTreeMap::from([("a".to_owned(), 1)]));
        assert_eq!(client.hget::<u8>("h", "none").await?, None);
        assert_eq!(client.incr("n", 5).await?, 5);
        let wrong = client.call(incr().arg("too many")).await.unwrap_err();
        assert_eq!(wrong, server_error("ERR wrong number of arguments for 'incr' command"));
        let Connection::Up { server, .. } = wait_until_up(&client).await else { unreachable!("awaited") };
        assert_eq!((server.protocol, server.version.is_empty()), (protocol, false));
        // The client is in database 2.
        assert!(fake.keys().is_empty());
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn keys_expire_by_the_paused_clock() -> Result<(), QueryError> {
    let fake = Fake::new();
    let client = fake.client();
    let hour = SetOptions::new().expires_in(Duration::from_secs(3600));
    assert!(client.set_with("session", "abc", hour).await?);
    sleep(Duration::from_secs(3599)).await;
    assert_eq!(fake.keys(), ["session"]);
    sleep(Duration::from_secs(2)).await;
    assert!(fake.keys().is_empty());
    assert!(!client.exists("session").await?);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn transactions_and_watched_keys() -> Result<(), QueryError> {
    let fake = Fake::new();
    let client = fake.client();
    let twice = Transaction::new().command(incr()).command(incr());
    assert_eq!(client.query_transaction::<(i64, i64)>(twice.clone()).await?, (1, 2));

    let mut dedicated = client.dedicated().await?;
    assert_eq!(fake.connections(), 2);
    dedicated.watch(["n"]).await?;
    client.set("n", "10").await?;
    assert_eq!(dedicated.transaction(twice.clone()).await?, None);
    dedicated.watch(["n"]).await?;
    assert_eq!(dedicated.query_transaction(twice.clone()).await?, Some((11, 12)));

    fake.fail_next("OOM command not allowed when used memory > 'maxmemory'.");
    let refused = client.transaction(twice).await.unwrap_err();
    assert_eq!(refused, server_error("OOM command not allowed when used memory > 'maxmemory'."));
    assert_eq!(client.get::<i64>("n").await?, Some(12));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn errors_are_given_in_turn_and_once() -> Result<(), QueryError> {
    let fake = Fake::new();
    let client = fake.client();
    fake.fail_next("LOADING Redis is loading the dataset in memory");
    fake.fail_next("ERR second");
    let first = client.call(incr()).await.unwrap_err();
    assert!(first.had_no_effect());
    assert_eq!(client.call(incr()).await, Err(server_error("ERR second")));
    assert_eq!(client.incr("n", 1).await?, 1);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_leaves_the_outcome_unknown_and_the_command_done() -> Result<(), QueryError> {
    let fake = Fake::new();
    let client = fake.client();
    fake.lose_next_answer();
    assert_eq!(client.call(incr()).await, Err(Unknown::Lost(Death::Closed).into()));
    assert_eq!(fake.run(["GET", "n"]), Frame::bulk("1"));
    // What is idempotent is sent again.
    fake.lose_next_answer();
    assert_eq!(client.get::<u8>("n").await?, Some(1));
    // A transaction runs as a whole before its answer is lost.
    fake.lose_next_answer();
    let lost = client.transaction(Transaction::new().command(incr()).command(incr())).await;
    assert_eq!(lost, Err(Unknown::Lost(Death::Closed).into()));
    assert_eq!(fake.run(["GET", "n"]), Frame::bulk("3"));
    assert_eq!(client.metrics().unknown.get(), 2);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_not_there_costs_the_deadline() -> Result<(), QueryError> {
    let fake = Fake::new();
    fake.refuse_connections(true);
    let client = fake.client();
    let started = now();
    let outcome = client.call(incr().deadline(Duration::from_secs(3))).await;
    assert!(matches!(outcome, Err(CallError::NotSent(NotSent::Down { .. }))), "{outcome:?}");
    assert!(now() - started >= Duration::from_secs(3));
    fake.refuse_connections(false);
    assert_eq!(client.incr("n", 1).await?, 1);
    // A cut is over as soon as there is another connection.
    let before = wait_until_up(&client).await;
    fake.cut();
    wait_until_another(&client, &before).await;
    assert_eq!(client.incr("n", 1).await?, 2);
    assert_eq!(fake.connections(), 1);
    Ok(())
}

/// As a process that was stopped: what the old connection had sent does not run after the new one is up.
#[tokio::test(start_paused = true)]
async fn a_server_that_stands_still_is_given_up_and_fenced() -> Result<(), QueryError> {
    let fake = Fake::new();
    let client = fake.client();
    client.set("n", "0").await?;
    fake.stall();
    let outcome = client.call(incr()).await;
    assert_eq!(outcome, Err(Unknown::Deadline.into()));
    wait_until_down(&client).await;
    assert_eq!(client.metrics().deaths("silent"), 1);
    assert_eq!(fake.run(["GET", "n"]), Frame::bulk("0"), "it has not read the command");
    fake.resume();
    let Connection::Up { server, .. } = wait_until_up(&client).await else { unreachable!("awaited") };
    assert_eq!(server.predecessor, Predecessor::Ended);
    let seen = client.get::<u8>("n").await?;
    sleep(MINUTE).await;
    assert_eq!(client.get::<u8>("n").await?, seen);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn another_process_knows_no_script() -> Result<(), QueryError> {
    let fake = Fake::new();
    let client = fake.client();
    let add = Script::new("return redis.call('INCRBY', KEYS[1], ARGV[1])");
    let refused = client.eval(&add, &[b"n"], &[b"2"]).await.unwrap_err();
    assert!(refused.to_string().contains("Fake::script"), "{refused}");
    fake.script(&add, |data, keys, arguments| data.run([&b"INCRBY"[..], &keys[0][..], &arguments[0][..]]));
    assert_eq!(client.query_eval::<u8>(&add, &[b"n"], &[b"2"]).await?, 2);
    fake.forget_commands();
    assert_eq!(client.query_eval::<u8>(&add, &[b"n"], &[b"2"]).await?, 4);
    let before = wait_until_up(&client).await;
    fake.restart();
    let after = wait_until_another(&client, &before).await;
    assert_eq!(client.query_eval::<u8>(&add, &[b"n"], &[b"2"]).await?, 6);
    let commands = fake.commands();
    let names: Vec<&str> = commands.iter().map(|command| std::str::from_utf8(&command[0]).unwrap()).collect();
    assert_eq!(names, ["EVALSHA", "EVALSHA", "EVAL"]);
    let Connection::Up { server, .. } = after else { unreachable!("awaited") };
    assert_eq!(server.predecessor, Predecessor::Elsewhere);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn what_it_has_not_is_refused_or_answered() -> Result<(), QueryError> {
    let fake = Fake::new();
    let client = fake.client();
    let push = || Command::new("RPUSH").args(["queue", "job"]);
    let refused = client.call(push()).await.unwrap_err();
    assert!(refused.to_string().contains("Fake::answer"), "{refused}");
    fake.answer("rpush", |_, arguments| Frame::Integer(i64::try_from(arguments.len()).unwrap()));
    let batch = Batch::new().command(push()).command(Command::new("ECHO").arg("x"));
    assert_eq!(client.query_batch::<(u8, String)>(batch).await?, (3, "x".to_owned()));
    let inside = Transaction::new().command(push());
    assert_eq!(client.query_transaction::<(u8,)>(inside).await?, (3,));
    // An answer that the command can never have ends the connection, as it would a real one.
    fake.answer("HLEN", |_, _| Frame::ok());
    let poisoned = client.call(Command::new("HLEN").arg("h")).await.unwrap_err();
    assert!(matches!(poisoned, CallError::Unknown(Unknown::Lost(Death::Shape(_)))), "{poisoned}");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn what_is_published_reaches_subscribers_and_gaps_are_told() -> Result<(), QueryError> {
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        let fake = Fake::speaking(protocol);
        let (client, subscriber) = (fake.client(), fake.subscriber());
        let mut news = subscriber.subscribe(Topic::channel("news")).unwrap().established().await.unwrap();
        let mut all = subscriber.subscribe(Topic::pattern("n*")).unwrap().established().await.unwrap();
        let publish = |text: &str| Command::new("PUBLISH").args(["news", text]);
        assert_eq!(client.query::<u8>(publish("first")).await?, 2);
        let Item::Message(message) = news.next().await else { panic!("it comes") };
        assert_eq!((&message.channel[..], &message.payload[..]), (&b"news"[..], &b"first"[..]));
        let Item::Message(message) = all.next().await else { panic!("it comes") };
        assert_eq!(message.pattern.as_deref(), Some(&b"n*"[..]));

        fake.cut();
        assert!(matches!(news.next().await, Item::Gap(_)));
        assert_eq!(news.next().await, Item::Established);
        fake.publish("news", "second");
        let Item::Message(message) = news.next().await else { panic!("it comes") };
        assert_eq!(&message.payload[..], b"second");
        drop((news, all));
        // The server learns of it.
        timeout(MINUTE, async {
            while fake.publish("news", "to nobody") > 0 {
                sleep(Duration::from_millis(1)).await;
            }
        })
        .await
        .expect("it is unsubscribed from");
    }
    Ok(())
}

/// It is one server, and does not track keys: a read for the cache asks it each time.
#[tokio::test(start_paused = true)]
async fn a_configuration_for_elsewhere_leads_to_it() -> Result<(), QueryError> {
    let fake = Fake::new();
    for url in ["redis-sentinel://h/service", "redis-cluster://h:1,h:2", "unix:///run/redis.sock"] {
        let client = fake.client_of(Config::from_url(url).unwrap());
        client.set("k", url).await?;
        assert_eq!(client.get::<String>("k").await?.as_deref(), Some(url));
        assert_eq!(client.address(), "fake:6379");
    }
    let config = Config::from_url("redis://h").unwrap().client_side_cache(CacheSettings::default());
    let client = fake.client_of(config);
    for value in ["1", "2"] {
        fake.run(["SET", "k", value]);
        let read = client.call_cached(Command::new("GET").arg("k")).await?;
        assert_eq!(read, Frame::bulk(value));
    }
    assert_eq!(client.metrics().cache.untracked.get(), 2);
    Ok(())
}

/// A closure of the test that panics ends the connection of the command, and nothing else.
#[tokio::test(start_paused = true)]
async fn a_stand_in_that_panics_spoils_nothing() -> Result<(), QueryError> {
    let fake = Fake::new();
    let client = fake.client();
    fake.answer("BOOM", |_, _| panic!("on purpose"));
    let outcome = client.call(Command::new("BOOM")).await;
    assert_eq!(outcome, Err(Unknown::Lost(Death::Closed).into()));
    assert_eq!(client.incr("n", 1).await?, 1);
    assert_eq!(fake.keys(), ["n"]);
    Ok(())
}
