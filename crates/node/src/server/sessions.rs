//! The session service of a gateway, with a connection to the store of its own: a slow registry does not delay sessions, nor
//! sessions the registry. Embedded, it has a store of its own for the same reason, and with a bound to its memory.

use bowline_api::sessions::{Sessions, Settings};
use bowline_api::{PortCounters, ServeSettings, serve_with};
use bowline_redis::Client;
use bowline_rt::task::JoinSet;
use bowline_rt::time::unix_time;
use prometheus_client::registry::Registry as Metrics;
use tokio_util::sync::CancellationToken;

use super::eviction;
use crate::limits::SESSIONS_GRACE;
use crate::listen::Bound;
use crate::plan::{ServerPlan, SessionsPlan};
use crate::store::{Embedded, StoreRunError};

/// What the service runs on.
pub(super) struct Service {
    sessions: Sessions,
    counters: PortCounters,
    client: Client,
    embedded: Option<Embedded>,
    /// Lets the store note since when it remembers nonces, and looks whether it forgets any. Dropping it ends that.
    watching: JoinSet<()>,
}

impl Service {
    /// Starts what it needs. The store need not answer.
    pub async fn start(plan: &ServerPlan, sessions: &SessionsPlan) -> Result<Self, StoreRunError> {
        let (store, embedded) = match &plan.store {
            Some(link) => (link.config.clone(), None),
            None => {
                let embedded = Embedded::start(sessions.memory_bytes).await?;
                (embedded.config.clone(), Some(embedded))
            }
        };
        let client = Client::start(store.name(&format!("bowline-sessions-{}", plan.gateway)));
        // An embedded store begins empty: it knows no nonce of what was signed before.
        let remembers_since = embedded.is_some().then(unix_time);
        let settings = Settings { remembers_since, ..sessions.settings.clone() };
        let service = Sessions::new(client.clone(), sessions.keys.clone(), settings);
        let mut watching = JoinSet::new();
        // An embedded store has no marks, and evicts nothing.
        if embedded.is_none() {
            let marks = service.clone();
            watching.spawn(async move { marks.keep_marked().await });
            watching.spawn(eviction::watch(client.clone()));
        }
        Ok(Self { sessions: service, counters: PortCounters::default(), client, embedded, watching })
    }

    /// Adds its counters, those of its port, and those of its connection to the store.
    pub fn register_metrics(&self, metrics: &mut Metrics) {
        self.sessions.register_metrics(metrics);
        self.counters.register_under("bowline_session", metrics);
        self.client.metrics().register_under("bowline_sessions_redis", metrics);
    }

    /// Serves among the entries, with which it drains.
    pub fn serve(
        &self,
        bound: Bound,
        plan: &ServerPlan,
        sessions: &SessionsPlan,
        entries: &mut JoinSet<()>,
        stop: &CancellationToken,
    ) {
        let Bound { listener, acceptor, address } = bound;
        let settings = ServeSettings {
            name: "sessions",
            connections_max: sessions.connections_max,
            grace: plan.drain_grace.min(SESSIONS_GRACE),
            counters: self.counters.clone(),
        };
        tracing::info!(address = %address, keys = sessions.keys.len(), embedded = self.embedded.is_some(),
            "the session service serves");
        entries.spawn(serve_with(settings, listener, acceptor, self.sessions.router(), stop.clone()));
    }

    /// Resolves when its embedded store has failed.
    pub async fn failed(&mut self) -> StoreRunError {
        match &mut self.embedded {
            Some(embedded) => embedded.failed().await,
            None => std::future::pending().await,
        }
    }

    /// Ends its embedded store after everything that uses it.
    pub async fn stop(self) {
        let Self { sessions, counters: _, client, embedded, mut watching } = self;
        watching.shutdown().await;
        let connection = client.connection();
        drop((sessions, client));
        if let Some(embedded) = embedded {
            embedded.stop(connection).await;
        }
    }
}
