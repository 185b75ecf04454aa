//! Keeps the map of the cluster true: asks several nodes how they see it, whenever something casts doubt on the map, and
//! periodically in any case.
//!
//! One task does it, so there is never more than one refresh under way, and none comes sooner after another than
//! [`CLUSTER_REFRESH_PAUSE`]. A doubt is a flag and not an order: however many callers raise it, one refresh answers them all, and
//! one that was raised during a refresh leads to another.

use std::sync::Arc;

use bowline_resp::Frame;
use bowline_rt::random;
use bowline_rt::task::JoinSet;
use bowline_rt::time::{now, sleep_until, timeout};
use tokio::sync::{Notify, watch};

use crate::batch::Batch;
use crate::cluster::directory::{Directory, Routes};
use crate::cluster::layout::Layout;
use crate::cluster::map::Taken;
use crate::cluster::place::{Kind, Place};
use crate::command::Command;
use crate::handshake::ServerInfo;
use crate::intake::Delivery;
use crate::limits::{
    CLUSTER_REFRESH_GRACE, CLUSTER_REFRESH_NODES, CLUSTER_REFRESH_PAUSE, CLUSTER_REFRESH_PAUSE_MAX,
    CLUSTER_REFRESH_PERIOD, CLUSTER_REFRESH_TIMEOUT, CLUSTER_SILENT_ROUNDS,
};
use crate::metrics::Metrics;
use crate::reconnect::Connection;

/// The task. Aborting it stops it.
pub(crate) struct Refresh {
    pub directory: Arc<Directory>,
    /// `host:port` of nodes that are asked while no other is known, or none of those answers.
    pub seeds: Vec<String>,
    /// Something says that the map may be wrong.
    pub doubt: Arc<Notify>,
    pub connection: watch::Sender<Connection>,
    pub metrics: Metrics,
}

impl Refresh {
    /// Runs until it is aborted.
    pub async fn run(self) {
        let mut routes = self.directory.routes();
        let (mut silent_rounds, mut restless) = (0, CLUSTER_REFRESH_PAUSE);
        let mut primaries = Vec::new();
        loop {
            let started = now();
            let current = routes.borrow_and_update().clone();
            let (taken, error) = self.round(&current, silent_rounds > 0).await;
            drop(current);
            let current = routes.borrow_and_update().clone();
            match error {
                None => silent_rounds = 0,
                Some(error) => {
                    silent_rounds += 1;
                    self.out_of_reach(&error, silent_rounds);
                }
            }
            if silent_rounds == 0 {
                self.in_reach(&current, &mut primaries);
            }
            let is_settled = taken == Taken::Same && !current.is_amiss();
            restless = match taken {
                Taken::Same | Taken::Stale if !is_settled => (restless * 2).min(CLUSTER_REFRESH_PAUSE_MAX),
                _ => CLUSTER_REFRESH_PAUSE,
            };
            let pause = if is_settled { CLUSTER_REFRESH_PERIOD } else { restless };
            sleep_until(started + CLUSTER_REFRESH_PAUSE).await;
            // Clients that were started together do not ask together.
            let rest = pause / 2 + random::jitter(pause / 2);
            let rest = rest.saturating_sub(CLUSTER_REFRESH_PAUSE);
            if timeout(rest, self.doubt.notified()).await.is_ok() {
                tracing::debug!("something casts doubt on the layout of the cluster");
            }
        }
    }

    /// One refresh. The error is there if no node has answered.
    async fn round(&self, routes: &Routes, was_silent: bool) -> (Taken, Option<String>) {
        let round = self.directory.begin_round();
        // Dropping the set, at the end, ends what is still being asked.
        let mut asked: JoinSet<_> = self.candidates(routes, was_silent).into_iter().map(ask).collect();
        let (mut answers, mut last_error) = (Vec::new(), None);
        let mut patience = CLUSTER_REFRESH_TIMEOUT + CLUSTER_REFRESH_GRACE;
        while let Ok(Some(answer)) = timeout(patience, asked.join_next()).await {
            match answer {
                Ok(Ok(layout)) => {
                    answers.push(layout);
                    patience = CLUSTER_REFRESH_GRACE;
                }
                Ok(Err(error)) => last_error = Some(error),
                Err(error) => last_error = Some(error.to_string()),
            }
        }
        let error =
            answers.is_empty().then(|| last_error.unwrap_or_else(|| "there is nobody to ask".to_owned()));
        let taken = self.directory.take(round, answers);
        self.metrics.count_refresh(if error.is_some() { "failed" } else { taken.label() });
        (taken, error)
    }

