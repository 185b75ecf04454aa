//! What a gateway pays for each agent that is attached and idle, with two idle tunnels.
//!
//! The agents are the real ones, run in this process; the gateway is the real program, with its store embedded.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use bowline_agent::{Agent, Service, Services, Settings};
use bowline_identity::tls::Connector;
use bowline_rt::task;
use bowline_torture::http;
use bowline_torture::ports::free_address;
use bowline_torture::process::Process;
use bowline_torture::wait::{wait_out, wait_within};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::limits::{AGENTS, AGENTS_AT_A_TIME, IDLE_TUNNELS, READY_MAX, SETTLE};
use crate::report::{Better, OURS, Report};
use crate::{Effort, program};

/// Measures once: memory does not scatter as times do, and a second round would begin with a warm allocator.
///
/// # Errors
/// The gateway does not start, or agents do not attach.
pub async fn measure(_effort: Effort) -> Result<Report> {
    let folder = tempfile::tempdir()?;
    let [http, agents, peers, admin] = [(); 4].map(|()| free_address());
    let gateway = start(folder.path(), [http, agents, peers, admin].map(|address| address.to_string()))?;
    http::wait_for_ok(admin, "admin", "/readyz").await;
    let empty = gateway.resident_bytes()?;

    let stop = CancellationToken::new();
    let mut running = task::JoinSet::new();
    for number in 0..AGENTS {
        let agent = agent(number, &agents.to_string())?;
        running.spawn(agent.run(stop.clone()));
        if number % AGENTS_AT_A_TIME == 0 {
            wait_for(admin, number as u64 / 2).await;
        }
    }
    wait_for(admin, AGENTS as u64).await;
    wait_out(SETTLE).await;
    let full = gateway.resident_bytes()?;
    stop.cancel();
    running.shutdown().await;

    let mut report = Report::new("memory");
    let per_agent = full.saturating_sub(empty) as f64 / AGENTS as f64;
    report.add("gateway, per idle agent with 2 idle tunnels", "KiB", Better::Lower, OURS, per_agent / 1024.0);
    report.add("gateway without agents", "MiB", Better::Lower, OURS, empty as f64 / 1024.0 / 1024.0);
    let name = format!("gateway with {AGENTS} agents");
    report.add(&name, "MiB", Better::Lower, OURS, full as f64 / 1024.0 / 1024.0);
    Ok(report)
}

fn start(folder: &Path, [http, agents, peers, admin]: [String; 4]) -> Result<Process> {
    let configuration = format!(
        "name = \"g1\"\n[http]\nlisten = \"{http}\"\n[agents]\nlisten = \"{agents}\"\n[peers]\nlisten = \"{peers}\"\n\
         [admin]\nlisten = \"{admin}\"\n[log]\nlevel = \"warn\"\n"
    );
    let file = folder.join("server.toml");
    fs::write(&file, configuration)?;
    let mut command = program::with_many_files(&program::bowline()?);
    Process::start(folder, "server", command.arg("server").arg("--config").arg(&file))
}

fn agent(number: usize, gateway: &str) -> Result<Agent> {
    let service = Service { name: "web".parse()?, address: "127.0.0.1:9".to_owned() };
    let services = Services::new([service])?;
    let name = format!("agent-{number}").parse()?;
    Agent::new(Settings::new(name, vec![gateway.to_owned()], services, Connector::Plain))
        .context("settings of an agent")
}

/// Waits until `agents` agents are attached and have their idle tunnels.
async fn wait_for(admin: std::net::SocketAddr, agents: u64) {
    let what = format!("{agents} agents with {IDLE_TUNNELS} idle tunnels each");
    wait_within(READY_MAX, &what, || async {
        let answer = http::get(admin, "admin", "/v1/status").await.ok()?;
        let status: Value = serde_json::from_slice(&answer.body).ok()?;
        let attached = status["agents"].as_array()?.len() as u64;
        let idle = status["tunnels"]["idle"].as_u64()?;
        (attached >= agents && idle >= agents * IDLE_TUNNELS).then_some(())
    })
    .await;
}
