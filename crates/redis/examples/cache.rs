//! The client-side cache: what was read is kept until the server says that it has changed.
//!
//! `cargo run -p bowline-redis --example cache -- redis://127.0.0.1:6379`
#![expect(clippy::print_stdout, reason = "an example talks")]

use anyhow::{Context, Result};
use bowline_redis::{CacheSettings, Client, Command, Config};
use bowline_rt::time::now;

const READS: usize = 10_000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let url = std::env::args().nth(1).context("which server? give a URL such as redis://127.0.0.1:6379")?;
    let reader = Client::start(Config::from_url(&url)?.client_side_cache(CacheSettings::default()));
    let writer = Client::start(Config::from_url(&url)?);
    let read = || Command::new("GET").arg("example:price");

    writer.set("example:price", "100").await?;
    let started = now();
    for _ in 0..READS {
        reader.query_cached::<u32>(read()).await?;
    }
    let metrics = &reader.metrics().cache;
    println!("{READS} reads in {:?}: {} from the cache", started.elapsed(), metrics.hits.get());

    // The server tells of the change; until its word has come the old price is served.
    writer.set("example:price", "120").await?;
    let (started, mut old) = (now(), 0_u32);
    while reader.query_cached::<u32>(read()).await? != 120 {
        old += 1;
        bowline_rt::task::yield_now().await;
    }
    println!("the new price came after {:?} and {old} reads of the old one", started.elapsed());
    writer.del(["example:price"]).await?;
    Ok(())
}
