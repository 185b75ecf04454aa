//! Whole nodes as hosts: a store, gateways, an agent, and the web service behind it, all by the role runners that the
//! binary uses.
//!
//! Links of the simulation are trusted, so nothing speaks TLS here: its bytes would not repeat.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;

use bowline_api::sessions::Settings;
use bowline_identity::signature::Keys;
use bowline_identity::tls::Connector;
use bowline_node::config::{ServerConfig, StoreConfig};
use bowline_node::plan::{AgentPlan, Edge, Port, ServerPlan, SessionsPlan, StoreLink, StorePlan};
use bowline_node::{agent, server, store};
use bowline_rt::net::{Listener, TcpStream};
use bowline_rt::task;
use bowline_tunnel::Gateway;
use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;
use turmoil::Sim;

use crate::limits::HEAD_BYTES_MAX;

/// The store's host and port.
pub const STORE: (&str, u16) = ("store", 7120);
/// The http entry of every gateway.
pub const HTTP_PORT: u16 = 7080;
/// The session service of every gateway that has one.
pub const SESSIONS_PORT: u16 = 7085;
/// Its connections at once.
const SESSIONS_CONNECTIONS: usize = 100;
const AGENTS_PORT: u16 = 7100;
const PEERS_PORT: u16 = 7101;
const ADMIN_PORT: u16 = 7090;
/// The agent's host, and its id.
pub const AGENT: &str = "edge";
/// The host of the service.
const WEB: (&str, u16) = ("web", 8080);

/// The data plane of each gateway that runs, by host: what it holds is the truth that its copies must equal.
pub type Gateways = Rc<RefCell<BTreeMap<&'static str, Gateway>>>;

type HostResult = Result<(), Box<dyn std::error::Error>>;

/// Adds a store.
pub fn add_store(sim: &mut Sim<'static>) {
    sim.host(STORE.0, || async {
        let mut plan =
            StorePlan::new(&StoreConfig::default(), &edge()).map_err(|problems| format!("{problems:?}"))?;
        plan.port = Port::plain("store", everywhere(STORE.1));
        Ok(store::run(plan, CancellationToken::new()).await?)
    });
}

/// Adds a gateway that is called as its host, and shows its data plane in `gateways`.
pub fn add_gateway(sim: &mut Sim<'static>, name: &'static str, gateways: &Gateways) {
    let gateways = gateways.clone();
    sim.host(name, move || {
        let gateways = gateways.clone();
        async move { run_gateway(name, &gateways).await }
    });
}

async fn run_gateway(name: &'static str, gateways: &Gateways) -> HostResult {
    let server = server::Server::start(gateway_plan(name)?).await?;
    gateways.borrow_mut().insert(name, server.gateway().clone());
    Ok(server.run(CancellationToken::new()).await?)
}

fn gateway_plan(name: &'static str) -> Result<ServerPlan, Box<dyn std::error::Error>> {
    let config = ServerConfig { name: Some(name.parse()?), ..ServerConfig::default() };
    let mut plan = ServerPlan::new(&config, &edge()).map_err(|problems| format!("{problems:?}"))?;
    plan.http = Port::plain("http", everywhere(HTTP_PORT));
    plan.agents = Port::plain("agents", everywhere(AGENTS_PORT));
    plan.peers = Port::plain("peers", everywhere(PEERS_PORT));
    plan.admin = Port::plain("admin", everywhere(ADMIN_PORT));
    plan.advertise = Some(format!("{name}:{PEERS_PORT}"));
    let url = format!("redis://{}:{}", STORE.0, STORE.1);
    plan.store = Some(StoreLink::plain(bowline_redis::Config::from_url(&url)?));
    Ok(plan)
}

/// Adds a gateway that is called as its host, and serves sessions to who signs with one of `keys`.
pub fn add_gateway_with_sessions(sim: &mut Sim<'static>, name: &'static str, keys: Keys) {
    sim.host(name, move || {
        let keys = keys.clone();
        async move {
            let mut plan = gateway_plan(name)?;
            plan.sessions = Some(SessionsPlan {
                port: Port::plain("sessions", everywhere(SESSIONS_PORT)),
                keys,
                settings: Settings::default(),
                connections_max: SESSIONS_CONNECTIONS,
                memory_bytes: 0,
            });
            Ok(server::Server::start(plan).await?.run(CancellationToken::new()).await?)
        }
    });
}

/// Adds the agent, which joins the gateways on these hosts and offers the service `web`.
pub fn add_agent(sim: &mut Sim<'static>, join: &'static [&'static str]) {
    sim.host(AGENT, move || async move {
        let join = join.iter().map(|gateway| format!("{gateway}:{AGENTS_PORT}")).collect();
        let service =
            bowline_agent::Service { name: "web".parse()?, address: format!("{}:{}", WEB.0, WEB.1) };
        let services = bowline_agent::Services::new([service])?;
        let settings = bowline_agent::Settings::new(AGENT.parse()?, join, services, Connector::Plain);
        Ok(agent::run(AgentPlan::from(settings), CancellationToken::new()).await?)
    });
}

/// Adds the web service: it answers every request with the path that was asked for.
pub fn add_web(sim: &mut Sim<'static>) {
    sim.host(WEB.0, || async {
        let listener = Listener::bind(everywhere(WEB.1)).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            task::spawn("web", async move { drop(serve(stream).await) });
        }
    });
}

async fn serve(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = BytesMut::new();
    loop {
        let end = loop {
            if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            if buffer.len() > HEAD_BYTES_MAX || stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        };
        let head = buffer.split_to(end);
        let path = head[..].split(|&byte| byte == b' ').nth(1).unwrap_or_default();
        let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", path.len()).into_bytes();
        answer.extend_from_slice(path);
        stream.write_all(&answer).await?;
    }
}

fn everywhere(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))
}

/// Nothing comes from files or the environment.
fn edge() -> Edge<'static> {
    Edge { read: &|_| Err(io::ErrorKind::NotFound.into()), host_name: "simulated", secret: None }
}
