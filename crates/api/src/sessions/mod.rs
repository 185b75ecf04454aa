//! The session service: user sessions for other services, over HTTP, in the store.
//!
//! Every request but the one for `/v1/openapi.json` is signed (RFC 9421); the key that signs is for one namespace, which is
//! all that it can see. `docs/sessions.md` tells users how to ask.
//!
//! | request | meaning |
//! |---|---|
//! | `GET`, `HEAD`, `PUT`, `PATCH`, `DELETE` `/v1/user-sessions/{key}` | one session |
//! | `GET /v1/user-sessions?owner=…` | the sessions of an owner |
//! | `POST /v1/user-sessions:read` | several sessions by their keys |
//!
//! What holds:
//! - INV-SESS-AUTH: a request that is unsigned, stale, replayed or altered is refused, and nothing is read (`guard`,
//!   `scripts/prelude.lua`).
//! - A write that was acknowledged is there until it ends, and in its owner's list. What a store lost of a list comes back with the
//!   writes and reads of its sessions (`index`).
//! - A write whose outcome is not known says so, and is not sent again (`store`; INV-DRV-ONCE).
//! - All times are the store's; no clock of a gateway or a client ends a session.
//! - Values, keys and owners reach neither logs nor metrics.
//!
//! Read in this order: `routes`, `guard`, `change`, `store`, `index`, `listing`; the scripts are in `scripts/`.

mod budget;
mod change;
mod clock;
mod conditions;
mod description;
mod guard;
mod index;
mod instant;
mod key;
pub mod limits;
mod listing;
mod marking;
mod marks;
mod merge;
mod metrics;
mod problem;
mod query;
mod routes;
mod store;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use bowline_identity::signature::Keys;
#[cfg(feature = "unguarded")]
use bowline_identity::signature::Namespace;
use bowline_redis::Client;
use bytes::Bytes;
use prometheus_client::registry::Registry;

use self::budget::Budget;
use self::clock::Birth;
use self::description::description;
use self::guard::Guard;
use self::limits::{
    ANSWERS_BYTES_MAX, ANSWERS_OF_ONE_NAMESPACE, BODIES_AT_ONCE, BODIES_BYTES_MAX, BODIES_OF_ONE_NAMESPACE,
    LIFETIME, STORE_DEADLINE, TTL, VALUE_BYTES,
};
use self::marks::Marks;
use self::metrics::Metrics;
use self::store::Store;

/// How the service is set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Largest value of a session, in bytes.
    pub value_bytes_max: usize,
    /// Idle time of sessions for which none is named.
    pub ttl: Duration,
    /// Longest life of a session, and that of sessions for which none is named.
    pub lifetime_max: Duration,
    /// Whether requests come over TLS.
    pub tls: bool,
    /// Longest wait of a request for the store, with all its steps there.
    pub store_deadline: Duration,
    /// Since when the store remembers nonces, as time since 1970, if it is known to have forgotten those before and will not
    /// lose others while this service runs; otherwise the store is asked. What was signed in an earlier second may be a replay.
    pub remembers_since: Option<Duration>,
    /// Bytes that all answers to bulk reads and listings together may hold until their callers have read them.
    pub answers_bytes_max: usize,
    /// Bytes that the bodies of all requests together may hold until their requests are answered.
    pub bodies_bytes_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            value_bytes_max: VALUE_BYTES,
            ttl: TTL,
            lifetime_max: LIFETIME,
            tls: false,
            store_deadline: STORE_DEADLINE,
            remembers_since: None,
            answers_bytes_max: ANSWERS_BYTES_MAX,
            bodies_bytes_max: BODIES_BYTES_MAX,
        }
    }
}

impl Settings {
    /// The default for values of at most so many bytes, with room for the bodies that bring them.
    #[must_use]
    pub fn for_values(value_bytes_max: usize) -> Self {
        let bodies_bytes_max = BODIES_BYTES_MAX.max(BODIES_AT_ONCE.saturating_mul(value_bytes_max));
        Self { value_bytes_max, bodies_bytes_max, ..Self::default() }
    }
}

/// The service. A clone is the same one.
#[derive(Clone)]
pub struct Sessions(Arc<Inner>);

struct Inner {
    store: Store,
    guard: Guard,
    settings: Settings,
    metrics: Metrics,
    answers: Budget,
    bodies: Budget,
    description: Bytes,
}

impl Sessions {
    /// A service that keeps sessions behind `client` and lets in who signs with one of `keys`.
    #[must_use]
    pub fn new(client: Client, keys: Keys, settings: Settings) -> Self {
        let birth = settings.remembers_since.map(Birth::new);
        Self::guarded(client, Guard::Keys(keys, birth), settings)
    }

    /// The service as it would be without signatures, nonces and digests: whoever asks has `namespace`. It exists to measure
    /// what they cost; no program that serves anybody is built with this feature.
    #[cfg(feature = "unguarded")]
    #[must_use]
    pub fn unguarded(client: Client, namespace: Namespace, settings: Settings) -> Self {
        Self::guarded(client, Guard::Absent(namespace), settings)
    }

    fn guarded(client: Client, guard: Guard, settings: Settings) -> Self {
        let marks = settings.remembers_since.is_none().then(|| Marks::new(guard.policy()));
        let store = Store::new(client, marks);
        let answers = Budget::new(settings.answers_bytes_max, ANSWERS_OF_ONE_NAMESPACE);
        let bodies = Budget::new(settings.bodies_bytes_max, BODIES_OF_ONE_NAMESPACE);
        let (metrics, description) = (Metrics::new(), description(&settings).into());
        Self(Arc::new(Inner { store, guard, settings, metrics, answers, bodies, description }))
    }

    /// Lets the store note since when it remembers nonces, and again whenever it has lost what it had. It runs beside the service,
    /// and is to be ended with it. Requests are served without that too, but the first ones to a new store, or for each slot of
    /// a cluster, may then be refused as `unremembered`, and have to be signed again. A store that fails is asked again and again,
    /// with pauses; two log lines at most tell of it.
    pub async fn keep_marked(&self) {
        self.store().keep_marked().await;
    }

    /// Its routes.
    pub fn router(&self) -> Router {
        let sessions = self.clone();
        Router::new().fallback(move |request: Request| {
            let sessions = sessions.clone();
            async move { sessions.answer(request).await }
        })
    }

    /// Adds its counters to a registry.
    pub fn register_metrics(&self, registry: &mut Registry) {
        self.0.metrics.register(registry);
    }

    fn store(&self) -> &Store {
        &self.0.store
    }

    fn guard(&self) -> &Guard {
        &self.0.guard
    }

    /// The description of the service, which it serves itself.
    fn description(&self) -> Bytes {
        self.0.description.clone()
    }

    fn settings(&self) -> &Settings {
        &self.0.settings
    }

    fn answers(&self) -> &Budget {
        &self.0.answers
    }

    fn bodies(&self) -> &Budget {
        &self.0.bodies
    }

    fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").field("settings", &self.0.settings).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "tests/mod.rs"]
mod tests;
