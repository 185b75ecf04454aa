//! What the client believes of the cluster: the newest layout that a refresh brought, and over it what redirects have taught
//! since.
//!
//! Two orders keep the old from replacing the new:
//! - *Epochs* order layouts. One with a smaller epoch than that of the map is an older view and is not taken. A cluster whose
//!   epochs begin anew was built anew: it is believed after many sound answers in a row.
//! - *Rounds* order layouts and redirects. A layout that was asked for before a redirect came cannot undo it; one that was asked
//!   for later can, for then the node that tells it may know more.

use std::collections::BTreeMap;

use crate::cluster::key::{SLOTS, Slot};
use crate::cluster::layout::{Layout, Shard};
use crate::limits::{CLUSTER_NODES_MAX, CLUSTER_REBIRTH_ROUNDS};

/// Counts refreshes. A refresh asks in its round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Round(u64);

/// What became of the answers to a refresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// The map is another one now.
    Changed,
    /// The map was right.
    Same,
    /// All answers are older than the map.
    Stale,
}

impl Taken {
    /// One word for a metric's label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Same => "same",
            Self::Stale => "stale",
        }
    }
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Map {
    epoch: u64,
    shards: Vec<Shard>,
    slots: Vec<Option<u16>>,
    round: Round,
    /// Who serves a slot as a redirect said, and the round in which it came.
    learnt: BTreeMap<Slot, (String, Round)>,
    /// Rounds in a row in which all answers were older and yet sound.
    older_rounds: u32,
}

impl Map {
    /// Nothing is known.
    pub fn new() -> Self {
        Self {
            epoch: 0,
            shards: Vec::new(),
            slots: vec![None; usize::from(SLOTS)],
            round: Round::default(),
            learnt: BTreeMap::new(),
            older_rounds: 0,
        }
    }

    /// Those who serve something, or did until a redirect came.
    pub fn shards(&self) -> &[Shard] {
        &self.shards
    }

    /// The index of the shard of each slot.
    pub fn slots(&self) -> &[Option<u16>] {
        &self.slots
    }

    /// The primary of a slot.
    #[cfg(test)]
    pub fn owner(&self, slot: Slot) -> Option<&str> {
        let shard = self.slots[usize::from(slot.number())]?;
        Some(&self.shards[usize::from(shard)].primary)
    }

    /// Begins a refresh: what it brings is newer than every redirect so far.
    pub fn begin_round(&mut self) -> Round {
        self.round.0 += 1;
        self.round
    }

    /// A redirect said that the node at `to` serves `slot`. Whether that was news.
    pub fn moved(&mut self, slot: Slot, to: &str) -> bool {
        let is_news = self.assign(slot, to);
        self.learnt.insert(slot, (to.to_owned(), self.round));
        is_news
    }

    /// Takes the best of the answers to the refresh of `round`.
    pub fn take(&mut self, round: Round, answers: Vec<Layout>) -> Taken {
        let votes = |layout: &Layout| answers.iter().filter(|other| other.slots == layout.slots).count();
        let rank = |layout: &Layout| (layout.epoch, layout.is_ok, layout.served(), votes(layout));
        let best = answers.iter().enumerate().max_by_key(|(_, layout)| rank(layout)).map(|(index, _)| index);
        let Some(best) = best.and_then(|index| answers.into_iter().nth(index)) else { return Taken::Stale };
        if best.epoch < self.epoch {
            self.older_rounds = if best.is_ok { self.older_rounds + 1 } else { 0 };
            if self.older_rounds < CLUSTER_REBIRTH_ROUNDS {
                return Taken::Stale;
            }
        }
        self.older_rounds = 0;
        self.epoch = best.epoch;
        let before = (
            std::mem::replace(&mut self.shards, best.shards),
            std::mem::replace(&mut self.slots, best.slots),
        );
        let learnt = std::mem::take(&mut self.learnt);
        for (slot, (to, learnt_in)) in learnt {
            if learnt_in >= round {
                self.assign(slot, &to);
                self.learnt.insert(slot, (to, learnt_in));
            }
        }
        if (&before.0, &before.1) == (&self.shards, &self.slots) { Taken::Same } else { Taken::Changed }
    }

    /// Gives a slot to the node at `to`, unless it has it, or there would be too many nodes.
    fn assign(&mut self, slot: Slot, to: &str) -> bool {
        let index = self.shards.iter().position(|shard| shard.primary == to);
        let index = index.unwrap_or_else(|| {
            self.shards.push(Shard { primary: to.to_owned(), replicas: Vec::new() });
            self.shards.len() - 1
        });
        let owner = &mut self.slots[usize::from(slot.number())];
        let index = u16::try_from(index).ok().filter(|&index| usize::from(index) < CLUSTER_NODES_MAX);
        let Some(index) = index.filter(|&index| *owner != Some(index)) else {
            self.shards.truncate(CLUSTER_NODES_MAX);
            return false;
        };
        *owner = Some(index);
        true
    }
}

#[cfg(test)]
#[path = "map_tests.rs"]
mod tests;
