//! Calls as spans: what a subscriber that listens to everything gets to see, and what never.
#![expect(clippy::unwrap_used, reason = "a test; the lint sees tests only where they are marked as such")]

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use bowline_redis::fake::Fake;
use bowline_redis::{Batch, Command, Config, Frame, QueryError, Script, Transaction};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::FmtSpan;

const SECRET: &str = "hunter2";

/// Everything that was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// Runs the calls with everything listened to, and returns the lines.
    async fn of_calls(level: LevelFilter) -> Result<Vec<String>, QueryError> {
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(level)
            .with_ansi(false)
            .with_span_events(FmtSpan::NEW | FmtSpan::CLOSE)
            .with_writer(move || writer.clone())
            .finish();
        let _listening = tracing::subscriber::set_default(subscriber);
        run_calls().await?;
        let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        Ok(text.lines().map(str::to_owned).collect())
    }
}

/// Calls of every kind, each with a secret among its arguments, its answer, or the server's error.
async fn run_calls() -> Result<(), QueryError> {
    let fake = Fake::new();
    let client = fake.client_of(Config::from_url(&format!("redis://user:{SECRET}@h")).unwrap());
    client.set(SECRET, SECRET).await?;
    client.get::<String>(SECRET).await?;
    let script = Script::new(&format!("return '{SECRET}'"));
    fake.script(&script, |_, keys, _| Frame::Bulk(keys[0].clone()));
    client.query_eval::<String>(&script, &[SECRET.as_bytes()], &[SECRET.as_bytes()]).await?;
    let echo = || Command::new("ECHO").arg(SECRET);
    client.query_batch::<(String,)>(Batch::new().command(echo())).await?;
    client.query_transaction::<(String,)>(Transaction::new().command(echo())).await?;
    let mut dedicated = client.dedicated().await?;
    dedicated.watch([SECRET]).await?;
    dedicated.query_transaction::<(String,)>(Transaction::new().command(echo())).await?;

    let wrong = client.get::<u64>(SECRET).await.unwrap_err();
    assert!(!wrong.to_string().contains(SECRET));
    fake.fail_next(format!("ERR {SECRET}"));
    client.call(echo()).await.unwrap_err();
    fake.lose_next_answer();
    client.call(Command::new("INCR").arg(SECRET)).await.unwrap_err();
    fake.lose_next_answer();
    client.get::<String>(SECRET).await?;
    client.call(Command::new("SUBSCRIBE").arg(SECRET)).await.unwrap_err();
    Ok(())
}

fn ended<'a>(lines: &'a [String], parts: &[&str]) -> Option<&'a String> {
    let closed = lines.iter().filter(|line| line.contains("redis_call{") && line.contains(": close"));
    closed.into_iter().find(|line| parts.iter().all(|part| line.contains(part)))
}

#[tokio::test(start_paused = true)]
async fn a_span_says_which_command_and_how_it_went_and_no_argument() -> Result<(), QueryError> {
    let lines = Log::of_calls(LevelFilter::TRACE).await?;
    for parts in [
        &["command=SET", "outcome=\"answer\"", "epoch=", "resends=0"][..],
        &["command=EVALSHA", "outcome=\"answer\""],
        &["command=batch", "outcome=\"answer\""],
        &["command=transaction", "outcome=\"answer\""],
        &["command=WATCH", "outcome=\"answer\"", "epoch="],
        &["command=ECHO", "outcome=\"error\""],
        &["command=INCR", "outcome=\"unknown\""],
        &["command=GET", "outcome=\"answer\"", "resends=1"],
        &["command=SUBSCRIBE", "outcome=\"not_sent\""],
    ] {
        assert!(ended(&lines, parts).is_some(), "{parts:?} in {lines:#?}");
    }
    let leaks: Vec<&String> = lines.iter().filter(|line| line.contains(SECRET)).collect();
    assert!(leaks.is_empty(), "{leaks:#?}");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn nobody_who_listens_to_less_is_bothered() -> Result<(), QueryError> {
    let lines = Log::of_calls(LevelFilter::INFO).await?;
    assert!(!lines.is_empty(), "connections are told of");
    assert!(!lines.iter().any(|line| line.contains("redis_call")), "{lines:#?}");
    Ok(())
}
