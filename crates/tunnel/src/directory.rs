//! What this crate needs of the registry, as a trait: the seam at which tests and the simulator put their own.
//!
//! The registry of `bowline-registry` is the implementation. None of the methods that change something ever waits
//! (INV-REG-NOBLOCK), so they may be called while the table of agents is locked, and are: the order of calls is then
//! the order of events.

use std::sync::Arc;
use std::time::Duration;

use bowline_model::{AgentId, GatewayId, ServiceName};
pub use bowline_registry::{GatewayEntry, Holder, LookupError, PublishError, Registry, Target};
use futures_util::future::BoxFuture;

/// Where gateways publish which agents they hold.
pub trait Directory: Send + Sync + 'static {
    /// This gateway holds `agent`, which offers `services`. Replaces what was published of it before.
    ///
    /// # Errors
    /// A limit is reached; nothing is published of the agent then.
    fn publish(&self, agent: &AgentId, services: &[ServiceName]) -> Result<(), PublishError>;
    /// This gateway no longer holds `agent`.
    fn withdraw(&self, agent: &AgentId);
    /// All live holders, this gateway among them.
    fn lookup<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, Result<Arc<[Holder]>, LookupError>>;
    /// A holder turned out not to hold the target.
    fn suspect(&self, target: &Target, gateway: &GatewayId);
    /// All live gateways of the zone.
    fn gateways(&self) -> BoxFuture<'_, Result<Vec<GatewayEntry>, LookupError>>;
    /// The last answer of [`Directory::gateways`] and its age, for when there is no newer one.
    fn remembered_gateways(&self) -> Option<(Duration, Vec<GatewayEntry>)> {
        None
    }
    /// Keys whose copy in the store is not known to be right.
    fn pending(&self) -> usize;
    /// Whether the store answers.
    fn store_up(&self) -> bool;
    /// Whether another process has this gateway's name now; then holders of that name may be the successor's.
    fn superseded(&self) -> bool {
        false
    }
    /// Withdraws everything now.
    fn shut_down(&self, limit: Duration) -> BoxFuture<'_, ()>;
}

impl Directory for Registry {
    fn publish(&self, agent: &AgentId, services: &[ServiceName]) -> Result<(), PublishError> {
        Registry::publish(self, agent, services)
    }
    fn withdraw(&self, agent: &AgentId) {
        Registry::withdraw(self, agent);
    }
    fn lookup<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, Result<Arc<[Holder]>, LookupError>> {
        Box::pin(Registry::lookup(self, target))
    }
    fn suspect(&self, target: &Target, gateway: &GatewayId) {
        Registry::suspect(self, target, gateway);
    }
    fn gateways(&self) -> BoxFuture<'_, Result<Vec<GatewayEntry>, LookupError>> {
        Box::pin(Registry::gateways(self))
    }
    fn remembered_gateways(&self) -> Option<(Duration, Vec<GatewayEntry>)> {
        Registry::remembered_gateways(self)
    }
    fn pending(&self) -> usize {
        Registry::pending(self)
    }
    fn store_up(&self) -> bool {
        Registry::store_up(self)
    }
    fn superseded(&self) -> bool {
        Registry::superseded(self)
    }
    fn shut_down(&self, limit: Duration) -> BoxFuture<'_, ()> {
        Box::pin(Registry::shut_down(self, limit))
    }
}
