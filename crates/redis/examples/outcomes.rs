//! How a call can end, and what to do about it. The type of the error says what is known about the command.
//!
//! `cargo run -p bowline-redis --example outcomes -- redis://127.0.0.1:6379`
#![expect(clippy::print_stdout, reason = "an example talks")]

use std::time::Duration;

use anyhow::{Context, Result};
use bowline_redis::{CallError, Client, Command, Config, QueryError, Script};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let url = std::env::args().nth(1).context("which server? give a URL such as redis://127.0.0.1:6379")?;
    let client = Client::start(Config::from_url(&url)?);
    client.set("{example}:text", "a").await?;

    // The server's error: the command was judged, and had no effect or the effect that it says.
    tell("an error", client.query::<i64>(Command::new("INCR").arg("{example}:text")).await);
    // A conversion that fails says something about types, and nothing about the command: it was executed.
    tell("a wrong type", client.query::<i64>(Command::new("GET").arg("{example}:text")).await);
    // What would change the connection for everybody is never sent.
    tell("a refusal", client.query::<i64>(Command::new("SUBSCRIBE").arg("news")).await);
    // Nobody is there: not sent, however long it waited.
    let nobody = Client::start(Config::from_url("redis://127.0.0.1:1")?);
    let short = Command::new("INCR").arg("{example}:n").deadline(Duration::from_millis(200));
    tell("no server", nobody.query::<i64>(short).await);
    // The answer does not come in time: it may have been executed.
    let slow = "local i = 0; while i < 5e6 do i = i + 1 end; return redis.call('INCR', KEYS[1])";
    let slow = Command::new("EVAL").args([slow, "1", "{example}:n"]).deadline(Duration::from_millis(10));
    tell("a deadline", client.query::<i64>(slow).await);

    // What must happen once although its fate may be unknown is made idempotent: a key remembers that it was done.
    pay(&client, "order-17", 100).await?;
    pay(&client, "order-17", 100).await?;
    println!("paid: {:?}", client.get::<i64>("{example}:paid").await?);

    client.del(["{example}:text", "{example}:n", "{example}:paid", "{example}:paid:order-17"]).await?;
    Ok(())
}

fn tell(what: &str, outcome: Result<i64, QueryError>) {
    let meaning = match &outcome {
        Ok(_) => "done",
        Err(QueryError::Conversion(_)) => "executed; the answer is of another type",
        Err(QueryError::Call(CallError::NotSent(_))) => {
            "not executed and never will be: may always be sent again"
        }
        Err(QueryError::Call(CallError::Unknown(_))) => {
            "may have been executed: may be sent again only if that does no harm"
        }
        Err(QueryError::Call(CallError::Server(error))) if error.is_refusal() => {
            "refused for now: send it again later"
        }
        Err(QueryError::Call(CallError::Server(_))) => "the server's own answer",
    };
    match outcome {
        Ok(value) => println!("{what}: {value} ({meaning})"),
        Err(error) => println!("{what}: {error} ({meaning})"),
    }
}

/// Adds to what was paid, once for each order, however often it is called.
async fn pay(client: &Client, order: &str, amount: i64) -> Result<(), QueryError> {
    const ATTEMPTS: usize = 3;
    let mark = format!("{{example}}:paid:{order}");
    let script = Script::new(
        "if redis.call('SET', KEYS[1], 1, 'NX', 'EX', 60) then redis.call('INCRBY', KEYS[2], ARGV[1]) end",
    );
    // The driver repeats an idempotent script by itself when a connection is lost, but not after its deadline.
    let script = script.idempotent().deadline(Duration::from_secs(1));
    let mut attempt = 1;
    loop {
        let keys = [mark.as_bytes(), b"{example}:paid"];
        match client.eval(&script, &keys, &[amount.to_string().as_bytes()]).await {
            Err(CallError::Unknown(_) | CallError::NotSent(_)) if attempt < ATTEMPTS => attempt += 1,
            Err(CallError::Server(error)) if error.is_refusal() && attempt < ATTEMPTS => attempt += 1,
            outcome => return Ok(outcome.map(drop)?),
        }
    }
}
