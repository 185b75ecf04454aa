//! The load of the gate against a cluster, and against servers under sentinels, with a proxy before every node: clients learn of no
//! other addresses. One node after the other has something wrong; none is given up by the others, so nothing may be lost.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bowline_redis::{Client, Command, Config, Settings, Slot};
use bowline_rt::time::now;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::ledger::Ledger;
use super::load::{Load, wait_for_answers};
use super::storm::{Family, Report, demand_deaths, wait_until_alone};
use super::values::{KEYS, value_key};
use crate::groups::{Cluster, Node, PRIMARIES, Sentinels};
use crate::limits::{GROUP_RECOVERY_MAX, SOON};
use crate::wait::{wait_out, wait_within};

/// Silence after which servers give each other up: longer than any fault.
const NODE_TIMEOUT_MS: u64 = 60_000;
/// Deadline of a call that looks whether a server answers.
const LOOK_DEADLINE: Duration = Duration::from_millis(100);
/// Answers that show that all is well again.
const GOOD_ANSWERS: u64 = 100;

/// What the client is a client of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Three primaries, each with a third of the keys.
    Cluster,
    /// A primary with a replica, and three sentinels that tell where it is.
    Sentinels,
}

/// One run.
#[derive(Debug, Clone)]
pub struct GroupStorm {
    /// What the client is a client of.
    pub kind: Kind,
    /// What goes wrong, in turn.
    pub families: Vec<Family>,
    /// From which everything random is drawn.
    pub seed: u64,
    /// How long; each family has its turn at least once.
    pub duration: Duration,
    /// Those of the client.
    pub settings: Settings,
}

enum Group {
    Cluster(Cluster),
    Sentinels(Box<Sentinels>),
}

impl Group {
    async fn start(kind: Kind, seed: u64) -> Result<Self> {
        Ok(match kind {
            Kind::Cluster => Self::Cluster(Cluster::start(false, NODE_TIMEOUT_MS, Some(seed)).await?),
            Kind::Sentinels => {
                Self::Sentinels(Box::new(Sentinels::start(NODE_TIMEOUT_MS, Some(seed)).await?))
            }
        })
    }

    fn url(&self) -> String {
        match self {
            Self::Cluster(cluster) => cluster.url(),
            Self::Sentinels(sentinels) => sentinels.url(),
        }
    }

    /// Those that keep data; the first of two under sentinels is the primary.
    fn servers(&self) -> &[Node] {
        match self {
            Self::Cluster(cluster) => &cluster.nodes,
            Self::Sentinels(sentinels) => &sentinels.servers[..1],
        }
    }

    /// Who is struck.
    fn victim(&self, random: &mut StdRng) -> &Node {
        let servers = self.servers();
        match self {
            // The sentinels whom the client knows.
            Self::Sentinels(group) if random.random_range(0..3) == 0 => {
                &group.sentinels[random.random_range(0..2)]
            }
            _ => &servers[random.random_range(0..servers.len())],
        }
    }

    /// Which server has a key.
    fn place(&self, key: &str) -> usize {
        let slot = usize::from(Slot::of(key.as_bytes()).number());
        match self {
            Self::Cluster(_) => {
                (0..PRIMARIES).find(|&primary| slot <= Cluster::slots(primary).1).unwrap_or(0)
            }
            Self::Sentinels(_) => 0,
        }
    }

    /// Ends all proxies, and what goes through them.
    fn cut_off(&mut self) {
        match self {
            Self::Cluster(cluster) => cluster.nodes.iter_mut().for_each(|node| node.proxy = None),
            Self::Sentinels(group) => {
                let Sentinels { servers, sentinels, .. } = &mut **group;
                servers.iter_mut().chain(sentinels).for_each(|node| node.proxy = None);
            }
        }
    }
}

impl GroupStorm {
    /// Runs it.
    ///
    /// # Errors
    /// A promise was broken.
    pub async fn run(self) -> Result<Report> {
        let mut group = Group::start(self.kind, self.seed).await?;
        let mut config = Config::from_url(&group.url())?;
        config.settings = self.settings;
        let client = Client::start(config);
        let ledger = Arc::new(Ledger::default());
        ledger.values().fill(&client).await?;
        let load = match self.kind {
            Kind::Cluster => Load::start_sharing(&client, &ledger, self.seed),
            Kind::Sentinels => Load::start(&client, &ledger, self.seed),
        };
        wait_for_answers(&ledger, GOOD_ANSWERS).await;
        let mut random = StdRng::seed_from_u64(self.seed);
        let (started, mut rounds, mut worst) = (now(), 0, Duration::ZERO);
        while rounds < self.families.len() || started.elapsed() < self.duration {
            let family = self.families[rounds % self.families.len()];
            let (recovery, bound) = self.strike((&group, family), &client, &ledger, &mut random).await?;
            let bound = bound + GROUP_RECOVERY_MAX + load.lag();
            ensure!(recovery <= bound, "recovered from {family:?} in {recovery:?}, bound {bound:?}");
            (rounds, worst) = (rounds + 1, worst.max(recovery));
            wait_out(Duration::from_millis(random.random_range(0..100))).await;
        }
        load.finish().await;
        let metrics = client.metrics().clone();
        drop(client);
        group.cut_off();
        let mut direct = Vec::new();
        for node in group.servers() {
            let client = Client::start(Config::from_url(&format!("redis://{}", node.direct()))?);
            wait_until_alone(&client).await;
            direct.push(client);
        }
        ledger.settle(|key| &direct[group.place(key)]).await?;
        let deaths = demand_deaths(&metrics)?;
        let connections = metrics.connected.get();
        Ok(Report { rounds, recovery: worst, connections, deaths, calls: ledger.to_string() })
    }

    /// Something goes wrong with one node; how long it took afterwards until all is well, and how long it may.
    async fn strike(
        &self,
        (group, family): (&Group, Family),
        client: &Client,
        ledger: &Ledger,
        random: &mut StdRng,
    ) -> Result<(Duration, Duration)> {
        let victim = group.victim(random);
        let proxy = victim.proxy.as_ref().context("a proxy")?;
        let bound = family.strike(proxy, &victim.process, self.settings.silence_max, random).await?;
        let started = now();
        // Every server answers: those that were not struck have done so all the time.
        for server in 0..group.servers().len() {
            let key = (0..KEYS).map(value_key).find(|key| group.place(key) == server).context("a key")?;
            wait_within(SOON, "every server answers", || async {
                client.call(Command::new("GET").arg(&key).deadline(LOOK_DEADLINE)).await.ok()
            })
            .await;
        }
        wait_for_answers(ledger, GOOD_ANSWERS).await;
        Ok((started.elapsed(), bound))
    }
}
