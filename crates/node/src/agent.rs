//! The agent as a role: the agent itself, and its admin port if it is to have one.

use std::net::SocketAddr;
use std::sync::Arc;

use bowline_api::{Admin, BuildInfo, Plane, Readiness};
use bowline_identity::token::TokenTable;
use bowline_rt::task::spawn;
use prometheus_client::registry::Registry as Metrics;
use tokio_util::sync::CancellationToken;

pub use bowline_agent::{AgentError, Handle};

use crate::VERSION;
use crate::expiry;
use crate::listen::{Bound, ListenError, bind};
use crate::plan::AgentPlan;
use crate::reload::Reload;

/// Why an agent does not run.
#[derive(Debug, thiserror::Error)]
pub enum AgentRunError {
    /// Its admin port cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Its settings contradict themselves.
    #[error(transparent)]
    Agent(#[from] AgentError),
}

/// An agent that does not run yet. Its admin port, if it has one, is listened on.
#[derive(Debug)]
pub struct Agent {
    agent: bowline_agent::Agent,
    admin: Option<(Bound, Option<TokenTable>)>,
    metrics: Metrics,
    files: Reload,
}

/// Makes an agent of `plan`. The handle shows its state and changes its services, the agent is to be run.
///
/// # Errors
/// [`AgentRunError`].
pub async fn start(plan: AgentPlan) -> Result<(Agent, Handle), AgentRunError> {
    let admin = match &plan.admin {
        Some(admin) => Some((bind(&admin.port).await?, admin.tokens.clone())),
        None => None,
    };
    let files = plan.reload();
    let agent = bowline_agent::Agent::new(plan.settings)?;
    let handle = agent.handle();
    let mut metrics = Metrics::default();
    let build = BuildInfo { version: VERSION, role: "agent" };
    bowline_api::register_process(&mut metrics, &build, bowline_rt::time::unix_time(), plan.memory);
    agent.register_metrics(&mut metrics);
    expiry::register(&mut metrics, files.clone());
    Ok((Agent { agent, admin, metrics, files }, handle))
}

/// Runs an agent until `shutdown`.
///
/// # Errors
/// [`AgentRunError`].
pub async fn run(plan: AgentPlan, shutdown: CancellationToken) -> Result<(), AgentRunError> {
    let (agent, _) = start(plan).await?;
    agent.run(shutdown).await;
    Ok(())
}

impl Agent {
    /// Where its admin port listens, if it has one.
    #[must_use]
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(|(bound, _)| bound.address)
    }

    /// Runs until `shutdown`, and serves the admin port until everything has ended.
    pub async fn run(self, shutdown: CancellationToken) {
        let Self { agent, admin, metrics, files } = self;
        let admin_stop = CancellationToken::new();
        let serving = admin.map(|(Bound { listener, acceptor, address }, tokens)| {
            let plane = Arc::new(Shown { agent: agent.handle(), shutdown: shutdown.clone() });
            let router = bowline_api::router(Admin { plane, metrics: Arc::new(metrics), tokens });
            tracing::info!(admin = %address, "the admin port serves");
            spawn("admin", bowline_api::serve(listener, acceptor, router, admin_stop.clone()))
        });
        let expiry = spawn("certificates", expiry::warn_daily(files));
        agent.run(shutdown).await;
        expiry.abort();
        admin_stop.cancel();
        if let Some(serving) = serving
            && let Err(error) = serving.await
        {
            tracing::error!(%error, "the admin port failed");
        }
    }
}

/// An agent as its admin port sees it.
struct Shown {
    agent: Handle,
    shutdown: CancellationToken,
}

impl Plane for Shown {
    fn readiness(&self) -> Readiness {
        let because = |condition: bool, reason: &str| condition.then(|| reason.to_owned());
        let reasons = [
            because(self.shutdown.is_cancelled(), "the agent is shutting down"),
            because(!self.agent.is_ready(), "the agent is attached to no gateway"),
        ];
        Readiness::from_reasons(reasons.into_iter().flatten().collect())
    }
}
