//! A store, gateways, nginx and an agent before it, wired up on loopback.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;
use tempfile::TempDir;

use crate::http;
use crate::limits::REGISTRY_TTL_SECONDS;
use crate::peers;
use crate::ports::free_address;
use crate::process::Process;
use crate::program::bowline;

/// Host name of the service that the agent offers.
pub const WEB: &str = "web.svc.bowline";

/// Which program keeps the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreKind {
    /// `bowline store`.
    Bowline,
    /// Debian's redis-server.
    Redis,
}

/// How long streams may go on when a process is asked to end.
const DRAIN_GRACE: &str = "5s";

/// A gateway and its ports.
#[derive(Debug)]
pub struct Gateway {
    /// Its name.
    pub name: String,
    /// The http entry.
    pub http: SocketAddr,
    /// The port for agents.
    pub agents: SocketAddr,
    /// The port for other gateways.
    pub peers: SocketAddr,
    /// Status and metrics.
    pub admin: SocketAddr,
    /// The process.
    pub process: Process,
    configuration: PathBuf,
}

/// Everything that one test runs. Dropping it ends all of it.
#[derive(Debug)]
pub struct Zone {
    /// The agent.
    pub agent: Process,
    /// The gateways; the agent attaches to the first one.
    pub gateways: Vec<Gateway>,
    /// The store.
    pub store: Process,
    /// nginx, the service `web`.
    pub web: Process,
    /// Where the store listens.
    pub store_address: SocketAddr,
    /// Where nginx listens.
    pub web_address: SocketAddr,
    store_kind: StoreKind,
    directory: TempDir,
}

impl Zone {
    /// Starts everything. The agent joins both gateways and holds one connection; it is attached to the first gateway,
    /// and the service answers through both.
    ///
    /// # Errors
    /// Something cannot be started.
    ///
    /// # Panics
    /// Something does not become ready.
    pub async fn start(store_kind: StoreKind) -> Result<Self> {
        let directory = tempfile::tempdir().context("cannot create a folder")?;
        let folder = directory.path();
        let (store_address, web_address) = (free_address(), free_address());
        let web = peers::nginx(folder, web_address).await?;
        let store = peers::store(folder, store_kind, store_address).await?;

        let first = Gateway::start(folder, "g1", Some(store_address), "").await?;
        let later = Gateway::reserve("g2");
        let agent = start_agent(folder, &[first.agents, later.agents], web_address)?;
        // While only the first one runs there is no doubt where the agent goes.
        http::wait_for_ok(first.http, WEB, "/").await;
        let second = later.launch(folder, Some(&format!("redis://{store_address}")), "").await?;
        http::wait_for_ok(second.http, WEB, "/").await;
        let gateways = vec![first, second];
        Ok(Self { agent, gateways, store, web, store_address, web_address, store_kind, directory })
    }

    /// The folder with configurations and logs.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Starts the store anew, on the same port and without its data. The old one must be gone.
    ///
    /// # Errors
    /// It cannot be started.
    pub async fn restart_store(&mut self) -> Result<()> {
        self.store = peers::store(self.directory.path(), self.store_kind, self.store_address).await?;
        Ok(())
    }

    /// Starts the agent anew. The old one must be gone.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn restart_agent(&mut self) -> Result<()> {
        let join: Vec<SocketAddr> = self.gateways.iter().map(|gateway| gateway.agents).collect();
        self.agent = start_agent(self.directory.path(), &join, self.web_address)?;
        Ok(())
    }

    /// Another agent, with one service, attached to the gateway with this number.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_other_agent(&self, name: &str, service: &str, gateway: usize) -> Result<Process> {
        let join = [self.gateways[gateway].agents];
        agent(self.directory.path(), name, service, &join, self.web_address, "")
    }

    /// The answer of the store to a command, as `redis-cli` prints it.
    ///
    /// # Errors
    /// `redis-cli` is not installed, or the store does not answer.
    pub fn store_lines(&self, command: &[&str]) -> Result<Vec<String>> {
        let port = self.store_address.port().to_string();
        let output = Command::new("redis-cli").args(["-p", &port]).args(command).output();
        let output = output.context("redis-cli is not installed; cargo xtask torture installs it")?;
        anyhow::ensure!(output.status.success(), "redis-cli failed: {output:?}");
        Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
    }

    /// Which gateways the store names as holders of a service, expired entries included.
    ///
    /// # Errors
    /// The store does not answer.
    pub fn holders_in_store(&self, service: &str) -> Result<Vec<String>> {
        let lines = self.store_lines(&["HGETALL", &format!("bowline:{{service:{service}}}")])?;
        let mut holders = Vec::new();
        for pair in lines.chunks_exact(2) {
            let (gateway, _) =
                pair[0].split_once('/').with_context(|| format!("a strange field: {}", pair[0]))?;
            // `1 term epoch generation expires payload`; the payload of a removal is `-`.
            let payload =
                pair[1].splitn(6, ' ').nth(5).with_context(|| format!("a strange value: {}", pair[1]))?;
            if payload.split(' ').next() != Some("-") {
                holders.push(gateway.to_owned());
            }
        }
        holders.sort();
        Ok(holders)
    }
}

/// Names and ports of a gateway that does not run yet.
#[derive(Debug)]
pub struct Reserved {
    name: String,
    http: SocketAddr,
    agents: SocketAddr,
    peers: SocketAddr,
    admin: SocketAddr,
}

