//! Which nodes serve which slots, as one node says: its answers to `CLUSTER SLOTS` and `CLUSTER INFO`.
//!
//! They come from outside, so they are checked before anything is built on them: a layout exists whole and consistent, or not
//! at all.

use bowline_resp::Frame;

use crate::cluster::endpoint::endpoint;
use crate::cluster::key::{SLOTS, Slot};
use crate::error::ServerError;
use crate::limits::{CLUSTER_NODES_MAX, CLUSTER_REPLICAS_MAX};

/// The nodes that hold the same slots. `host:port` each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shard {
    /// Takes reads and writes.
    pub primary: String,
    /// Take reads.
    pub replicas: Vec<String>,
}

/// How one node sees the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The newest configuration epoch that the node has heard of. It only grows, so a smaller one is an older view; equal ones
    /// need not be equally new.
    pub(super) epoch: u64,
    /// The node believes that all slots are served.
    pub(super) is_ok: bool,
    pub(super) shards: Vec<Shard>,
    /// The index of the shard of each slot.
    pub(super) slots: Vec<Option<u16>>,
}

/// Why an answer is no layout.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// An error.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// Something else than the command returns.
    #[error("the node describes its cluster in an unknown form: {0}")]
    Form(&'static str),
    /// Slots that no cluster has.
    #[error("the node names the slots {first} to {last}, which no cluster has")]
    Slots {
        /// The first.
        first: i64,
        /// The last.
        last: i64,
    },
    /// A slot twice.
    #[error("the node says twice who serves slot {}", .0.number())]
    Twice(Slot),
    /// No address of a node.
    #[error("the node names a node whose address is none")]
    Address,
    /// More nodes than a client keeps connections to.
    #[error(
        "the node names more than {CLUSTER_NODES_MAX} nodes, or more than {CLUSTER_REPLICAS_MAX} replicas of one"
    )]
    TooMany,
}

impl Layout {
    /// Reads the answers of the node at `asked` to `CLUSTER SLOTS` and `CLUSTER INFO`.
    pub(super) fn read(slots: Frame, info: &Frame, asked: &str) -> Result<Self, LayoutError> {
        let (epoch, is_ok) = read_info(info)?;
        let mut layout = Self { epoch, is_ok, shards: Vec::new(), slots: vec![None; usize::from(SLOTS)] };
        let ranges = elements(slots, "CLUSTER SLOTS is no array")?;
        for range in ranges {
            layout.take_range(range, asked)?;
        }
        Ok(layout)
    }

    /// The addresses of all nodes.
    pub(super) fn nodes(&self) -> impl Iterator<Item = &str> {
        let nodes = self.shards.iter().flat_map(|shard| [&shard.primary].into_iter().chain(&shard.replicas));
        nodes.map(String::as_str)
    }

    /// Slots that somebody serves.
    pub(super) fn served(&self) -> usize {
        self.slots.iter().flatten().count()
    }

    /// `[first, last, primary, replica…]`.
    fn take_range(&mut self, range: Frame, asked: &str) -> Result<(), LayoutError> {
        let mut fields = elements(range, "a range of slots is no array")?.into_iter();
        let mut number = || fields.next().as_ref().and_then(Frame::as_integer);
        let (Some(first), Some(last)) = (number(), number()) else {
            return Err(LayoutError::Form("a range of slots lacks its numbers"));
        };
        if first < 0 || last < first || last >= i64::from(SLOTS) {
            return Err(LayoutError::Slots { first, last });
        }
        let primary = fields.next().ok_or(LayoutError::Form("a range of slots has no node"))?;
        // A primary that has no address yet leaves its slots without owner; nobody could reach it.
        let Some(primary) = read_node(primary, asked)? else { return Ok(()) };
        let replicas: Result<Vec<_>, _> =
            fields.filter_map(|node| read_node(node, asked).transpose()).collect();
        let shard = self.shard(primary, replicas?)?;
        for number in first..=last {
            let slot = u16::try_from(number).ok().and_then(Slot::new).expect("the range was checked");
            let owner = &mut self.slots[usize::from(slot.number())];
            if owner.replace(shard).is_some() {
                return Err(LayoutError::Twice(slot));
            }
        }
        Ok(())
    }

    /// The index of the shard of `primary`, which is added if it is new.
    fn shard(&mut self, primary: String, replicas: Vec<String>) -> Result<u16, LayoutError> {
        if replicas.len() > CLUSTER_REPLICAS_MAX {
            return Err(LayoutError::TooMany);
        }
        let index = self.shards.iter().position(|shard| shard.primary == primary);
        let index = index.unwrap_or(self.shards.len());
        if index == self.shards.len() {
            self.shards.push(Shard { primary, replicas });
            let nodes: usize = self.shards.iter().map(|shard| 1 + shard.replicas.len()).sum();
            if nodes > CLUSTER_NODES_MAX {
                return Err(LayoutError::TooMany);
            }
        }
        u16::try_from(index).map_err(|_| LayoutError::TooMany)
    }
}

fn elements(frame: Frame, otherwise: &'static str) -> Result<Vec<Frame>, LayoutError> {
    match frame {
        Frame::Error(text) => Err(ServerError::new(&text).into()),
        frame => frame.into_elements().map_err(|_| LayoutError::Form(otherwise)),
    }
}

/// `[host, port, id, metadata]`; `None` for a node that has no address (`?`). A null host is that of the node which was asked.
fn read_node(node: Frame, asked: &str) -> Result<Option<String>, LayoutError> {
    let mut fields = elements(node, "a node is no array")?.into_iter();
    let (host, port) = (fields.next(), fields.next());
    let port = port.as_ref().and_then(Frame::as_integer).ok_or(LayoutError::Address)?;
    let host = match &host {
        Some(Frame::Null) => "",
        Some(host) => host.as_text().ok_or(LayoutError::Address)?,
        None => return Err(LayoutError::Address),
    };
    if host == "?" {
        return Ok(None);
    }
    endpoint(host, port, asked).map(Some).ok_or(LayoutError::Address)
}

fn read_info(info: &Frame) -> Result<(u64, bool), LayoutError> {
    let text = match info {
        Frame::Error(text) => return Err(ServerError::new(text).into()),
        info => info.as_text().ok_or(LayoutError::Form("CLUSTER INFO is no text"))?,
    };
    let field = |name: &str| {
        let mut fields = text.lines().filter_map(|line| line.trim_end().split_once(':'));
        fields.find(|(key, _)| *key == name).map(|(_, value)| value)
    };
    let epoch = field("cluster_current_epoch").and_then(|epoch| epoch.parse().ok());
    let epoch = epoch.ok_or(LayoutError::Form("CLUSTER INFO tells no epoch"))?;
    Ok((epoch, field("cluster_state") == Some("ok")))
}

#[cfg(test)]
#[path = "layout_tests.rs"]
mod tests;
