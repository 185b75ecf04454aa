//! Restarts of everything in turn: no stuck state, and `status` tells the truth.

use std::time::Duration;

use anyhow::{Result, ensure};
use bowline_torture::http;
use bowline_torture::limits::SOON;
use bowline_torture::load::Load;
use bowline_torture::process::story;
use bowline_torture::wait::{wait_out, wait_within};
use bowline_torture::zone::{Gateway, StoreKind, WEB, Zone};

const BEFORE: Duration = Duration::from_secs(1);

/// Which gateways hold the agent, as `gateway` says.
async fn holders(gateway: &Gateway) -> Result<Vec<String>> {
    let status = gateway.status().await?;
    let agents = status["agents"].as_array().map(Vec::as_slice).unwrap_or_default();
    Ok(agents.iter().filter_map(|agent| agent["gateway"].as_str().map(str::to_owned)).collect())
}

/// Waits until every gateway says that exactly `expected` hold the agent, and the store says the same.
async fn wait_for_truth(zone: &Zone, expected: &[&str]) {
    let what = format!("status and store name {expected:?} as holders");
    wait_within(SOON, &what, || async {
        for gateway in &zone.gateways {
            if holders(gateway).await.ok()? != expected {
                return None;
            }
        }
        (zone.holders_in_store("web").ok()? == expected).then_some(())
    })
    .await;
}

async fn wait_for_both(zone: &Zone) {
    for gateway in &zone.gateways {
        http::wait_for_ok(gateway.http, WEB, "/").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_restarts_is_reachable_again_through_both_gateways() {
    story(async {
        let mut zone = Zone::start(StoreKind::Bowline).await?;
        let status = zone.agent.terminate(SOON).await?;
        ensure!(status.success(), "the agent ended with {status}");
        zone.restart_agent()?;
        wait_for_both(&zone).await;
        // And once more without a goodbye.
        zone.agent.kill()?;
        zone.restart_agent()?;
        wait_for_both(&zone).await;
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gateways_restart_in_turn_without_a_failed_request() {
    story(async {
        let mut zone = Zone::start(StoreKind::Bowline).await?;
        let folder = zone.directory().to_owned();
        for (drained, other, holder) in [(0, 1, "g2"), (1, 0, "g1")] {
            let load = Load::start(zone.gateways[other].http, WEB, 8);
            wait_out(BEFORE).await;
            let status = zone.gateways[drained].process.terminate(SOON).await?;
            ensure!(status.success(), "gateway {drained} ended with {status}");
            wait_out(BEFORE).await;
            load.finish().await.demand_no_failure()?;
            zone.gateways[drained].restart(&folder).await?;
            wait_for_truth(&zone, &[holder]).await;
            wait_for_both(&zone).await;
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_lost_its_data_is_filled_again_without_a_failed_request() {
    story(async {
        for kind in [StoreKind::Bowline, StoreKind::Redis] {
            let mut zone = Zone::start(kind).await?;
            let load = Load::start(zone.gateways[1].http, WEB, 8);
            wait_out(BEFORE).await;
            zone.store.kill()?;
            wait_out(BEFORE).await;
            zone.restart_store().await?;
            wait_for_truth(&zone, &["g1"]).await;
            load.finish().await.demand_no_failure()?;
        }
        Ok(())
    })
    .await;
}
