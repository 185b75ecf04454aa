//! A zone within this process: a store, two gateways, and an agent that is attached to one of them.

use std::net::SocketAddr;
use std::path::Path;

use crate::common::{BOUND, get, text, until};
use bowline_api::status::{State, Status};
use bowline_node::config::{AgentConfig, Loaded, ServerConfig, StoreConfig};
use bowline_node::dev::demo::Demo;
use bowline_node::plan::{AgentPlan, Edge, ServerPlan, StorePlan};
use bowline_node::server::{Addresses, Server};
use bowline_node::store::Store;
use bowline_rt::task::{JoinHandle, spawn};
use bowline_rt::time::timeout;
use tokio_util::sync::CancellationToken;

/// A plan from a configuration that is right.
macro_rules! plan {
    ($plan:ty, $config:ty, $text:expr) => {{
        let text: String = $text;
        let loaded = Loaded::<$config>::parse(Path::new("test.toml"), &text).expect("a configuration");
        let edge = Edge { read: &|path| std::fs::read(path), host_name: "test", secret: None };
        <$plan>::new(&loaded.config, &edge).expect("a plan")
    }};
}

/// Something that runs until it is told to stop.
struct Running<T> {
    stop: CancellationToken,
    task: JoinHandle<T>,
}

impl<T: Send + 'static> Running<T> {
    fn start(run: impl FnOnce(CancellationToken) -> JoinHandle<T>) -> Self {
        let stop = CancellationToken::new();
        Self { task: run(stop.clone()), stop }
    }

    async fn end(self) -> T {
        self.stop.cancel();
        timeout(BOUND, self.task).await.expect("ended in time").expect("no panic")
    }
}

async fn store() -> (SocketAddr, Running<()>) {
    let store = Store::start(&plan!(StorePlan, StoreConfig, "listen = '127.0.0.1:0'\n".into())).await;
    let store = store.expect("a store");
    let address = store.address();
    let running = Running::start(|stop| {
        spawn("store", async move { store.run(stop).await.expect("the store ended well") })
    });
    (address, running)
}

async fn gateway(name: &str, store: SocketAddr) -> (Addresses, Running<()>) {
    gateway_with("", name, store).await
}

async fn gateway_with(more: &str, name: &str, store: SocketAddr) -> (Addresses, Running<()>) {
    let text = format!(
        "{more}name = '{name}'\ndrain_grace = '1s'\n[http]\nlisten = '127.0.0.1:0'\n[agents]\nlisten = '127.0.0.1:0'\n\
         [peers]\nlisten = '127.0.0.1:0'\n[admin]\nlisten = '127.0.0.1:0'\n\
         [[tcp]]\nlisten = '127.0.0.1:0'\nservice = 'demo'\n\
         [[tcp]]\nlisten = '127.0.0.1:0'\nservice = 'demo'\nagent = 'edge-1'\n[store]\nurl = 'redis://{store}'\n"
    );
    let server = Server::start(plan!(ServerPlan, ServerConfig, text)).await.expect("a gateway");
    let addresses = server.addresses().clone();
    let running = Running::start(|stop| {
        spawn("server", async move { server.run(stop).await.expect("the gateway ended well") })
    });
    (addresses, running)
}

fn agent(demo: SocketAddr, join: &[SocketAddr]) -> Running<()> {
    agent_with("", demo, join)
}

fn agent_with(more: &str, demo: SocketAddr, join: &[SocketAddr]) -> Running<()> {
    let join: Vec<String> = join.iter().map(|address| format!("'{address}'")).collect();
    let text = format!(
        "{more}name = 'edge-1'\ndrain_grace = '1s'\njoin = [{}]\n[[service]]\nname = 'demo'\naddress = '{demo}'\n",
        join.join(", ")
    );
    let plan = plan!(AgentPlan, AgentConfig, text);
    Running::start(|stop| {
        spawn(
            "agent",
            async move { bowline_node::agent::run(plan, stop).await.expect("the agent ended well") },
        )
    })
}

