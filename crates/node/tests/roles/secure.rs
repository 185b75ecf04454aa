//! A gateway that asks agents who they are, and reads its tokens again.

use std::path::Path;

use crate::common::{BOUND, get, until};
use bowline_agent::State;
use bowline_identity::Identity;
use bowline_identity::ca::{Authority, Request};
use bowline_identity::token::{Holder, Token};
use bowline_node::agent::Handle;
use bowline_node::config::value::Secret;
use bowline_node::config::{AgentConfig, Loaded, ServerConfig};
use bowline_node::dev::demo::Demo;
use bowline_node::plan::{AgentPlan, Edge, ServerPlan};
use bowline_node::server::{Addresses, Server};
use bowline_rt::task::{JoinSet, spawn};
use bowline_rt::time::timeout;
use tokio_util::sync::CancellationToken;

/// Writes an authority and the certificates of one gateway and one agent.
pub fn issue(folder: &Path) {
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).expect("written");
    let authority = Authority::create("test", 10).expect("an authority");
    write("ca.crt", authority.certificate());
    let identities = [
        ("g1", Identity::Gateway("g1".parse().expect("a name")), vec!["localhost".to_owned()]),
        ("edge-2", Identity::Agent("edge-2".parse().expect("a name")), Vec::new()),
    ];
    for (name, identity, names) in identities {
        let issued = authority.issue(&Request { identity, names, days: 1 }).expect("issued");
        write(&format!("{name}.crt"), &issued.certificate);
        write(&format!("{name}.key"), issued.key.reveal());
    }
}

fn holder(agent: &str) -> Holder {
    Holder::Agent(agent.parse().expect("a name"))
}

/// Nothing comes from the environment but `secret`, if there is one.
pub fn edge(secret: Option<&Token>) -> Edge<'static> {
    let secret = secret.map(|token| Secret::new(token.reveal().to_owned()));
    Edge { read: &|path| std::fs::read(path), host_name: "test", secret }
}

fn server_plan(folder: &Path) -> ServerPlan {
    let text = "name = 'g1'\ndrain_grace = '1s'\ntokens_file = 'tokens.toml'\n[http]\nlisten = '127.0.0.1:0'\n\
                [agents]\nlisten = '127.0.0.1:0'\n[peers]\nlisten = '127.0.0.1:0'\n[admin]\nlisten = '127.0.0.1:0'\n\
                [tls]\ncertificate = 'g1.crt'\nkey = 'g1.key'\nca = 'ca.crt'\n";
    let loaded = Loaded::<ServerConfig>::parse(&folder.join("g1.toml"), text).expect("a configuration");
    ServerPlan::new(&loaded.config, &edge(None)).expect("a plan")
}

/// What every agent of this test runs from, and how it ends.
struct Agents<'a> {
    folder: &'a Path,
    addresses: Addresses,
    demo: std::net::SocketAddr,
    stop: CancellationToken,
    running: JoinSet<()>,
}

impl Agents<'_> {
    /// Starts an agent that offers a service called like itself.
    async fn start(&mut self, name: &str, token: Option<&Token>, certificate: &str) -> Handle {
        let text = format!(
            "name = '{name}'\ndrain_grace = '1s'\njoin = ['localhost:{}']\n[tls]\nca = 'ca.crt'\n{certificate}\n\
             [[service]]\nname = '{name}'\naddress = '{}'\n",
            self.addresses.agents.port(),
            self.demo
        );
        let path = self.folder.join("agent.toml");
        let loaded = Loaded::<AgentConfig>::parse(&path, &text).expect("a configuration");
        let plan = AgentPlan::new(&loaded.config, &edge(token)).expect("a plan");
        let (agent, handle) = bowline_node::agent::start(plan).await.expect("an agent");
        let stop = self.stop.child_token();
        self.running.spawn(async move { agent.run(stop).await });
        handle
    }

    /// Waits until the service of the agent `name` answers through the gateway.
    async fn answers(&self, name: &str) {
        let host = format!("{name}.svc.bowline");
        let http = self.addresses.http;
        until(name, async || (get(http, &host, "/").await.status() == 200).then_some(())).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_needs_its_own_token_or_certificate() {
    let folder = tempfile::tempdir().expect("a folder");
    issue(folder.path());
    let (known, later) = (Token::generate(), Token::generate());
    let write_tokens = |entries: &[String]| {
        std::fs::write(folder.path().join("tokens.toml"), entries.join("\n")).expect("written");
    };
    write_tokens(&[known.table_entry(&holder("edge-1"))]);
    let plan = server_plan(folder.path());
    let reload = plan.reload();
    let server = Server::start(plan).await.expect("a gateway");
    let demo = Demo::start("any".parse().expect("a name")).await.expect("a service");
    let stop = CancellationToken::new();
    let mut agents = Agents {
        folder: folder.path(),
        addresses: server.addresses().clone(),
        demo: demo.address(),
        stop: CancellationToken::new(),
        running: JoinSet::new(),
    };
    let serving = spawn("server", server.run(stop.clone()));
    let demonstrating = spawn("demo", demo.run(stop.clone()));

    agents.start("edge-1", Some(&known), "").await;
    agents.answers("edge-1").await;
    agents.start("edge-2", None, "certificate = 'edge-2.crt'\nkey = 'edge-2.key'\n").await;
    agents.answers("edge-2").await;

    // A token of another agent, and one that nobody knows yet.
    for (name, token) in [("edge-3", &known), ("edge-4", &later)] {
        let refused = agents.start(name, Some(token), "").await;
        let mut gateways = refused.gateways();
        let seen = gateways.wait_for(|gateways| gateways[0].last_error.is_some());
        let seen = timeout(BOUND, seen).await.expect("refused in time").expect("the agent runs");
        assert!(seen[0].state < State::Attached, "{seen:?}");
        let said = format!("{seen:?}");
        assert!(!said.contains(token.reveal()), "{said}");
    }

    write_tokens(&[known.table_entry(&holder("edge-1")), later.table_entry(&holder("edge-5"))]);
    assert_eq!(reload.run(), Vec::<String>::new());
    agents.start("edge-5", Some(&later), "").await;
    agents.answers("edge-5").await;

    agents.stop.cancel();
    while agents.running.join_next().await.is_some() {}
    stop.cancel();
    timeout(BOUND, serving).await.expect("in time").expect("no panic").expect("the gateway ended well");
    timeout(BOUND, demonstrating).await.expect("in time").expect("no panic");
}

#[test]
fn what_cannot_be_read_again_stays_as_it_was() {
    let folder = tempfile::tempdir().expect("a folder");
    issue(folder.path());
    let token = Token::generate();
    let file = folder.path().join("tokens.toml");
    std::fs::write(&file, token.table_entry(&holder("edge-1"))).expect("written");
    let plan = server_plan(folder.path());
    std::fs::write(&file, "[[token]]\nkind = 'nonsense'\n").expect("written");
    std::fs::remove_file(folder.path().join("g1.key")).expect("removed");
    let problems = plan.reload().run().join("\n");
    assert!(problems.contains("tokens.toml") && problems.contains("g1.key"), "{problems}");
    std::fs::write(&file, "").expect("written");
    let problems = plan.reload().run().join("\n");
    assert!(problems.contains("has no token any more"), "{problems}");
    assert!(plan.authentication.tokens.agent(token.reveal()).is_some(), "the old table is in force");
}
