//! The data of the embedded store: databases of strings and hashes with expiry, transactions, and the log of effects.
//!
//! This is a pure core. It knows neither connections nor files, reads no clock and draws no randomness of its own:
//! `now` and the seed are passed in. Behaviour is that of Redis 7.0, to the letter of its replies and errors, because
//! clients match on them.
//!
//! Read in this order: [`table`] (the hash table that never stalls), [`value`], [`keyspace`] (the operations that all
//! commands are made of), [`command`] (the commands as a table of data), [`effects`] and [`transaction`].
//!
//! Invariants: whatever passes a bound of [`limits`] is refused; the memory count equals the sum over all entries; an
//! expired key is never seen; INV-REPL-EFFECT: the effects of a command, applied to equal data, give equal data.

pub mod command;
pub mod effects;
pub mod error;
pub mod extended;
pub mod glob;
pub mod hash;
pub mod keyspace;
pub mod limits;
pub mod number;
pub mod random;
pub mod reply;
pub mod table;
pub mod transaction;
pub mod value;
mod watch;

pub use command::{Call, Command, Spec};
pub use error::CommandError;
pub use keyspace::{Keyspace, Settings, Statistics};
pub use reply::{Reply, ReplyTree, ReplyValue};
pub use transaction::Transaction;
pub use watch::Watch;
