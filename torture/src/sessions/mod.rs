//! The gate of the session service: real gateways over a real store, under everything that goes wrong, and with requests that must be
//! refused among those that must not.
//!
//! - [`register`], [`counter`]: what a read may find, by what is known of the writes before and beside it.
//! - [`ledger`]: the checker: every answer is told to it, and it says in the end what was broken.
//! - [`service`]: two gateways over one store.
//! - [`asker`]: signs and sends, and holds every answer to its time.
//! - [`load`]: who asks: writers, patchers, counters, readers.
//! - [`forger`]: who asks what must be refused.
//! - [`values`]: what is in sessions: values that name their session and their write.
//! - [`storm`]: faults between the gateways and the store.
//! - [`failover`]: a primary dies.
//!
//! What is checked, at any time and whatever goes wrong:
//! - Each value names its session and its write. It is that of the last acknowledged write, of a later one that is under way, or of
//!   one of unknown outcome; never one that another reader has already seen replaced. `not_executed` has never happened.
//! - In the end everything acknowledged is read back, through both gateways, and listed.
//! - A counter that many increment by `If-Match` counts each increment once.
//! - What is unsigned, stale, forged, altered or replayed is refused, with its code; of a request that is sent twice at once, at most
//!   one is served.
//! - Every answer comes in time.

pub mod asker;
pub mod counter;
pub mod failover;
pub mod forger;
pub mod ledger;
pub mod load;
pub mod register;
pub mod service;
pub mod storm;
pub mod values;
