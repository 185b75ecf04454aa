//! The gate of the driver where there is more than one server or more than TCP: TLS, subscribers, a cluster, sentinels; each behind
//! proxies that go wrong. For minutes: `cargo xtask incident 2 --live SECONDS`.

use std::fmt::Display;
use std::time::Duration;

use anyhow::{Context, Result};
use bowline_redis::Protocol;
use bowline_torture::driver::audience::Audience;
use bowline_torture::driver::group_storm::{GroupStorm, Kind};
use bowline_torture::driver::storm::{FAMILIES, Storm, Transport, impatient};
use bowline_torture::process::story;

/// How long each runs; every kind of fault has its turn.
const DURATION: Duration = Duration::from_secs(4);

#[expect(clippy::print_stdout, reason = "figures, for who asks for them with --nocapture")]
fn tell(name: &str, report: impl Display) {
    println!("{name}: {report}");
}

/// The proxy cuts, withholds and cuts up the records of TLS.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_through_every_kind_of_fault() {
    story(async {
        for (seed, family) in (1..).zip(FAMILIES) {
            let duration = DURATION / 6;
            let (settings, protocol, transport) = (impatient(), Protocol::Resp3, Transport::Tls);
            let storm = Storm { family, seed, duration, settings, protocol, transport };
            tell("TLS", storm.run().await.with_context(|| format!("{family:?}, seed {seed}"))?);
        }
        Ok(())
    })
    .await;
}

async fn listen(seed: u64, protocol: Protocol) -> Result<()> {
    let families = FAMILIES.to_vec();
    let audience = Audience { families, seed, duration: DURATION, settings: impatient(), protocol };
    let report = audience.run().await.with_context(|| format!("seed {seed}, {protocol:?}"))?;
    tell("subscribers", report);
    Ok(())
}

/// Both at the same time, for most of it is waiting.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscribers_miss_only_what_a_gap_announces() {
    story(async {
        tokio::try_join!(listen(1, Protocol::Resp3), listen(2, Protocol::Resp2))?;
        Ok(())
    })
    .await;
}

async fn ask(kind: Kind, seed: u64) -> Result<()> {
    let families = FAMILIES.to_vec();
    let storm = GroupStorm { kind, families, seed, duration: DURATION, settings: impatient() };
    tell(&format!("{kind:?}"), storm.run().await.with_context(|| format!("{kind:?}, seed {seed}"))?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_and_sentinels_with_a_proxy_before_every_node() {
    story(async {
        tokio::try_join!(ask(Kind::Cluster, 1), ask(Kind::Sentinels, 2))?;
        Ok(())
    })
    .await;
}
