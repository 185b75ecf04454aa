//! The process next to workloads: dials gateways, and joins the streams they send to local services.
//!
//! Read it in this order:
//! - [`settings`]: what an agent is told.
//! - [`attachment`]: the core. Which gateways to be attached to, when to dial, when to move, when to wait. No I/O.
//! - `agent`: the supervisor, which gives the core what happened and does what it says; [`Handle`] shows the status.
//! - `session` and `control`: one gRPC control connection and what it obeys.
//! - `tunnel`: dialled with a ticket, idle until a stream is opened on it, gone with it.
//!
//! What holds: a running stream belongs to its tunnel and nothing else; it goes on when the control connection is lost,
//! when the agent moves to another gateway, and while the agent shuts down, until the grace is over. Nothing here waits
//! for a gateway before it talks to another one.
//!
//! This crate knows nothing of the registry, of other agents, or of how gateways reach each other.

pub mod attachment;
pub mod limits;
pub mod settings;

mod agent;
mod control;
mod metrics;
mod session;
mod shared;
mod tally;
mod text;
mod tunnel;

pub use agent::{Agent, AgentError, GatewayView, Handle, run};
pub use attachment::State;
pub use settings::{Limits, Service, Services, Settings, SettingsError};
pub use tally::TunnelCounts;
