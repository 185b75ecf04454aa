//! The words that every other crate speaks: identities, fences, reasons, limits and the named invariants.
//!
//! Nothing here performs I/O, reads a clock, or draws a random number, and nothing here knows another crate of the
//! workspace. A value of these types is valid by construction: text is parsed once, at the edge.

pub mod fence;
pub mod invariant;
pub mod limits;
pub mod name;
pub mod reason;
pub mod request;

pub use fence::{Epoch, Fence, Generation, Term};
pub use invariant::Invariant;
pub use name::{AgentId, GatewayId, NameError, ServiceName, ZoneName};
pub use reason::Reason;
pub use request::RequestId;
