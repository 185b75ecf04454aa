//! The first steps: connect, set, get, a hash, a counter, and an answer of any type.
//!
//! `cargo run -p bowline-redis --example quick_start -- redis://127.0.0.1:6379`
#![expect(clippy::print_stdout, reason = "an example talks")]

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use bowline_redis::{Client, Command, Config, SetOptions};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let url = std::env::args().nth(1).context("which server? give a URL such as redis://127.0.0.1:6379")?;
    // Returns at once; calls wait for the connection, within their deadline. Clones share it.
    let client = Client::start(Config::from_url(&url)?.name("quick-start"));

    // What stands in braces keeps the keys together in a cluster; elsewhere it is a name as any other.
    client.set("{example}:greeting", "hello").await?;
    let greeting: Option<String> = client.get("{example}:greeting").await?;
    println!("greeting: {greeting:?}");

    let lock = SetOptions::new().if_absent().expires_in(Duration::from_secs(10));
    println!("took the lock: {}", client.set_with("{example}:lock", "me", lock).await?);
    println!("took it twice: {}", client.set_with("{example}:lock", "me", lock).await?);

    client.hset("{example}:user", "name", "Ann").await?;
    client.hset("{example}:user", "age", "42").await?;
    let user: BTreeMap<String, String> = client.hgetall("{example}:user").await?;
    println!("user: {user:?}");

    println!("visits: {}", client.incr("{example}:visits", 1).await?);

    // Whatever has no method of its own is a Command, and the type says what its answer becomes.
    client.query::<u64>(Command::new("ZADD").args(["{example}:scores", "1.5", "ann", "2", "bob"])).await?;
    let scores: Vec<(String, f64)> = client
        .query(
            Command::new("ZRANGE")
                .args(["{example}:scores", "0", "-1", "WITHSCORES"])
                .deadline(Duration::from_millis(500)),
        )
        .await?;
    println!("scores: {scores:?}");

    let keys = ["greeting", "lock", "user", "visits", "scores"].map(|key| format!("{{example}}:{key}"));
    println!("removed {} keys", client.del(keys).await?);
    Ok(())
}
