//! Reads routes: one read for all who ask for the same target, and never more reads than the limit.
//!
//! The decisions are in `routes`. A read runs as a task of its own, so that a caller who gives up takes nothing from the
//! others who wait for it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bowline_model::GatewayId;
use bowline_rt::time;
use tokio::sync::watch;

use crate::backend::{Backend, BackendError, ReadRequest};
use crate::layout::{GatewayEntry, Target, gateways_key, parse_gateway, parse_holder, target_key};
use crate::lease::OwnLease;
use crate::limits::{GATEWAYS_MAX, HOLDERS_MAX, LATE_SLACK, ROUTE_READS_MAX};
use crate::publisher::Publisher;
use crate::routes::{Advice, Holders, Routes};

/// Why a lookup has no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LookupError {
    /// The store did not answer, and nothing usable is remembered.
    #[error("the store does not answer")]
    Store(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// The store did not answer a moment ago, and nothing usable is remembered.
    #[error("the store did not answer a moment ago")]
    StoreDown,
    /// The store answers and does not keep this gateway's own entry, so others may be missing as well.
    #[error("the store does not hold this gateway's own entry, so what it lists is not believed")]
    Forgetful,
    /// As many lookups as allowed are under way.
    #[error("more than {ROUTE_READS_MAX} lookups are under way")]
    Overloaded,
}

impl From<BackendError> for LookupError {
    fn from(error: BackendError) -> Self {
        Self::Store(error.source.into())
    }
}

/// What became of a read.
type Outcome = Result<Holders, LookupError>;

/// What the lock guards.
struct State {
    routes: Routes,
    /// The reads under way, and where their outcome will appear.
    reads: BTreeMap<Target, watch::Receiver<Option<Outcome>>>,
    /// The last list of gateways that the store gave, and when.
    gateways: Option<(Instant, Vec<GatewayEntry>)>,
}

/// Lookups by how they ended; each counted once.
#[derive(Debug, Default)]
pub(crate) struct LookupCounters {
    pub(crate) fresh: AtomicU64,
    pub(crate) stale: AtomicU64,
    pub(crate) read: AtomicU64,
    pub(crate) absent: AtomicU64,
    pub(crate) failed: AtomicU64,
    /// Reads of the store, for routes and for the list of gateways.
    pub(crate) store_reads: AtomicU64,
}

/// The lookup path of one gateway.
pub(crate) struct Lookup {
    backend: Arc<dyn Backend>,
    /// Whose lookups these are.
    gateway: GatewayId,
    own_lease: Arc<OwnLease>,
    state: Mutex<State>,
    read_timeout: Duration,
    pub(crate) counters: LookupCounters,
}

impl Lookup {
    pub(crate) fn new(publisher: &Publisher) -> Self {
        let settings = &publisher.settings;
        let routes = Routes::new(settings.routes_max, settings.ttl);
        Self {
            backend: Arc::clone(&publisher.backend),
            gateway: settings.gateway.clone(),
            own_lease: Arc::clone(&publisher.own_lease),
            state: Mutex::new(State { routes, reads: BTreeMap::new(), gateways: None }),
            read_timeout: settings.read_timeout,
            counters: LookupCounters::default(),
        }
    }

