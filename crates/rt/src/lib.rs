//! The seam: the only door to time, randomness, sockets and tasks.
//!
//! Two implementations stand behind the same names. The real one is tokio and the operating system. With the feature
//! `sim` the sockets are turmoil's, wall clocks are the simulation's, and every random number comes from one seed, so
//! that the whole system can run in one deterministic process. Which one is compiled in is decided once for a build:
//! only the `sim` workspace turns the feature on, and no other crate contains a `cfg(feature = "sim")`.
//!
//! `clippy.toml` bans what this crate wraps everywhere else. This crate knows nothing of the domain but its words.

pub mod net;
pub mod random;
pub mod ration;
pub mod relay;
pub mod rewind;
pub mod task;
pub mod time;
