//! A primary that sentinels watch: the client asks them where it is, and follows it through a failover.
//!
//! `cargo run -p bowline-redis --example sentinel -- redis-sentinel://127.0.0.1:26379/mymaster 30` counts for 30 seconds; meanwhile
//! `redis-cli -p 26379 SENTINEL FAILOVER mymaster`. Without a number it counts for one second.
#![expect(clippy::print_stdout, reason = "an example talks")]

use std::time::Duration;

use anyhow::{Context, Result};
use bowline_redis::{CallError, Client, Command, Config, Connection, ReadFrom};
use bowline_rt::time::{now, sleep};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let usage = "which sentinels? give a URL such as redis-sentinel://127.0.0.1:26379/mymaster";
    let url = std::env::args().nth(1).context(usage)?;
    let seconds = std::env::args().nth(2).map_or(Ok(1), |text| text.parse()).context("how many seconds?")?;
    let client = Client::start(Config::from_url(&url)?);

    let (mut counted, mut unknown, mut not_sent) = (0, 0, 0);
    let mut connection = client.connection();
    let end = now() + Duration::from_secs(seconds);
    while now() < end {
        match client.call(Command::new("INCR").arg("example:n")).await {
            Ok(_) => counted += 1,
            // Refusals (`READONLY`, `LOADING`) had no effect either.
            Err(error) if error.had_no_effect() => not_sent += 1,
            Err(CallError::Unknown(_)) => unknown += 1,
            Err(error) => return Err(error.into()),
        }
        if connection.has_changed()? {
            match &*connection.borrow_and_update() {
                Connection::Up { server, .. } => println!("connected: {:?}", server.run_id),
                Connection::Down { error } => println!("lost: {error:?}"),
            }
        }
        sleep(Duration::from_millis(10)).await;
    }
    println!("{}: counted {counted}, unknown {unknown}, not sent {not_sent}", client.address());
    // After a failover it may say less: replication is asynchronous, so that the new primary may lack what the old one acknowledged.
    println!("the counter says {:?}", client.get::<u64>("example:n").await?);
    // A replica may be behind; who can live with that says so.
    let read = Command::new("GET").arg("example:n").read_from(ReadFrom::PreferReplica);
    println!("a replica, or the primary in its place, says {:?}", client.query::<Option<u64>>(read).await?);
    client.del(["example:n"]).await?;
    Ok(())
}
