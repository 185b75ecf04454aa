//! The supervisor: gives the core what happened, does what it says, and keeps the status. It makes no choices.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bowline_model::{Epoch, GatewayId, Generation};
use bowline_rt::time::{now, sleep_until_some, timeout};
use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::attachment::{Attachment, Input, Notice, Output, State};
use crate::limits::{CUT_TIMEOUT, SESSION_EVENTS_MAX};
use crate::metrics::SessionResult;
use crate::session::{Orders, Session};
use crate::settings::{Services, Settings, SettingsError};
use crate::shared::Shared;
use crate::tally::TunnelCounts;

/// Why an agent could not run.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The settings contradict themselves.
    #[error(transparent)]
    Settings(#[from] SettingsError),
}

/// One gateway of the join list as the agent sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayView {
    /// As the join list calls it.
    pub address: String,
    /// How the agent's best session there stands.
    pub state: State,
    /// Who answered there last.
    pub gateway: Option<GatewayId>,
    /// What went wrong last; `None` after a success.
    pub last_error: Option<String>,
}

/// An agent that does not run yet.
#[derive(Debug)]
pub struct Agent {
    settings: Settings,
    shared: Arc<Shared>,
    gateways: watch::Sender<Vec<GatewayView>>,
}

/// A view of a running agent and the means to change it. A clone is the same.
#[derive(Debug, Clone)]
pub struct Handle {
    epoch: Epoch,
    services: watch::Sender<Services>,
    gateways: watch::Receiver<Vec<GatewayView>>,
    tunnels: watch::Receiver<TunnelCounts>,
}

impl Handle {
    /// The identity of this incarnation.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Replaces the services, and tells every gateway. Streams that run go on.
    pub fn replace_services(&self, services: Services) {
        self.services.send_if_modified(|current| {
            let changed = *current != services;
            *current = services;
            changed
        });
    }

    /// The gateways in the order of the join list; changes can be waited for.
    #[must_use]
    pub fn gateways(&self) -> watch::Receiver<Vec<GatewayView>> {
        self.gateways.clone()
    }

    /// The tunnels of all gateways together; changes can be waited for.
    #[must_use]
    pub fn tunnels(&self) -> watch::Receiver<TunnelCounts> {
        self.tunnels.clone()
    }

    /// Whether some gateway can reach this agent.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.gateways.borrow().iter().any(|gateway| gateway.state >= State::Draining)
    }
}

/// Runs an agent until `shutdown`: then it says goodbye, serves what runs until the grace is over, and returns.
///
/// # Errors
/// [`AgentError`] if the settings contradict themselves. Failures of the network are never an end.
pub async fn run(settings: Settings, shutdown: CancellationToken) -> Result<(), AgentError> {
    Agent::new(settings)?.run(shutdown).await;
    Ok(())
}

impl Agent {
    /// Checks the settings and draws the identity of this incarnation.
    ///
    /// # Errors
    /// [`AgentError::Settings`].
    pub fn new(settings: Settings) -> Result<Self, AgentError> {
        settings.check()?;
        let services = watch::Sender::new(settings.services.clone());
        let shared = Arc::new(Shared::new(&settings, bowline_rt::random::epoch(), services));
        let view = |address: &String| GatewayView {
            address: address.clone(),
            state: State::Detached,
            gateway: None,
            last_error: None,
        };
        let gateways = watch::Sender::new(settings.join.iter().map(view).collect());
        Ok(Self { settings, shared, gateways })
    }

    /// A view of this agent.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle {
            epoch: self.shared.epoch,
            services: self.shared.services.clone(),
            gateways: self.gateways.subscribe(),
            tunnels: self.shared.tally.subscribe(),
        }
    }

    /// Adds this agent's metrics to `registry`.
    pub fn register_metrics(&self, registry: &mut Registry) {
        self.shared.metrics.register(registry);
    }

    /// Runs until `shutdown` and the end of what ran then, or the grace. Dropping the future closes every control
    /// connection and idle tunnel; streams that run go on in the background.
    pub async fn run(self, shutdown: CancellationToken) {
        let (events_sender, mut events) = mpsc::channel(SESSION_EVENTS_MAX);
        let mut supervisor = Supervisor {
            core: Attachment::new(
                self.shared.epoch,
                self.settings.join.len(),
                self.settings.connections,
                self.settings.limits.clone(),
                bowline_rt::random::bits64(),
            ),
            join: self.settings.join,
            shared: self.shared,
            gateways: self.gateways,
            orders: BTreeMap::new(),
            sessions: JoinSet::new(),
            events: events_sender,
        };
        let mut cut_at = None;
        supervisor.handle(Input::Tick);
        while !supervisor.core.is_over() {
            let input = tokio::select! {
                biased;
                () = shutdown.cancelled(), if cut_at.is_none() => {
                    tracing::info!("the agent stops: serving what runs");
                    cut_at = Some(now() + supervisor.shared.limits.drain_grace);
                    Input::Stop
                }
                Some(event) = events.recv() => event,
                Some(ended) = supervisor.sessions.join_next() => match ended {
                    Ok(Some(input)) => input,
                    Ok(None) => continue,
                    // A bug of ours: better to be restarted than to go on with half an agent.
                    Err(error) => std::panic::resume_unwind(error.into_panic()),
                },
                () = sleep_until_some(supervisor.core.poll_timeout()) => Input::Tick,
            };
            supervisor.handle(input);
        }
        supervisor.wait_for_streams(cut_at).await;
    }
}

