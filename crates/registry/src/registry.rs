//! What the rest of a gateway sees.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bowline_model::{AgentId, Epoch, GatewayId, ServiceName};

use crate::backend::Backend;
use crate::layout::{GatewayEntry, Holder, Target};
use crate::lookup::{Lookup, LookupError};
use crate::membership::{self, Standing};
use crate::metrics::RegistryCollector;
use crate::publisher::{PublishError, Publisher};
use crate::redis::RedisBackend;
use crate::settings::Settings;

/// The registry of one gateway. Clones are the same registry.
///
/// It works from the start, store or no store: what is published meanwhile is written once the store answers.
#[derive(Clone)]
pub struct Registry {
    publisher: Arc<Publisher>,
    lookup: Arc<Lookup>,
}

impl Registry {
    /// Starts to publish this gateway.
    ///
    /// # Panics
    /// If [`Settings::check`] refuses the settings.
    #[must_use]
    pub fn start(settings: Settings, client: bowline_redis::Client) -> Self {
        let backend = RedisBackend::start(client, settings.write_timeout, settings.read_timeout);
        Self::over(settings, backend)
    }

    pub(crate) fn over(settings: Settings, backend: Arc<dyn Backend>) -> Self {
        let publisher = Arc::new(Publisher::new(settings, backend));
        let lookup = Arc::new(Lookup::new(&publisher));
        bowline_rt::task::spawn("registry-publisher", Arc::clone(&publisher).run());
        bowline_rt::task::spawn("registry-membership", membership::run(Arc::clone(&publisher)));
        Self { publisher, lookup }
    }

    /// Says that `agent` is reachable here and offers `services`, instead of what was said about it before. Takes effect in
    /// the store by itself; never waits (INV-REG-NOBLOCK).
    ///
    /// # Errors
    /// [`PublishError`]: a limit was met, and the agent is not published here.
    pub fn publish(&self, agent: &AgentId, services: &[ServiceName]) -> Result<(), PublishError> {
        self.publisher.publish(agent, services)
    }

    /// Says that `agent` is no longer reachable here. Other gateways learn of it after the linger, unless it is published
    /// again before. Never waits.
    pub fn withdraw(&self, agent: &AgentId) {
        self.publisher.withdraw(agent);
    }

    /// Who can reach `target`, this gateway included; empty if nobody can. Answers from memory where it can, and is the
    /// same read of the store for all who ask at once. Cancel safe.
    ///
    /// # Errors
    /// [`LookupError`]: the store does not answer, and nothing usable is remembered.
    pub async fn lookup(&self, target: &Target) -> Result<Arc<[Holder]>, LookupError> {
        self.lookup.lookup(target).await
    }

    /// Says that `gateway` was said to hold `target` and does not. What is remembered is read again soon, and used until
    /// then: the others in it may well be right.
    pub fn suspect(&self, target: &Target, gateway: &GatewayId) {
        tracing::debug!(%target, %gateway, "a gateway does not hold what it was said to hold");
        self.lookup.suspect(target);
    }

    /// The live gateways that use this store, in the order of their names, this one included. Always asks the store.
    ///
    /// # Errors
    /// [`LookupError::Store`], and [`LookupError::Forgetful`] if this one is not among them.
    pub async fn gateways(&self) -> Result<Vec<GatewayEntry>, LookupError> {
        self.lookup.gateways().await
    }

    /// The last answer of [`Registry::gateways`] and its age, for when the store is silent; nothing before the first.
    #[must_use]
    pub fn remembered_gateways(&self) -> Option<(Duration, Vec<GatewayEntry>)> {
        self.lookup.remembered_gateways()
    }

    /// The identity of this incarnation of the gateway, as it stands in its entries.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.publisher.settings.epoch
    }

    /// Entries that the store is not known to hold as it should.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.publisher.pending()
    }

    /// Whether the store answers and takes this gateway's writes.
    #[must_use]
    pub fn store_up(&self) -> bool {
        self.publisher.store_up()
    }

    /// Waits until another process has taken this gateway's name; for ever if none does. Cancel safe.
    pub async fn until_superseded(&self) {
        let mut standing = self.publisher.standing.subscribe();
        let taken = standing.wait_for(|standing| *standing == Standing::Superseded).await;
        taken.expect("the sender lives in self");
    }

    /// Whether another process has taken this gateway's name, so that this one publishes nothing any more. Final.
    #[must_use]
    pub fn superseded(&self) -> bool {
        *self.publisher.standing.borrow() == Standing::Superseded
    }

    /// Withdraws everything without linger and stops publishing. Returns when the store has it, or after `limit`; what the
    /// store was not told by then goes with its lease.
    pub async fn shut_down(&self, limit: Duration) {
        let left = self.publisher.shut_down(limit).await;
        if left > 0 {
            tracing::warn!(
                left,
                "the store did not learn in time that this gateway is gone; its entries will expire"
            );
        }
    }

    /// Adds this registry's figures.
    pub fn register_metrics(&self, registry: &mut prometheus_client::registry::Registry) {
        let collector =
            RegistryCollector { publisher: Arc::clone(&self.publisher), lookup: Arc::clone(&self.lookup) };
        registry.register_collector(Box::new(collector));
    }
}

#[cfg(test)]
impl Registry {
    /// The writing side, to look inside.
    pub(crate) fn publisher_for_tests(&self) -> &Publisher {
        &self.publisher
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("gateway", &self.publisher.settings.gateway)
            .field("epoch", &self.epoch())
            .field("pending", &self.pending())
            .finish_non_exhaustive()
    }
}
