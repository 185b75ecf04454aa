//! A primary dies, or stands still until it is replaced and comes back, under full load.
//!
//! A failover may lose what the old primary had acknowledged and not passed on to its replica: replication is asynchronous, whatever
//! a client does. What is demanded is exactly what is left of the promises: only the sessions of that primary lose anything, only
//! what was acknowledged within [`REPLICATION_LAG_MAX`] before its death or before everything could be read again; nonces of that
//! time are lost with it. What a read finds is a state that the session had; and from then on all is as strict as before: nobody
//! is served by a primary that was replaced.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use bowline_redis::Slot;
use bowline_rt::time::now;

use super::ledger::{Ledger, NAMESPACES, Subject};
use super::load::Load;
use super::service::Service;
use crate::groups::{Cluster, Node, PRIMARIES, Sentinels, WATCHED};
use crate::limits::{FAILOVER_RECOVERY_MAX, REPLICATION_LAG_MAX, SWITCH_MAX};
use crate::process::Signal;
use crate::wait::{wait_out, wait_until};

/// Silence after which sentinels or the rest of a cluster give a primary up, in milliseconds.
const DOWN_AFTER_MS: u64 = 1_000;
/// Requests that show that the load runs.
const GOOD_ANSWERS: u64 = 200;

/// What was seen.
#[derive(Debug)]
pub struct Report {
    /// For each failover, from the fault until the replica was a primary.
    pub taken_over: Vec<Duration>,
    /// For each failover, from then until every session could be read through every gateway.
    pub recovered: Vec<Duration>,
    /// The checker.
    pub ledger: Arc<Ledger>,
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { taken_over, recovered, ledger } = self;
        write!(f, "taken over after {taken_over:.1?}, and recovered after {recovered:.1?} more; {ledger}")
    }
}

/// A failover of both servers under sentinels, there and back: one is replaced by order, lives on, and takes itself for the primary;
/// then the other one stands still until it is replaced, and goes on as if nothing had been.
///
/// # Errors
/// A promise was broken.
pub async fn sentinels(seed: u64) -> Result<Report> {
    let group = Sentinels::start(DOWN_AFTER_MS, None).await?;
    let folder = tempfile::tempdir()?;
    let service = Service::start(folder.path(), &group.url()).await?;
    let load = Load::start(service, Ledger::default(), seed).await?;
    let mut failover = Failover { load, taken_over: Vec::new(), recovered: Vec::new() };

    let [first, second] = &group.servers;
    let order = || {
        let said = group.sentinels[0].cli(&["SENTINEL", "FAILOVER", WATCHED])?;
        ensure!(said == "OK", "the sentinel says {said}");
        Ok(())
    };
    failover.run(|_| true, (second, &group.sentinels), order).await?;
    failover.demote(first, second).await?;
    failover.run(|_| true, (first, &group.sentinels), || second.process.signal(Signal::Stop)).await?;
    second.process.signal(Signal::Continue)?;
    failover.demote(second, first).await?;
    failover.finish().await
}

/// A primary of a cluster is killed.
///
/// # Errors
/// A promise was broken.
pub async fn cluster(seed: u64) -> Result<Report> {
    let mut group = Cluster::start(true, DOWN_AFTER_MS, None).await?;
    let folder = tempfile::tempdir()?;
    let service = Service::start(folder.path(), &group.url()).await?;
    let load = Load::start(service, Ledger::default(), seed).await?;
    let mut failover = Failover { load, taken_over: Vec::new(), recovered: Vec::new() };
    // The one that has the session of the first writer.
    let all: Vec<Subject> = Subject::all().collect();
    let victim = primary_of(all[0]);
    ensure!(all.iter().any(|subject| primary_of(*subject) != victim), "others have sessions too");
    let (primaries, replicas) = group.nodes.split_at_mut(PRIMARIES);
    let kill = || primaries[victim].process.kill();
    failover.run(|subject| primary_of(subject) == victim, (&replicas[victim], &[]), kill).await?;
    failover.load.wait_for_served(GOOD_ANSWERS).await;
    failover.finish().await
}

/// Which primary has a session, in the beginning.
fn primary_of(subject: Subject) -> usize {
    let namespace = NAMESPACES[subject.namespace];
    // As docs/sessions.md and ARCHITECTURE.md name it: what is in the braces decides.
    let tag = format!("session:{namespace}/{}", subject.key().replace('/', "%2F"));
    let slot = usize::from(Slot::of(tag.as_bytes()).number());
    let has = |primary: &usize| slot <= Cluster::slots(*primary).1;
    (0..PRIMARIES).find(has).unwrap_or_default()
}

/// A load, and what was seen.
struct Failover {
    load: Load,
    taken_over: Vec<Duration>,
    recovered: Vec<Duration>,
}

impl Failover {
    /// `strike` makes `heir` the primary, and these sentinels say so.
    async fn run(
        &mut self,
        may_lose: impl Fn(Subject) -> bool,
        (heir, sentinels): (&Node, &[Node]),
        strike: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        self.load.wait_for_served(GOOD_ANSWERS).await;
        let safe = self.load.ledger().mark();
        wait_out(REPLICATION_LAG_MAX).await;
        self.load.ledger().begin_loss(&safe, may_lose);
        strike()?;
        let struck = now();
        heir.wait_for(&["ROLE"], "master").await;
        for sentinel in sentinels {
            let question = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", WATCHED];
            sentinel.wait_for(&question, &heir.address().port().to_string()).await;
        }
        self.taken_over.push(struck.elapsed());
        let taken_over = now();
        wait_until("the heir's cluster, if it has one, is sound", || async {
            let info = heir.cli(&["CLUSTER", "INFO"]).unwrap_or_default();
            info.contains("cluster_state:ok") || info.contains("disabled")
        })
        .await;
        if !sentinels.is_empty() {
            // Until then somebody may be served by the old one, and in vain.
            wait_out(SWITCH_MAX + self.load.lag()).await;
        }
        self.load.read_everything().await?;
        let (recovered, bound) = (taken_over.elapsed(), FAILOVER_RECOVERY_MAX + self.load.lag());
        ensure!(recovered <= bound, "served again {recovered:.1?} after the failover, bound {bound:.1?}");
        self.recovered.push(recovered);
        self.load.ledger().end_loss();
        Ok(())
    }

    /// `old` takes itself for the primary still: whoever is served by it is so in vain, and the checker sees it when it is made a
    /// replica. The sentinels would let it go on for ten seconds.
    async fn demote(&mut self, old: &Node, heir: &Node) -> Result<()> {
        old.wait_for(&["ROLE"], "master").await;
        self.load.wait_for_served(GOOD_ANSWERS).await;
        let port = heir.direct().port().to_string();
        let said = old.cli(&["REPLICAOF", "127.0.0.1", &port])?;
        ensure!(said.starts_with("OK"), "it does not follow: {said}");
        old.wait_for(&["INFO", "replication"], "master_link_status:up").await;
        self.load.wait_for_served(GOOD_ANSWERS).await;
        Ok(())
    }

    async fn finish(self) -> Result<Report> {
        let Self { load, taken_over, recovered } = self;
        Ok(Report { taken_over, recovered, ledger: load.finish().await? })
    }
}
