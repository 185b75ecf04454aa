//! What goes in and out of a core: closed enums, plain data.

use bowline_model::Generation;

/// What the outside tells the core.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input<K, V> {
    /// A write of an [`Output::Write`] ended. An outcome that comes after the core gave the write up is ignored.
    Written {
        /// The key that was written.
        key: K,
        /// The generation the write carried.
        generation: Generation,
        /// How it ended.
        outcome: Outcome<V>,
    },
    /// What an [`Output::Observe`] found. A key that was asked for and could not be read is left out; the next audit asks
    /// for it again. A key that was not asked for may be listed: if the core does not know it, it is removed.
    Observed {
        /// The number of the observation that this answers.
        audit: u64,
        /// What the copy holds for each key; `None` where it holds nothing.
        copies: Vec<(K, Option<Held<V>>)>,
    },
    /// The copy answers, for the first time or again, and may have lost anything meanwhile. Also said when this writer may
    /// write again after [`Output::Refused`].
    Reachable,
    /// The copy cannot be reached: nothing is asked of it until [`Input::Reachable`].
    Unreachable,
    /// The copy may have lost data, and is reachable all the same.
    Doubtful,
    /// Time has passed: [`crate::Converge::poll_timeout`] was reached.
    Timer,
}

/// What the core wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output<K, V> {
    /// Write these, each on its own, in any order, and report each with [`Input::Written`] as soon as it ended.
    Write {
        /// At most `batch_writes_max` of them, no key twice, and none with another write in flight.
        writes: Vec<Write<K, V>>,
    },
    /// Read what the copy holds for these keys and report it with [`Input::Observed`].
    Observe {
        /// The number to answer with.
        audit: u64,
        /// The keys; at most `audit_keys_max`.
        keys: Vec<K>,
    },
    /// The copy refused a write, because a newer writer was there. Nothing is written until [`Input::Reachable`] says that
    /// this writer has been admitted again.
    Refused {
        /// The key of the refused write.
        key: K,
    },
}

/// One decision to be carried to the copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write<K, V> {
    /// The key.
    pub key: K,
    /// Higher than that of any earlier write of this core, to whatever key. The copy must refuse a lower one for the key.
    pub generation: Generation,
    /// The value to store, or `None` to remove the key.
    pub value: Option<V>,
}

/// How a write ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome<V> {
    /// The copy carried the write out.
    Applied {
        /// What it replaced, if the copy says so.
        before: Before<V>,
    },
    /// The copy holds something newer and refused.
    Refused,
    /// Nobody knows: it may have been carried out, or be carried out later.
    Unknown,
    /// It was certainly not carried out and never will be.
    Failed,
}

/// What a write replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Before<V> {
    /// The copy did not say.
    Unseen,
    /// Nothing.
    Absent,
    /// A value.
    Present(Held<V>),
}

/// What the copy holds for a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held<V> {
    /// The value.
    pub value: V,
    /// The generation of the write that stored it. One that another writer stored counts as generation 0.
    pub generation: Generation,
}
