//! The gate of the driver: it is driven by many callers against a real redis-server, through everything that goes wrong, and
//! every answer is checked against its question.
//!
//! - [`values`]: what is in the server: values that name their keys.
//! - [`ledger`]: the checker: INV-DRV-OWN by the values, INV-DRV-ONCE by counters, INV-DRV-BOUND by clocks.
//! - [`load`]: the callers.
//! - [`storm`]: faults, healing, and the demand that all is well again within a second.
//! - [`group_storm`]: the same against a cluster and under sentinels, with a proxy before every node.
//! - [`audience`]: subscribers through the same faults.
//! - [`bounds`]: a server that stands still under 100 000 callers.
//! - [`sleeper`]: the client's own process stands still, as in the incident.
//!
//! No other driver was found to have such a standing test (driver.md, section 6).

pub mod audience;
pub mod bounds;
pub mod group_storm;
pub mod ledger;
pub mod load;
pub mod sleeper;
pub mod storm;
pub mod values;
