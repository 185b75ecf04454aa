//! Real clusters: redis-server processes on loopback.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use bowline_rt::{net, task, time};
use tempfile::TempDir;

/// Longest wait for anything that should come soon.
const SOON: Duration = Duration::from_secs(15);
const LOOK_PERIOD: Duration = Duration::from_millis(20);

/// Waits until `look` finds something.
pub async fn wait_for<T, F: Future<Output = Option<T>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    let started = time::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(started.elapsed() < SOON, "waited in vain: {what}");
        time::sleep(LOOK_PERIOD).await;
    }
}

/// A port on loopback that nobody listens on. Those below 32768 are never the near end of a connection.
pub async fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const FIRST: u16 = 12_000;
    const COUNT: u16 = 20_000;
    loop {
        let start = u16::try_from(std::process::id().wrapping_mul(89) % u32::from(COUNT)).unwrap();
        let port = FIRST + start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if net::connect(address, Duration::from_millis(200)).await.is_err() {
            return port;
        }
    }
}

/// One redis-server. Dropping it kills it.
pub struct Server {
    pub port: u16,
    child: Child,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Server {
    /// Starts one and waits until it answers.
    pub async fn start(directory: &Path, arguments: &[&str]) -> Self {
        let port = free_port().await;
        let log = File::create(directory.join(format!("{port}.log"))).unwrap();
        let child = Command::new("redis-server")
            .current_dir(directory)
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port", &port.to_string()])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("redis-server is installed");
        let server = Self { port, child };
        wait_for("redis-server answers", || async { (server.cli(&["PING"]).await == "PONG").then_some(()) })
            .await;
        server
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Runs a command with redis-cli.
    pub async fn cli(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("redis-cli");
        command.args(["-p", &self.port.to_string()]).args(arguments).stdin(Stdio::null());
        let output = task::blocking(move || command.output().expect("redis-cli is installed")).await;
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// Lets it stand still, or go on.
    pub fn signal(&self, name: &str) {
        let script = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success());
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        // Either may fail because it is gone already, which is what is wanted.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Three primaries and as many replicas: the primary of the n-th third of the slots is node n, its replica node n + 3.
pub struct RealCluster {
    pub nodes: Vec<Server>,
    pub ids: Vec<String>,
    buses: Vec<u16>,
    _directory: TempDir,
}

impl RealCluster {
    /// Starts one and waits until all nodes say that it is sound.
    pub async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (mut nodes, mut buses) = (Vec::new(), Vec::new());
        for _ in 0..6 {
            buses.push(free_port().await);
            let bus = buses[buses.len() - 1].to_string();
            let config = format!("nodes-{bus}.conf");
            let arguments =
                ["--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--cluster-port", &bus];
            // A replica is told of by nobody before it has received something.
            let more = [
                "--cluster-config-file",
                &config,
                "--repl-diskless-sync-delay",
                "0",
                "--repl-ping-replica-period",
                "1",
            ];
            nodes.push(Server::start(directory.path(), &[&arguments[..], &more].concat()).await);
        }
        let mut ids = Vec::new();
        for (index, node) in nodes.iter().enumerate() {
            ids.push(node.cli(&["CLUSTER", "MYID"]).await);
            node.cli(&["CLUSTER", "SET-CONFIG-EPOCH", &(index + 1).to_string()]).await;
        }
        for (index, range) in [["0", "5460"], ["5461", "10922"], ["10923", "16383"]].iter().enumerate() {
            nodes[index].cli(&["CLUSTER", "ADDSLOTSRANGE", range[0], range[1]]).await;
        }
        let cluster = Self { nodes, ids, buses, _directory: directory };
        cluster.meet().await;
        cluster.replicate().await;
        cluster
    }

    async fn meet(&self) {
        for (index, node) in self.nodes.iter().enumerate() {
            let (port, bus) = (node.port.to_string(), self.buses[index].to_string());
            // Everybody meets everybody: gossip would take its time.
            for other in &self.nodes[..index] {
                assert_eq!(other.cli(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]).await, "OK");
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
