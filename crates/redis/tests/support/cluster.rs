//! Real clusters: redis-server processes on loopback.

use std::process::Command;

use tempfile::TempDir;

#[path = "server.rs"]
mod server;

pub use server::{Server, wait_for};

/// What every node is started with, beside its own files.
const NODE: [&str; 13] = [
    "--save",
    "",
    "--appendonly",
    "no",
    "--cluster-enabled",
    "yes",
    "--cluster-node-timeout",
    "1000",
    // A replica is told of by nobody before it has received something.
    "--repl-diskless-sync-delay",
    "0",
    "--repl-ping-replica-period",
    "1",
    "--cluster-config-file",
];

impl Server {
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Lets it stand still, or go on.
    pub fn signal(&self, name: &str) {
        let script = format!("kill -{name} {}", self.id());
        assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success());
    }
}

/// Three primaries and as many replicas: the primary of the n-th third of the slots is node n, its replica node n + 3.
pub struct RealCluster {
    pub nodes: Vec<Server>,
    pub ids: Vec<String>,
    _directory: TempDir,
}

impl RealCluster {
    /// Starts one and waits until all nodes say that it is sound.
    pub async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut nodes = Vec::new();
        for number in 0..6 {
            let config = format!("nodes-{number}.conf");
            nodes.push(Server::start(directory.path(), &[&NODE[..], &[&config]].concat()).await);
        }
        let mut ids = Vec::new();
        for (index, node) in nodes.iter().enumerate() {
            ids.push(node.cli(&["CLUSTER", "MYID"]).await);
            node.cli(&["CLUSTER", "SET-CONFIG-EPOCH", &(index + 1).to_string()]).await;
        }
        for (index, range) in [["0", "5460"], ["5461", "10922"], ["10923", "16383"]].iter().enumerate() {
            nodes[index].cli(&["CLUSTER", "ADDSLOTSRANGE", range[0], range[1]]).await;
        }
        let cluster = Self { nodes, ids, _directory: directory };
        cluster.meet().await;
        cluster.replicate().await;
        cluster
    }

    async fn meet(&self) {
        for (index, node) in self.nodes.iter().enumerate() {
            let port = node.port.to_string();
            let bus = node.cli(&["CONFIG", "GET", "cluster-port"]).await;
            let (_, bus) = bus.split_once('\n').expect("a name and a value");
            // Everybody meets everybody: gossip would take its time.
            for other in &self.nodes[..index] {
                assert_eq!(other.cli(&["CLUSTER", "MEET", "127.0.0.1", &port, bus]).await, "OK");
            }
        }
        for node in &self.nodes {
            wait_for("everybody knows everybody", || async {
                let nodes = node.cli(&["CLUSTER", "NODES"]).await;
                (nodes
                    .lines()
                    .filter(|line| line.contains("connected") && !line.contains("handshake"))
                    .count()
                    == 6)
                    .then_some(())
            })
            .await;
        }
    }

    async fn replicate(&self) {
        for (index, node) in self.nodes[3..].iter().enumerate() {
            assert_eq!(node.cli(&["CLUSTER", "REPLICATE", &self.ids[index]]).await, "OK");
        }
        for node in &self.nodes {
            wait_for("the cluster is sound", || async {
                let is_ok = node.cli(&["CLUSTER", "INFO"]).await.contains("cluster_state:ok");
                let slots = node.cli(&["CLUSTER", "SLOTS"]).await;
                let told = self.nodes.iter().filter(|node| slots.contains(&node.port.to_string())).count();
                (is_ok && told == 6).then_some(())
            })
            .await;
        }
        for node in &self.nodes[3..] {
            wait_for("replicas are in step", || async {
                node.cli(&["INFO", "replication"]).await.contains("master_link_status:up").then_some(())
            })
            .await;
        }
    }

    /// The URL of a client that knows the first node only.
    pub fn url(&self) -> String {
        format!("redis-cluster://{}", self.nodes[0].address())
    }
}
