//! The agent as a role.

pub use bowline_agent::{Agent, AgentError, Handle};
use tokio_util::sync::CancellationToken;

use crate::plan::AgentPlan;

/// Makes an agent of `plan`. The handle shows its state and changes its services, the agent is to be run.
///
/// # Errors
/// [`AgentError`] if the settings contradict themselves.
pub fn start(plan: AgentPlan) -> Result<(Agent, Handle), AgentError> {
    let agent = Agent::new(plan.settings)?;
    let handle = agent.handle();
    Ok((agent, handle))
}

/// Runs an agent until `shutdown`.
///
/// # Errors
/// [`AgentError`] if the settings contradict themselves.
pub async fn run(plan: AgentPlan, shutdown: CancellationToken) -> Result<(), AgentError> {
    let (agent, _) = start(plan)?;
    agent.run(shutdown).await;
    Ok(())
}
