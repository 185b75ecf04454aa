//! A node of a cluster with the connections to it. They are made when they are first needed and end with this value.

use std::fmt;
use std::sync::{Arc, OnceLock};

use crate::handshake::Role;
use crate::node::Node;

/// What a connection to a node is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// For commands that the node runs as the primary of the slot; of others it says who is.
    Primary,
    /// For reads of what the node holds as a replica. It is a connection of its own, because a primary that has become a
    /// replica must not go on to answer as if it still were one.
    Replica,
}

impl Kind {
    /// What its introduction has to see to.
    pub const fn role(self) -> Role {
        match self {
            Self::Primary => Role::Any,
            Self::Replica => Role::Replica,
        }
    }
}

/// Makes the connection of a kind to the node at an address.
pub(crate) type Open = Arc<dyn Fn(&str, Kind) -> Node + Send + Sync>;

/// See the module.
pub(crate) struct Place {
    address: String,
    open: Open,
    primary: OnceLock<Node>,
    replica: OnceLock<Node>,
}

impl Place {
    pub fn new(address: &str, open: Open) -> Self {
        Self { address: address.to_owned(), open, primary: OnceLock::new(), replica: OnceLock::new() }
    }

    /// `host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The connection of a kind, which begins to come up if it was not wanted before.
    pub fn node(&self, kind: Kind) -> &Node {
        self.cell(kind).get_or_init(|| (self.open)(&self.address, kind))
    }

    /// Whether the connection of a kind is up.
    pub fn is_up(&self, kind: Kind) -> bool {
        self.cell(kind).get().is_some_and(Node::is_up)
    }

    /// Whether the connection of a kind is wanted and not there.
    pub fn is_missed(&self, kind: Kind) -> bool {
        self.cell(kind).get().is_some_and(|node| !node.is_up())
    }

    const fn cell(&self, kind: Kind) -> &OnceLock<Node> {
        match kind {
            Kind::Primary => &self.primary,
            Kind::Replica => &self.replica,
        }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Place").field(&self.address).finish()
    }
}
