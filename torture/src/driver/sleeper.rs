//! The load in a process of its own, which somebody else stops and continues: in incident 2 it was the client's host that had
//! stood still.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use bowline_redis::{Client, Config};
use serde_json::json;

use super::ledger::Ledger;
use super::load::{Load, wait_for_answers};
use super::storm::{impatient, wait_until_alone};
use crate::wait::wait_out;

/// What it prints when the load runs.
pub const READY: &str = "ready";

/// Runs the load against the server at `url` for `duration`, settles, and returns what happened.
///
/// # Errors
/// What the checker found.
pub async fn run(url: &str, duration: Duration, seed: u64) -> Result<serde_json::Value> {
    let direct = Client::start(Config::from_url(url)?);
    let ledger = Arc::new(Ledger::default());
    ledger.values().fill(&direct).await?;
    let mut config = Config::from_url(url).context("the same URL")?;
    config.settings = impatient();
    let client = Client::start(config);
    let load = Load::start(&client, &ledger, seed);
    wait_for_answers(&ledger, 1).await;
    announce();
    wait_out(duration).await;
    load.finish().await;
    let metrics = client.metrics().clone();
    drop(client);
    wait_until_alone(&direct).await;
    ledger.settle(|_| &direct).await?;
    Ok(json!({
        "answered": ledger.answered(),
        "calls": ledger.to_string(),
        "connections": metrics.connected.get(),
        "silent": metrics.deaths("silent"),
    }))
}

#[expect(clippy::print_stdout, reason = "whoever started this process waits for it")]
fn announce() {
    println!("{READY}");
}
