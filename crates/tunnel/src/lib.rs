//! The gateway's side of the data plane: agents attach and keep tunnels ready, entries open streams over them, and
//! gateways pass streams on to each other.
//!
//! Two pure cores hold what there is to decide: `pool` (how many tunnels, and who gets which) and `route` (who is asked,
//! when, and who wins). Everything else moves bytes, timers and tasks for them.
//!
//! One tunnel carries one stream and is then gone. There is no multiplexer: a slow consumer stalls its own stream and
//! nothing else, and TCP does the flow control.
//!
//! What it does not know: HTTP (the entry's), how the registry keeps its promises, health.

pub mod limits;

mod agents;
mod control;
pub mod directory;
mod gateway;
mod hop;
mod listener;
mod lobby;
mod metrics;
mod open;
mod pool;
mod route;
mod session;
mod settings;
mod slot;
mod status;
mod stream;
mod text;

pub use bowline_rt::relay;
pub use gateway::Gateway;
pub use open::{OpenError, OpenRequest};
pub use pool::PoolSettings;
pub use route::RouteSettings;
pub use settings::{AgentAuthentication, Settings};
pub use status::{GatewayReport, ZoneReport};
pub use stream::Stream;
