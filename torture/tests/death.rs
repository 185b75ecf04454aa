//! Processes die and stand still under load; what promised to go on goes on.

use std::time::Duration;

use anyhow::{Result, ensure};
use bowline_rt::time;
use bowline_torture::http;
use bowline_torture::limits::REGISTRY_TTL_SECONDS;
use bowline_torture::load::Load;
use bowline_torture::process::{Signal, story};
use bowline_torture::wait::{wait_out, wait_within};
use bowline_torture::zone::{StoreKind, WEB, Zone};

/// Requests through the other gateway succeed again within this after the holder was killed.
const RECOVERY_MAX: Duration = Duration::from_secs(5);
/// Registrations that were made while the store stood still appear within this after it goes on.
const APPEARANCE_MAX: Duration = Duration::from_secs(1);
/// How long an entry outlives its gateway: its TTL, the time to its neighbour's next renewal, which sweeps it away, and some
/// time for the machine.
const FORGOTTEN_MAX: Duration = Duration::from_secs(REGISTRY_TTL_SECONDS + REGISTRY_TTL_SECONDS / 3 + 5);
const BEFORE: Duration = Duration::from_secs(1);
const STANDSTILL: Duration = Duration::from_secs(4);

async fn check_killed_holder(store: StoreKind) -> Result<()> {
    let mut zone = Zone::start(store).await?;
    let load = Load::start(zone.gateways[1].http, WEB, 8);
    wait_out(BEFORE).await;
    let killed = time::now();
    zone.gateways[0].process.kill()?;
    wait_out(RECOVERY_MAX + BEFORE).await;
    load.finish().await.demand_recovery(killed, RECOVERY_MAX)?;
    // The dead gateway's entry goes after its TTL, by the store's clock, and the living one's stays.
    wait_within(FORGOTTEN_MAX, "the dead gateway's entry is gone", || async {
        (zone.holders_in_store("web").ok()? == ["g2"]).then_some(())
    })
    .await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_holder_is_replaced_within_five_seconds_and_forgotten() {
    story(check_killed_holder(StoreKind::Bowline)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_with_redis_as_the_store() {
    story(check_killed_holder(StoreKind::Redis)).await;
}

async fn check_stopped_store(store: StoreKind) -> Result<()> {
    const LATE: &str = "late.svc.bowline";
    let zone = Zone::start(store).await?;
    let load = Load::start(zone.gateways[1].http, WEB, 8);
    wait_out(BEFORE).await;
    zone.store.signal(Signal::Stop)?;
    let _late = zone.start_other_agent("edge-2", "late", 0)?;
    // The gateway that holds it serves it at once, without the store.
    http::wait_for_ok(zone.gateways[0].http, LATE, "/").await;
    wait_out(STANDSTILL).await;
    zone.store.signal(Signal::Continue)?;
    let went_on = time::now();
    wait_within(APPEARANCE_MAX, "the registration appears in the store", || async {
        zone.store_lines(&["HKEYS", "bowline:{service:late}"])
            .ok()?
            .contains(&"g1/edge-2".to_owned())
            .then_some(())
    })
    .await;
    let appeared = went_on.elapsed();
    http::wait_for_ok(zone.gateways[1].http, LATE, "/").await;
    load.finish().await.demand_no_failure()?;
    ensure!(appeared <= APPEARANCE_MAX, "it took {appeared:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn known_routes_outlive_a_stopped_store_and_registrations_catch_up() {
    story(check_stopped_store(StoreKind::Bowline)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_with_a_stopped_redis() {
    story(check_stopped_store(StoreKind::Redis)).await;
}
