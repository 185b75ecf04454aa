//! What the registry asks of a store: three operations, each atomic, each on one key, each judged by the store's clock.
//!
//! The scripts beside this file carry them out in a real store; tests have a store in memory that does the same.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bowline_model::{Epoch, Fence, Term};
use tokio::sync::watch;

/// A future behind a pointer, so that the store can be chosen at run time.
pub(crate) type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, BackendError>> + Send + 'a>>;

/// The store.
pub(crate) trait Backend: Send + Sync + 'static {
    /// Claims a gateway's name.
    fn claim(&self, request: ClaimRequest) -> Pending<'_, Claimed>;
    /// Stores or removes one entry, unless something newer is there.
    fn write(&self, request: WriteRequest) -> Pending<'_, Written>;
    /// Lists the live entries of a hash.
    fn read(&self, request: ReadRequest) -> Pending<'_, Listing>;
    /// Whether the store answers now.
    fn link(&self) -> watch::Receiver<Link>;
}

/// The state of the connection to the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Link {
    /// There is none.
    Down,
    /// There is one, with this identity.
    Up(Epoch),
}

/// A claim to a gateway's name.
#[derive(Debug, Clone)]
pub(crate) struct ClaimRequest {
    pub(crate) key: String,
    pub(crate) epoch: Epoch,
    /// The claim that may be taken from another owner; the claim is refused if that one has another term.
    pub(crate) replaces: Option<Term>,
    pub(crate) lifetime: Duration,
    /// Highest term seen in an entry of this gateway; the claim gets a higher one.
    pub(crate) seen: Term,
    /// The store refuses to carry the claim out after this time by its clock.
    pub(crate) not_after_unix_ms: u64,
}

/// Who has the name now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Claimed {
    /// 0 if the claim came too late: no claim has that term.
    pub(crate) term: Term,
    pub(crate) owner: Epoch,
    pub(crate) now_unix_ms: u64,
}

/// One entry to store or remove.
#[derive(Debug, Clone)]
pub(crate) struct WriteRequest {
    pub(crate) key: String,
    pub(crate) field: String,
    pub(crate) fence: Fence,
    pub(crate) lifetime: Duration,
    /// The content, or [`crate::layout::TOMBSTONE`].
    pub(crate) payload: String,
    /// The store refuses to carry the write out after this time by its clock.
    pub(crate) not_after_unix_ms: u64,
}

/// What the store did with a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Carried it out.
    Applied,
    /// Holds something newer.
    Refused,
    /// Got it too late to carry it out.
    Late,
}

/// The answer to a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) verdict: Verdict,
    pub(crate) now_unix_ms: u64,
    /// The live entry that was there, a tombstone included; empty if there was none.
    pub(crate) before: String,
}

/// A hash to list.
#[derive(Debug, Clone)]
pub(crate) struct ReadRequest {
    pub(crate) key: String,
    /// The only field to look at, if there is one.
    pub(crate) field: Option<String>,
    pub(crate) entries_max: usize,
}

/// Live entries: fields and values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listing {
    pub(crate) now_unix_ms: u64,
    pub(crate) entries: Vec<(String, String)>,
}

/// Why the store gave no usable answer.
#[derive(Debug)]
pub(crate) struct BackendError {
    /// The operation certainly had no effect and never will.
    pub(crate) had_no_effect: bool,
    pub(crate) source: Box<dyn std::error::Error + Send + Sync>,
}

impl fmt::Display for BackendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)
    }
}

impl std::error::Error for BackendError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.source()
    }
}
