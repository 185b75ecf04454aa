//! Commands that travel together: by themselves, as a batch, as a transaction; and a script.
//!
//! `cargo run -p bowline-redis --example pipeline_and_transaction -- redis://127.0.0.1:6379`
#![expect(clippy::print_stdout, reason = "an example talks")]

use anyhow::{Context, Result};
use bowline_redis::{Batch, Client, Command, Config, Script, ServerError, Transaction};
use bowline_rt::task::JoinSet;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let url = std::env::args().nth(1).context("which server? give a URL such as redis://127.0.0.1:6379")?;
    let client = Client::start(Config::from_url(&url)?);

    // In a cluster the keys of a transaction or script are on one node: what stands in braces decides on which.
    // Pipelining needs nothing: what concurrent callers ask for shares writes and reads.
    let mut calls = JoinSet::new();
    for number in 0..1000_i64 {
        let client = client.clone();
        calls.spawn(async move { client.incr("{example}:sum", number).await });
    }
    while let Some(call) = calls.join_next().await {
        call??;
    }
    println!("the sum of 0 to 999: {:?}", client.get::<i64>("{example}:sum").await?);

    // A batch is one call: one behind the other, in order, with one deadline. An error of one command is its own.
    let batch = Batch::new()
        .command(Command::new("SET").args(["{example}:text", "not a number"]))
        .command(Command::new("INCR").arg("{example}:text"))
        .command(Command::new("GET").arg("{example}:text"));
    let (_, incremented, text): ((), Result<i64, ServerError>, String) = client.query_batch(batch).await?;
    println!("batch: {incremented:?}, {text:?}");

    // A transaction is a batch that nothing of anybody else's gets between.
    let transfer = Transaction::new()
        .command(Command::new("DECRBY").args(["{example}:a", "10"]))
        .command(Command::new("INCRBY").args(["{example}:b", "10"]));
    let (a, b): (i64, i64) = client.query_transaction(transfer).await?;
    println!("transaction: {a}, {b}");

    // A script is named by its digest and sent in full only to a server that does not know it.
    let script = Script::new("return redis.call('INCRBY', KEYS[1], ARGV[1]) * 2").idempotent();
    let twice: i64 = client.query_eval(&script, &[b"{example}:a"], &[b"11"]).await?;
    println!("script: {twice}");

    client.del(["{example}:sum", "{example}:text", "{example}:a", "{example}:b"]).await?;
    Ok(())
}
