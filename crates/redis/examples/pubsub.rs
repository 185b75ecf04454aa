//! Subscriptions: a channel, a pattern, and what is said when messages may be missing.
//!
//! `cargo run -p bowline-redis --example pubsub -- redis://127.0.0.1:6379`
#![expect(clippy::print_stdout, reason = "an example talks")]

use std::time::Duration;

use anyhow::{Context, Result};
use bowline_redis::subscriber::Item;
use bowline_redis::{Client, Command, Config, Subscriber, Topic};
use bowline_rt::time::timeout;

const PATIENCE: Duration = Duration::from_secs(5);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let url = std::env::args().nth(1).context("which server? give a URL such as redis://127.0.0.1:6379")?;
    let client = Client::start(Config::from_url(&url)?);
    // Subscriptions have a connection of their own, which all of them share.
    let subscriber = Subscriber::start(Config::from_url(&url)?);

    // What is published before the server has confirmed a subscription does not come.
    let news = subscriber.subscribe(Topic::channel("example:news"))?;
    let mut news = timeout(PATIENCE, news.established()).await.context("no server")??;
    let all = subscriber.subscribe(Topic::pattern("example:*"))?;
    let mut all = timeout(PATIENCE, all.established()).await.context("no server")??;

    for number in 1..=3 {
        let publish = Command::new("PUBLISH").arg("example:news").arg(format!("message {number}"));
        println!("published to {} subscriptions", client.query::<u64>(publish).await?);
    }
    for _ in 0..3 {
        match timeout(PATIENCE, news.next()).await? {
            Item::Message(message) => {
                println!("{:?} on {:?}", message.payload, message.channel);
            }
            // What was published meanwhile is lost: whoever keeps a copy of something reads it anew here.
            Item::Gap(gap) => println!("messages may be missing: {gap:?}"),
            Item::Lagged(count) => println!("{count} messages were not read in time"),
            Item::Established => println!("from here on nothing is missing"),
            Item::Refused(error) => println!("refused: {error}"),
        }
    }
    if let Item::Message(message) = timeout(PATIENCE, all.next()).await? {
        println!("and by its pattern {:?}", message.pattern);
    }
    // Dropping a subscription ends it.
    drop((news, all));
    Ok(())
}
