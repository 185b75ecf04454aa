//! The path of a request: real nginx behind the agent, reached through either gateway.

use std::time::Duration;

use anyhow::{Result, ensure};
use bowline_torture::load::Load;
use bowline_torture::process::story;
use bowline_torture::wait::wait_out;
use bowline_torture::zone::{StoreKind, WEB, Zone};
use bowline_torture::{http, peers};
use bytes::Bytes;

const LOAD: Duration = Duration::from_secs(3);
/// Large against every buffer on the way.
const LARGE_BODY_BYTES: usize = 24 * 1024 * 1024;
/// What a gateway may need for that body beyond what it had: its buffers, not the body.
const GROWTH_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// nginx answers through the gateway that does not hold the agent, under load, without one error.
async fn check_load(store: StoreKind) -> Result<()> {
    let zone = Zone::start(store).await?;
    let (holder, other) = (&zone.gateways[0], &zone.gateways[1]);
    for gateway in [holder, other] {
        assert_eq!(http::get(gateway.http, WEB, "/").await?.text(), peers::PAGE);
    }
    let load = Load::start(other.http, WEB, 16);
    wait_out(LOAD).await;
    load.finish().await.demand_no_failure()?;

    let status = other.status().await?;
    let agents = status["agents"].as_array().map(Vec::as_slice).unwrap_or_default();
    let held: Vec<_> =
        agents.iter().map(|agent| (agent["name"].as_str(), agent["gateway"].as_str())).collect();
    assert_eq!(held, [(Some("edge-1"), Some("g1"))], "the other gateway held nothing: {status:#}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_that_does_not_hold_the_agent_serves_without_an_error() {
    story(check_load(StoreKind::Bowline)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_with_redis_as_the_store() {
    story(check_load(StoreKind::Redis)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_stream_with_flat_memory() {
    story(async {
        let zone = Zone::start(StoreKind::Bowline).await?;
        let page = vec![b'b'; LARGE_BODY_BYTES];
        std::fs::write(zone.directory().join("nginx/html/large"), &page)?;
        let gateway = &zone.gateways[1];
        let before = gateway.process.resident_bytes()?;
        let down = http::get(gateway.http, WEB, "/large").await?;
        ensure!(down.body == page, "{} bytes came down with status {}", down.body.len(), down.status);
        // nginx serves no POST on a file, but reads the body before it says so only if it must; 405 is its answer.
        let up = http::send(gateway.http, WEB, "POST", "/", Bytes::from(page)).await?;
        assert_eq!(up.status, 405, "nginx itself answers");
        let grown = gateway.process.resident_bytes()?.saturating_sub(before);
        ensure!(grown < GROWTH_BYTES_MAX, "the gateway grew by {grown} bytes");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_served_says_why() {
    story(async {
        let mut zone = Zone::start(StoreKind::Bowline).await?;
        for gateway in &zone.gateways {
            let check = async |host: &str, status: u16, reason: &str| {
                let answer = http::get(gateway.http, host, "/").await?;
                assert_eq!(
                    (answer.status, answer.reason.as_deref()),
                    (status, Some(reason)),
                    "{host}: {}",
                    answer.text()
                );
                anyhow::Ok(())
            };
            check("nothing.svc.bowline", 503, "service_unknown").await?;
            check("example.com", 404, "host_unknown").await?;
        }
        zone.web.kill()?;
        for gateway in &zone.gateways {
            let answer = http::get(gateway.http, WEB, "/").await?;
            assert_eq!((answer.status, answer.reason.as_deref()), (502, Some("service_refused")));
        }
        Ok(())
    })
    .await;
}
