//! Faults between the gateways and their store, one after the other under full load: something goes wrong for a while, is healed,
//! and then requests must be served again in time. At the end the checker settles everything.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bowline_redis::Settings;
use bowline_rt::time::now;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::ledger::Ledger;
use super::load::Load;
use super::service::Service;
use crate::driver::storm::Family;
use crate::limits::SESSION_RECOVERY_MAX;
use crate::peers;
use crate::ports::free_address;
use crate::proxy::Proxy;
use crate::wait::wait_out;
use crate::zone::StoreKind;

/// Requests that show that all is well again.
const GOOD_ANSWERS: u64 = 50;

/// One run.
#[derive(Debug, Clone)]
pub struct Storm {
    /// What keeps the sessions.
    pub store: StoreKind,
    /// What goes wrong, in turn.
    pub families: Vec<Family>,
    /// From which everything random is drawn.
    pub seed: u64,
    /// How long; each family has its turn at least once.
    pub duration: Duration,
}

/// What was seen.
#[derive(Debug)]
pub struct Report {
    /// Faults.
    pub rounds: usize,
    /// The longest time from healing to fifty served requests, and what was healed.
    pub recovery: (Duration, Family),
    /// Connections of the gateways to the store.
    pub connections: u64,
    /// The checker.
    pub ledger: Arc<Ledger>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rounds, recovery: (recovery, family), connections, ledger } = self;
        write!(
            f,
            "{rounds} faults, recovered in {recovery:.1?} at worst ({family:?}); {connections} connections to the store; {ledger}"
        )
    }
}

impl Storm {
    /// Runs it.
    ///
    /// # Errors
    /// A promise was broken.
    pub async fn run(self) -> Result<Report> {
        let directory = tempfile::tempdir().context("cannot create a folder")?;
        let address = free_address();
        let store = peers::store(directory.path(), self.store, address).await?;
        let proxy = Proxy::start(address, self.seed).await?;
        let service = Service::start(directory.path(), &format!("redis://{}", proxy.address())).await?;
        let load = Load::start(service, Ledger::default(), self.seed).await?;
        load.wait_for_served(GOOD_ANSWERS).await;
        let mut random = StdRng::seed_from_u64(self.seed);
        let silence_max = Settings::default().silence_max;
        let (started, mut rounds, mut worst) = (now(), 0, (Duration::ZERO, Family::Fragments));
        while rounds < self.families.len() || started.elapsed() < self.duration {
            let family = self.families[rounds % self.families.len()];
            let bound = family.strike(&proxy, &store, silence_max, &mut random).await?;
            let recovery = load.wait_for_served(GOOD_ANSWERS).await;
            let bound = bound + SESSION_RECOVERY_MAX + load.lag();
            ensure!(recovery <= bound, "recovered from {family:?} in {recovery:.1?}, bound {bound:.1?}");
            if recovery > worst.0 {
                worst = (recovery, family);
            }
            rounds += 1;
            wait_out(Duration::from_millis(random.random_range(0..200))).await;
        }
        let ledger = load.finish().await?;
        Ok(Report { rounds, recovery: worst, connections: proxy.accepted(), ledger })
    }
}
