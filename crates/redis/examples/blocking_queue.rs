//! What needs a connection of one's own: a worker that waits for jobs (`BLPOP`), and an optimistic update (`WATCH`).
//!
//! `cargo run -p bowline-redis --example blocking_queue -- redis://127.0.0.1:6379`
#![expect(clippy::print_stdout, reason = "an example talks")]

use std::time::Duration;

use anyhow::{Context, Result};
use bowline_redis::{Client, Command, Config, NotSent, QueryError, Transaction};
use bowline_rt::task;
use bowline_rt::time::timeout;

const JOBS: usize = 5;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let url = std::env::args().nth(1).context("which server? give a URL such as redis://127.0.0.1:6379")?;
    let client = Client::start(Config::from_url(&url)?);
    client.del(["{example}:queue", "{example}:balance"]).await?;

    let worker = task::spawn("worker", work(client.clone()));
    for job in 0..JOBS {
        client.query::<u64>(Command::new("RPUSH").arg("{example}:queue").arg(format!("job {job}"))).await?;
    }
    println!("the worker did {} jobs", worker.await??);

    // Two at a time, and none of the deposits is lost.
    client.set("{example}:balance", "0").await?;
    let (first, second) = tokio::join!(deposit(&client, 100), deposit(&client, 23));
    println!("attempts: {}, {}", first?, second?);
    println!("balance: {:?}", client.get::<i64>("{example}:balance").await?);

    // A call that is dropped leaves its connection unusable, and only that one.
    // In a cluster a dedicated connection leads to the node of a key.
    let mut dedicated = client.dedicated_for(b"{example}:queue").await?;
    let forever = dedicated.call(Command::new("BLPOP").args(["{example}:queue", "0"]));
    println!("nothing came: {}", timeout(Duration::from_millis(100), forever).await.is_err());
    let refused = dedicated.call(Command::new("PING")).await;
    println!("given up: {}", refused == Err(NotSent::GivenUp.into()));

    client.del(["{example}:queue", "{example}:balance"]).await?;
    Ok(())
}

/// Takes jobs until none comes for a second, and counts them. While it blocks the server may be silent for as long as it was
/// asked to, whatever the client's limits are.
async fn work(client: Client) -> Result<usize, QueryError> {
    let mut dedicated = client.dedicated_for(b"{example}:queue").await?;
    let mut done = 0;
    while let Some((_, job)) = dedicated
        .query::<Option<(String, String)>>(Command::new("BLPOP").args(["{example}:queue", "1"]))
        .await?
    {
        println!("working on {job}");
        done += 1;
    }
    Ok(done)
}

/// Adds to a balance by reading, computing and writing, again until nobody else wrote in between. Tells how often it tried.
async fn deposit(client: &Client, amount: i64) -> Result<usize, QueryError> {
    let mut dedicated = client.dedicated_for(b"{example}:balance").await?;
    for attempt in 1.. {
        dedicated.watch(["{example}:balance"]).await?;
        let balance: i64 = dedicated.query(Command::new("GET").arg("{example}:balance")).await?;
        let write =
            Transaction::new().command(Command::new("SET").arg("{example}:balance").number(balance + amount));
        if dedicated.query_transaction::<((),)>(write).await?.is_some() {
            return Ok(attempt);
        }
    }
    unreachable!("the attempts do not run out")
}
