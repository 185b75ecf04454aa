//! The gate of the session service, for seconds: two gateways, callers who are right and callers who must be refused, and every kind of
//! fault between the gateways and the store; and a primary of the store that is replaced. For minutes: `cargo xtask incident 2 --live
//! SECONDS`.

use std::fmt::Display;
use std::time::Duration;

use anyhow::{Context, Result};
use bowline_torture::driver::storm::FAMILIES;
use bowline_torture::process::story;
use bowline_torture::sessions::failover;
use bowline_torture::sessions::storm::Storm;
use bowline_torture::zone::StoreKind;

#[expect(clippy::print_stdout, reason = "figures, for who asks for them with --nocapture")]
async fn tell(name: &str, run: impl Future<Output = Result<impl Display>>) -> Result<()> {
    let report = run.await.with_context(|| name.to_owned())?;
    println!("{name}: {report}");
    Ok(())
}

/// Every kind of fault has its turn. Both at the same time, for most of it is waiting.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_foreign_or_served_twice_through_every_kind_of_fault() {
    let storm =
        |store, seed| Storm { store, families: FAMILIES.to_vec(), seed, duration: Duration::ZERO }.run();
    story(async {
        tokio::try_join!(
            tell("sessions in redis-server", storm(StoreKind::Redis, 1)),
            tell("sessions in a store of Bowline", storm(StoreKind::Bowline, 2)),
        )?;
        Ok(())
    })
    .await;
}

/// What is lost is what may be, and nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_is_replaced_by_sentinels_and_in_a_cluster() {
    story(async {
        tokio::try_join!(
            tell("sessions under sentinels", failover::sentinels(1)),
            tell("sessions in a cluster", failover::cluster(1)),
        )?;
        Ok(())
    })
    .await;
}