    /// The holders of a target; empty if there is none. Cancel safe.
    pub(crate) async fn lookup(self: &Arc<Self>, target: &Target) -> Outcome {
        let (advice, read) = self.ask(target);
        let (counter, outcome) = match (advice, read) {
            (Advice::Serve(holders), _) => (&self.counters.fresh, Ok(holders)),
            (Advice::ServeAndRead(holders), _) => (&self.counters.stale, Ok(holders)),
            (Advice::Read { fallback }, Some(read)) => match (self.outcome_of(read).await, fallback) {
                (Err(_), Some(holders)) => (&self.counters.stale, Ok(holders)),
                (outcome, _) => (&self.counters.read, outcome),
            },
            (Advice::Read { fallback: Some(holders) }, None) => (&self.counters.stale, Ok(holders)),
            (Advice::Read { fallback: None }, None) => (&self.counters.failed, Err(LookupError::Overloaded)),
            (Advice::Unavailable, _) => (&self.counters.failed, Err(LookupError::StoreDown)),
        };
        let counter = match &outcome {
            Ok(holders) if holders.is_empty() => &self.counters.absent,
            Ok(_) => counter,
            Err(_) => &self.counters.failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        outcome
    }

    /// The route was followed in vain: it is read again soon, and used until then.
    pub(crate) fn suspect(self: &Arc<Self>, target: &Target) {
        let mut state = self.lock();
        if state.routes.suspect(time::now(), target) {
            self.read(&mut state, target);
        }
    }

    /// The live gateways of the store.
    pub(crate) async fn gateways(&self) -> Result<Vec<GatewayEntry>, LookupError> {
        self.counters.store_reads.fetch_add(1, Ordering::Relaxed);
        let request = ReadRequest { key: gateways_key().to_owned(), field: None, entries_max: GATEWAYS_MAX };
        let listing = self.backend.read(request).await?;
        let mut gateways: Vec<GatewayEntry> =
            listing.entries.iter().filter_map(|(field, value)| parse_gateway(field, value)).collect();
        if gateways.iter().all(|entry| entry.gateway != self.gateway) {
            return Err(LookupError::Forgetful);
        }
        gateways.sort_by(|one, other| one.gateway.cmp(&other.gateway));
        self.lock().gateways = Some((time::now(), gateways.clone()));
        Ok(gateways)
    }

    /// The last answer of [`Lookup::gateways`], and its age; nothing before the first.
    pub(crate) fn remembered_gateways(&self) -> Option<(Duration, Vec<GatewayEntry>)> {
        let (learnt_at, gateways) = self.lock().gateways.clone()?;
        Some((time::now() - learnt_at, gateways))
    }

    pub(crate) fn routes(&self) -> usize {
        self.lock().routes.len()
    }

    /// Decides, and starts a read if one is due and none is under way.
    fn ask(self: &Arc<Self>, target: &Target) -> (Advice, Option<watch::Receiver<Option<Outcome>>>) {
        let mut state = self.lock();
        let advice = state.routes.ask(time::now(), target);
        let read = match advice {
            Advice::ServeAndRead(_) | Advice::Read { .. } => self.read(&mut state, target),
            Advice::Serve(_) | Advice::Unavailable => None,
        };
        (advice, read)
    }

    /// Joins the read of this target that is under way, or starts one. `None` if there are too many.
    fn read(
        self: &Arc<Self>,
        state: &mut State,
        target: &Target,
    ) -> Option<watch::Receiver<Option<Outcome>>> {
        if let Some(read) = state.reads.get(target) {
            return Some(read.clone());
        }
        if state.reads.len() >= ROUTE_READS_MAX {
            return None;
        }
        let (sender, receiver) = watch::channel(None);
        state.reads.insert(target.clone(), receiver.clone());
        let (lookup, target) = (Arc::clone(self), target.clone());
        bowline_rt::task::spawn("registry-lookup", async move {
            let outcome = lookup.read_store(&target).await;
            let outcome = lookup.finish(&target, outcome);
            sender.send_replace(Some(outcome));
        });
        Some(receiver)
    }

    async fn read_store(&self, target: &Target) -> Outcome {
        self.counters.store_reads.fetch_add(1, Ordering::Relaxed);
        let request = ReadRequest { key: target_key(target), field: None, entries_max: HOLDERS_MAX };
        // It ends by then on its own. Without this bound a read that does not would keep its target from ever being read again.
        let limit = self.read_timeout + LATE_SLACK;
        let listing = match time::timeout(limit, self.backend.read(request)).await {
            Ok(listing) => listing?,
            Err(elapsed) => return Err(LookupError::Store(Arc::new(elapsed))),
        };
        let holders: Holders =
            listing.entries.iter().filter_map(|(field, value)| parse_holder(field, value)).collect();
        // "Nobody" is true only of a store that keeps what it is told.
        if holders.is_empty() && !self.own_lease.holds(self.read_timeout).await {
            return Err(LookupError::Forgetful);
        }
        Ok(holders)
    }

    /// Remembers what a read brought, and decides what those who waited for it are told.
    fn finish(&self, target: &Target, outcome: Outcome) -> Outcome {
        let mut state = self.lock();
        state.reads.remove(target);
        match outcome {
            Ok(holders) => Ok(state.routes.learn(time::now(), target, holders)),
            Err(error) => {
                tracing::debug!(%target, %error, "a lookup failed");
                state.routes.learn_failure(time::now(), target);
                Err(error)
            }
        }
    }

    async fn outcome_of(&self, mut read: watch::Receiver<Option<Outcome>>) -> Outcome {
        let outcome = read.wait_for(Option::is_some).await.map(|outcome| outcome.clone());
        // Only a task that died leaves no outcome.
        outcome.ok().flatten().unwrap_or(Err(LookupError::StoreDown))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
