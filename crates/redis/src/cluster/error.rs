//! Why a command found no way to a node of a cluster.

use std::time::Duration;

use crate::cluster::key::Slot;
use crate::error::rounded;
use crate::keys::Unclear;

/// Why a command has no place to go to in a cluster. It was not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// The keys are in different slots, which no single node need hold.
    #[error(
        "the keys are in the slots {} and {}: give them a common {{tag}} or send one command for each slot (Client::over_slots \
         does so for MGET, EXISTS, TOUCH, DEL, UNLINK and MSET)",
        first.number(), other.number()
    )]
    CrossSlot {
        /// The slot of the first key.
        first: Slot,
        /// Another one.
        other: Slot,
    },
    /// The command is not known, so neither are its keys.
    #[error(
        "it is not known which arguments of the command are keys: name one of them with Command::routed_by"
    )]
    UnknownCommand,
    /// The number of keys that the command states is wrong.
    #[error("the number of keys that the command states is not that of its arguments")]
    KeyCount,
    /// The command has no key and is about the node that runs it.
    #[error("the command is about one node of the cluster: say which, or send it to all primaries")]
    OfNode,
    /// A dedicated connection was asked for without saying where to.
    #[error(
        "a dedicated connection leads to one node of the cluster: say by a key to which (Client::dedicated_for)"
    )]
    NoKey,
    /// No node is known to serve the slot.
    #[error("no node of the cluster was known to serve slot {} within {:?}", slot.number(), rounded(.waited))]
    NoOwner {
        /// The slot.
        slot: Slot,
        /// How long the call waited.
        waited: Duration,
    },
    /// No node could be asked how the slots are laid out.
    #[error(
        "no node of the cluster told how its slots are laid out within {:?}: {}",
        rounded(.waited),
        last_error.as_deref().unwrap_or("still asking")
    )]
    NoLayout {
        /// How long the call waited.
        waited: Duration,
        /// What the newest attempt met.
        last_error: Option<String>,
    },
    /// No node of the cluster has this address.
    #[error("{address} is not an address of a node of the cluster")]
    UnknownNode {
        /// The address.
        address: String,
    },
    /// A redirect named more nodes than a client keeps connections to.
    #[error("the cluster has named more nodes than a client keeps connections to")]
    TooManyNodes,
}

impl From<Unclear> for RouteError {
    fn from(unclear: Unclear) -> Self {
        match unclear {
            Unclear::Unknown => Self::UnknownCommand,
            Unclear::Count => Self::KeyCount,
        }
    }
}