impl Gateway {
    fn reserve(name: &str) -> Reserved {
        let [http, agents, peers, admin] = [(); 4].map(|()| free_address());
        Reserved { name: name.to_owned(), http, agents, peers, admin }
    }

    /// Starts a gateway on free ports; without a store it has its own. `more` is added to its configuration.
    ///
    /// # Errors
    /// It cannot be started.
    ///
    /// # Panics
    /// It does not become ready.
    pub async fn start(folder: &Path, name: &str, store: Option<SocketAddr>, more: &str) -> Result<Self> {
        let url = store.map(|store| format!("redis://{store}"));
        Self::reserve(name).launch(folder, url.as_deref(), more).await
    }

    /// Starts a gateway over the store with this URL.
    ///
    /// # Errors
    /// It cannot be started.
    ///
    /// # Panics
    /// It does not become ready.
    pub async fn start_over(folder: &Path, name: &str, url: &str, more: &str) -> Result<Self> {
        Self::reserve(name).launch(folder, Some(url), more).await
    }

    /// Starts a gateway that asks agents for a certificate of the authority `ca.crt` in `folder`; its own is called
    /// `<name>.crt`.
    ///
    /// # Errors
    /// It cannot be started.
    ///
    /// # Panics
    /// It does not become ready.
    pub async fn start_with_tls(folder: &Path, name: &str) -> Result<Self> {
        let tls = format!("[tls]\ncertificate = \"{name}.crt\"\nkey = \"{name}.key\"\nca = \"ca.crt\"\n");
        Self::start(folder, name, None, &tls).await
    }

    /// Starts it anew with the same configuration. The old process must be gone.
    ///
    /// # Errors
    /// It cannot be started.
    ///
    /// # Panics
    /// It does not become ready.
    pub async fn restart(&mut self, folder: &Path) -> Result<()> {
        self.process = start_server(folder, &self.name, &self.configuration)?;
        self.wait_ready().await;
        Ok(())
    }

    /// What it says of itself.
    ///
    /// # Errors
    /// It does not answer, or with something that is not JSON.
    pub async fn status(&self) -> Result<Value> {
        let answer = http::get(self.admin, "admin", "/v1/status").await?;
        serde_json::from_slice(&answer.body).with_context(|| format!("not JSON: {}", answer.text()))
    }

    /// Its metrics, as text.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn metrics(&self) -> Result<String> {
        Ok(http::get(self.admin, "admin", "/metrics").await?.text())
    }

    /// Waits until it says that it is ready.
    ///
    /// # Panics
    /// It takes too long.
    pub async fn wait_ready(&self) {
        http::wait_for_ok(self.admin, "admin", "/readyz").await;
    }
}

impl Reserved {
    async fn launch(self, folder: &Path, store: Option<&str>, more: &str) -> Result<Gateway> {
        let Self { name, http, agents, peers, admin } = self;
        let mut text = format!("name = \"{name}\"\ndrain_grace = \"{DRAIN_GRACE}\"\n{more}\n");
        for (section, address) in [("http", http), ("agents", agents), ("peers", peers), ("admin", admin)] {
            write!(text, "[{section}]\nlisten = \"{address}\"\n").context("a text grows")?;
        }
        if let Some(url) = store {
            write!(text, "[store]\nurl = \"{url}\"\n").context("a text grows")?;
        }
        write!(text, "[registry]\nttl = \"{REGISTRY_TTL_SECONDS}s\"\n").context("a text grows")?;
        text.push_str("[log]\nlevel = \"info,bowline_registry=debug,bowline_tunnel=debug\"\n");
        let configuration = folder.join(format!("{name}.toml"));
        fs::write(&configuration, text).context("cannot write a configuration")?;
        let process = start_server(folder, &name, &configuration)?;
        let gateway = Gateway { name, http, agents, peers, admin, process, configuration };
        gateway.wait_ready().await;
        Ok(gateway)
    }
}

fn start_server(folder: &Path, name: &str, configuration: &Path) -> Result<Process> {
    Process::start(folder, name, Command::new(bowline()).arg("server").arg("--config").arg(configuration))
}

fn start_agent(folder: &Path, join: &[SocketAddr], web: SocketAddr) -> Result<Process> {
    agent(folder, "edge-1", "web", join, web, "")
}

/// Starts an agent that offers one service; `more` stands at the top of its configuration.
///
/// # Errors
/// It cannot be started.
pub fn agent(
    folder: &Path,
    name: &str,
    service: &str,
    join: &[SocketAddr],
    address: SocketAddr,
    more: &str,
) -> Result<Process> {
    let join: Vec<String> = join.iter().map(|address| format!("\"{address}\"")).collect();
    let join = join.join(", ");
    let text = format!(
        "name = \"{name}\"\njoin = [{join}]\ndrain_grace = \"{DRAIN_GRACE}\"\n{more}\n\
         [[service]]\nname = \"{service}\"\naddress = \"{address}\"\n\
         [log]\nlevel = \"info,bowline_agent=debug\"\n"
    );
    let configuration = folder.join(format!("{name}.toml"));
    fs::write(&configuration, text).context("cannot write a configuration")?;
    Process::start(folder, name, Command::new(bowline()).arg("agent").arg("--config").arg(&configuration))
}
