//! A zone: gateways, and a registry in memory that all of them share.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bowline_identity::tls::Acceptor;
use bowline_model::{AgentId, Epoch, GatewayId, RequestId, ServiceName};
use bowline_rt::net::Listener;
use bowline_rt::time::{now, sleep, timeout};
use bowline_tunnel::directory::{Directory, GatewayEntry, Holder, LookupError, PublishError, Target};
use bowline_tunnel::{Gateway, OpenError, OpenRequest, Settings, Stream};
use futures_util::future::BoxFuture;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The longest that anything may take on loopback on a busy machine.
pub const BOUND: Duration = Duration::from_secs(20);

pub fn name<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

/// Waits until `met`.
pub async fn until(what: &str, mut met: impl FnMut() -> bool) {
    let deadline = now() + BOUND;
    while !met() {
        assert!(now() < deadline, "in vain: {what}");
        sleep(Duration::from_millis(2)).await;
    }
}

/// Waits for `future`, within the bound.
pub async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    timeout(BOUND, future).await.unwrap_or_else(|_| panic!("in vain: {what}"))
}

/// The registry in memory.
#[derive(Clone, Default)]
pub struct Zone(Arc<Mutex<Content>>);

#[derive(Default)]
struct Content {
    published: BTreeMap<(GatewayId, AgentId), (String, BTreeSet<ServiceName>)>,
    gateways: BTreeMap<GatewayId, String>,
    suspected: Vec<GatewayId>,
    silent: bool,
    lookups: usize,
}

impl Zone {
    /// Publishes what no gateway of the zone says: a dead holder, or a wrong one.
    pub fn pretend(&self, gateway: &str, agent: &str, service: &str, address: SocketAddr) {
        let services = BTreeSet::from([name(service)]);
        let mut content = self.0.lock().unwrap();
        content.gateways.insert(name(gateway), address.to_string());
        content.published.insert((name(gateway), name(agent)), (address.to_string(), services));
    }

    /// From now on the store answers no look-up.
    pub fn fall_silent(&self) {
        self.0.lock().unwrap().silent = true;
    }

    pub fn holds(&self, gateway: &str, agent: &str) -> bool {
        self.0.lock().unwrap().published.contains_key(&(name(gateway), name(agent)))
    }

    pub fn suspected(&self) -> Vec<String> {
        self.0.lock().unwrap().suspected.iter().map(ToString::to_string).collect()
    }

    pub fn lookups(&self) -> usize {
        self.0.lock().unwrap().lookups
    }
}

/// The registry as one gateway sees it.
struct View {
    zone: Zone,
    gateway: GatewayId,
    address: String,
}

impl Directory for View {
    fn publish(&self, agent: &AgentId, services: &[ServiceName]) -> Result<(), PublishError> {
        let value = (self.address.clone(), services.iter().cloned().collect());
        self.zone.0.lock().unwrap().published.insert((self.gateway.clone(), agent.clone()), value);
        Ok(())
    }
    fn withdraw(&self, agent: &AgentId) {
        self.zone.0.lock().unwrap().published.remove(&(self.gateway.clone(), agent.clone()));
    }
    fn lookup<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, Result<Arc<[Holder]>, LookupError>> {
        let mut content = self.zone.0.lock().unwrap();
        content.lookups += 1;
        if content.silent {
            return Box::pin(std::future::pending());
        }
        let offers = |agent: &AgentId, services: &BTreeSet<ServiceName>| match target {
            Target::Agent(wanted) => wanted == agent,
            Target::Service(wanted) => services.contains(wanted),
        };
        let holders: Arc<[Holder]> = content
            .published
            .iter()
            .filter(|((_, agent), (_, services))| offers(agent, services))
            .map(|((gateway, agent), (address, _))| Holder {
                gateway: gateway.clone(),
                epoch: Epoch::from_bits(1),
                term: bowline_model::Term(1),
                agent: agent.clone(),
                peer_address: address.clone(),
                zone: name("test"),
            })
            .collect();
        Box::pin(async move { Ok(holders) })
    }
    fn suspect(&self, _: &Target, gateway: &GatewayId) {
        self.zone.0.lock().unwrap().suspected.push(gateway.clone());
    }
    fn gateways(&self) -> BoxFuture<'_, Result<Vec<GatewayEntry>, LookupError>> {
        let content = self.zone.0.lock().unwrap();
        let entries = content.gateways.iter().map(|(gateway, address)| GatewayEntry {
            gateway: gateway.clone(),
            epoch: Epoch::from_bits(1),
            peer_address: address.clone(),
            zone: name("test"),
        });
        let entries = entries.collect();
        Box::pin(async move { Ok(entries) })
    }
    fn pending(&self) -> usize {
        0
    }
    fn store_up(&self) -> bool {
        true
    }
    fn shut_down(&self, _: Duration) -> BoxFuture<'_, ()> {
        self.zone.0.lock().unwrap().published.retain(|(gateway, _), _| *gateway != self.gateway);
        Box::pin(async {})
    }
}

