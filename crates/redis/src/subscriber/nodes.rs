//! Where a subscriber connects to: the server, or one node of a cluster after the other.
//!
//! In a cluster the nodes that the configuration names are tried in their order. They may be gone for good one day, so while there
//! is a connection its node is asked for the layout, and a few of the nodes on it are tried after those that were named. Nothing
//! but their addresses is believed.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bowline_rt::random;
use bowline_rt::time::sleep;

use crate::cluster::{Open, Place, nodes_told_by};
use crate::connect::Target;
use crate::limits::{CLUSTER_REFRESH_PERIOD, SUBSCRIBER_NODES_MAX, SUBSCRIBER_NODES_PER_ROUND};
use crate::reconnect::Pause;
use crate::topology::Address;

/// See the module.
#[derive(Clone)]
pub(crate) enum Targets {
    One(Target),
    Cluster(Arc<Nodes>),
}

/// The nodes of a cluster.
pub(crate) struct Nodes {
    seeds: Vec<String>,
    state: Mutex<State>,
    /// Makes the connection over which the layout is asked for.
    open: Open,
}

#[derive(Default)]
struct State {
    /// Those that are tried next.
    round: VecDeque<String>,
    /// Nodes that are not seeds. Whom to try first stands first.
    learnt: VecDeque<String>,
}

impl Targets {
    /// Where to connect to this time.
    pub fn next(&self) -> Target {
        match self {
            Self::One(target) => target.clone(),
            Self::Cluster(nodes) => Target::Fixed(Address::Host(nodes.next())),
        }
    }

    /// Learns the nodes of a cluster from that at `address`, for as long as it is polled.
    pub async fn learn_from(&self, address: &Address) -> Infallible {
        match (self, address) {
            (Self::Cluster(nodes), Address::Host(address)) => nodes.learn_from(address).await,
            _ => std::future::pending().await,
        }
    }
}

impl Nodes {
    /// `seeds` are at least one.
    pub fn new(seeds: Vec<String>, open: Open) -> Self {
        Self { seeds, state: Mutex::default(), open }
    }

    /// Each round has all seeds, and some of the others in turn: however many of these cannot be reached, the seeds' turn comes.
    fn next(&self) -> String {
        let state = &mut *self.lock();
        if state.round.is_empty() {
            let others = state.learnt.len().min(SUBSCRIBER_NODES_PER_ROUND);
            state.round.extend(self.seeds.iter().chain(state.learnt.range(..others)).cloned());
            state.learnt.rotate_left(others);
        }
        state.round.pop_front().expect("there is a seed")
    }

    async fn learn_from(&self, address: &str) -> Infallible {
        let place = Arc::new(Place::new(address, self.open.clone()));
        let mut pause = Pause::new(CLUSTER_REFRESH_PERIOD);
        loop {
            match nodes_told_by(place.clone()).await {
                Ok(nodes) => {
                    self.learn(nodes);
                    sleep(CLUSTER_REFRESH_PERIOD).await;
                }
                Err(error) => {
                    tracing::debug!(error, "a node does not tell a subscriber how the cluster is laid out");
                    sleep(pause.next()).await;
                }
            }
        }
    }

    fn learn(&self, nodes: Vec<String>) {
        let mut learnt: Vec<_> = nodes.into_iter().filter(|node| !self.seeds.contains(node)).collect();
        learnt.sort_by_cached_key(|_| random::bits64());
        learnt.truncate(SUBSCRIBER_NODES_MAX);
        let mut state = self.lock();
        state.round.retain(|node| self.seeds.contains(node) || learnt.contains(node));
        state.learnt = learnt.into();
    }

    /// Nothing that is done under the lock leaves it half done.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(seeds: &[&str]) -> Nodes {
        let open: Open = Arc::new(|_, _| unreachable!("nobody connects here"));
        Nodes::new(seeds.iter().map(|&seed| seed.to_owned()).collect(), open)
    }

    #[test]
    fn every_round_has_all_seeds_and_every_node_has_its_turn() {
        let nodes = nodes(&["a", "b"]);
        let next = |count: usize| (0..count).map(|_| nodes.next()).collect::<Vec<_>>();
        assert_eq!(next(4), ["a", "b", "a", "b"]);
        let others: Vec<String> =
            (0..2 * SUBSCRIBER_NODES_PER_ROUND).map(|other| other.to_string()).collect();
        nodes.learn(others.iter().cloned().chain(["a".to_owned()]).collect());
        let mut met = Vec::new();
        for _ in 0..2 {
            let round = next(2 + SUBSCRIBER_NODES_PER_ROUND);
            assert_eq!(round[..2], ["a", "b"]);
            met.extend_from_slice(&round[2..]);
        }
        met.sort();
        assert_eq!(met, others);
        nodes.learn(Vec::new());
        assert_eq!(next(4), ["a", "b", "a", "b"], "who has left the cluster is forgotten");
    }

    #[test]
    fn what_is_learnt_is_bounded() {
        let nodes = nodes(&["a"]);
        nodes.learn((0..10_000).map(|node| node.to_string()).collect());
        assert_eq!(nodes.lock().learnt.len(), SUBSCRIBER_NODES_MAX);
    }
}
