//! What one call does next, depending on what it met: the state machine of redirects.
//!
//! `MOVED`, `ASK`, `TRYAGAIN`, `CLUSTERDOWN`, `LOADING`, `MASTERDOWN` and `READONLY` are refusals: the command had no effect, so
//! any command may be sent again. How often is bounded, and after the first few there are pauses with jitter; the call's
//! deadline bounds the whole.

use std::time::Duration;

use crate::cluster::endpoint::endpoint_of;
use crate::cluster::key::Slot;
use crate::limits::{CLUSTER_PAUSE_MAX, CLUSTER_PAUSE_MIN, REDIRECTS_AT_ONCE_MAX, REDIRECTS_MAX};

/// What a node of a cluster answered instead of running the command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Another node serves the slot. `to` is `None` if the node has no address.
    Moved { slot: Slot, to: Option<String> },
    /// Another node may have the key while the slot moves. It holds for this one command.
    Ask { to: Option<String> },
    /// It cannot be done now.
    NotNow,
    /// The node has become a replica.
    Demoted,
}

/// Where a call goes next.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Target {
    /// To who serves the slot as the map says.
    #[default]
    Owner,
    /// To this node.
    Node(String),
    /// To this node, with `ASKING` in front.
    Asking(String),
}

/// The course of one call.
#[derive(Debug, Default)]
pub struct Course {
    refusals: u32,
}

impl Refusal {
    /// Reads the text of an error of the node at `asked`; `None` if it is none of the refusals.
    pub fn read(text: &[u8], asked: &str) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let mut words = text.split(' ');
        match words.next()? {
            "MOVED" => {
                let slot = read_slot(words.next()?)?;
                Some(Self::Moved { slot, to: read_endpoint(words.next()?, asked)? })
            }
            "ASK" => {
                read_slot(words.next()?)?;
                Some(Self::Ask { to: read_endpoint(words.next()?, asked)? })
            }
            "TRYAGAIN" | "CLUSTERDOWN" | "LOADING" | "MASTERDOWN" => Some(Self::NotNow),
            "READONLY" => Some(Self::Demoted),
            _ => None,
        }
    }

    /// Whether it says that the map of the cluster may be wrong.
    pub const fn casts_doubt(&self) -> bool {
        !matches!(self, Self::Ask { to: Some(_) })
    }
}

impl Refusal {
    /// One word for a metric's label.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Moved { .. } => "moved",
            Self::Ask { .. } => "ask",
            Self::NotNow => "not_now",
            Self::Demoted => "demoted",
        }
    }
}

impl Course {
    /// Where to go after a refusal, and the upper bound of the pause before; `None` if the call was sent round too often, and
    /// the refusal is its answer.
    pub fn after(&mut self, refusal: Refusal) -> Option<(Target, Duration)> {
        self.refusals += 1;
        if self.refusals > REDIRECTS_MAX {
            return None;
        }
        let is_early = self.refusals <= REDIRECTS_AT_ONCE_MAX;
        Some(match refusal {
            Refusal::Moved { to: Some(to), .. } if is_early => (Target::Node(to), Duration::ZERO),
            Refusal::Ask { to: Some(to) } if is_early => (Target::Asking(to), Duration::ZERO),
            Refusal::Ask { to: Some(to) } => (Target::Asking(to), self.pause_max()),
            _ => (Target::Owner, self.pause_max()),
        })
    }

    /// Doubles with every refusal.
    fn pause_max(&self) -> Duration {
        let doublings = (self.refusals - 1).min(u32::BITS - 1);
        CLUSTER_PAUSE_MIN.saturating_mul(1 << doublings).min(CLUSTER_PAUSE_MAX)
    }
}

/// Digits only.
fn read_slot(text: &str) -> Option<Slot> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    Slot::new(is_number.then(|| text.parse().ok())??)
}

/// `Some(None)` for a node that has no address (`?:6379`).
fn read_endpoint(text: &str, asked: &str) -> Option<Option<String>> {
    if text.starts_with("?:") { Some(None) } else { endpoint_of(text, asked).map(Some) }
}

#[cfg(test)]
#[path = "course_tests.rs"]
mod tests;
