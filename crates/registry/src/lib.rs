//! Who holds which agent: publishes what this gateway holds, and looks up what others do.
//!
//! Each gateway is the only writer of its own entries in the store. What should be there is local truth, kept equal to
//! what is there by `bowline_converge`; the store refuses what is older (INV-REG-ORDER), forgets what is not renewed, and
//! judges both by its own clock (INV-REG-FORGET). A gateway that starts claims its name and gets a term from the store
//! that outranks every earlier incarnation.
//!
//! In the order in which to read: `layout` (how entries look), `backend` and the scripts (what the store does), `publisher`
//! and `membership` (the writing side), `routes` and `lookup` (the reading side).
//!
//! This crate does not know tunnels, streams or agents' connections.

pub mod limits;

mod backend;
#[cfg(test)]
mod chaos_tests;
mod clock;
#[cfg(test)]
mod fake;
mod layout;
mod lease;
mod lookup;
mod membership;
#[cfg(test)]
mod membership_tests;
mod metrics;
mod publisher;
mod redis;
mod registry;
mod routes;
#[cfg(test)]
mod script_tests;
mod settings;
#[cfg(test)]
mod tests;

pub use layout::{GatewayEntry, Holder, Target};
pub use lookup::LookupError;
pub use publisher::PublishError;
pub use registry::Registry;
pub use settings::{Settings, SettingsError};