    /// Whom to ask: nodes on the map that are connected; if those are too few, or were silent, anybody else whose address was
    /// ever told.
    fn candidates(&self, routes: &Routes, was_silent: bool) -> Vec<Arc<Place>> {
        let on_map = routes.shards().flat_map(|shard| [&shard.primary].into_iter().chain(&shard.replicas));
        let (mut asked, mut others): (Vec<_>, Vec<_>) =
            on_map.cloned().partition(|place| !was_silent && place.is_up(Kind::Primary));
        asked.sort_by_cached_key(|_| random::bits64());
        if asked.len() < CLUSTER_REFRESH_NODES {
            others.extend(self.seeds.iter().filter_map(|seed| self.directory.place(seed)));
            others.sort_by_cached_key(|_| random::bits64());
            for other in others {
                if !asked.iter().any(|place| Arc::ptr_eq(place, &other)) {
                    asked.push(other);
                }
            }
        }
        asked.truncate(CLUSTER_REFRESH_NODES);
        asked
    }

    fn in_reach(&self, routes: &Routes, primaries: &mut Vec<String>) {
        let now_primaries: Vec<String> =
            routes.shards().map(|shard| shard.primary.address().to_owned()).collect();
        let is_up = matches!(*self.connection.borrow(), Connection::Up { .. });
        if routes.is_known() && (!is_up || now_primaries != *primaries) {
            let epoch = random::epoch();
            tracing::info!(%epoch, primaries = now_primaries.join(","), "the layout of the cluster");
            *primaries = now_primaries;
            self.connection.send_replace(Connection::Up { epoch, server: ServerInfo::default() });
        }
    }

    fn out_of_reach(&self, error: &str, silent_rounds: u32) {
        let is_up = matches!(*self.connection.borrow(), Connection::Up { .. });
        if is_up && silent_rounds < CLUSTER_SILENT_ROUNDS {
            return;
        }
        let news = Connection::Down { error: Some(error.to_owned()) };
        self.connection.send_if_modified(|connection| {
            let is_new = *connection != news;
            if is_new {
                tracing::warn!(error, "no node of the cluster tells its layout");
                *connection = news;
            }
            is_new
        });
    }
}

/// The nodes of the cluster that the one at `place` belongs to, as it says.
pub(crate) async fn nodes_told_by(place: Arc<Place>) -> Result<Vec<String>, String> {
    ask(place).await.map(|layout| layout.nodes().map(str::to_owned).collect())
}

/// How the node at `place` sees the cluster.
async fn ask(place: Arc<Place>) -> Result<Layout, String> {
    let started = now();
    let deadline = started + CLUSTER_REFRESH_TIMEOUT;
    let questions = ["SLOTS", "INFO"].map(|question| Command::new("CLUSTER").arg(question));
    let batch = questions.into_iter().fold(Batch::new(), Batch::command);
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", place.address());
    let sent = place.node(Kind::Primary).send(&batch, started, deadline).await;
    let answer = match sent.map_err(|error| failed(&error))?.answer.await {
        Delivery::Answer(answer) => answer.into_elements().expect("a batch is answered by an array"),
        Delivery::Lost { death, .. } => return Err(failed(&death)),
        Delivery::Expired => return Err(failed(&"no answer in time")),
    };
    let [slots, info] = <[Frame; 2]>::try_from(answer).expect("one answer for each command");
    Layout::read(slots, &info, place.address()).map_err(|error| failed(&error))
}
