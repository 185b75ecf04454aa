//! What is asked of a process over HTTP/1.1: the admin port of a gateway or an agent, and the [session service](sessions).
//!
//! The admin port shows health, readiness, metrics and the status of a zone:
//!
//! | path | answer |
//! |---|---|
//! | `/healthz` | 200 while the process runs |
//! | `/readyz` | 200, or 503 with the reasons why not, as JSON ([`Readiness`]) |
//! | `/metrics` | text for Prometheus, OpenMetrics if asked for |
//! | `/v1/status` | gateways, agents and services of the zone, as JSON ([`status::Status`]); gateways only |
//!
//! Everything else is a 404. Every error is JSON with a stable `code`. Where a client token is required,
//! only `/healthz` and `/readyz` go without: they say nothing of the system, and probes carry no secrets.
//!
//! What the answers say comes from a [`Plane`], so that the routes know neither gateways nor the store. The session service
//! has a port, keys and a connection to the store of its own. Not here: the data path.

pub mod limits;
mod metrics;
mod routes;
mod serve;
pub mod sessions;
pub mod status;

use std::future::Future;
use std::pin::Pin;

use serde::{Deserialize, Serialize};

pub use metrics::{BuildInfo, ProcessProbe, register_process};
pub use routes::{Admin, router};
pub use serve::{PortCounters, ServeSettings, serve, serve_with};

/// Whether a process does its work.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// Whether it does.
    pub ready: bool,
    /// Why not; empty if it does.
    pub reasons: Vec<String>,
}

impl Readiness {
    /// Ready if there is no reason against it.
    #[must_use]
    pub fn from_reasons(reasons: Vec<String>) -> Self {
        Self { ready: reasons.is_empty(), reasons }
    }
}

/// A future that a [`Plane`] returns.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What the admin port shows.
pub trait Plane: Send + Sync + 'static {
    /// Whether this process does its work, at this moment: a gateway can be sent traffic, an agent is attached.
    fn readiness(&self) -> Readiness;

    /// The status of the whole zone; asks the other gateways. `None` for a role that knows no zone.
    fn status(&self) -> Option<Answer<'_, status::Status>> {
        None
    }
}
