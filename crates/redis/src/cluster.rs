//! Redis Cluster: the keys are divided into slots, each slot lives in one primary and its replicas, and slots move.
//!
//! - [`key`]: which slot a key is in.
//! - [`layout`]: which nodes serve which slots, as one node says; checked, because it comes from outside.
//! - [`map`]: what the client believes: the newest layout, corrected by every redirect since.
//! - [`course`]: what one call does next, depending on what it met. [`routed`]: what it has to know of a request for that.
//! - [`place`]: one node with its connections. [`directory`]: the map with the nodes on it, as callers see it.
//! - [`refresh`]: keeps the map true. [`router`]: brings requests to nodes. [`each`]: what concerns nodes and not keys.
//! - [`over_slots`]: commands that are divided among slots.
//!
//! Nothing relies on the map being right: a node that does not serve a slot says so and does nothing. A wrong map costs a
//! detour, so it is repaired at once by every redirect (that slot) and soon after by a refresh (all of it), and a periodic
//! refresh finds what no redirect told.

mod key;

mod endpoint;
mod layout;

mod map;

mod course;
mod error;
mod routed;

mod directory;
mod place;

mod refresh;
mod router;

mod each;
mod over_slots;

pub(crate) use directory::pick_replica;
pub use error::RouteError;
pub use key::{SLOTS, Slot};
pub use over_slots::OnSlot;
pub(crate) use place::{Kind, Open, Place};
pub(crate) use refresh::nodes_told_by;
pub(crate) use routed::Routed;
pub(crate) use router::{Cluster, Way, patience_with_replica};

/// From which nodes of a cluster, or of a service that sentinels watch, a command may read. Commands that may write go to the
/// primary always, and so do all commands where there is one server only.
///
/// Nobody waits for a replica: where none is connected, or one refuses (`LOADING`, `MASTERDOWN`), loses its connection, or has not
/// answered when half of the call's time is over, the primary answers.
///
/// A replica is behind its primary: it may lack writes that were acknowledged before, for as long as the replication lags. One
/// client may see a newer value first and an older one later. If a replica is cut off from its primary, it lacks all that was
/// written since then until that is noticed:
/// - in a cluster for `cluster-node-timeout` times `cluster-replica-validity-factor` and longer;
/// - with sentinels until one of them has noticed that the replica's link to its primary is down
///   (`repl-timeout` of the replica, 60 s if the link is silent, and then up to 10 s), and up to
///   [`SENTINEL_LOOK_INTERVAL`](crate::limits::SENTINEL_LOOK_INTERVAL) more until the client has asked; while no sentinel can be
///   reached, for ever.
///
/// While a slot of a cluster moves, a replica may say of a key that it is not there although the key has only moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReadFrom {
    /// The primary: what was acknowledged is seen.
    #[default]
    Primary,
    /// A replica that is connected, a random one; if none is, or if it cannot answer now, the primary.
    PreferReplica,
    /// The primary or a connected replica at random, to spread the load.
    Any,
}