struct Supervisor {
    core: Attachment,
    join: Vec<String>,
    shared: Arc<Shared>,
    gateways: watch::Sender<Vec<GatewayView>>,
    orders: BTreeMap<Generation, Orders>,
    sessions: JoinSet<Option<Input>>,
    events: mpsc::Sender<Input>,
}

impl Supervisor {
    fn handle(&mut self, input: Input) {
        if let Input::Lost { session, .. }
        | Input::Refused { session, .. }
        | Input::Superseded { session, .. } = &input
        {
            self.orders.remove(session);
        }
        self.core.handle(now(), input);
        while let Some(output) = self.core.poll_output() {
            self.perform(output);
        }
        self.publish();
    }

    fn perform(&mut self, output: Output) {
        match output {
            Output::Dial { session, target } => self.dial(session, target),
            Output::Leave { session } => {
                if let Some(orders) = self.orders.get(&session) {
                    orders.leave.cancel();
                }
            }
            Output::Close { session } => {
                if let Some(orders) = self.orders.remove(&session) {
                    orders.close.cancel();
                }
            }
            Output::Tell(notice) => self.tell(notice),
        }
    }

    fn dial(&mut self, name: Generation, target: usize) {
        let orders = Orders::default();
        let session = Session {
            name,
            address: self.join[target].clone(),
            orders: orders.clone(),
            events: self.events.clone(),
            shared: self.shared.clone(),
        };
        self.orders.insert(name, orders);
        self.sessions.spawn(session.run());
    }

    fn publish(&self) {
        let views = self.core.view().into_iter().zip(&self.join).map(|(view, address)| GatewayView {
            address: address.clone(),
            state: view.state,
            gateway: view.gateway,
            last_error: view.last_error,
        });
        let views: Vec<_> = views.collect();
        let attached = views.iter().filter(|view| view.state >= State::Draining).count();
        self.shared.metrics.gateways_attached().set(i64::try_from(attached).unwrap_or(i64::MAX));
        self.gateways.send_if_modified(|current| {
            let changed = *current != views;
            *current = views;
            changed
        });
    }

    fn tell(&self, notice: Notice) {
        let metrics = &self.shared.metrics;
        let address = |target: usize| self.join[target].as_str();
        match notice {
            Notice::Attached { target, gateway } => {
                metrics.session(SessionResult::Attached);
                tracing::info!(address = address(target), %gateway, "attached");
            }
            Notice::Moving { target, gateway, after } => {
                tracing::info!(address = address(target), %gateway, ?after, "the gateway is shutting down: moving");
            }
            Notice::Lost { target, error, failures, retry_after } => {
                metrics.session(SessionResult::Lost);
                // The first failure is news; of the rest ever fewer are told.
                if failures.is_power_of_two() {
                    tracing::warn!(address = address(target), error, failures, ?retry_after, "not attached");
                } else {
                    tracing::debug!(address = address(target), error, failures, ?retry_after, "not attached");
                }
            }
            Notice::Refused { target, reason, retry_after } => {
                metrics.session(SessionResult::Refused);
                tracing::error!(
                    address = address(target),
                    reason,
                    ?retry_after,
                    "the gateway refused the login"
                );
            }
            Notice::IdTaken { target, by, retry_after } => {
                metrics.session(SessionResult::IdTaken);
                let agent = &self.shared.agent;
                tracing::error!(
                    address = address(target),
                    %agent,
                    own_epoch = %self.shared.epoch,
                    other_epoch = %by,
                    ?retry_after,
                    "another process uses this agent's id: stop one of them or give it an id of its own"
                );
            }
            Notice::SameGateway { target, gateway, retry_after } => {
                tracing::warn!(address = address(target), %gateway, ?retry_after, "leads to a gateway that is attached already");
            }
        }
    }

    /// Waits for streams, those of sessions that were lost before included, and cuts them at `cut_at`.
    async fn wait_for_streams(self, cut_at: Option<std::time::Instant>) {
        self.shared.tasks.close();
        let left = cut_at.map_or(Duration::ZERO, |instant| instant.saturating_duration_since(now()));
        if timeout(left, self.shared.tasks.wait()).await.is_ok() {
            return;
        }
        tracing::warn!(streams = self.shared.tasks.len(), "the grace is over: cutting what still runs");
        self.shared.cut.cancel();
        if timeout(CUT_TIMEOUT, self.shared.tasks.wait()).await.is_err() {
            tracing::warn!(streams = self.shared.tasks.len(), "some streams did not end");
        }
    }
}
