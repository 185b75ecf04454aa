//! The driver and real clusters of redis-server.
#![expect(clippy::unwrap_used, reason = "a test; the lint sees tests only where they are marked as such")]

use std::time::Duration;

use bowline_redis::{Client, Config};

use support::RealCluster;

#[path = "../support/cluster.rs"]
mod support;

mod faults;
mod features;
mod keys;

const DEADLINE: Duration = Duration::from_secs(1);

fn client(cluster: &RealCluster) -> Client {
    let mut config = Config::from_url(&cluster.url()).unwrap();
    config.settings.call_deadline = DEADLINE;
    Client::start(config)
}