/// A running gateway.
pub struct Rig {
    pub gateway: Gateway,
    pub agents: SocketAddr,
    pub peers: SocketAddr,
}

/// Starts a gateway without TLS that takes any agent.
pub async fn start(zone: &Zone, gateway: &str, tweak: impl FnOnce(&mut Settings)) -> Rig {
    start_with(zone, gateway, Acceptor::Plain, Acceptor::Plain, tweak).await
}

pub async fn start_with(
    zone: &Zone,
    gateway: &str,
    for_agents: Acceptor,
    for_peers: Acceptor,
    tweak: impl FnOnce(&mut Settings),
) -> Rig {
    let agents = Listener::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let peers = Listener::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let (agent_address, peer_address) = (agents.local_addr().unwrap(), peers.local_addr().unwrap());
    let mut settings = Settings::new(name(gateway), bowline_rt::random::epoch(), name("test"));
    settings.agents.anyone = true;
    tweak(&mut settings);
    zone.0.lock().unwrap().gateways.insert(name(gateway), peer_address.to_string());
    let view = View { zone: zone.clone(), gateway: name(gateway), address: peer_address.to_string() };
    let rig = Rig { gateway: Gateway::new(settings, view), agents: agent_address, peers: peer_address };
    let serving = rig.gateway.clone();
    bowline_rt::task::spawn("agents", async move { serving.serve_agents(agents, for_agents).await });
    let serving = rig.gateway.clone();
    bowline_rt::task::spawn("peers", async move { serving.serve_peers(peers, for_peers).await });
    rig
}

/// Asks for a service.
pub fn ask(service: &str) -> OpenRequest {
    OpenRequest {
        service: name(service),
        agent: None,
        request_id: RequestId::parse("test-1").unwrap(),
        client: Some(([192, 0, 2, 1], 99).into()),
    }
}

impl Rig {
    pub async fn open(&self, service: &str) -> Result<Box<dyn Stream>, OpenError> {
        soon("open", self.gateway.open(ask(service))).await
    }

    /// The reason why no stream to `service` can be opened.
    pub async fn refusal(&self, service: &str) -> (&'static str, String) {
        match self.open(service).await {
            Ok(_) => panic!("the stream opened"),
            Err(error) => (error.reason.code(), error.detail),
        }
    }

    /// Idle and busy tunnels of an agent, if it is attached.
    pub fn tunnels(&self, agent: &str) -> Option<(u32, u32)> {
        let status = self.gateway.status();
        let found = status.agents.iter().find(|status| status.agent == agent)?;
        Some((found.tunnels_idle, found.tunnels_busy))
    }

    /// Waits until the agent has so many idle and busy tunnels.
    pub async fn settled(&self, agent: &str, idle: u32, busy: u32) {
        let what = format!("{idle} idle and {busy} busy tunnels of {agent}");
        until(&what, || self.tunnels(agent) == Some((idle, busy))).await;
    }

    /// The value of a metric, as it is scraped.
    pub fn metric(&self, line: &str) -> u64 {
        let mut registry = prometheus_client::registry::Registry::default();
        self.gateway.register_metrics(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let value = text.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {line} in {text}")).parse().unwrap()
    }
}

/// Sends a text and its end, and reads what comes back to its end.
pub async fn echo(mut stream: impl Stream, text: &str) -> String {
    let exchange = async {
        stream.write_all(text.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    soon("echo", exchange).await
}