async fn status(admin: SocketAddr) -> Status {
    serde_json::from_slice(get(admin, "admin", "/v1/status").await.body()).expect("a status")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_gateway_reaches_the_agent_and_a_drain_moves_it() {
    let (store, running_store) = store().await;
    let (first, running_first) = gateway("g1", store).await;
    let demo = Demo::start("edge-1".parse().expect("a name")).await.expect("a service");
    let demo_address = demo.address();
    let running_demo = Running::start(|stop| spawn("demo", demo.run(stop)));
    let only_first = agent(demo_address, &[first.agents]);
    let host = "demo.svc.bowline";
    let answers = async |http| (get(http, host, "/").await.status() == 200).then_some(());
    until("the service answers through g1", async || answers(first.http).await).await;

    let (second, running_second) = gateway("g2", store).await;
    until("the service answers through g2", async || answers(second.http).await).await;
    // Over the TCP entries too, which know no host names.
    for entry in &second.tcp {
        let raw = get(*entry, "whatever", "/").await;
        assert!(text(&raw).contains("edge-1"), "{}", text(&raw));
    }
    // The agent may be named, and then no other will do.
    assert_eq!(get(second.http, "demo.edge-1.svc.bowline", "/").await.status(), 200);
    for gateway in [&first, &second] {
        let other = get(gateway.http, "demo.edge-2.svc.bowline", "/").await;
        assert_eq!(other.headers()["bowline-reason"], "service_unknown", "{}", text(&other));
        let other = get(gateway.http, "other.edge-1.svc.bowline", "/").await;
        assert_eq!(other.headers()["bowline-reason"], "service_unknown", "{}", text(&other));
    }

    let seen = status(second.admin).await;
    let names: Vec<_> = seen.gateways.iter().map(|gateway| (gateway.name.as_str(), gateway.state)).collect();
    assert_eq!(names, [("g1", State::Up), ("g2", State::Up)]);
    assert_eq!(seen.gateways[0].address, first.peers.to_string());
    assert_eq!(seen.services[0].gateways, ["g1"]);
    assert_eq!(seen.incomplete, None);

    // The agent knows only g1, so it leaves; another one that knows both stays reachable through the drain.
    only_first.end().await;
    let both = agent(demo_address, &[first.agents, second.agents]);
    until("the service answers again", async || answers(second.http).await).await;
    running_first.end().await;
    assert_eq!(get(second.http, host, "/").await.status(), 200, "a drain is not noticed");
    until("g1 is forgotten", async || {
        let seen = status(second.admin).await;
        (seen.gateways.len() == 1 && seen.services.first()?.gateways == ["g2"]).then_some(())
    })
    .await;

    // A gateway that is known stays in the list when the store is silent.
    let (third, running_third) = gateway("g3", store).await;
    until("g3 is known", async || (status(second.admin).await.gateways.len() == 2).then_some(())).await;
    running_store.end().await;
    let seen = status(second.admin).await;
    let names: Vec<_> = seen.gateways.iter().map(|gateway| (gateway.name.as_str(), gateway.state)).collect();
    assert_eq!(names, [("g2", State::Up), ("g3", State::Up)]);
    assert_eq!(seen.gateways[1].address, third.peers.to_string());
    assert!(seen.incomplete.is_some_and(|reason| reason.contains("s ago")), "it may be old");

    both.end().await;
    running_second.end().await;
    running_third.end().await;
    running_demo.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_without_its_store_is_not_ready_and_says_why() {
    // Bound and closed again: nobody listens there.
    let (nowhere, running_store) = store().await;
    running_store.end().await;
    let (addresses, running) = gateway("g1", nowhere).await;
    let response = get(addresses.admin, "admin", "/readyz").await;
    assert_eq!(response.status(), 503);
    assert!(text(&response).contains("the store has not been reached yet"), "{}", text(&response));
    let seen = status(addresses.admin).await;
    assert!(seen.incomplete.is_some() && !seen.gateways[0].store_up, "{seen:?}");
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_lost_its_name_hands_its_agents_over() {
    let (store, running_store) = store().await;
    let short = "registry = { ttl = '6s' }\n";
    let (old, running_old) = gateway_with(short, "g1", store).await;
    let (other, running_other) = gateway_with(short, "g2", store).await;
    let demo = Demo::start("edge-1".parse().expect("a name")).await.expect("a service");
    let demo_address = demo.address();
    let running_demo = Running::start(|stop| spawn("demo", demo.run(stop)));
    let running_agent = agent_with("connections = 2\n", demo_address, &[old.agents, other.agents]);
    let attached_to = async |admin| {
        let seen = status(admin).await;
        seen.agents.into_iter().map(|agent| agent.gateway).collect::<Vec<_>>()
    };
    until("the agent is attached to both", async || {
        (attached_to(other.admin).await == ["g1", "g2"]).then_some(())
    })
    .await;

    let (successor, running_successor) = gateway_with(short, "g1", store).await;
    let readiness = async || get(old.admin, "admin", "/readyz").await;
    until("it has lost its name", async || (readiness().await.status() == 503).then_some(())).await;
    assert!(text(&readiness().await).contains("another process has taken this gateway's name"));
    until("the agent has left it", async || {
        text(&get(old.admin, "admin", "/metrics").await).contains("bowline_tunnel_agents 0").then_some(())
    })
    .await;
    assert_eq!(attached_to(successor.admin).await, ["g2"]);
    assert_eq!(get(successor.http, "demo.svc.bowline", "/").await.status(), 200);

    // Whoever still asks the old one is served, by way of the process that has its name now too.
    running_agent.end().await;
    let running_agent = agent(demo_address, &[successor.agents]);
    until("the old one finds the agent at its successor", async || {
        (get(old.http, "demo.svc.bowline", "/").await.status() == 200).then_some(())
    })
    .await;

    running_agent.end().await;
    for gateway in [running_old, running_other, running_successor] {
        gateway.end().await;
    }
    running_demo.end().await;
    running_store.end().await;
}

/// Load balancers see that a gateway is about to go while it still takes what they send.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readiness_goes_before_anything_else() {
    let (store, running_store) = store().await;
    let (addresses, running) = gateway_with("drain_delay = '2s'\n", "g1", store).await;
    let readiness = async || get(addresses.admin, "admin", "/readyz").await;
    until("it is ready", async || (readiness().await.status() == 200).then_some(())).await;
    running.stop.cancel();
    until("it is not ready", async || (readiness().await.status() == 503).then_some(())).await;
    assert!(text(&readiness().await).contains("the gateway is shutting down"));
    let answer = get(addresses.http, "demo.svc.bowline", "/").await;
    assert_eq!(answer.headers()["bowline-reason"], "service_unknown", "{}", text(&answer));
    running.end().await;
    running_store.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_says_whether_it_is_attached() {
    let (store, running_store) = store().await;
    let (addresses, running) = gateway("g1", store).await;
    let config =
        format!("name = 'edge-1'\njoin = ['{}']\n[admin]\nlisten = '127.0.0.1:0'\n", addresses.agents);
    let plan = plan!(AgentPlan, AgentConfig, config);
    let (agent, _) = bowline_node::agent::start(plan).await.expect("an agent");
    let admin = agent.admin_address().expect("an admin port");
    let agent = Running::start(|stop| spawn("agent", agent.run(stop)));
    let readiness = async || get(admin, "admin", "/readyz").await;
    until("it is attached", async || (readiness().await.status() == 200).then_some(())).await;
    let metrics = get(admin, "admin", "/metrics").await;
    assert!(text(&metrics).contains("bowline_agent_gateways_attached 1"), "{}", text(&metrics));
    assert!(text(&metrics).contains("role=\"agent\""), "{}", text(&metrics));
    assert_eq!(get(admin, "admin", "/v1/status").await.status(), 404);
    running.end().await;
    until("it is alone", async || (readiness().await.status() == 503).then_some(())).await;
    assert!(text(&readiness().await).contains("attached to no gateway"));
    agent.end().await;
    running_store.end().await;
}
