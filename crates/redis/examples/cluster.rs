//! A cluster: commands find their nodes, what belongs together stands in one slot, every node can be asked.
//!
//! `cargo run -p bowline-redis --example cluster -- redis-cluster://127.0.0.1:7000,127.0.0.1:7001` (a `redis://` URL works too)
#![expect(clippy::print_stdout, reason = "an example talks")]

use anyhow::{Context, Result};
use bowline_redis::{Client, Command, Config, ReadFrom, Transaction};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let url = std::env::args()
        .nth(1)
        .context("which cluster? give a URL such as redis-cluster://127.0.0.1:7000")?;
    let client = Client::start(Config::from_url(&url)?);

    // Each key lives where its slot does. Redirects are followed.
    for number in 0..10 {
        client.set(format!("example:{number}"), number.to_string()).await?;
    }
    // What a command, a batch or a transaction names must be in one slot: the part in braces decides.
    let transfer = Transaction::new()
        .command(Command::new("DECRBY").args(["{example:7}:from", "10"]))
        .command(Command::new("INCRBY").args(["{example:7}:to", "10"]));
    println!("transaction: {:?}", client.query_transaction::<(i64, i64)>(transfer).await?);
    let several = Command::new("MGET").args(["example:1", "example:2"]);
    match client.query::<Vec<Option<String>>>(several).await {
        Ok(values) => println!("both keys: {values:?}"),
        Err(error) => println!("both keys: {error}"),
    }
    // Who can live with several steps in place of one says so.
    for value in client.mget_over_slots::<String>(["example:1", "example:2"]).await? {
        println!("each key: {:?}", value?);
    }

    // A replica may be behind; who can live with that says so.
    let read = Command::new("GET").arg("example:1").read_from(ReadFrom::PreferReplica);
    println!("read: {:?}", client.query::<Option<String>>(read).await?);

    for (node, size) in client.on_all_primaries(Command::new("DBSIZE")).await? {
        println!("{node} has {:?} keys", size?.as_integer());
    }

    let keys = (0..10).map(|number| format!("example:{number}"));
    for part in client.over_slots(Command::new("UNLINK").args(keys)).await? {
        part.outcome?;
    }
    client.del(["{example:7}:from", "{example:7}:to"]).await?;
    Ok(())
}
